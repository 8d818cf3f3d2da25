"""Why the agent of a task has not started: reasons of the closed list, from its Job, its Pod and Events.

Each message names the object, the message of the cluster, and the field to change where one field helps. A Pod's
status does not contain why a volume is not mounted, why a Pod was rejected, or the user of an image: only Events do.
They are read for what has waited too long (``EventLookup``), and never for everything.
"""

import asyncio
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Reason
from kubetask_controller.api.times import parse_time, seconds_since
from kubetask_controller.client.resources import CORE_EVENTS
from kubetask_controller.client.rest import Client
from kubetask_controller.client.transport import TokenBucket
from kubetask_controller.reconcilers.projections import ContainerView, JobView, PodView
from kubetask_controller.reconcilers.taskrun.remedies import remedy
from kubetask_controller.runtime.clock import Clock

PATIENCE = 5.0
"""Seconds for which a Job or Pod may give no reason before Events are read; most agents run by then."""

REFRESH = 15.0
"""Seconds for which an answer is used again."""

MAX_PAGES = 4
"""Pages of a namespace's Warning Events that one look-up reads."""

READ_TIMEOUT = 10.0
"""Seconds for a list that a reconcile awaits: it must end, and be counted as unanswered, before the reconcile's own limit."""

SINGLE_LOOKUPS = 2
"""Up to so many objects are looked up one by one; for more, one list of the namespace serves all of them."""

LOOKUPS_A_SECOND, LOOKUP_BURST = 3.0, 6
"""Requests for Warning Events that the whole process sends a second, and at once after a quiet time. The API server keeps no
cache of Events: each request reads a range of etcd."""

_PAGE = 500
_MAX_LENGTH = 440
"""Characters of a message with a remedy, so that it is whole where the status cuts messages, after a PendingTimeout too."""
_FIELD_PATH = re.compile(r"spec\.(?:initC|c)ontainers\{(.+)\}")


@dataclass(frozen=True, slots=True)
class PendingReason:
    """A reason, and the sentence that names the object to look at.

    Attributes:
        reason: of the closed list.
        message: the sentence.
        stage: what an Event is about, which the Pod may have passed since.
        seen: when the Event was last observed, RFC 3339; empty where the reason comes from no Event.
    """

    reason: str
    message: str
    stage: "Stage | None" = field(default=None, compare=False)
    seen: str = field(default="", compare=False)


class Stage(Enum):
    """A step before a container runs. An Event about it is outdated once the Pod has passed it."""

    CREATION = auto()
    SCHEDULING = auto()
    SANDBOX = auto()


_CONTAINER_REASONS = {
    "ErrImagePull": Reason.IMAGE_PULL_BACK_OFF,
    "ImagePullBackOff": Reason.IMAGE_PULL_BACK_OFF,
    "ErrImageNeverPull": Reason.IMAGE_PULL_BACK_OFF,
    "RegistryUnavailable": Reason.IMAGE_PULL_BACK_OFF,
    "ImageInspectError": Reason.IMAGE_PULL_BACK_OFF,
    "SignatureValidationFailed": Reason.IMAGE_PULL_BACK_OFF,
    "InvalidImageName": Reason.INVALID_IMAGE_NAME,
}
"""Any other reason is about creating or starting the container: RunContainerError, CrashLoopBackOff …"""
_QUIET = ("", "ContainerCreating", "PodInitializing")
"""Reasons of a container that waits for its turn."""

_CREATE_FAILURES = (
    (
        re.compile(
            r"exceeded quota|(failed|insufficient|unknown for) quota|(maximum|minimum) \S+ usage per|limit to request ratio"
        ),
        Reason.QUOTA_EXCEEDED,
    ),
    (
        re.compile(r"serviceaccount .* not found|service account .* not found", re.I),
        Reason.SERVICE_ACCOUNT_NOT_FOUND,
    ),
)

_MISSING_OBJECT = re.compile(
    r'(configmap|secret)s? "[^"]*" not found|non-existent (config|secret) key|couldn.t find key'
    r'|object "[^"]*"/"[^"]*" not registered',
    re.I,
)
_WRONG_USER = re.compile(r"runAsNonRoot|non-?root policy", re.I)
_CLAIM = re.compile(
    r"persistent ?volume|\bpvcs?\b|\bpv\b|volume node affinity|multi-attach|ReadWriteOncePod|VolumeBinding|binding volumes"
    r"|max volume count|available disk|enough free storage|storageclass",
    re.I,
)
_GATED = re.compile(r"scheduling gates", re.I)
_UNSPECIFIC = re.compile(
    r"^Unable to (attach or )?mount volumes|timed out waiting for the condition"
)
"""The Event that the kubelet repeats every two minutes for a failing mount, after the Event with the cause."""
_MOUNT_FAILURES = re.compile(
    r"FailedMount.*|Failed(Attach|Map|UnMap)Volume|(FileSystem|Volume)ResizeFailed"
)
_SANDBOX_FAILURES = (
    "FailedCreatePodSandBox",
    "FailedCreatePodContainer",
    "FailedPrepareDynamicResources",
    "NetworkNotReady",
    "FailedPostStartHook",
    "FailedPreStopHook",
)
_HOOK_FAILURES = ("FailedPostStartHook", "FailedPreStopHook")


def pending_reason(job: JobView, pod: PodView | None, event: PendingReason | None) -> PendingReason:
    """Why a Job's agent has not started.

    Args:
        job: the Job.
        pod: its newest Pod, None where it has none.
        event: message of a Warning Event; used if Job and Pod have no message.
    """
    if job.held:
        text = f"Job {job.name} is suspended until a queue admits it"
        return PendingReason(Reason.QUEUED, text)
    if event is not None and pod is not None and _is_outdated(event, pod):
        event = None
    if pod is None:
        return event or PendingReason(Reason.STARTING, f"Job {job.name} has no Pod yet")
    if pod.terminal:
        why = f" ({_sentence(pod.message) or pod.reason})" if pod.reason else ""
        text = f"Pod {pod.name} failed{why}; Job {job.name} creates another one after its back-off"
        return event or PendingReason(Reason.STARTING, text)
    if pod.unschedulable:
        return _unschedulable(pod.unschedulable, f"Pod {pod.name}: ")
    for container in sorted(pod.containers, key=lambda x: not x.init):
        found = _container(container, pod)
        if found:
            return found
    if event is not None:
        return event
    if (running := running_before_workspace(pod)) is not None:
        text = f"Pod {pod.name} is starting: its init container {running.name} has not ended"
        return PendingReason(Reason.STARTING, text)
    return PendingReason(Reason.STARTING, f"Pod {pod.name} is starting")


def running_before_workspace(pod: PodView) -> ContainerView | None:
    """The init container, of somebody else, for which the preparation of the workspace waits; None where there is none."""
    if pod.terminal:
        return None
    found = None
    for container in pod.containers:
        if container.name == c.CONTAINER_WORKSPACE:
            return found if container.state == "waiting" else None
        if container.init and container.state == "running" and not container.up:
            found = container
    return None


def _is_outdated(event: PendingReason, pod: PodView) -> bool:
    """The Pod has passed what the Event is about."""
    if pod.terminal:
        # The Job creates the next one: an Event from before this one's end is about an earlier Pod.
        return not pod.finished_at or event.seen[:19] < pod.finished_at[:19]
    if event.stage is Stage.SCHEDULING:
        return bool(pod.node)
    if event.stage is Stage.SANDBOX:
        return pod.ready_to_start or any(x.created or x.started_at for x in pod.containers)
    return event.stage is Stage.CREATION


def is_silent(job: JobView, pod: PodView | None) -> bool:
    """Whether only an Event can explain why the agent has not started."""
    if job.finished or job.deleting or job.held:
        return False
    if pod is not None and pod.terminal:
        # Only Events of the Job show why it does not create the next one.
        return 0 < job.failed_pods <= job.backoff_limit
    if pod is not None and (pod.agent_started or _is_preparing(pod)):
        return False
    return pending_reason(job, pod, None).reason == Reason.STARTING


def silence(job: JobView, pod: PodView | None, clock: Clock) -> float:
    """Seconds for which a silent Job or Pod has not changed, according to its times."""
    since = job.started or job.created
    if pod is not None:
        ends = (x.finished_at for x in pod.containers if x.init or pod.terminal)
        since = max(pod.created, *ends, "")
    return seconds_since(since, clock.now())


def from_event(reason: str, message: str, *, container: str = "") -> PendingReason | None:
    """What a Warning Event of a Job or Pod means; None for one that explains no wait.

    Args:
        reason: of the Event.
        message: of the Event.
        container: of the Event's fieldPath, empty where it is about the whole Pod.
    """
    text = _sentence(message).removeprefix("Error: ").removeprefix("Error creating: ")
    if reason == "FailedCreate":
        meaning = next((x for pattern, x in _CREATE_FAILURES if pattern.search(text)), None)
        found = _reason(meaning or Reason.ADMISSION_DENIED, text)
        return replace(found, stage=Stage.CREATION)
    if _MOUNT_FAILURES.fullmatch(reason):
        missing = _MISSING_OBJECT.search(text)
        found = _reason(Reason.CONTEXT_NOT_FOUND if missing else Reason.VOLUME_NOT_READY, text)
        return replace(found, stage=Stage.SANDBOX)
    if reason in ("ProvisioningFailed", "FailedBinding", "ClaimLost"):
        return replace(_reason(Reason.VOLUME_NOT_READY, text), stage=Stage.SCHEDULING)
    if reason == "FailedScheduling":
        return replace(_unschedulable(text), stage=Stage.SCHEDULING)
    if reason in _SANDBOX_FAILURES:
        found = _reason(Reason.CREATE_CONTAINER_CONFIG_ERROR, text)
        return found if reason in _HOOK_FAILURES else replace(found, stage=Stage.SANDBOX)
    if reason == "Failed" and _WRONG_USER.search(text):
        return _reason(Reason.CREATE_CONTAINER_CONFIG_ERROR, text, container=container)
    if reason == "Failed" and _MISSING_OBJECT.search(text):
        return _reason(Reason.CONTEXT_NOT_FOUND, text)
    if reason == "Unhealthy" and text.startswith("Startup probe"):
        which = f"sidecar {container}" if container else "a sidecar"
        return PendingReason(Reason.STARTING, f"{which} has not started: {text}")
    return None


def _reason(
    reason: str, text: str, prefix: str = "", *, container: str = "", pod: str = ""
) -> PendingReason:
    """A reason: the object, the message of the cluster, which is truncated if it is long, and what to do."""
    what = remedy(reason, text, container=container, pod=pod)
    if not what:
        return PendingReason(reason, prefix + text)
    room = _MAX_LENGTH - len(prefix) - len(what)
    said = text if len(text) <= room else text[: room - 1] + "…"
    return PendingReason(reason, f"{prefix}{said}; {what}")


def _sentence(text: str) -> str:
    """A message of several lines, as admission webhooks and registries send them, in one."""
    return " ".join(text.split())


def _unschedulable(message: str, prefix: str = "") -> PendingReason:
    text = _sentence(message)
    if _GATED.search(text):
        return PendingReason(Reason.QUEUED, prefix + text)
    meaning = Reason.VOLUME_NOT_READY if _CLAIM.search(text) else Reason.UNSCHEDULABLE
    return _reason(meaning, text, prefix)


def _is_preparing(pod: PodView) -> bool:
    """An init container runs: the Pod is starting."""
    return any(
        x.init and x.state == "running" and x.name == c.CONTAINER_WORKSPACE for x in pod.containers
    )


def _container(container: ContainerView, pod: PodView) -> PendingReason | None:
    if container.state != "waiting" or container.reason in _QUIET:
        return None
    text = _sentence(container.message) or container.reason
    reason = _CONTAINER_REASONS.get(container.reason, Reason.CREATE_CONTAINER_CONFIG_ERROR)
    if _MISSING_OBJECT.search(text) and reason is Reason.CREATE_CONTAINER_CONFIG_ERROR:
        reason = Reason.CONTEXT_NOT_FOUND
    prefix = f"Pod {pod.name}, container {container.name}: "
    return _reason(reason, text, prefix, container=container.name, pod=pod.name)


@dataclass(slots=True)
class _Batch:
    """The pending look-ups of one namespace.

    Attributes:
        uids: of Jobs and Pods that have no answer, or an old one.
        at: monotonic time from which the look-up may be sent.
        sent: uids of which a look-up is under way.
        lock: held during a look-up. Waiting callers use its answers.
    """

    uids: dict[str, None] = field(default_factory=dict)
    at: float = 0.0
    sent: Collection[str] = ()
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class EventLookup:
    """Reads Events of Jobs and Pods, and keeps the answers for a while.

    Look-ups have one limit for the whole process. What has to wait for it is batched by namespace: one look-up answers for
    all owners that have requested it until then. Meanwhile the previous answer counts, so that reasons do not flicker.

    Events are best effort and live for an hour. Only one decision follows from their absence: a Job of which neither the
    cache, nor a live read, nor the status contains, and without an Event about its Pod, has not run.
    """

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._answers: dict[str, tuple[float, PendingReason | None]] = {}
        self._batches: dict[str, _Batch] = {}
        self._limit = TokenBucket(LOOKUPS_A_SECOND, LOOKUP_BURST)

    async def explain(self, namespace: str, uids: Sequence[str]) -> dict[str, PendingReason]:
        """Messages of Warning Events about these Jobs and Pods, by uid; objects without such Events are omitted.

        If the limit does not admit a look-up, the previous answers are returned; ``due_in`` returns when to retry.

        Raises:
            ClientError: the Events could not be read.
        """
        batch = self._batches.setdefault(namespace, _Batch())
        self._put(batch, uids)
        if self._may_send(batch) or any(uid in batch.sent for uid in uids):
            async with batch.lock:
                if self._may_send(batch):
                    await self._look_up(namespace, batch)
        return self.known(uids)

    def known(self, uids: Sequence[str]) -> dict[str, PendingReason]:
        """The previous answers about these Jobs and Pods, by uid."""
        answers = {uid: self._answers[uid][1] for uid in uids if uid in self._answers}
        return {uid: answer for uid, answer in answers.items() if answer is not None}

    def due_in(self, namespace: str) -> float:
        """Seconds until the pending look-ups of a namespace are admitted; 0 if there are none."""
        batch = self._batches.get(namespace)
        if batch is None or not batch.uids:
            return 0.0
        return max(batch.at - self._clock.monotonic(), 0.001)

    def _may_send(self, batch: _Batch) -> bool:
        return bool(batch.uids) and self._clock.monotonic() >= batch.at

    def _put(self, batch: _Batch, uids: Sequence[str]) -> None:
        """Add objects without an answer, or with an old one. The first of a batch takes a token of the limit."""
        now = self._clock.monotonic()
        unknown = [x for x in uids if x not in batch.sent and now - self._answered_at(x) >= REFRESH]
        if unknown and not batch.uids:
            batch.at = now + self._limit.reserve(now)
        batch.uids.update(dict.fromkeys(unknown))

    def _answered_at(self, uid: str) -> float:
        answer = self._answers.get(uid)
        return answer[0] if answer else float("-inf")

    async def _look_up(self, namespace: str, batch: _Batch) -> None:
        uids, batch.uids = batch.uids, {}
        batch.sent, now = uids, self._clock.monotonic()
        try:
            if len(uids) <= SINGLE_LOOKUPS:
                for _ in range(len(uids) - 1):
                    self._limit.reserve(now)
                found = {uid: await self._read(namespace, uid) for uid in uids}
            else:
                found = await self._read_all(namespace, set(uids))
        except BaseException:
            batch.sent = ()
            self._put(batch, list(uids))
            raise
        batch.sent = ()
        if len(self._answers) > 4096:
            self._answers = {k: v for k, v in self._answers.items() if now - v[0] < 2 * REFRESH}
        self._answers.update({uid: (now, found.get(uid)) for uid in uids})

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
            page = await self._client.list(
                CORE_EVENTS, namespace, params=params, timeout=READ_TIMEOUT
            )
            for event in page.get("items") or ():
                yield event
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return
            params["continue"] = token
            if pages is not None:
                # Further pages count too; they are not held up, the next look-up waits for them.
                pages -= 1
                self._limit.reserve(self._clock.monotonic())


def _explanation(events: Sequence[dict[str, Any]]) -> PendingReason | None:
    """The message of the latest Event with a cause; Events without a cause come last."""
    ordered = sorted(events, key=_last_seen, reverse=True)
    ordered.sort(key=lambda x: bool(_UNSPECIFIC.search(x.get("message", ""))))
    for event in ordered:
        path = _FIELD_PATH.fullmatch(event["involvedObject"].get("fieldPath", ""))
        found = from_event(
            event.get("reason", ""), event.get("message", ""), container=path[1] if path else ""
        )
        if found:
            return replace(found, seen=_last_seen(event))
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
