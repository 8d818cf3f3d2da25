"""kubectl finds the plugin and runs it, and it does what it says on a cluster."""

import csv
import io
import json
import os
import signal
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from devcluster.base import Cluster

from support.integration.kubectl import KUBECTL, Kubectl
from support.integration.objects import batch, config, obj, run, scripted, task
from support.integration.plugin import install

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FOREVER = {"runSeconds": None}


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


class Plugin:
    """``kubectl kubetask``, with the kubeconfig's own namespace."""

    def __init__(self, folder: Path, kubeconfig: Path) -> None:
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        self._environ = {**os.environ, "KUBECONFIG": str(kubeconfig), "PATH": path}

    def __call__(self, *arguments: str, stdin: str = "") -> Said:
        command = [KUBECTL, "kubetask", *arguments]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, env=self._environ, timeout=60
        )
        return Said(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def going(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        command = [KUBECTL, "kubetask", *arguments]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command,
            stdout=pipe,
            stderr=pipe,
            text=True,
            env=self._environ,
            # A shell that starts the tests in the background has Ctrl-C ignored for all of them.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture
def plugin(cluster: Cluster, kubectl: Kubectl, tmp_path: Path) -> Plugin:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_bytes(cluster.admin_kubeconfig.read_bytes())
    subprocess.run(
        [KUBECTL, "config", "set-context", "--current", f"--namespace={kubectl.namespace}"],
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return Plugin(install(tmp_path), kubeconfig)


def test_kubectl_lists_the_plugin(plugin: Plugin) -> None:
    done = subprocess.run(
        [KUBECTL, "plugin", "list"], capture_output=True, text=True, env=plugin._environ
    )
    assert "kubectl-kubetask" in done.stdout
    assert plugin("--version").out.startswith("kubectl-kubetask ")


def test_a_run_is_started_and_followed_to_its_end(plugin: Plugin, kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome={}), batch("deps", tasks=3))
    said = plugin("run", "deps", "--parallelism", "2", "--wait", "--timeout", "30s")
    assert said.code == 0
    assert "Succeeded: all 3 tasks succeeded" in said.err.splitlines()[-1]
    name = said.out.strip()
    made = kubectl.get("batchrun", name)
    assert made["spec"]["batchRef"] == "deps"
    assert made["spec"]["parallelism"] == 2
    status = plugin("status", name)
    assert status.code == 0
    assert "Succeeded (3)" in status.out
    assert "\x1b" not in status.out


def test_a_run_that_fails_says_so_by_its_exit_code(plugin: Plugin, kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome={"exitCode": 2, "message": "tests fail"}), batch("deps"))
    said = plugin("run", "deps", "--name", "first", "--wait")
    assert (said.code, said.out) == (1, "first\n")
    status = plugin("status", "first")
    assert status.code == 1
    assert "AgentError" in status.out
    assert "exit code 2: tests fail" in status.out


def test_what_does_not_exist_is_named(plugin: Plugin, kubectl: Kubectl) -> None:
    for arguments in (["run", "nope"], ["status", "nope"], ["logs", "nope"], ["retry", "nope"]):
        said = plugin(*arguments)
        assert said.code == 4
        assert f"/nope not found in namespace {kubectl.namespace}" in said.err


def test_failed_tasks_are_retried_as_a_new_run(plugin: Plugin, kubectl: Kubectl) -> None:
    kubectl.apply(scripted("flaky", outcome={"exitCode": 1}), scripted("good", outcome={}))
    kubectl.apply(run("first", tasks=2, workspaceConfigRef="flaky"))
    kubectl.wait_phase("batchrun/first", "Failed")
    said = plugin("retry", "first", "--workspace-config", "good", "--wait")
    assert said.code == 0
    made = kubectl.get("batchrun", said.out.strip())
    assert made["spec"] == {"retryOf": "first", "workspaceConfigRef": "good"} | made["spec"]
    assert made["status"]["progress"]["completed"] == 2


def test_a_run_is_suspended_and_goes_on(plugin: Plugin, kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome={}), run("r", suspend=True))
    kubectl.wait_reason("batchrun/r", "Suspended")
    assert plugin("resume", "r").out == "batchrun/r resumed\n"
    kubectl.wait_phase("batchrun/r", "Succeeded")
    assert plugin("suspend", "r").out == "batchrun/r has already ended: Succeeded\n"


def test_what_runs_is_suspended_and_cancelled(plugin: Plugin, kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome=FOREVER), run("r", tasks=2, parallelism=1), task("t"))
    kubectl.wait_phase("batchrun/r", "Running")
    assert plugin("suspend", "batchrun/r").code == 0
    kubectl.wait("batchrun/r", "condition=Suspended")
    said = plugin("cancel", "r", "task/t")
    assert said.out == "batchrun/r cancelled\ntask/t cancelled\n"
    for target in ("batchrun/r", "task/t"):
        assert kubectl.wait_phase(target, "Failed")["status"]["reason"] == "Cancelled"


RESULT = {
    "summary": "Bumped 3 packages",
    "pullRequest": "https://git.example.com/acme/shop/pull/7",
    "usage": {"inputTokens": 1200, "outputTokens": 80, "costUSD": "0.42"},
}


def test_results_are_collected(plugin: Plugin, kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome={"message": json.dumps(RESULT)}), run("r", tasks=2))
    kubectl.wait_phase("batchrun/r", "Succeeded")
    found = json.loads(plugin("results", "r", "-o", "json").out)
    assert [x["result"] for x in found] == [RESULT, RESULT]
    rows = list(csv.DictReader(io.StringIO(plugin("results", "r", "-o", "csv").out)))
    assert [(x["index"], x["costUSD"], x["pullRequest"]) for x in rows] == [
        (str(i), "0.42", RESULT["pullRequest"]) for i in range(2)
    ]
    said = plugin("results", "r")
    assert "PULL REQUEST" in said.out
    assert "0.84 USD in all" in said.err


SPEAKS = 'echo "begin $TASK_INDEX"; test "$TASK_INDEX" != 1 || { echo broken; exit 3; }'


@pytest.fixture
def speaking(cluster: Cluster, kubectl: Kubectl) -> Kubectl:
    """The namespace, with agents that write a log; the second task's fails."""
    cluster.require("processes")
    kubectl.apply(config(agentImage=cluster.test_image, command=["sh", "-c", SPEAKS]))
    return kubectl


def test_logs_of_all_tasks_of_a_run(plugin: Plugin, speaking: Kubectl) -> None:
    speaking.apply(run("r", tasks=3))
    speaking.wait_phase("batchrun/r", "Failed")
    said = plugin("logs", "r")
    assert said.code == 0
    lines = said.out.splitlines()
    assert [x.partition(" ")[0].strip("[]") for x in lines if "begin" in x] == ["0", "1", "2"]
    failed = plugin("logs", "r", "--failed")
    assert [x.rpartition(" ")[2] for x in failed.out.splitlines()] == ["1", "broken"]
    assert plugin("logs", "r", "0", "--no-prefix").out == "begin 0\n"


def test_logs_are_followed_until_the_run_ends(plugin: Plugin, speaking: Kubectl) -> None:
    speaking.apply(run("r", tasks=2, parallelism=1, suspend=True))
    speaking.wait_reason("batchrun/r", "Suspended")
    with plugin.going("logs", "r", "-f") as following:
        assert plugin("resume", "r").code == 0
        out, _ = following.communicate(timeout=30)
    assert following.returncode == 1
    assert sum("begin" in x for x in out.splitlines()) == 2
    assert "broken" in out


OLD = """\
# nightly
apiVersion: codesweep.io/v1alpha1
kind: Bundle
metadata: {name: deps}
spec:
  context:
    files:
      - name: task.md  # the prompt
        content: Update dependencies
  repositories:
    - {org: acme, repo: shop, branch: main}
"""


def test_what_migrate_writes_is_admitted(plugin: Plugin, kubectl: Kubectl) -> None:
    said = plugin("migrate", stdin=OLD)
    assert (said.code, said.err) == (0, "1 object migrated\n")
    assert said.out.startswith("# nightly\n")
    assert "# the prompt" in said.out
    kubectl("apply", "-f", "-", stdin=said.out)
    (contexts,) = kubectl.get("batch", "deps")["spec"]["variableContexts"]
    assert contexts[0]["repository"] == {"org": "acme", "repo": "shop", "branch": "main"}


def test_the_namespace_of_the_command_line_wins(
    plugin: Plugin, kubectl: Kubectl, cluster: Cluster
) -> None:
    with cluster.namespace("other") as other:
        Kubectl(cluster.admin_kubeconfig, other).apply(obj("Batch", "b", batch("b")["spec"]))
        assert plugin("run", "b", "--name", "r").code == 4
        assert plugin("run", "b", "--name", "r", "-n", other).code == 0
    assert kubectl.items("batchruns") == []


def test_the_page_shows_a_run_and_cancels_it_when_asked(plugin: Plugin, kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome=FOREVER), run("r", tasks=2))
    uid = kubectl.wait_phase("batchrun/r", "Running")["metadata"]["uid"]
    place = {"kind": "BatchRun", "namespace": kubectl.namespace, "name": "r"}
    with plugin.going("ui", "--no-browser") as process:
        assert process.stdout is not None
        address, _, token = process.stdout.readline().strip().partition("/#token=")

        def ask(path: str, body: dict[str, object] | None = None) -> dict[str, object]:
            request = urllib.request.Request(
                address + path,
                data=None if body is None else json.dumps(body).encode(),
                headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=20) as answer:
                return dict(json.loads(answer.readline()))

        found = ask(f"/api/run?{urllib.parse.urlencode(place)}")
        assert {x[1] for x in found["rows"]} <= {"Running", "Pending"}
        asked = {**place, "uid": uid, "action": "cancel"}
        planned = ask("/api/plan", asked)
        assert planned["refused"] == ""
        assert "This cannot be undone." in planned["effects"]
        assert "cancel" not in kubectl.get("batchrun", "r")["spec"]
        ask("/api/act", {**asked, "fields": planned["fields"]})
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert kubectl.wait_phase("batchrun/r", "Failed")["status"]["reason"] == "Cancelled"
