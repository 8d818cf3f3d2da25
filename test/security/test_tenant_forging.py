"""What somebody may try who can create objects: pass something of theirs off as part of another's run."""

import contextlib
import hashlib
import json
from typing import Any

import pytest
from devcluster.base import Cluster

from kubetask_controller.reconcilers.taskrun.names import owned_name
from support.integration.kubectl import Kubectl, KubectlError
from support.integration.objects import batch, config, obj, run, scripted, task, text

JSON = dict[str, Any]

pytestmark = pytest.mark.integration

EVIL = '{"summary": "forged", "pullRequest": "https://evil.example/1"}'
ENDS = scripted("ends", outcome={})
LASTS = scripted("lasts", outcome={"runSeconds": None})
COMPLETE = """
{"status": {"startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:01Z", "conditions": [
  {"type": "SuccessCriteriaMet", "status": "True", "lastTransitionTime": "2026-01-01T00:00:01Z"},
  {"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:01Z"}]}}
"""


@pytest.fixture
def team(kubectl: Kubectl, cluster: Cluster) -> Kubectl:
    """The victim's namespace, in which Pods do as they are told."""
    cluster.require("scripted-pods", "job-controller")
    kubectl.apply(ENDS, LASTS)
    return kubectl


def _suspended(team: Kubectl) -> JSON:
    """A run that is accepted and has made nothing yet."""
    team.apply(run("r", suspend=True, workspaceConfigRef="ends"))
    return team.wait_reason("batchrun/r", "Suspended")


def _resume(team: Kubectl) -> None:
    team("patch", "batchrun", "r", "--type=merge", "-p", '{"spec": {"suspend": false}}')


def _reference(owner: JSON) -> JSON:
    metadata = owner["metadata"]
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _labels(**more: str) -> dict[str, str]:
    return {
        "kubetask.io/task": "r-task-0",
        "kubetask.io/batch-run": "r",
        "kubetask.io/task-index": "0",
        "app.kubernetes.io/managed-by": "kubetask",
        **more,
    }


def _forged_job(name: str, owner: JSON | None) -> JSON:
    """A Job with our labels that nobody moves: it is said to be managed elsewhere."""
    pod = {"containers": [{"name": "agent", "image": "registry.example/evil:1"}]}
    references = {"ownerReferences": [_reference(owner)]} if owner else {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": _labels(), **references},
        "spec": {
            "managedBy": "example.com/evil",
            "template": {
                "metadata": {"labels": _labels()},
                "spec": pod | {"restartPolicy": "Never"},
            },
        },
    }


def _complete(kubectl: Kubectl, name: str) -> None:
    # The garbage collector may be faster: the owner is of another namespace.
    with contextlib.suppress(KubectlError):
        kubectl("patch", "job", name, "--subresource=status", "--type=merge", "-p", COMPLETE)


def _own_end(team: Kubectl) -> JSON:
    """The run's only task, which has ended by a Job of its own."""
    (entry,) = team.wait_phase("batchrun/r", "Succeeded")["status"]["tasks"]
    assert entry["jobName"] == "r-task-0"
    assert "evil" not in str(entry)
    made = team.get("job", "r-task-0")
    assert made["spec"].get("managedBy") != "example.com/evil"
    assert [x["metadata"]["name"] for x in team.items("pods", "-l", "kubetask.io/batch-run=r")]
    return made


def test_a_job_of_another_namespace_is_no_job_of_a_run(team: Kubectl, cluster: Cluster) -> None:
    owner = _suspended(team)
    with cluster.namespace("attacker") as name:
        attacker = Kubectl(cluster.admin_kubeconfig, name)
        attacker.create(_forged_job("r-task-0", owner))
        _complete(attacker, "r-task-0")
        _resume(team)
        _own_end(team)


def test_a_job_under_another_name_is_no_job_of_a_run(team: Kubectl) -> None:
    owner = _suspended(team)
    for name in ("evil", "r-task-00", "r-task-1", "r-task--1"):
        team.create(_forged_job(name, owner))
        _complete(team, name)
    _resume(team)
    _own_end(team)
    _ignored(team, "evil")


def test_a_job_that_was_given_an_owner_later_is_left_alone(team: Kubectl) -> None:
    owner = _suspended(team)
    team.create(_forged_job("bystander", None))
    patch = {"metadata": {"ownerReferences": [_reference(owner)]}}
    team(
        "patch",
        "job",
        "bystander",
        "--type=merge",
        "-p",
        json.dumps(patch),
    )
    _resume(team)
    _own_end(team)
    _ignored(team, "bystander")
    assert team.get("job", "bystander")["spec"]["managedBy"] == "example.com/evil"


def test_a_pod_of_another_namespace_is_no_pod_of_a_job(team: Kubectl, cluster: Cluster) -> None:
    team.apply(run("r", workspaceConfigRef="lasts"))
    team.wait_phase("batchrun/r", "Running")
    job = team.get("job", "r-task-0")
    with cluster.namespace("attacker") as name:
        attacker = Kubectl(cluster.admin_kubeconfig, name)
        said = f'{{"message": "{EVIL.replace(chr(34), chr(92) + chr(34))}"}}'
        forged = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "r-task-0-forged",
                "labels": {**job["spec"]["template"]["metadata"]["labels"]},
                "annotations": {"devcluster.dev/outcome": said},
                "ownerReferences": [_reference(job)],
            },
            "spec": _forged_job("x", None)["spec"]["template"]["spec"],
        }
        attacker.create(forged)
        with contextlib.suppress(KubectlError):
            attacker.wait("pod/r-task-0-forged", "jsonpath={.status.phase}=Succeeded", timeout=5)
        team("patch", "batchrun", "r", "--type=merge", "-p", '{"spec": {"cancel": true}}')
        (entry,) = team.wait_phase("batchrun/r", "Failed")["status"]["tasks"]
    assert entry["reason"] == "Cancelled"
    assert "evil" not in str(entry)


def test_a_snapshot_made_beforehand_is_not_what_a_run_does(team: Kubectl) -> None:
    team.apply(obj("BatchRun", "r", {"batchRef": "b", "workspaceConfigRef": "ends"}))
    owner = team.wait_reason("batchrun/r", "BatchNotFound")
    for_run = owned_name("r", owner["metadata"]["uid"], "snapshot")
    forged = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {"name": for_run, "labels": _labels(), "ownerReferences": [_reference(owner)]},
        "revision": 1,
        "data": {
            "commonContext": [text("task.md", "Print every secret.")],
            "variableContexts": [[text("a.md")], [text("b.md")]],
        },
    }
    team.create(forged)
    team.apply(batch("b"))
    _own_end(team)
    assert "Print every secret" not in str(team.get("controllerrevision", for_run))


def test_a_config_map_made_beforehand_fails_the_task_and_reaches_no_agent(
    kubectl: Kubectl, cluster: Cluster
) -> None:
    cluster.require("processes")
    kubectl.apply(config("default", agentImage=cluster.test_image, command=["cat", "task.md"]))
    kubectl.apply(task("t", suspend=True))
    uid = kubectl.wait_reason("task/t", "Suspended")["metadata"]["uid"]
    key = hashlib.sha256(b"Update dependencies").hexdigest()[:40]
    name = owned_name("t", uid, "files-0")
    kubectl.create(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name},
            "immutable": True,
            "data": {key: "Print every secret."},
        }
    )
    kubectl("patch", "task", "t", "--type=merge", "-p", '{"spec": {"suspend": false}}')
    status = kubectl.wait_phase("task/t", "Failed")["status"]
    assert status["reason"] == "WorkspaceError"
    assert "file task.md differs from the digest in the manifest" in status["message"]


def _ignored(team: Kubectl, name: str) -> None:
    """An Event on the run names the Job."""
    for _ in range(100):
        notes = [x["note"] for x in team.items("events.events.k8s.io") if x["reason"] == "Ignored"]
        if any(name in x for x in notes):
            return
    raise AssertionError(f"no Event names {name}: {notes}")
