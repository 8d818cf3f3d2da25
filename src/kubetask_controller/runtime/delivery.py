"""Telling handlers of changes.

Guarantees: a handler sees the changes of an object in their order; one that raises is logged and
counted, and neither it nor another misses the next change; after its removal it hears nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import structlog

from kubetask_controller.runtime.informermetrics import InformerMetrics
from kubetask_controller.runtime.store import T

T_contra = TypeVar("T_contra", contravariant=True)

logger = structlog.get_logger("informer")


class EventHandler(Protocol[T_contra]):
    """Hears of changes. Called on the event loop: must only enqueue, and never wait."""

    def on_add(self, obj: T_contra, initial: bool) -> None:
        """An object is new; `initial` when it was there before this handler listened."""

    def on_update(self, old: T_contra, new: T_contra) -> None:
        """An object changed, or was deleted and made anew; a resync passes the same one twice."""

    def on_delete(self, obj: T_contra, final_state_unknown: bool) -> None:
        """An object is gone; with `final_state_unknown` its last state may differ from `obj`."""


@dataclass(slots=True, eq=False)
class Registration(Generic[T]):
    """A handler that was added; the key to take it out again."""

    handler: EventHandler[T]
    active: bool = True


class Delivery(Generic[T]):
    """The handlers of one informer."""

    def __init__(self, name: str, metrics: InformerMetrics) -> None:
        self._name = name
        self._metrics = metrics
        self._registrations: tuple[Registration[T], ...] = ()

    @property
    def registrations(self) -> tuple[Registration[T], ...]:
        """Those who listen now; the tuple itself never changes."""
        return self._registrations

    def add(self, handler: EventHandler[T], existing: Iterable[T]) -> Registration[T]:
        """Let `handler` listen; it is told of what exists at once."""
        registration = Registration(handler)
        for obj in existing:
            self.added(obj, initial=True, to=(registration,))
        self._registrations = (*self._registrations, registration)
        return registration

    def remove(self, registration: Registration[T]) -> None:
        """Let a handler hear nothing any more, from this moment on."""
        registration.active = False
        self._registrations = tuple(r for r in self._registrations if r is not registration)

    def added(self, obj: T, *, initial: bool, to: Iterable[Registration[T]]) -> None:
        """Tell of a new object."""
        for registration in to:
            if registration.active:
                try:
                    registration.handler.on_add(obj, initial)
                except Exception:
                    self._failed("add", obj)

    def updated(self, old: T, new: T, *, to: Iterable[Registration[T]]) -> None:
        """Tell of a changed object."""
        for registration in to:
            if registration.active:
                try:
                    registration.handler.on_update(old, new)
                except Exception:
                    self._failed("update", new)

    def deleted(self, obj: T, *, unknown: bool, to: Iterable[Registration[T]]) -> None:
        """Tell of a deleted object; `unknown` when its last state was not seen."""
        for registration in to:
            if registration.active:
                try:
                    registration.handler.on_delete(obj, unknown)
                except Exception:
                    self._failed("delete", obj)

    def _failed(self, event: str, obj: T) -> None:
        # client-go pauses for a second here; on one event loop that would stop everybody else.
        self._metrics.handler_failed(self._name)
        logger.exception(
            "Event handler failed",
            type=self._name,
            event_type=event,
            namespace=obj.namespace,
            name=obj.name,
        )
