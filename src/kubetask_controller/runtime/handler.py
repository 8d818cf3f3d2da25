"""From changes of objects to requests.

Guarantees: handlers only enqueue; an update is mapped from its old and new state both, so that
neither side of a change of owner is missed; what no change asked for (the first list, resyncs) is
queued behind what did.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from kubetask_controller.runtime.owner import group_of
from kubetask_controller.runtime.predicate import Predicate
from kubetask_controller.runtime.reconcile import Request
from kubetask_controller.runtime.store import Object
from kubetask_controller.runtime.workqueue import DEFAULT_PRIORITY, LOW_PRIORITY, WorkQueue

T = TypeVar("T", bound=Object)
T_contra = TypeVar("T_contra", contravariant=True)
MapFunction = Callable[[T_contra], Iterable[Request]]
"""Names the requests that a change of an object asks for. Must be pure, and fast."""


class Owner(Protocol):
    """A controlling owner, as views keep it."""

    @property
    def api_version(self) -> str:
        """As ``batch/v1``."""

    @property
    def kind(self) -> str:
        """As ``Job``."""

    @property
    def name(self) -> str:
        """metadata.name of the owner."""


class Owned(Protocol):
    """A view that keeps its controlling owner."""

    @property
    def namespace(self) -> str:
        """metadata.namespace."""

    @property
    def owner(self) -> Owner | None:
        """The controlling owner."""


def enqueue_self(obj: Object) -> Iterable[Request]:
    """The object itself."""
    return (Request(obj.namespace, obj.name),)


def enqueue_owner(kind: str, group: str) -> Callable[[Owned], Iterable[Request]]:
    """The controlling owner, if it is of that kind and group.

    The version of the reference is ignored, and so is its UID: the reconciler must check that the
    owner is the object that bears this name now.
    """

    def owner_request(obj: Owned) -> Iterable[Request]:
        owner = obj.owner
        if owner is None or owner.kind != kind or group_of(owner.api_version) != group:
            return ()
        return (Request(obj.namespace, owner.name),)

    return owner_request


@dataclass(frozen=True, slots=True)
class EnqueueRequests(Generic[T]):
    """An event handler that puts requests into a queue.

    Attributes:
        queue: where they go.
        mapping: names them.
        predicate: turns changes away.
        delay: seconds to wait for more changes, so that many of them make one request; the first
            one's time is kept.
    """

    queue: WorkQueue[Request]
    mapping: MapFunction[T]
    predicate: Predicate[T]
    delay: float = 0.0

    def on_add(self, obj: T, initial: bool) -> None:
        """An object is new."""
        if self.predicate.create(obj):
            self._enqueue(self.mapping(obj), LOW_PRIORITY if initial else DEFAULT_PRIORITY)

    def on_update(self, old: T, new: T) -> None:
        """An object changed; a resync passes the same one twice."""
        if not self.predicate.update(old, new):
            return
        if old is new or (new.resource_version and old.resource_version == new.resource_version):
            self._enqueue(self.mapping(new), LOW_PRIORITY)
        else:
            self._enqueue((*self.mapping(old), *self.mapping(new)), DEFAULT_PRIORITY)

    def on_delete(self, obj: T, final_state_unknown: bool) -> None:
        """An object is gone."""
        if self.predicate.delete(obj):
            self._enqueue(self.mapping(obj), DEFAULT_PRIORITY)

    def _enqueue(self, requests: Iterable[Request], priority: int) -> None:
        for request in dict.fromkeys(requests):
            if self.delay > 0:
                self.queue.add_after(request, self.delay, priority=priority)
            else:
                self.queue.add(request, priority=priority)
