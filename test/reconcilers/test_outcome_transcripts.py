"""Every way in which a real kubelet let a task's Pod go, and what the user is told of it."""

import json
from pathlib import Path

import pytest

from kubetask_controller.api.constants import Phase, Reason
from kubetask_controller.reconcilers.outcome import TaskState, task_state
from kubetask_controller.reconcilers.projections import project_job, project_pod
from kubetask_controller.reconcilers.waiting import from_event

TRANSCRIPT = Path(__file__).parents[1] / "devcluster" / "transcripts" / "pods.jsonl"
SCENARIOS = {line["note"]: line for line in map(json.loads, TRANSCRIPT.read_text().splitlines())}

EXPECTED = {
    "success with a termination message": (
        Phase.SUCCEEDED,
        Reason.TASK_SUCCEEDED,
        "3 files changed",
    ),
    "exit code 3": (Phase.FAILED, Reason.AGENT_ERROR, "exit code 3"),
    "exit code 3, terminationMessagePolicy FallbackToLogsOnError": (
        Phase.FAILED,
        Reason.AGENT_ERROR,
        "exit code 3: boom",
    ),
    "termination message of 6000 bytes": (Phase.SUCCEEDED, Reason.TASK_SUCCEEDED, "xxx"),
    "out of memory (limit 40Mi)": (Phase.FAILED, Reason.OOM_KILLED, "memory"),
    "image that does not exist": (
        Phase.PENDING,
        Reason.IMAGE_PULL_BACK_OFF,
        "registry.example.com/nothing:1",
    ),
    "image with imagePullPolicy Never that is not there": (
        Phase.PENDING,
        Reason.IMAGE_PULL_BACK_OFF,
        "is not present",
    ),
    "image name that is invalid": (
        Phase.PENDING,
        Reason.INVALID_IMAGE_NAME,
        "couldn't parse image",
    ),
    "command that is not in the image": (Phase.FAILED, Reason.AGENT_ERROR, "/no/such/agent"),
    "env from a Secret key that is missing (Secret exists)": (
        Phase.PENDING,
        Reason.CONTEXT_NOT_FOUND,
        "key nope in Secret",
    ),
    "env from a Secret that is missing": (Phase.PENDING, Reason.CONTEXT_NOT_FOUND, "not found"),
    "projected volume from a ConfigMap that is missing": (
        Phase.PENDING,
        Reason.CONTEXT_NOT_FOUND,
        'configmap "none" not found',
    ),
    "projected volume from a ConfigMap key that is missing": (
        Phase.PENDING,
        Reason.CONTEXT_NOT_FOUND,
        "non-existent config key",
    ),
    "projected volume from a Secret that is missing": (
        Phase.PENDING,
        Reason.CONTEXT_NOT_FOUND,
        'secret "none" not found',
    ),
    "projected volume from a ConfigMap that is missing but optional": (
        Phase.SUCCEEDED,
        Reason.TASK_SUCCEEDED,
        "",
    ),
    "the missing ConfigMap appears after 6 s": (Phase.SUCCEEDED, Reason.TASK_SUCCEEDED, ""),
    "persistent volume claim that does not exist": (
        Phase.PENDING,
        Reason.UNSCHEDULABLE,
        'persistentvolumeclaim "kubetask-workspace" not found',
    ),
    "runAsNonRoot with an image that runs as root": (
        Phase.PENDING,
        Reason.CREATE_CONTAINER_CONFIG_ERROR,
        "runAsNonRoot",
    ),
    "restricted security context, arbitrary uid, read-only root": (
        Phase.SUCCEEDED,
        Reason.TASK_SUCCEEDED,
        "",
    ),
    "no node fits a nodeSelector": (Phase.PENDING, Reason.UNSCHEDULABLE, "node affinity/selector"),
    "no node has the memory asked for": (
        Phase.PENDING,
        Reason.UNSCHEDULABLE,
        "Insufficient memory",
    ),
    "ServiceAccount that does not exist": (
        Phase.PENDING,
        Reason.SERVICE_ACCOUNT_NOT_FOUND,
        'serviceaccount "kubetask-agent" not found',
    ),
    "ServiceAccount appears after 5 s": (Phase.SUCCEEDED, Reason.TASK_SUCCEEDED, ""),
    "namespace enforces the restricted Pod Security Standard": (
        Phase.PENDING,
        Reason.ADMISSION_DENIED,
        "PodSecurity",
    ),
    "quota of zero Pods": (Phase.PENDING, Reason.QUOTA_EXCEEDED, "exceeded quota: q"),
    "activeDeadlineSeconds 3 on the Pod template": (
        Phase.FAILED,
        Reason.TIMED_OUT,
        "longer than 3 s",
    ),
    "activeDeadlineSeconds 3 on the Job": (
        Phase.FAILED,
        Reason.TIMED_OUT,
        "longer than specified deadline",
    ),
    "a running Pod's activeDeadlineSeconds is set to 1": (
        Phase.FAILED,
        Reason.CANCELLED,
        "user's request",
    ),
    "a running Pod's activeDeadlineSeconds is set to 1, the agent ignores TERM": (
        Phase.FAILED,
        Reason.CANCELLED,
        "user's request",
    ),
    "Job suspended while its Pod runs, resumed later": None,
    "Job deleted in the background while its Pod runs": None,
    "Pod deleted by hand while it runs": (Phase.FAILED, Reason.AGENT_ERROR, "was deleted while"),
    "Pod evicted through the API, no podFailurePolicy": (
        Phase.FAILED,
        Reason.EVICTED,
        "EvictionByEvictionAPI",
    ),
    "Pod evicted through the API, podFailurePolicy ignores DisruptionTarget": (
        Phase.SUCCEEDED,
        Reason.TASK_SUCCEEDED,
        "",
    ),
    "backoffLimit 2, every try fails": (Phase.FAILED, Reason.AGENT_ERROR, "exit code 1"),
    "init container succeeds": (Phase.SUCCEEDED, Reason.TASK_SUCCEEDED, ""),
    "init container fails with a message": (
        Phase.FAILED,
        Reason.WORKSPACE_ERROR,
        "fatal: repository not found",
    ),
}


def last_state(note: str) -> TaskState:
    """The task as the controller sees it when the recording ends, with what its Events say."""
    scenario = SCENARIOS[note]
    job = project_job(_object(scenario["job_watch"][-1], uid="job"))
    last = {x["name"]: x for x in scenario["pod_watch"]}
    pods = tuple(project_pod(_object(x, uid=name)) for name, x in last.items())
    told = None
    if not job.finished:
        kind = "Pod/" if pods else "Job/"
        for event in scenario["events"]:
            if event["type"] == "Warning" and event["object"].startswith(kind):
                told = from_event(event["reason"], event["message"]) or told
    cancelled = "activeDeadlineSeconds is set to 1" in note
    return task_state(job, pods, cancelled=cancelled, waiting=told)


def _object(entry: dict, *, uid: str) -> dict:
    metadata = {
        "namespace": "case",
        "name": entry["name"],
        "uid": uid,
        "resourceVersion": entry["resourceVersion"],
        "creationTimestamp": "2026-11-23T06:00:00Z",
    }
    if entry.get("deletionTimestamp") or entry["type"] == "DELETED":
        metadata["deletionTimestamp"] = "2026-11-23T06:00:00Z"
    spec = {"nodeName": "node1"}
    if "deadline" in str(entry["status"]):
        spec["activeDeadlineSeconds"] = 3
    return {"metadata": metadata, "spec": spec, "status": entry["status"]}


def test_every_recorded_scenario_has_an_expectation() -> None:
    assert set(SCENARIOS) == set(EXPECTED)


@pytest.mark.parametrize("note", [x for x, expected in EXPECTED.items() if expected])
def test_the_task_tells_what_happened_to_its_pod(note: str) -> None:
    phase, reason, words = EXPECTED[note]
    state = last_state(note)
    assert (state.phase, state.reason) == (phase, reason), state
    assert words in state.message
    assert "\n" not in state.message
    assert (state.completion_time != "") == state.final


def test_a_container_that_never_started_gives_no_start_time() -> None:
    assert last_state("command that is not in the image").start_time == ""
