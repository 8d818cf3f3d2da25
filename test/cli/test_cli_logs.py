"""logs: whole, prefixed, followed, across broken connections, and what is said where there is none."""

import asyncio
import io

import pytest

from kubetask_controller.cli import program
from kubetask_controller.cli.logs.stream import LogPosition
from kubetask_controller.cli.terminal import Terminal
from support.cli.cliobjects import (
    Cli,
    ended_pod,
    entry,
    failed,
    pod,
    queued,
    run,
    run_status,
    running,
    succeeded,
)
from support.cli.fakeapi import FakeApi, Log


async def ended(api: FakeApi, index: int, *lines: str, name: str = "", **more: str) -> None:
    """A Pod that has ended, and its log."""
    name = name or f"nightly-task-{index}-abcde"
    await api.put("pods", ended_pod(index, name=name, **more))
    api.logs[f"{name}/agent"] = Log([(0, line) for line in lines], open=False)


async def test_logs_come_task_by_task_with_their_index_and_target(api, cli: Cli):
    await api.put("batchruns", run("nightly", succeeded(0), failed(1)))
    await ended(api, 1, "boom")
    await ended(api, 0, "one", "two")
    end = await cli("logs", "nightly")
    assert end.code == 0
    assert end.out == (
        "[0 myorg/service-0] one\n[0 myorg/service-0] two\n[1 myorg/service-1] boom\n"
    )
    assert (await cli("logs", "nightly", "--no-prefix")).out == "one\ntwo\nboom\n"


async def test_one_task_comes_without_prefix_unless_asked_for(api, cli: Cli):
    await api.put("batchruns", run("nightly", succeeded(0), failed(1)))
    await ended(api, 1, "a", "b", "c")
    assert (await cli("logs", "nightly", "1", "--tail", "2")).out == "b\nc\n"
    end = await cli("logs", "nightly", "1", "--prefix", "--tail", "1")
    assert end.out == "[1 myorg/service-1] c\n"


async def test_only_failed_tasks_and_ranges_of_indexes(api, cli: Cli):
    await api.put(
        "batchruns", run("nightly", *(failed(i) if i % 2 else succeeded(i) for i in range(6)))
    )
    for index in range(6):
        await ended(api, index, f"log {index}")
    assert (await cli("logs", "nightly", "--failed", "--no-prefix")).out == "log 1\nlog 3\nlog 5\n"
    assert (await cli("logs", "nightly", "2-3", "5", "--no-prefix")).out == "log 2\nlog 3\nlog 5\n"
    end = await cli("logs", "nightly", "6")
    assert (end.code, end.err) == (
        2,
        "error: batchrun/nightly: there is no task 6: indexes are 0 to 5\n",
    )


async def test_the_last_try_of_a_task_is_shown(api, cli: Cli):
    await api.put("batchruns", run("nightly", succeeded(0)))
    await ended(api, 0, "first", name="old", created="2026-01-01T09:00:00Z")
    await ended(api, 0, "second", name="new", created="2026-01-01T09:30:00Z")
    assert (await cli("logs", "nightly")).out == "second\n"


async def test_what_has_no_log_is_told_once_for_each_reason(api, cli: Cli):
    clone = entry(3, "Failed", "CloneFailed", message="branch nope not found")
    tasks = (succeeded(0), queued(1), queued(2), clone, failed(4))
    await api.put("batchruns", run("nightly", *tasks))
    await ended(api, 0, "hello")
    end = await cli("logs", "nightly")
    assert end.code == 0
    assert end.err == (
        "task 1-2: no log: has not started (Queued)\n"
        "task 3: no log: CloneFailed: branch nope not found\n"
        "task 4: no log: its Pod was deleted\n"
    )
    only = await cli("logs", "nightly", "3")
    assert (only.code, only.err.splitlines()[-1]) == (4, "error: batchrun/nightly has no log")


async def test_pods_of_another_run_whose_long_name_shares_the_label_are_left_out(api, cli: Cli):
    names = ["n" * 70 + x for x in "ab"]
    for name in names:
        await api.put("batchruns", run(name, succeeded(0)))
        await api.put("pods", ended_pod(0, run=name, name=f"pod-{name[-1]}"))
        api.logs[f"pod-{name[-1]}/agent"] = Log([(0, name[-1])], open=False)
    assert (await cli("logs", names[0])).out == "a\n"


async def test_follow_waits_for_pods_and_ends_with_the_run(api, cli: Cli):
    await api.put("batchruns", run("nightly", queued(0), queued(1)))
    following = asyncio.create_task(cli("logs", "nightly", "-f"))
    await api.watched()
    logs = [Log(), Log()]
    for index, log in enumerate(logs):
        api.logs[f"nightly-task-{index}-abcde/agent"] = log
        await api.put("pods", pod(index, state={"waiting": {"reason": "PodInitializing"}}))
        await api.put("pods", pod(index))
    await logs[0].write("from 0")
    await logs[1].write("from 1")
    await logs[0].write("again")
    for index in range(2):
        await api.put("pods", ended_pod(index))
    await api.status("batchruns", "nightly", run_status(succeeded(0), failed(1)))
    for log in logs:
        await log.close()
    end = await following
    assert end.code == 1
    assert sorted(end.out.splitlines()) == [
        "[0 myorg/service-0] again",
        "[0 myorg/service-0] from 0",
        "[1 myorg/service-1] from 1",
    ]
    assert end.err == ""


async def test_follow_takes_up_a_broken_connection_without_losing_or_repeating(api, cli: Cli):
    await api.put("batchruns", run("nightly", running(0)))
    log = Log()
    api.logs["nightly-task-0-abcde/agent"] = log
    api.log_cuts = 2
    await api.put("pods", pod(0))
    following = asyncio.create_task(cli("logs", "nightly", "-f"))
    await log.write("a", "b", second=1)
    await api.asked("/log", 2)
    await log.write("b again", second=1)
    await api.asked("/log", 3)
    await log.write("c", second=2)
    await api.put("pods", ended_pod(0))
    await api.status("batchruns", "nightly", run_status(succeeded(0)))
    await log.close()
    end = await following
    assert (end.code, end.out) == (0, "a\nb\nb again\nc\n")


async def test_follow_failed_prints_a_log_once_its_task_has_failed(api, cli: Cli):
    await api.put("batchruns", run("nightly", running(0), running(1)))
    following = asyncio.create_task(cli("logs", "nightly", "-f", "--failed"))
    await api.watched()
    await ended(api, 0, "fine")
    await ended(api, 1, "boom")
    await api.status("batchruns", "nightly", run_status(succeeded(0), failed(1)))
    end = await following
    assert (end.code, end.out) == (1, "[1 myorg/service-1] boom\n")


async def test_a_pod_that_began_and_ended_between_two_looks_is_not_missed(api, cli: Cli):
    await api.put("batchruns", run("nightly", succeeded(0)))
    await ended(api, 0, "quick")
    assert (await cli("logs", "nightly", "-f")).out == "quick\n"


async def test_logs_of_a_task_by_its_job(api, cli: Cli):
    task = {
        "metadata": {"name": "one"},
        "spec": {"contexts": []},
        "status": {"phase": "Succeeded", "reason": "TaskSucceeded", "jobName": "one-abc"},
    }
    await api.put("tasks", task)
    body = ended_pod(0, name="one-abc-xyz")
    body["metadata"]["labels"] = {"batch.kubernetes.io/job-name": "one-abc"}
    body["metadata"]["annotations"] = {}
    await api.put("pods", body)
    api.logs["one-abc-xyz/agent"] = Log([(0, "hi")], open=False)
    assert (await cli("logs", "task/one")).out == "hi\n"
    assert (await cli("logs", "task/one", "-f")).out == "hi\n"


def task_without_a_job() -> dict:
    status = {"phase": "Pending", "reason": "Queued"}
    return {"metadata": {"name": "one"}, "spec": {"contexts": []}, "status": status}


async def test_a_task_without_a_job_has_not_started(api, cli: Cli):
    await api.put("tasks", task_without_a_job())
    end = await cli("logs", "task/one")
    assert (end.code, end.err) == (
        4,
        "task 0: no log: has not started (Queued)\nerror: task/one has no log\n",
    )


async def test_follow_waits_for_the_job_of_a_task(api, cli: Cli):
    await api.put("tasks", task_without_a_job())
    following = asyncio.create_task(cli("logs", "task/one", "-f"))
    await api.watched()
    body = ended_pod(0, name="one-abc-xyz")
    body["metadata"]["labels"] = {"batch.kubernetes.io/job-name": "one-abc"}
    await api.put("pods", body)
    api.logs["one-abc-xyz/agent"] = Log([(0, "hi")], open=False)
    status = {"phase": "Succeeded", "reason": "TaskSucceeded", "jobName": "one-abc"}
    await api.status("tasks", "one", status)
    end = await following
    assert (end.code, end.out, end.err) == (0, "hi\n", "")


async def test_a_reader_that_goes_away_ends_following(api, kubeconfig):
    class Closed(io.StringIO):
        def flush(self) -> None:
            if self.getvalue():
                raise BrokenPipeError

    await api.put("batchruns", run("nightly", running(0)))
    await api.put("pods", pod(0))
    api.logs["nightly-task-0-abcde/agent"] = Log([(0, "one")])
    terminal = Terminal(Closed(), io.StringIO(), io.StringIO())
    with pytest.raises(BrokenPipeError):
        await program.run_command(["logs", "nightly", "-f"], terminal)


async def test_a_log_that_cannot_be_read_is_told_and_others_still_come(api, cli: Cli):
    await api.put("batchruns", run("nightly", succeeded(0), succeeded(1)))
    await ended(api, 0, "x")
    await ended(api, 1, "y")
    del api.logs["nightly-task-0-abcde/agent"]
    end = await cli("logs", "nightly", "--no-prefix")
    assert (end.code, end.out) == (1, "y\n")
    assert end.err.startswith("task 0: no log: container")


def test_lines_of_one_time_are_all_kept_and_dropped_once_after_a_break():
    stamp = b"2026-01-01T10:00:01.5Z"
    position = LogPosition()
    assert position.resume() == {}
    assert [position.take(stamp + b" " + x) for x in (b"a", b"b")] == [b"a", b"b"]
    assert position.resume() == {"sinceTime": "2026-01-01T10:00:01Z"}
    again = [b" 0", b" a", b" b", b" c"]
    times = [b"2026-01-01T10:00:01.2Z", stamp, stamp, stamp]
    taken = [position.take(time + text) for time, text in zip(times, again, strict=True)]
    assert taken == [None, None, None, b"c"]
    assert position.resume() == {"sinceTime": "2026-01-01T10:00:01Z"}
    taken = [position.take(stamp + x) for x in (b" a", b" b", b" c", b" d")]
    assert taken == [None, None, None, b"d"]
