"""Why a task waits or has failed can be read from the run itself."""

from typing import Any

import pytest

from support.integration.kubectl import Kubectl
from support.integration.objects import batch, from_config_map, obj, run, scripted, task

pytestmark = pytest.mark.slow

ENDS: dict[str, tuple[dict[str, Any], str, str]] = {
    "exit code": (
        {"exitCode": 2, "message": "tests fail"},
        "AgentError",
        "exit code 2: tests fail",
    ),
    "out of memory": ({"exitCode": 137, "reason": "OOMKilled"}, "OOMKilled", "memory"),
    "clone failed": (
        {
            "initExitCode": 1,
            "initMessage": '{"reason":"CloneFailed","message":"acme/shop: repository not found"}',
        },
        "CloneFailed",
        "acme/shop: repository not found",
    ),
}
WAITS: dict[str, tuple[dict[str, Any], str, str]] = {
    "image": (
        {"waiting": "ImagePullBackOff", "waitingMessage": 'Back-off pulling image "nope"'},
        "ImagePullBackOff",
        "nope",
    ),
    "secret": (
        {"waiting": "CreateContainerConfigError", "waitingMessage": 'secret "model-key" not found'},
        "ContextNotFound",
        "model-key",
    ),
    "unschedulable": (
        {"unschedulable": "0/3 nodes are available: 3 Insufficient memory."},
        "Unschedulable",
        "Insufficient memory",
    ),
}


@pytest.mark.parametrize(("outcome", "reason", "text"), ENDS.values(), ids=ENDS.keys())
def test_a_failed_task_says_why(
    kubectl: Kubectl, outcome: dict[str, Any], reason: str, text: str
) -> None:
    kubectl.apply(scripted(outcome=outcome), run("r"))
    status = kubectl.wait_phase("batchrun/r", "Failed")["status"]
    (entry,) = status["tasks"]
    assert entry["reason"] == reason
    assert text in entry["message"]
    assert status["reason"] == "TasksFailed"
    assert status["message"] == f"1 of 1 tasks failed: 1 {reason}"


@pytest.mark.parametrize(("outcome", "reason", "text"), WAITS.values(), ids=WAITS.keys())
def test_a_task_that_cannot_start_says_why_and_its_deadline_ends_it(
    kubectl: Kubectl, outcome: dict[str, Any], reason: str, text: str
) -> None:
    kubectl.apply(scripted(outcome=outcome), run("r", pendingDeadlineSeconds=4))
    status = kubectl.wait_reason("batchrun/r", reason)["status"]
    assert status["phase"] == "Pending"
    assert text in status["message"]
    status = kubectl.wait_phase("batchrun/r", "Failed")["status"]
    (entry,) = status["tasks"]
    assert entry["reason"] == "PendingTimeout"
    assert text in entry["message"]


def test_an_agent_that_takes_too_long_is_ended(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome={"runSeconds": None}), run("r", activeDeadlineSeconds=2))
    status = kubectl.wait_phase("batchrun/r", "Failed")["status"]
    assert status["tasks"][0]["reason"] == "TimedOut"
    assert "2 s" in status["tasks"][0]["message"]


def test_a_run_waits_for_its_batch_and_begins_when_it_comes(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome={}), obj("BatchRun", "r", {"batchRef": "later"}))
    status = kubectl.wait_reason("batchrun/r", "BatchNotFound")["status"]
    assert status["phase"] == "Pending"
    assert "later" in status["message"]
    kubectl.apply(batch("later"))
    kubectl.wait_phase("batchrun/r", "Succeeded")


def test_a_task_waits_for_the_workspace_config_that_it_names(kubectl: Kubectl) -> None:
    kubectl.apply(task("t", workspaceConfigRef="claude"))
    status = kubectl.wait_reason("task/t", "WorkspaceConfigNotFound")["status"]
    assert "claude" in status["message"]
    kubectl.apply(scripted("claude", outcome={}))
    kubectl.wait_phase("task/t", "Succeeded")


def test_a_missing_service_account_is_named(kubectl: Kubectl) -> None:
    kubectl("delete", "serviceaccount", "kubetask-agent")
    kubectl.apply(scripted(outcome={}), run("r"))
    status = kubectl.wait_reason("batchrun/r", "ServiceAccountNotFound")["status"]
    assert "kubetask-agent" in status["message"]


def test_a_quota_that_refuses_the_pod_is_named(kubectl: Kubectl) -> None:
    kubectl("create", "quota", "no-pods", "--hard=pods=0")
    kubectl.apply(scripted(outcome={}), run("r"))
    status = kubectl.wait_reason("batchrun/r", "QuotaExceeded")["status"]
    assert "no-pods" in status["message"]


BOUNDS: list[dict[str, Any]] = [
    {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "limits"},
        "spec": {
            "limits": [
                {"type": "Container", "max": {"memory": "2Gi"}, "default": {"cpu": "1"}},
                {"type": "Pod", "max": {"cpu": "8"}},
            ]
        },
    },
]
# The WorkspaceConfig, the reason, and words of the message: the object, and the field to change.
REFUSED: dict[str, tuple[dict[str, Any], str, tuple[str, ...]]] = {
    "large-container": (
        {"resources": {"limits": {"memory": "3Gi"}}},
        "QuotaExceeded",
        ("maximum memory usage per Container is 2Gi", "LimitRange", "workspace.resources"),
    ),
    "large-pod": (
        {"resources": {"limits": {"cpu": "10"}}},
        "QuotaExceeded",
        ("maximum cpu usage per Pod is 8", "LimitRange"),
    ),
    "no-priority": (
        {"priorityClassName": "urgent"},
        "AdmissionDenied",
        ("no PriorityClass with name urgent", "see priorityClassName"),
    ),
    "no-runtime": (
        {"runtimeClassName": "gvisor"},
        "AdmissionDenied",
        ('RuntimeClass "gvisor" not found', "see runtimeClassName"),
    ),
    "no-account": (
        {"serviceAccountName": "bot"},
        "ServiceAccountNotFound",
        ('"bot" not found', "set serviceAccountName"),
    ),
}


@pytest.mark.timeout(180)
def test_pods_that_the_cluster_refuses_name_the_field_and_are_mended_by_it(
    kubectl: Kubectl,
) -> None:
    configs = [scripted(name, outcome={}, **spec) for name, (spec, _, _) in REFUSED.items()]
    kubectl.apply(*BOUNDS)
    kubectl.apply(*configs, *(task(x, workspaceConfigRef=x) for x in REFUSED))
    for name, (_, reason, words) in REFUSED.items():
        status = kubectl.wait_reason(f"task/{name}", reason, timeout=45)["status"]
        assert status["phase"] == "Pending"
        for each in words:
            assert each in status["message"]
    # The bounds go, the WorkspaceConfigs are corrected: the same tasks go on, and each agent starts once.
    kubectl("delete", "limitrange", "--all")
    small = {"requests": {"cpu": "10m"}}
    kubectl.apply(*(scripted(name, outcome={}, resources=small) for name in REFUSED))
    for name in REFUSED:
        status = kubectl.wait_phase(f"task/{name}", "Succeeded", timeout=45)["status"]
        assert status["attempts"] == 1


def test_pod_security_that_refuses_the_pod_is_told(kubectl: Kubectl) -> None:
    label = "pod-security.kubernetes.io/enforce=restricted"
    kubectl("label", "namespace", kubectl.namespace, label)
    root = {"runAsNonRoot": False}
    kubectl.apply(scripted(outcome={}, securityContext=root), run("r"))
    status = kubectl.wait_reason("batchrun/r", "AdmissionDenied")["status"]
    assert "runAsNonRoot" in status["message"]


def test_a_restricted_namespace_runs_tasks_of_a_workspace_that_says_nothing_of_security(
    kubectl: Kubectl,
) -> None:
    label = "pod-security.kubernetes.io/enforce=restricted"
    kubectl("label", "namespace", kubectl.namespace, label)
    kubectl.apply(scripted(outcome={}), run("r"))
    kubectl.wait_phase("batchrun/r", "Succeeded")


def test_a_job_that_somebody_deletes_is_not_made_again(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome={"runSeconds": None}), run("r"))
    kubectl.wait_phase("batchrun/r", "Running")
    kubectl("delete", "job", "r-task-0")
    status = kubectl.wait_phase("batchrun/r", "Failed")["status"]
    assert status["tasks"][0]["reason"] == "JobLost"
    assert kubectl.items("jobs") == []


def test_a_config_map_that_is_not_there_is_named(kubectl: Kubectl) -> None:
    """What a kubelet says of a volume that it cannot mount stands in Events alone."""
    pod_event = {
        "apiVersion": "v1",
        "kind": "Event",
        "type": "Warning",
        "reason": "FailedMount",
        "message": 'MountVolume.SetUp failed for volume "files" : configmap "guides" not found',
        "source": {"component": "kubelet"},
    }
    kubectl.apply(
        scripted(outcome={"waiting": "ContainerCreating"}),
        task("t", from_config_map("guide.md", "guides", "pr.md")),
    )
    kubectl.wait_reason("task/t", "Starting")
    kubectl("wait", "--for=create", "pod", "-l", "kubetask.io/task=t", "--timeout=10s")
    (pod,) = kubectl.items("pods")
    metadata = pod["metadata"]
    regarding = {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": metadata["name"],
        "namespace": kubectl.namespace,
        "uid": metadata["uid"],
    }
    kubectl.create(
        pod_event | {"metadata": {"generateName": "mount-"}, "involvedObject": regarding}
    )
    status = kubectl.wait_reason("task/t", "ContextNotFound")["status"]
    assert 'configmap "guides" not found' in status["message"]
