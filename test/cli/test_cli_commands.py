"""run, retry, cancel, suspend, resume, status, and what they say when something is wrong."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from kubetask_controller.cli.follow import LISTED
from support.cli.cliobjects import Cli, failed, queued, run, run_status, running, succeeded
from support.cli.fakeapi import FakeApi, failure

BATCH = {
    "apiVersion": "kubetask.io/v1alpha1",
    "kind": "Batch",
    "metadata": {"name": "update-deps", "labels": {"team": "platform"}},
    "spec": {
        "variableContexts": [
            [{"type": "Repository", "repository": {"org": "myorg", "repo": "service-a"}}]
        ]
    },
}


def created(api: FakeApi, name: str, namespace: str = "team") -> dict:
    return api.objects["batchruns", namespace, name]


async def test_run_creates_a_run_named_after_the_batch_and_prints_its_bare_name(api, cli: Cli):
    await api.put("batches", dict(BATCH))
    end = await cli("run", "update-deps", "--parallelism", "5", "--max-failures", "0")
    assert (end.code, end.out) == (0, "update-deps-x7k2p\n")
    assert created(api, "update-deps-x7k2p")["spec"] == {
        "batchRef": "update-deps",
        "parallelism": 5,
        "maxFailures": 0,
    }


async def test_run_of_a_batch_that_is_not_there_says_so_and_creates_nothing(api, cli: Cli):
    end = await cli("run", "nope")
    assert (end.code, end.out) == (4, "")
    assert end.err == "error: batch/nope not found in namespace team\n"
    assert not api.objects


async def test_namespace_and_context_are_honoured_before_and_after_the_command(api, cli: Cli):
    for namespace in ("elsewhere", "other"):
        await api.put("batches", dict(BATCH), namespace)
    assert (await cli("-n", "elsewhere", "run", "update-deps", "--name", "a")).code == 0
    assert (await cli("run", "update-deps", "--name", "b", "--context", "there")).code == 0
    assert created(api, "a", "elsewhere")
    assert created(api, "b", "other")


async def test_run_takes_a_batch_from_a_file_as_its_own(api, cli: Cli, tmp_path: Path):
    file = tmp_path / "batch.yaml"
    unrelated = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x"}}
    file.write_text(yaml.safe_dump_all([unrelated, BATCH]))
    end = await cli("run", "-f", str(file), "--workspace-config", "claude")
    run = created(api, end.out.strip())
    assert run["spec"] == {"batchSpec": BATCH["spec"], "workspaceConfigRef": "claude"}
    assert run["metadata"]["labels"] == {"team": "platform"}


async def test_run_takes_a_batchrun_from_stdin_as_it_is(api, cli: Cli):
    text = json.dumps(
        {
            "apiVersion": "kubetask.io/v1alpha1",
            "kind": "BatchRun",
            "metadata": {"generateName": "nightly-"},
            "spec": {"batchRef": "update-deps"},
        }
    )
    end = await cli("run", "-f", "-", stdin=text)
    assert end.out == "nightly-x7k2p\n"
    assert created(api, "nightly-x7k2p")["spec"] == {"batchRef": "update-deps"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind: Pod\napiVersion: v1\n", "v1 Pod is neither a Batch nor a BatchRun"),
        ("a: [", "is not YAML"),
        ("", "must contain one Batch or BatchRun, not 0"),
        (
            "apiVersion: kubetask.io/v1alpha1\nkind: Batch\nspec: {}\n"
            "metadata: {name: a, namespace: far}\n",
            "belongs to namespace far, not team: pass -n far",
        ),
    ],
)
async def test_a_file_that_is_no_batch_is_a_usage_error(cli: Cli, text: str, says: str):
    end = await cli("run", "-f", "-", stdin=text)
    assert end.code == 2
    assert says in end.err


async def test_run_wait_follows_to_the_end_and_keeps_the_name_alone_on_stdout(api, cli: Cli):
    await api.put("batches", dict(BATCH))
    waiting = asyncio.create_task(cli("run", "update-deps", "--wait"))
    await api.watched()
    for status in (
        run_status(running(0), queued(1)),
        run_status(succeeded(0), running(1)),
        run_status(succeeded(0), failed(1), message="1 of 2 tasks failed: 1 AgentError"),
    ):
        await api.status("batchruns", "update-deps-x7k2p", status)
    end = await waiting
    assert (end.code, end.out) == (1, "update-deps-x7k2p\n")
    assert "task 0  myorg/service-0  Running TaskRunning" in end.err
    assert "task 1  myorg/service-1  Failed AgentError: exit code 1" in end.err
    last = end.err.splitlines()[-1]
    assert last == ("batchrun/update-deps-x7k2p Failed: 1 of 2 tasks failed: 1 AgentError (4m12s)")


async def test_status_is_a_tree_by_state_with_what_failed_first(api, cli: Cli):
    await api.put("batchruns", run("nightly", succeeded(0), failed(1), running(2), queued(3)))
    end = await cli("status", "nightly")
    assert end.code == 0
    lines = [line.strip() for line in end.out.splitlines()]
    assert lines[0].startswith("batchrun/nightly  Running  TasksRunning  2/4 done  1 failed")
    assert lines[2:4] == [
        "Failed (1)",
        "1  myorg/service-1  AgentError  4m12s  exit code 1",
    ]
    assert lines[-2:] == ["Succeeded (1)", "0  myorg/service-0  TaskSucceeded  4m12s"]
    assert "\x1b" not in end.out


async def test_the_exit_code_of_status_tells_a_failed_run(api, cli: Cli):
    await api.put("batchruns", run("nightly", failed(0)))
    assert (await cli("status", "nightly")).code == 1
    assert (await cli("status", "nightly", "-w")).code == 1


async def test_status_watch_ends_with_the_run_and_survives_a_broken_watch(api, cli: Cli):
    await api.put("batchruns", run("nightly", running(0)))
    watching = asyncio.create_task(cli("status", "nightly", "-w"))
    await api.watched()
    await api.cut_watches()
    await api.status("batchruns", "nightly", run_status(succeeded(0)))
    end = await watching
    assert end.code == 0
    assert end.out.splitlines()[-1].startswith("batchrun/nightly Succeeded")


async def test_status_watch_gives_up_after_its_timeout(api, cli: Cli):
    await api.put("batchruns", run("nightly", running(0)))
    end = await cli("status", "nightly", "-w", "--timeout", "0.2s")
    assert end.code == 6
    assert end.err == "error: batchrun/nightly has not ended in 0.2 s\n"


async def test_a_run_that_is_deleted_while_it_is_watched_is_not_found(api, cli: Cli):
    await api.put("batchruns", run("nightly", running(0)))
    watching = asyncio.create_task(cli("status", "nightly", "-w"))
    await api.watched()
    await api.remove("batchruns", "nightly")
    end = await watching
    assert (end.code, end.err) == (4, "error: batchrun/nightly was deleted\n")


async def test_a_run_that_is_deleted_during_an_outage_of_the_server_was_deleted(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
):
    async def changes(*_: object) -> AsyncIterator[tuple[str, dict]]:
        """A list, a change, an outage, and a list without the run."""
        body = run("nightly", running(0))
        for kind in ("ADDED", LISTED, "MODIFIED", LISTED):
            yield kind, {} if kind == LISTED else body
        raise AssertionError("it waits for a run that does not exist")

    monkeypatch.setattr("kubetask_controller.cli.follow.changes", changes)
    end = await cli("status", "nightly", "-w")
    assert (end.code, end.err) == (4, "error: batchrun/nightly was deleted\n")


async def test_status_of_a_task(api, cli: Cli):
    task = {
        "metadata": {"name": "one"},
        "spec": {"contexts": []},
        "status": {
            "phase": "Failed",
            "reason": "OOMKilled",
            "message": "agent\x1b[2J used too much",
            "target": "myorg/a",
        },
    }
    await api.put("tasks", task)
    end = await cli("status", "task/one")
    assert end.code == 1
    assert end.out == "task/one  Failed  OOMKilled  myorg/a  agent used too much\n"
    assert (await cli("status", "ktask/one", "-w")).code == 1


async def test_retry_takes_settings_and_queue_over_and_names_the_failed_by_default(api, cli: Cli):
    old = run("nightly", succeeded(0), failed(1), parallelism=3, cancel=False)
    old["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "q", "argocd": "x"}
    await api.put("batchruns", old)
    end = await cli("retry", "nightly", "--backoff-limit", "1")
    made = created(api, end.out.strip())
    assert made["spec"] == {"retryOf": "nightly", "parallelism": 3, "backoffLimit": 1}
    assert made["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "q"}
    assert made["metadata"]["name"] == "nightly-retry-x7k2p"
    await api.status("batchruns", "nightly-retry-x7k2p", run_status(failed(0)))
    again = await cli("retry", "nightly-retry-x7k2p", "--name", "third")
    assert (again.code, created(api, "third")["spec"]["retryOf"]) == (0, "nightly-retry-x7k2p")


async def test_retry_of_chosen_indexes(api, cli: Cli):
    await api.put("batchruns", run("nightly", *(failed(i) for i in range(12))))
    assert (await cli("retry", "nightly", "--indexes", "9,3,7-8", "--name", "r")).code == 0
    assert created(api, "r")["spec"]["select"] == "3,7-9"
    end = await cli("retry", "nightly", "--indexes", "3,12")
    assert (end.code, end.err) == (
        2,
        "error: --indexes: there is no task 12: indexes are 0 to 11\n",
    )
    assert (await cli("retry", "nightly", "--indexes", "x")).code == 2
    assert (await cli("retry", "nightly", "--indexes", "")).code == 2


async def test_retry_of_a_run_without_failures_asks_for_indexes(api, cli: Cli):
    await api.put("batchruns", run("nightly", succeeded(0)))
    end = await cli("retry", "nightly")
    assert end.code == 1
    assert end.err == "error: batchrun/nightly has no failed task: select tasks with --indexes\n"


async def test_cancel_suspend_and_resume_runs_and_tasks(api, cli: Cli):
    await api.put("batchruns", run("nightly", running(0)))
    await api.put("tasks", {"metadata": {"name": "one"}, "spec": {}})
    end = await cli("suspend", "nightly", "task/one")
    assert end.out == "batchrun/nightly suspended\ntask/one suspended\n"
    assert created(api, "nightly")["spec"]["suspend"] is True
    assert (await cli("resume", "nightly")).out == "batchrun/nightly resumed\n"
    assert created(api, "nightly")["spec"]["suspend"] is False
    assert "nothing to change" in (await cli("resume", "nightly")).out
    assert (await cli("cancel", "tasks.kubetask.io/one")).code == 0
    assert api.objects["tasks", "team", "one"]["spec"]["cancel"] is True


async def test_cancel_leaves_what_has_ended_and_goes_on_after_what_is_missing(api, cli: Cli):
    await api.put("batchruns", run("done", succeeded(0)))
    await api.put("batchruns", run("going", running(0)))
    end = await cli("cancel", "done", "gone", "going")
    assert end.code == 4
    assert end.out == "batchrun/done has already ended: Succeeded\nbatchrun/going cancelled\n"
    assert end.err == "error: batchrun/gone not found in namespace team\n"
    assert "cancel" not in created(api, "done")["spec"]


async def test_a_cluster_without_kubetask_is_told_from_a_missing_object(api, cli: Cli):
    api.refuse = lambda _: failure(404, "the server could not find the requested resource")
    end = await cli("status", "nightly")
    assert end.code == 4
    assert "no batchruns.kubetask.io: is KubeTask installed?" in end.err


async def test_a_refusal_names_object_and_cause_in_one_line(api, cli: Cli):
    api.refuse = lambda _: failure(403, "User cannot get\nresource", {"name": "nightly"})
    end = await cli("status", "nightly")
    assert end.code == 5
    assert end.err == ("error: batchrun/nightly in namespace team: User cannot get resource\n")


@pytest.fixture
def nobody_there(api: FakeApi, kubeconfig: Path) -> None:
    kubeconfig.write_text(kubeconfig.read_text().replace(f":{api.port}", ":1"))


@pytest.mark.usefixtures("nobody_there")
async def test_a_server_that_is_not_there_ends_it_at_once(cli: Cli):
    end = await cli("status", "nightly", "-w")
    assert end.code == 5
    assert end.err.startswith("error: the API server is unavailable")


@pytest.mark.parametrize(
    "line",
    [
        ["run"],
        ["run", "a", "-f", "b"],
        ["status"],
        ["status", "pod/x"],
        ["nope"],
        [],
        ["status", "x", "--context", "nope"],
        ["status", "x", "--timeout", "soon"],
        ["run", "x", "--parallelism", "0"],
        ["results", "task/x"],
        ["retry", "task/x"],
    ],
)
async def test_what_is_not_understood_ends_with_2(cli: Cli, line: list[str], capsys):
    assert (await cli(*line)).code == 2


async def test_help_lists_the_commands_and_the_exit_codes(cli: Cli, capsys):
    assert (await cli("--help")).code == 0
    text = capsys.readouterr().out
    for word in ("run", "status", "logs", "migrate", "exit codes:", "does not exist"):
        assert word in text
    assert (await cli("logs", "--help")).code == 0
    assert "--failed" in capsys.readouterr().out


async def test_a_server_error_while_watching_is_waited_out(api, cli: Cli):
    await api.put("batchruns", run("nightly", running(0)))
    watching = asyncio.create_task(cli("status", "nightly", "-w"))
    await api.watched()
    left = [3]

    def refuse(_: web.Request) -> web.StreamResponse | None:
        left[0] -= 1
        return failure(500, "etcd is gone") if left[0] >= 0 else None

    api.refuse = refuse
    await api.cut_watches()
    await api.status("batchruns", "nightly", run_status(succeeded(0)))
    assert (await watching).code == 0
