"""Why the agent of a task has not started: what its Job, its Pod and Events say, as reasons of the closed list.

Each message names the object, what the cluster says of it, and the field to change where one field helps. A Pod's own
status does not say why a volume is not mounted, why a Pod was refused, or which user an image runs as: only Events do.
They are read for what has waited too long (``EventLookup``), and never for everything.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Reason
from kubetask_controller.api.times import parse_time, seconds_since
from kubetask_controller.client.resources import CORE_EVENTS
from kubetask_controller.client.rest import Client
from kubetask_controller.reconcilers.projections import ContainerView, JobView, PodView
from kubetask_controller.runtime.clock import Clock

PATIENCE = 5.0
"""Seconds for which a Job or Pod may give no reason before Events are read; most agents run by then."""

REFRESH = 15.0
"""Seconds for which an answer is used again."""

MAX_PAGES = 4
"""Pages of a namespace's Warning Events that one look-up reads."""

SINGLE_LOOKUPS = 2
"""Up to so many objects are looked up one by one; for more, one list of the namespace serves all of them."""

_PAGE = 500


@dataclass(frozen=True, slots=True)
class PendingReason:
    """A reason, and the sentence that names the object to look at."""

    reason: str
    message: str


_CONTAINER_REASONS = {
    "ErrImagePull": Reason.IMAGE_PULL_BACK_OFF,
    "ImagePullBackOff": Reason.IMAGE_PULL_BACK_OFF,
    "ErrImageNeverPull": Reason.IMAGE_PULL_BACK_OFF,
    "RegistryUnavailable": Reason.IMAGE_PULL_BACK_OFF,
    "ImageInspectError": Reason.IMAGE_PULL_BACK_OFF,
    "SignatureValidationFailed": Reason.IMAGE_PULL_BACK_OFF,
    "InvalidImageName": Reason.INVALID_IMAGE_NAME,
    "CreateContainerConfigError": Reason.CREATE_CONTAINER_CONFIG_ERROR,
    "CreateContainerError": Reason.CREATE_CONTAINER_CONFIG_ERROR,
    "RunContainerError": Reason.CREATE_CONTAINER_CONFIG_ERROR,
    "CrashLoopBackOff": Reason.CREATE_CONTAINER_CONFIG_ERROR,
}

_CREATE_FAILURES = (
    (
        re.compile(
            r"exceeded quota|failed quota|(maximum|minimum) \S+ usage per|limit to request ratio"
        ),
        Reason.QUOTA_EXCEEDED,
    ),
    (
        re.compile(r"serviceaccount .* not found|service account .* not found", re.I),
        Reason.SERVICE_ACCOUNT_NOT_FOUND,
    ),
)

_MISSING_OBJECT = re.compile(
    r'(configmap|secret) "[^"]*" not found|references non-existent (config|secret) key|couldn.t find key',
    re.I,
)
_WRONG_USER = re.compile(r"runAsNonRoot", re.I)
_CLAIM = re.compile(
    r"persistentvolumeclaim|unbound immediate|volume node affinity|multi-attach", re.I
)
_FIX_USER = (
    "the image runs as root or as a user without a number: set securityContext.runAsUser of the"
    " WorkspaceConfig to the number of a user of the image, or securityContext.runAsNonRoot to false"
)


def pending_reason(job: JobView, pod: PodView | None, event: PendingReason | None) -> PendingReason:
    """Why a Job's agent has not started.

    Args:
        job: the Job.
        pod: its newest Pod, None where it has none.
        event: what a Warning Event says; used where Job and Pod say nothing.
    """
    if job.suspended:
        text = f"Job {job.name} is suspended until a queue admits it"
        return PendingReason(Reason.QUEUED, text)
    if pod is None:
        return event or PendingReason(Reason.STARTING, f"Job {job.name} has no Pod yet")
    if pod.terminal:
        text = f"Pod {pod.name} failed; Job {job.name} creates another one after its back-off"
        return event or PendingReason(Reason.STARTING, text)
    if pod.unschedulable:
        return _unschedulable(f"Pod {pod.name}: {pod.unschedulable}")
    for container in sorted(pod.containers, key=lambda x: not x.init):
        found = _container(container, pod)
        if found:
            return found
    return event or PendingReason(Reason.STARTING, f"Pod {pod.name} is starting")


def is_silent(job: JobView, pod: PodView | None) -> bool:
    """Whether only an Event can explain why the agent has not started."""
    if job.finished or job.deleting or job.suspended:
        return False
    if pod is not None and (pod.agent_started or pod.terminal or _is_preparing(pod)):
        return False
    return pending_reason(job, pod, None).reason == Reason.STARTING


def silence(job: JobView, pod: PodView | None, clock: Clock) -> float:
    """Seconds for which a silent Job or Pod has not changed, as far as its times tell."""
    since = job.started or job.created
    if pod is not None:
        since = max(pod.created, *(x.finished_at for x in pod.containers if x.init), "")
    return seconds_since(since, clock.now())


def from_event(reason: str, message: str) -> PendingReason | None:
    """What a Warning Event of a Job or Pod means; None for one that explains no wait."""
    if reason == "FailedCreate":
        text = message.removeprefix("Error creating: ")
        for pattern, meaning in _CREATE_FAILURES:
            if pattern.search(text):
                return PendingReason(meaning, text)
        return PendingReason(Reason.ADMISSION_DENIED, text)
    if reason in ("FailedMount", "FailedAttachVolume", "FailedMapVolume"):
        missing = _MISSING_OBJECT.search(message)
        return PendingReason(
            Reason.CONTEXT_NOT_FOUND if missing else Reason.VOLUME_NOT_READY, message
        )
    if reason in ("ProvisioningFailed", "FailedBinding"):
        return PendingReason(Reason.VOLUME_NOT_READY, message)
    if reason == "FailedScheduling":
        return _unschedulable(message)
    if reason in ("FailedCreatePodSandBox", "NetworkNotReady", "FailedPreStopHook"):
        return PendingReason(Reason.CREATE_CONTAINER_CONFIG_ERROR, message)
    if reason == "Failed" and _WRONG_USER.search(message):
        text = message.removeprefix("Error: ")
        return PendingReason(Reason.CREATE_CONTAINER_CONFIG_ERROR, f"{_FIX_USER} ({text})")
    if reason == "Failed" and _MISSING_OBJECT.search(message):
        return PendingReason(Reason.CONTEXT_NOT_FOUND, message.removeprefix("Error: "))
    return None


def _unschedulable(text: str) -> PendingReason:
    meaning = Reason.VOLUME_NOT_READY if _CLAIM.search(text) else Reason.UNSCHEDULABLE
    return PendingReason(meaning, text)


def _is_preparing(pod: PodView) -> bool:
    """An init container runs: the Pod is on its way."""
    return any(
        x.init and x.state == "running" and x.name == c.CONTAINER_WORKSPACE for x in pod.containers
    )


def _container(container: ContainerView, pod: PodView) -> PendingReason | None:
    if container.state != "waiting":
        return None
    reason = _CONTAINER_REASONS.get(container.reason)
    if reason is None:
        return None
    text = container.message or container.reason
    if reason is Reason.CREATE_CONTAINER_CONFIG_ERROR:
        if _MISSING_OBJECT.search(container.message):
            reason = Reason.CONTEXT_NOT_FOUND
        elif _WRONG_USER.search(container.message):
            text = f"{_FIX_USER} ({text})"
    return PendingReason(reason, f"Pod {pod.name}, container {container.name}: {text}")


class EventLookup:
    """Reads Events of Jobs and Pods, and keeps the answers for a while.

    Events are best effort and live for an hour. Only one decision follows from their absence: a Job of which neither the
    cache, nor a live read, nor the status knows, and of which no Event says that it had a Pod, has not run.
    """

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._answers: dict[str, tuple[float, PendingReason | None]] = {}

    async def explain(self, namespace: str, uids: Sequence[str]) -> dict[str, PendingReason]:
        """What Warning Events say of these Jobs and Pods, by uid; what no Event explains is left out.

        Raises:
            ClientError: the Events could not be read.
        """
        now = self._clock.monotonic()
        unknown = [
            x for x in uids if x not in self._answers or now - self._answers[x][0] >= REFRESH
        ]
        if unknown:
            if len(self._answers) > 4096:
                self._answers = {k: v for k, v in self._answers.items() if now - v[0] < REFRESH}
            if len(unknown) <= SINGLE_LOOKUPS:
                found = {uid: await self._read(namespace, uid) for uid in unknown}
            else:
                found = await self._read_all(namespace, set(unknown))
            self._answers.update({uid: (now, found.get(uid)) for uid in unknown})
        answers = {uid: self._answers[uid][1] for uid in uids}
        return {uid: answer for uid, answer in answers.items() if answer is not None}

    async def jobs_that_had_pods(
        self, namespace: str, names: Collection[str], since: str
    ) -> dict[str, set[str]]:
        """Which of the named Jobs had a Pod since the given time (RFC 3339), whether or not they exist: name → uids."""
        found: dict[str, set[str]] = {}
        selector = "involvedObject.kind=Job,reason=SuccessfulCreate"
        if len(names) == 1:
            selector += f",involvedObject.name={next(iter(names))}"
        async for event in self._events(namespace, selector, pages=None):
            name = event["involvedObject"].get("name", "")
            if name in names and not _before(event, since):
                found.setdefault(name, set()).add(event["involvedObject"].get("uid", ""))
        return found

    async def _read(self, namespace: str, uid: str) -> PendingReason | None:
        selector = f"involvedObject.uid={uid},type=Warning"
        events = [x async for x in self._events(namespace, selector, pages=1)]
        return _explanation(events)

    async def _read_all(self, namespace: str, uids: set[str]) -> dict[str, PendingReason | None]:
        by_uid: dict[str, list[dict[str, Any]]] = {}
        async for event in self._events(namespace, "type=Warning", pages=MAX_PAGES):
            uid = event["involvedObject"].get("uid", "")
            if uid in uids:
                by_uid.setdefault(uid, []).append(event)
        return {uid: _explanation(events) for uid, events in by_uid.items()}

    async def _events(self, namespace: str, selector: str, *, pages: int | None) -> Any:
        params = {"fieldSelector": selector, "limit": str(_PAGE)}
        while pages is None or pages > 0:
            page = await self._client.list(CORE_EVENTS, namespace, params=params)
            for event in page.get("items") or ():
                yield event
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return
            params["continue"] = token
            pages = None if pages is None else pages - 1


def _explanation(events: Sequence[dict[str, Any]]) -> PendingReason | None:
    for event in sorted(events, key=_last_seen, reverse=True):
        found = from_event(event.get("reason", ""), event.get("message", ""))
        if found:
            return found
    return None


def _last_seen(event: dict[str, Any]) -> str:
    metadata = event["metadata"]
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or metadata.get("creationTimestamp")
        or ""
    )


def _before(event: dict[str, Any], since: str) -> bool:
    moment = _last_seen(event)
    return bool(moment and since) and parse_time(moment) < parse_time(since)
