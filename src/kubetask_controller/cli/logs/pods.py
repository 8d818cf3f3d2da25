"""The Pods of a run or Task, for reading logs."""

from collections.abc import Iterable
from dataclasses import dataclass

from kubetask_controller.api import constants as c
from kubetask_controller.cli.session import TASK_RESOURCE, Target
from kubetask_controller.types import JSON

MAX_LABEL = 63
_JOB_NAME = "batch.kubernetes.io/job-name"
_NO_JOB = "NONE"
"""A label value that no Job can have as its name, because names are in lower case."""


@dataclass(frozen=True, slots=True)
class TaskPod:
    """A Pod of a task.

    Attributes:
        index: index of the task; 0 for a Task.
        created: creation time in RFC 3339.
        began: whether the selected container has started, so that a log exists.
        over: whether the selected container has terminated.
    """

    name: str
    uid: str
    index: int
    created: str
    began: bool
    over: bool


def selector(target: Target, job: str) -> dict[str, str]:
    """Parameters of a list that contains the target's Pods, and possibly others; see `task_pod`.

    Args:
        target: the run or Task.
        job: the Task's Job; empty if it has none yet, which selects no Pod. Unused for a run.
    """
    if target.resource is TASK_RESOURCE:
        label = f"{_JOB_NAME}={job or _NO_JOB}"
    elif len(target.name) <= MAX_LABEL:
        label = f"{c.LABEL_BATCH_RUN}={target.name}"
    else:
        # The label contains a shortened name, an annotation the full name.
        label = f"{c.LABEL_MANAGED_BY}={c.LABEL_MANAGED_BY_VALUE},{c.LABEL_BATCH_RUN}"
    return {"labelSelector": label}


def task_pod(pod: JSON, target: Target, container: str) -> TaskPod | None:
    """The view of a Pod; None if the Pod does not belong to the target."""
    metadata = pod["metadata"]
    annotations = metadata.get("annotations") or {}
    index = 0
    if target.resource is not TASK_RESOURCE:
        label = str((metadata.get("labels") or {}).get(c.LABEL_TASK_INDEX, ""))
        if annotations.get(c.ANNOTATION_BATCH_RUN) != target.name or not label.isdecimal():
            return None
        index = int(label)
    state = _state(pod, container)
    return TaskPod(
        name=metadata["name"],
        uid=metadata["uid"],
        index=index,
        created=str(metadata.get("creationTimestamp", "")),
        began="running" in state or _ran(state),
        over=is_over(pod, container),
    )


def is_over(pod: JSON, container: str) -> bool:
    """Whether a container has terminated: Pods of tasks never restart it."""
    ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return ended or "terminated" in _state(pod, container)


def newest_pods(pods: Iterable[TaskPod]) -> dict[int, TaskPod]:
    """The newest Pod with a log for each task, else the newest Pod."""
    found: dict[int, TaskPod] = {}
    for pod in sorted(pods, key=lambda x: (x.began, x.created, x.name)):
        found[pod.index] = pod
    return found


def _state(pod: JSON, container: str) -> JSON:
    status = pod.get("status") or {}
    for key in ("containerStatuses", "initContainerStatuses"):
        for each in status.get(key) or []:
            if each.get("name") == container:
                state = each.get("state")
                return state if isinstance(state, dict) else {}
    return {}


def _ran(state: JSON) -> bool:
    """Whether a terminated container was started: it has an id."""
    ended = state.get("terminated") or {}
    return bool(ended.get("containerID") or ended.get("startedAt"))
