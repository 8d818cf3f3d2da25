"""Why a task waits: what a Job and its Pod say, and what only Events say, as reasons of the closed list."""

import re
from dataclasses import dataclass

from kubetask_controller.api.constants import Reason
from kubetask_controller.reconcilers.projections import ContainerView, JobView, PodView


@dataclass(frozen=True, slots=True)
class Waiting:
    """A reason and the sentence that names the object to look at."""

    reason: Reason
    message: str


_CONTAINER_REASONS = {
    "ErrImagePull": Reason.IMAGE_PULL_BACK_OFF,
    "ImagePullBackOff": Reason.IMAGE_PULL_BACK_OFF,
    "ErrImageNeverPull": Reason.IMAGE_PULL_BACK_OFF,
    "RegistryUnavailable": Reason.IMAGE_PULL_BACK_OFF,
    "InvalidImageName": Reason.INVALID_IMAGE_NAME,
    "CreateContainerConfigError": Reason.CREATE_CONTAINER_CONFIG_ERROR,
    "CreateContainerError": Reason.CREATE_CONTAINER_CONFIG_ERROR,
    "RunContainerError": Reason.CREATE_CONTAINER_CONFIG_ERROR,
}

_CREATE_FAILURES = (
    (re.compile(r"exceeded quota"), Reason.QUOTA_EXCEEDED),
    (
        re.compile(r"serviceaccount .* not found|service account .* not found", re.I),
        Reason.SERVICE_ACCOUNT_NOT_FOUND,
    ),
    (re.compile(r"is forbidden|admission webhook|denied"), Reason.ADMISSION_DENIED),
)

_MISSING_OBJECT = re.compile(
    r'(configmap|secret) "[^"]*" not found|references non-existent (config|secret) key|couldn.t find key',
    re.I,
)


def waiting_reason(job: JobView, pod: PodView | None, event: Waiting | None) -> Waiting:
    """Why a Job that has not begun to run has not."""
    if job.suspended:
        return Waiting(
            Reason.QUEUED, f"Job {job.name} is suspended, as a queue does until it admits it"
        )
    if pod is None:
        return event or Waiting(Reason.STARTING, f"Job {job.name} has no Pod yet")
    if pod.unschedulable:
        return Waiting(Reason.UNSCHEDULABLE, f"Pod {pod.name}: {pod.unschedulable}")
    for container in pod.containers:
        found = _container(container, pod)
        if found:
            return found
    return event or Waiting(Reason.STARTING, f"Pod {pod.name} is starting")


def tells_itself(job: JobView, pod: PodView | None) -> bool:
    """The Job and its Pod say why they wait, so no Event needs to be read."""
    return waiting_reason(job, pod, None).reason is not Reason.STARTING


def from_event(reason: str, message: str) -> Waiting | None:
    """What an Event of a Job or Pod means; None for one that explains no waiting."""
    if reason == "FailedCreate":
        text = message.removeprefix("Error creating: ")
        for pattern, meaning in _CREATE_FAILURES:
            if pattern.search(text):
                return Waiting(meaning, text)
        return Waiting(Reason.ADMISSION_DENIED, text)
    if reason in ("FailedMount", "FailedAttachVolume"):
        missing = _MISSING_OBJECT.search(message)
        return Waiting(
            Reason.CONTEXT_NOT_FOUND if missing else Reason.CREATE_CONTAINER_CONFIG_ERROR, message
        )
    if reason == "FailedScheduling":
        return Waiting(Reason.UNSCHEDULABLE, message)
    if reason == "FailedCreatePodSandBox":
        return Waiting(Reason.CREATE_CONTAINER_CONFIG_ERROR, message)
    return None


def _container(container: ContainerView, pod: PodView) -> Waiting | None:
    if container.state != "waiting":
        return None
    reason = _CONTAINER_REASONS.get(container.reason)
    if reason is None:
        return None
    missing = reason is Reason.CREATE_CONTAINER_CONFIG_ERROR and _MISSING_OBJECT.search(
        container.message
    )
    text = container.message or container.reason
    return Waiting(
        Reason.CONTEXT_NOT_FOUND if missing else reason,
        f"Pod {pod.name}, container {container.name}: {text}",
    )
