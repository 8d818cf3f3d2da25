"""Writing a status: whole, only when it differs, not more often than about once a second, and then the Events.

The write carries the resourceVersion that the decision was taken on, so a controller that was paused and has lost its
lease meanwhile cannot overwrite what its successor wrote. Events are emitted after the write succeeded, once for each
change of phase.
"""

from dataclasses import dataclass
from typing import Any

import structlog

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import EventReason, Phase, Reason
from kubetask_controller.client.errors import APIStatusError, is_conflict, is_not_found
from kubetask_controller.reconcilers.context import ReconcilerContext, owner_key
from kubetask_controller.reconcilers.listers import RESOURCES
from kubetask_controller.reconcilers.projections import AnyView
from kubetask_controller.runtime.consistency import StaleCacheError
from kubetask_controller.runtime.events import EventType, ObjectReference
from kubetask_controller.types import JSON

MIN_INTERVAL, MAX_INTERVAL = 1.0, 60.0
"""Seconds between two writes of one object's status, at least and at most; a change of phase does not wait."""

SHARE, URGENT_SHARE = 0.05, 0.25
"""The part of the time that may go into writing one object's status, and where something is done only once it is written.

What a write costs the API server grows with the object: it decodes, prunes, defaults, compares and validates the whole of
it several times, for 1,000 tasks in half a second of processor time. Fewer writes are the only remedy.
"""

WRITE_TIMEOUT, LARGE_WRITE_TIMEOUT = 15.0, 60.0
"""Seconds until a status write counts as failed: its resourceVersion makes another try safe."""

LARGE = 1000
"""Entries of tasks from which a status is large."""

MAX_REDUCTION = 3
"""Steps in which a status that is refused gives up results, then messages, then the entries of tasks."""

logger = structlog.get_logger("status")


@dataclass(slots=True)
class _Written:
    """What the process remembers of the status of one object.

    Attributes:
        uid: of the object.
        at: monotonic time of the last write in seconds.
        seconds: how long it took.
        version: resourceVersion of the object as this process last wrote or read it.
        reduction: how much of the status the API server refuses.
        contested: another process has written the object since. Two active processes do not overwrite each other.
    """

    uid: str
    at: float = float("-inf")
    seconds: float = 0.0
    version: str = ""
    reduction: int = 0
    contested: bool = False


class StatusWriter:
    """Writes the status of one kind."""

    def __init__(self, context: ReconcilerContext, kind: str) -> None:
        self._context = context
        self._resource = RESOURCES[kind]
        self._kind = kind
        self._written: dict[tuple[str, str], _Written] = {}

    def due_in(self, view: AnyView, phase: Phase, *, urgent: bool = False) -> float:
        """Seconds until this object's status may be written again, 0 for now; a change of phase does not wait.

        ``urgent``: something is done only once it is in the status, such as the replacement of a Job.
        """
        known = self._of(view)
        if phase != view.status.get("phase") and not known.contested:
            return 0.0
        interval = write_interval(known.seconds, URGENT_SHARE if urgent else SHARE)
        return max(0.0, known.at + interval - self._context.clock.monotonic())

    def forget(self, namespace: str, name: str) -> None:
        """The owner of that name is gone or has ended."""
        self._written.pop((namespace, name), None)

    def is_foreign(self, view: AnyView) -> bool:
        """Whether the object has changed since this process last wrote, or looked at, its status."""
        known = self._of(view)
        before, known.version = known.version, view.resource_version
        known.contested = before not in ("", view.resource_version)
        return known.contested

    def _of(self, view: AnyView) -> "_Written":
        key = (view.namespace, view.name)
        known = self._written.get(key)
        if known is None or known.uid != view.uid:
            known = self._written[key] = _Written(view.uid)
        return known

    async def write(self, view: AnyView, status: dict[str, Any]) -> None:
        """Write the status if it differs from the cache. ``due_in`` returns when it is due.

        Raises:
            StaleCacheError: another process has written the object since; decide again on its current state.
            ClientError: the write failed, or had no answer.
        """
        if reduced(status, self._of(view).reduction) == view.status:
            return
        body = {
            "apiVersion": c.API_VERSION,
            "kind": self._kind,
            "metadata": {
                "name": view.name,
                "namespace": view.namespace,
                "uid": view.uid,
                "resourceVersion": view.resource_version,
            },
            "status": status,
        }
        started = self._context.clock.monotonic()
        try:
            written = await self._update(view, body)
        except APIStatusError as error:
            if is_conflict(error):
                raise StaleCacheError(
                    str(self._resource), has=view.resource_version, needs="a later one"
                ) from error
            if is_not_found(error):
                return
            raise
        known = self._of(view)
        known.at = self._context.clock.monotonic()
        known.seconds = known.at - started
        known.version = written["metadata"]["resourceVersion"]
        self._context.consistency.wrote_at(
            owner_key(self._kind, view.namespace, view.name),
            view.uid,
            str(self._resource),
            view.namespace,
            written["metadata"]["resourceVersion"],
        )
        self._announce(view, status)

    async def _update(self, view: AnyView, body: JSON) -> JSON:
        """Send the status. One that the API server refuses as invalid or too large is sent with less in it.

        The status contains data of agents and clusters. If the API server rejects a part of it, the run must still progress.
        """
        known = self._of(view)
        while True:
            sent = body | {"status": reduced(body["status"], known.reduction)}
            try:
                return await self._context.client.update(
                    self._resource,
                    view.namespace,
                    view.name,
                    sent,
                    subresource="status",
                    timeout=_timeout(sent["status"]),
                    metadata_only=True,
                )
            except APIStatusError as error:
                if known.reduction == MAX_REDUCTION or not _is_refused(error):
                    raise
                logger.error(
                    "The API server refuses a status; less of it is written",
                    kind=self._kind,
                    namespace=view.namespace,
                    name=view.name,
                    step=known.reduction + 1,
                    error=error.message,
                )
                known.reduction += 1

    def _announce(self, view: AnyView, status: dict[str, Any]) -> None:
        old = (view.status.get("phase"), view.status.get("reason"))
        new = (status["phase"], status["reason"])
        if old == new:
            return
        event = _event(old, new)
        if event is None:
            return
        reason, kind = event
        regarding = ObjectReference(c.API_VERSION, self._kind, view.name, view.namespace, view.uid)
        note = status["message"] or f"{status['phase']}: {status['reason']}"
        self._context.events.event(
            regarding, type=kind, reason=reason.value, action="Reconcile", note=note
        )


def write_interval(seconds: float, share: float) -> float:
    """Seconds between two writes of a status, where the last one took so many and may take this share of the time."""
    return min(MAX_INTERVAL, max(MIN_INTERVAL, seconds / share))


def _timeout(status: JSON) -> float:
    return LARGE_WRITE_TIMEOUT if len(status.get("tasks") or ()) >= LARGE else WRITE_TIMEOUT


def reduced(status: JSON, step: int) -> JSON:
    """The status with less in it: without results (1), without the tasks' messages (2), without their entries (3)."""
    if step == 0:
        return status
    slim = {key: value for key, value in status.items() if key != "result"}
    dropped = ("result",) if step == 1 else ("result", "message", "contexts")
    if step >= MAX_REDUCTION:
        slim.pop("tasks", None)
    elif "tasks" in slim:
        entries = slim["tasks"]
        slim["tasks"] = [{k: v for k, v in x.items() if k not in dropped} for x in entries]
    return slim


def _is_refused(error: APIStatusError) -> bool:
    return error.code in (400, 413, 422) or "too large" in error.message


def _event(
    old: tuple[str | None, str | None], new: tuple[str, str]
) -> tuple[EventReason, EventType] | None:
    """The Event of this change: (reason, type); None for a change without an Event."""
    phase, reason = new
    if phase == Phase.SUCCEEDED:
        return EventReason.SUCCEEDED, "Normal"
    if phase == Phase.FAILED:
        return EventReason.FAILED, "Warning"
    if reason == Reason.SUSPENDED:
        return EventReason.SUSPENDED, "Normal"
    if reason == Reason.TASK_LIMIT:
        return EventReason.TASK_LIMIT, "Normal"
    if reason == Reason.CANCELLING:
        return EventReason.CANCELLING, "Normal"
    if old[1] == Reason.SUSPENDED:
        return EventReason.RESUMED, "Normal"
    if phase == Phase.RUNNING:
        return (EventReason.STARTED, "Normal") if old[0] != Phase.RUNNING else None
    if reason in (Reason.QUEUED, Reason.STARTING):
        return (EventReason.QUEUED, "Normal") if old[0] is None else None
    return EventReason.WAITING, "Warning"
