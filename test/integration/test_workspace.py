"""From a repository to a pushed branch, through a cluster: what runs in a task's Pod, and what its status says of it."""

import json
import subprocess
from typing import Any

import pytest
from devcluster.base import Cluster

from support.integration.githost import GitHost
from support.integration.kubectl import Kubectl
from support.integration.objects import config, obj, repository, task, text

pytestmark = pytest.mark.slow

SCRIPT = 'set -eu; echo "by $TASK_NAME" > done.txt; echo "Changed $KUBETASK_REPOSITORY"'
PUSHES = ["--agent", "script", "--script", "go.sh", "--commit", "--push"]


def scripted(host: GitHost, name: str = "default", **spec: Any) -> dict[str, Any]:
    """A WorkspaceConfig with our own agent, which runs the task's script and pushes."""
    git = {"urlTemplate": host.template, **spec.pop("git", {})}
    return config(name, command=["kubetask-agent"], args=PUSHES, git=git, **spec)


def says(*lines: str) -> dict[str, Any]:
    """Settings for an agent of somebody else, which is a shell here."""
    return {"command": ["sh", "-c", "\n".join(lines)]}


def on_server(host: GitHost, org: str, repo: str, *arguments: str) -> str:
    path = host.directory / org / f"{repo}.git"
    return subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", str(path), *arguments],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_a_task_ends_with_a_pushed_branch_and_its_result(
    kubectl: Kubectl, git_host: GitHost
) -> None:
    git_host.make("acme", "pushed")
    kubectl.apply(scripted(git_host), task("fix", text("go.sh", SCRIPT), repository("pushed")))
    status = kubectl.wait_phase("task/fix", "Succeeded")["status"]
    result = status["result"]
    assert result["summary"] == "Changed acme/pushed"
    assert result["outcome"] == "Changed"
    assert result["branch"].startswith("kubetask/fix-")
    assert result["commits"] == [
        on_server(git_host, "acme", "pushed", "rev-parse", result["branch"])
    ]
    shown = on_server(git_host, "acme", "pushed", "show", f"{result['branch']}:done.txt")
    assert shown == "by fix"


def test_each_task_of_a_run_has_its_branch_and_its_result(
    kubectl: Kubectl, git_host: GitHost
) -> None:
    names = ["run-a", "run-b", "run-c"]
    for name in names:
        git_host.make("acme", name)
    inline = {
        "commonContext": [text("go.sh", SCRIPT)],
        "variableContexts": [[repository(x)] for x in names],
    }
    kubectl.apply(scripted(git_host), obj("BatchRun", "all", {"batchSpec": inline}))
    status = kubectl.wait_phase("batchrun/all", "Succeeded")["status"]
    for index, (name, entry) in enumerate(zip(names, status["tasks"], strict=True)):
        branch = entry["result"]["branch"]
        assert branch.startswith(f"kubetask/all-{index}-")
        head = on_server(git_host, "acme", name, "rev-parse", branch)
        assert entry["result"]["commits"] == [head]


@pytest.mark.parametrize("left", ["all is well", '{"summary": "cut off', '["a list"]', "42"])
def test_a_result_that_is_no_object_is_a_message_and_fails_nothing(
    kubectl: Kubectl, cluster: Cluster, left: str
) -> None:
    cluster.require("processes")
    kubectl.apply(config(**says(f"cat > /dev/termination-log <<'END'\n{left}\nEND")), task("odd"))
    status = kubectl.wait_phase("task/odd", "Succeeded")["status"]
    assert "result" not in status
    assert status["message"] == left


def test_a_result_with_fields_that_do_not_fit_keeps_those_that_do(
    kubectl: Kubectl, cluster: Cluster
) -> None:
    cluster.require("processes")
    left = {
        "summary": "Done",
        "commits": "none",
        "usage": {"inputTokens": "many", "costUSD": 0.5},
        "ticket": 7,
    }
    kubectl.apply(
        config(**says(f"echo '{json.dumps(left)}' > /dev/termination-log")), task("odd-fields")
    )
    status = kubectl.wait_phase("task/odd-fields", "Succeeded")["status"]
    assert status["result"] == {"summary": "Done", "usage": {"costUSD": "0.5"}, "ticket": 7}


def test_an_agent_of_somebody_else_finds_what_the_documents_say(
    kubectl: Kubectl, git_host: GitHost
) -> None:
    git_host.make("acme", "found")
    checks = (
        "set -eu",
        'test "$(pwd)" = "$KUBETASK_TASK_DIR"',
        'test "$(cat notes/a.txt)" = hello; test "$(cat key)" = hidden',
        'test "$(git -C found branch --show-current)" = "$KUBETASK_BRANCH"',
        'grep -q acme "$KUBETASK_MANIFEST"; test -w "$HOME"; test -w /tmp',
        'test "$TASK_NAME" = look; test -n "$TASK_NAMESPACE"; test -z "${KUBETASK_TASK_SPEC:-}"',
        "! touch notes/a.txt/x 2> /dev/null; ! touch /kubetask/files/x 2> /dev/null",
        "! test -e /var/run/secrets/kubernetes.io/serviceaccount/token",
        "git -C found commit --quiet --allow-empty --message Work",
        'echo \'{"summary": "found everything"}\' > /dev/termination-log',
    )
    secret = {
        "type": "File",
        "file": {"name": "key", "source": {"secretKeyRef": {"name": "s", "key": "k"}}},
    }
    kubectl("create", "secret", "generic", "s", "--from-literal=k=hidden")
    kubectl.apply(
        config(git={"urlTemplate": git_host.template}, **says(*checks)),
        task("look", text("notes/a.txt", "hello"), secret, repository("found")),
    )
    status = kubectl.wait_phase("task/look", "Succeeded")["status"]
    assert status["result"] == {"summary": "found everything"}


def test_a_restricted_namespace_runs_as_any_user_on_a_read_only_root(
    kubectl: Kubectl, git_host: GitHost
) -> None:
    git_host.make("acme", "strict")
    kubectl(
        "label", "namespace", kubectl.namespace, "pod-security.kubernetes.io/enforce=restricted"
    )
    context = {"runAsNonRoot": True, "runAsUser": 1000810000, "fsGroup": 1000810000}
    kubectl.apply(
        scripted(git_host, securityContext=context),
        task("strict", text("go.sh", f"{SCRIPT}; id -u > uid.txt"), repository("strict")),
    )
    status = kubectl.wait_phase("task/strict", "Succeeded")["status"]
    branch = status["result"]["branch"]
    assert on_server(git_host, "acme", "strict", "show", f"{branch}:uid.txt") == "1000810000"


def test_many_tasks_share_a_claim_and_what_was_fetched_once(
    kubectl: Kubectl, git_host: GitHost
) -> None:
    git_host.make("acme", "shared")
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "cache"},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    script = (
        "set -eu; git checkout --quiet -b same-name-for-all; "
        "! touch /workspace/repos/x 2> /dev/null; test $(ls /workspace/repos | grep -c git$) = 1; "
        'test "$(ls /workspace/tasks)" = "$(basename $KUBETASK_TASK_DIR)"; ' + SCRIPT
    )
    inline = {
        "commonContext": [text("go.sh", script), repository("shared")],
        "variableContexts": [[text("own.txt", f"{x}")] for x in range(6)],
    }
    shared = {"workspace": {"persistentVolumeClaim": {"claimName": "cache"}}}
    kubectl.apply(
        claim, scripted(git_host, **shared), obj("BatchRun", "many", {"batchSpec": inline})
    )
    status = kubectl.wait_phase("batchrun/many", "Succeeded", timeout=60)["status"]
    branches = {x["result"]["branch"] for x in status["tasks"]}
    assert {x.rpartition("-")[0] for x in branches} == {f"kubetask/many-{x}" for x in range(6)}
    on_server(git_host, "acme", "shared", "fsck", "--full")


def test_a_repository_that_cannot_be_cloned_says_so_in_git_s_words(
    kubectl: Kubectl, git_host: GitHost
) -> None:
    kubectl.apply(scripted(git_host), task("gone", text("go.sh", SCRIPT), repository("gone")))
    status = kubectl.wait_phase("task/gone", "Failed")["status"]
    assert status["reason"] == "CloneFailed"
    assert status["message"] == f"acme/gone: repository '{git_host.url}/acme/gone.git/' not found"


def test_credentials_reach_git_and_stay_out_of_the_agent_and_the_status(
    kubectl: Kubectl, git_host: GitHost
) -> None:
    git_host.make("acme", "private")
    kubectl("create", "secret", "generic", "git-token", "--from-literal=token=t0ken-for-nobody")
    checks = (
        "set -eu",
        "! env | grep -q t0ken",
        "! test -e /kubetask/git",
        "echo fine > /dev/termination-log",
    )
    git = {"urlTemplate": git_host.template, "credentials": {"secretRef": {"name": "git-token"}}}
    kubectl.apply(config(git=git, **says(*checks)), task("private", repository("private")))
    kubectl.wait_phase("task/private", "Succeeded")
    everything = kubectl("get", "tasks.kubetask.io,jobs,pods", "-o", "yaml")
    assert "t0ken-for-nobody" not in everything
