"""The Pods of a run or Task, as far as their logs matter."""

from collections.abc import Iterable
from dataclasses import dataclass

from kubetask_controller.api import constants as c
from kubetask_controller.cli.session import TASK_RESOURCE, Target
from kubetask_controller.jsontypes import JSON

MAX_LABEL = 63
_JOB_NAME = "batch.kubernetes.io/job-name"


@dataclass(frozen=True, slots=True)
class TaskPod:
    """A Pod of a task.

    Attributes:
        index: of the task; 0 for a Task.
        created: RFC 3339.
        began: whether the container that is asked for has run, so that there is a log.
        over: whether that container writes no more.
    """

    name: str
    uid: str
    index: int
    created: str
    began: bool
    over: bool


def selector(target: Target, job: str) -> dict[str, str]:
    """Parameters of a list that holds the target's Pods, and maybe others; see pod_view.

    Args:
        target: the run or Task.
        job: the Task's Job, which a run does not need.
    """
    if target.resource is TASK_RESOURCE:
        label = f"{_JOB_NAME}={job}"
    elif len(target.name) <= MAX_LABEL:
        label = f"{c.LABEL_BATCH_RUN}={target.name}"
    else:
        # Longer names stand cut in the label, and whole in an annotation.
        label = f"{c.LABEL_MANAGED_BY}={c.LABEL_MANAGED_BY_VALUE},{c.LABEL_BATCH_RUN}"
    return {"labelSelector": label}


def task_pod(pod: JSON, target: Target, container: str) -> TaskPod | None:
    """The view of a Pod; None if it is not the target's."""
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
    """Whether a container writes no more, for good: Pods of tasks are never restarted."""
    ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return ended or "terminated" in _state(pod, container)


def newest_pods(pods: Iterable[TaskPod]) -> dict[int, TaskPod]:
    """Of each task the last Pod with a log, else the last one."""
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
    """Whether a container that has ended ran at all: the node made one, so it has an id."""
    ended = state.get("terminated") or {}
    return bool(ended.get("containerID") or ended.get("startedAt"))
