"""Writing a status: whole, only when it differs, not more often than about once a second, and then the Events.

The write carries the resourceVersion that the decision was taken on, so a controller that was paused and has lost its
lease meanwhile cannot overwrite what its successor wrote. Events are emitted after the write succeeded, once for each
change of phase.
"""

from typing import Any

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import EventReason, Phase, Reason
from kubetask_controller.client.errors import APIStatusError, is_conflict, is_not_found
from kubetask_controller.reconcilers.context import Shared, owner_key
from kubetask_controller.reconcilers.kinds import RESOURCES
from kubetask_controller.reconcilers.projections import ResourceView
from kubetask_controller.runtime.consistency import StaleCacheError
from kubetask_controller.runtime.events import EventType, ObjectReference

MIN_INTERVAL = 1.0
"""Seconds between two writes of one object's status; a change of phase does not wait."""


class StatusWriter:
    """Writes the status of one kind."""

    def __init__(self, shared: Shared, kind: str) -> None:
        self._shared = shared
        self._resource = RESOURCES[kind]
        self._kind = kind
        self._last: dict[str, float] = {}

    def due_in(self, view: ResourceView, phase: Phase, *, interval: float = MIN_INTERVAL) -> float:
        """Seconds until this object's status may be written again, 0 for now; a change of phase does not wait."""
        if phase != view.status.get("phase"):
            return 0.0
        last = self._last.get(view.uid, float("-inf"))
        return max(0.0, last + interval - self._shared.clock.monotonic())

    async def write(self, view: ResourceView, status: dict[str, Any]) -> None:
        """Write the status if it differs from what the cache shows. When it is due, ``due_in`` says.

        Raises:
            StaleCacheError: somebody has written the object since; decide again on what it is now.
            ClientError: the write failed, or had no answer.
        """
        if status == view.status:
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
            "spec": view.spec,
            "status": status,
        }
        try:
            written = await self._shared.client.update(
                self._resource, view.namespace, view.name, body, subresource="status"
            )
        except APIStatusError as error:
            if is_conflict(error):
                raise StaleCacheError(
                    str(self._resource), has=view.resource_version, needs="a later one"
                ) from error
            if is_not_found(error):
                return
            raise
        self._last[view.uid] = self._shared.clock.monotonic()
        if status["phase"] in (Phase.SUCCEEDED, Phase.FAILED):
            self._last.pop(view.uid, None)
        self._shared.consistency.wrote_at(
            owner_key(self._kind, view.namespace, view.name),
            view.uid,
            str(self._resource),
            view.namespace,
            written["metadata"]["resourceVersion"],
        )
        self._tell(view, status)

    def _tell(self, view: ResourceView, status: dict[str, Any]) -> None:
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
        self._shared.events.event(
            regarding, type=kind, reason=reason.value, action="Reconcile", note=note
        )


def _event(
    old: tuple[str | None, str | None], new: tuple[str, str]
) -> tuple[EventReason, EventType] | None:
    """Which Event tells this change: (reason, type), None for a change that is not worth one."""
    phase, reason = new
    if phase == Phase.SUCCEEDED:
        return EventReason.SUCCEEDED, "Normal"
    if phase == Phase.FAILED:
        return EventReason.FAILED, "Warning"
    if reason == Reason.SUSPENDED:
        return EventReason.SUSPENDED, "Normal"
    if reason == Reason.CANCELLING:
        return EventReason.CANCELLING, "Normal"
    if old[1] == Reason.SUSPENDED:
        return EventReason.RESUMED, "Normal"
    if phase == Phase.RUNNING:
        return (EventReason.STARTED, "Normal") if old[0] != Phase.RUNNING else None
    if reason in (Reason.QUEUED, Reason.STARTING):
        return (EventReason.QUEUED, "Normal") if old[0] is None else None
    return EventReason.WAITING, "Warning"
