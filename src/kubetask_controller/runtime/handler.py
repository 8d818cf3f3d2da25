"""From changes of objects to requests: predicates, event handlers, and sources of a controller's queue.

Guarantees: handlers only enqueue; an update is mapped from both its old and its new state, so that a change of owner
reaches both owners; requests that no change caused (the first list, resyncs) are queued behind those of changes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from kubetask_controller.runtime.informer import Informer, Registration
from kubetask_controller.runtime.meta import OwnerReference, group_of
from kubetask_controller.runtime.reconcile import Request
from kubetask_controller.runtime.store import Object
from kubetask_controller.runtime.workqueue import DEFAULT_PRIORITY, LOW_PRIORITY, WorkQueue

T = TypeVar("T", bound=Object)
T_contra = TypeVar("T_contra", contravariant=True)
MapFunction = Callable[[T_contra], Iterable[Request]]
"""Maps an object to the requests that its change causes. Must be pure, and fast."""


def _always(*_: Any) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Predicate(Generic[T_contra]):
    """Which changes cause requests; by default all of them.

    A predicate saves reconciles and no memory: the cache holds the object anyway. After a restart every object arrives as
    an add, so a change that must not be missed cannot depend on `update` alone.
    """

    create: Callable[[T_contra], bool] = _always
    update: Callable[[T_contra, T_contra], bool] = _always
    delete: Callable[[T_contra], bool] = _always


class HasGeneration(Protocol):
    """A view that keeps metadata.generation, which counts changes of the spec."""

    @property
    def generation(self) -> int:
        """metadata.generation."""


class HasOwner(Protocol):
    """A view that keeps its controlling owner."""

    @property
    def namespace(self) -> str:
        """metadata.namespace."""

    @property
    def owner(self) -> OwnerReference | None:
        """The controlling owner."""


def generation_changed() -> Predicate[HasGeneration]:
    """Updates of the spec only.

    Filters out resyncs, and changes of labels, annotations, finalizers and status. A deletion that waits for finalizers
    increments the generation, so it passes.
    """
    return Predicate(update=lambda old, new: old.generation != new.generation)


def enqueue_self(obj: Object) -> Iterable[Request]:
    """The object itself."""
    return (Request(obj.namespace, obj.name),)


def enqueue_owner(
    kind: str, group: str, *, namespaced: bool = True
) -> Callable[[HasOwner], Iterable[Request]]:
    """The controlling owner, if it is of that kind and group; `namespaced` is False for a cluster-scoped kind.

    The version and the UID of the reference are ignored: the reconciler must check that the object that has this name now
    is the owner.
    """

    def owner_request(obj: HasOwner) -> Iterable[Request]:
        owner = obj.owner
        if owner is None or owner.kind != kind or group_of(owner.api_version) != group:
            return ()
        return (Request(obj.namespace if namespaced else "", owner.name),)

    return owner_request


@dataclass(frozen=True, slots=True)
class EnqueueRequests(Generic[T]):
    """An event handler that adds requests to a queue.

    Attributes:
        queue: of the controller.
        mapping: from an object to requests.
        predicate: filters the changes.
        delay: seconds to wait for more changes, so that many of them cause one request; the time of the first one counts.
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
        """An object changed; a resync passes the same object twice."""
        if not self.predicate.update(old, new):
            return
        if old is new or (new.resource_version and old.resource_version == new.resource_version):
            self._enqueue(self.mapping(new), LOW_PRIORITY)
        else:
            self._enqueue((*self.mapping(old), *self.mapping(new)), DEFAULT_PRIORITY)

    def on_delete(self, obj: T, final_state_unknown: bool) -> None:
        """An object was deleted."""
        if self.predicate.delete(obj):
            self._enqueue(self.mapping(obj), DEFAULT_PRIORITY)

    def _enqueue(self, requests: Iterable[Request], priority: int) -> None:
        for request in dict.fromkeys(requests):
            if self.delay > 0:
                self.queue.add_after(request, self.delay, priority=priority)
            else:
                self.queue.add(request, priority=priority)


class Source(Protocol):
    """Adds requests to a controller's queue."""

    async def start(self, queue: WorkQueue[Request]) -> Callable[[], None]:
        """Start; returns a function that stops it."""

    def unsynced(self) -> list[str]:
        """The informers that must sync before the queue has a request for every existing object."""


@dataclass(frozen=True, slots=True)
class InformerSource(Generic[T]):
    """The objects of an informer.

    On a synced informer start() returns when every existing object is enqueued; so a standby that becomes the leader needs
    no warming up.

    Attributes:
        existing: whether the objects that exist at the start cause requests. Unlike controller-runtime, a secondary kind
            may omit them: each object of the controller's own kind causes a request, whose reconcile reads all caches.
    """

    informer: Informer[T]
    mapping: MapFunction[T]
    predicate: Predicate[T] = field(default_factory=Predicate)
    delay: float = 0.0
    existing: bool = True

    async def start(self, queue: WorkQueue[Request]) -> Callable[[], None]:
        """Add a handler to the informer."""
        handler = EnqueueRequests(queue, self.mapping, self.predicate, self.delay)
        registration: Registration[T]
        if self.existing:
            registration = await self.informer.follow(handler)
        else:
            registration = self.informer.add_event_handler(handler, existing=False)
        return lambda: self.informer.remove_event_handler(registration)

    def unsynced(self) -> list[str]:
        """The informer, until its handlers have run for the whole first list."""
        return [] if self.informer.has_synced else [self.informer.name]
