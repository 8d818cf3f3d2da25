"""An informer: the objects of one resource in memory, and whoever wants to hear of their changes.

Guarantees: what store.py says of reads and delivery.py of handlers; a handler that is added late
first gets an add for every object there is; has_synced means that all handlers have been called for
the whole first list. Does not talk to the server: reflectors do, each through its scope's feed.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic

from kubetask_controller.client.resources import Resource
from kubetask_controller.runtime.clock import Clock, RealClock
from kubetask_controller.runtime.delivery import Delivery, EventHandler, Registration
from kubetask_controller.runtime.feed import JSON, Feed, FeedContext
from kubetask_controller.runtime.informermetrics import (
    InformerMetrics,
    InformerStatistics,
    NoInformerMetrics,
)
from kubetask_controller.runtime.resourceversion import oldest
from kubetask_controller.runtime.slicing import TimeSlices
from kubetask_controller.runtime.store import ALL_NAMESPACES, IndexFunction, ListOf, Store, T

__all__ = ["CacheNotStartedError", "EventHandler", "Informer", "InformerOptions", "Registration"]


@dataclass(frozen=True, slots=True)
class InformerOptions:
    """What the informers of one cache share.

    Attributes:
        scopes: the namespaces that are filled one by one, or only ALL_NAMESPACES.
        clock: for the age of the last event.
        metrics: is told what happens.
    """

    scopes: tuple[str, ...] = (ALL_NAMESPACES,)
    clock: Clock = field(default_factory=RealClock)
    metrics: InformerMetrics = field(default_factory=NoInformerMetrics)


class CacheNotStartedError(RuntimeError):
    """A cache is read before it was started: whatever it said would be wrong."""


class Informer(Generic[T]):
    """A Reader of the objects of one resource. Made by a Cache."""

    def __init__(
        self,
        resource: Resource,
        *,
        project: Callable[[JSON], T],
        indexers: Mapping[str, IndexFunction[T]] | None = None,
        options: InformerOptions | None = None,
    ) -> None:
        """`project` makes of an object's JSON what is kept of it; called once for each version."""
        self.resource = resource
        self._options = options or InformerOptions()
        self._store: Store[T] = Store(indexers, scopes=self._options.scopes)
        self._delivery: Delivery[T] = Delivery(self.name, self._options.metrics)
        self._unsynced = set(self._options.scopes)
        self._heard: dict[str, float] = {}
        self._started = False
        self._context = FeedContext(
            name=self.name,
            store=self._store,
            delivery=self._delivery,
            project=project,
            metrics=self._options.metrics,
            heard=self._note_heard,
            synced=self._unsynced.discard,
        )
        self._options.metrics.track(self.name, self.statistics)

    @property
    def name(self) -> str:
        """The resource as kubectl takes it, such as ``jobs.batch``; unique in a cache."""
        return str(self.resource)

    @property
    def scopes(self) -> tuple[str, ...]:
        """The namespaces that are filled one by one, or only ALL_NAMESPACES."""
        return self._options.scopes

    @property
    def has_synced(self) -> bool:
        """Every handler has been called for every object of the first list."""
        return not self._unsynced

    @property
    def unsynced_scopes(self) -> ListOf[str]:
        """The namespaces (or ALL_NAMESPACES) whose first list is still awaited."""
        return sorted(self._unsynced)

    def start(self) -> None:
        """Allow reads; until the sync they give what has arrived so far."""
        self._started = True

    def get(self, namespace: str, name: str) -> T | None:
        """The object of that name."""
        return self._readable().get(namespace, name)

    def list(self, namespace: str | None = None) -> ListOf[T]:
        """All objects, or those of a namespace."""
        return self._readable().list(namespace)

    def by_index(self, index: str, value: str) -> ListOf[T]:
        """The objects for which the index function gave that value."""
        return self._readable().by_index(index, value)

    def resource_version(self, namespace: str) -> str:
        """How new the content of that namespace is; "" before its first list."""
        return self._store.resource_version(namespace)

    def __len__(self) -> int:
        return len(self._store)

    def add_index(self, name: str, function: IndexFunction[T]) -> None:
        """As Store.add_index; allowed at any time."""
        self._store.add_index(name, function)

    def add_event_handler(self, handler: EventHandler[T]) -> Registration[T]:
        """Let `handler` hear of changes; it first gets an add for every object there is."""
        return self._delivery.add(handler, self._store.list())

    async def follow(self, handler: EventHandler[T]) -> Registration[T]:
        """As add_event_handler, in slices that let the event loop do everything else in between.

        For handlers that take the changes of an object in any order: an object that changes before its add was delivered is
        delivered as an update alone. Cancelled, it removes the handler.
        """
        existing = self._store.list()
        registration = self._delivery.add(handler, ())
        slices = TimeSlices()
        try:
            for obj in existing:
                if self._store.get(obj.namespace, obj.name) is obj:
                    self._delivery.added(obj, initial=True, to=(registration,))
                if slices.used_up():
                    await slices.rest()
        except asyncio.CancelledError:
            self._delivery.remove(registration)
            raise
        return registration

    def remove_event_handler(self, registration: Registration[T]) -> None:
        """Let a handler hear nothing any more, from this moment on."""
        self._delivery.remove(registration)

    def feed(self, scope: str) -> Feed[T]:
        """What fills that scope; for one reflector."""
        return Feed(self._context, scope)

    async def resync(self) -> None:
        """Tell all handlers of every object once more, with old and new the same."""
        slices = TimeSlices()
        for obj in self._store.list():
            # What changed meanwhile has been told already.
            if self._store.get(obj.namespace, obj.name) is obj:
                self._delivery.updated(obj, obj, to=self._delivery.registrations)
            if slices.used_up():
                await slices.rest()

    def statistics(self) -> InformerStatistics:
        """A look at the informer, for metrics."""
        scopes = self._options.scopes
        age = None
        if len(self._heard) == len(scopes):
            age = self._options.clock.monotonic() - min(self._heard.values())
        return InformerStatistics(
            synced=self.has_synced,
            objects=len(self),
            last_event_age=age,
            resource_version=oldest(self._store.resource_version(scope) for scope in scopes),
        )

    def _readable(self) -> Store[T]:
        if not self._started:
            raise CacheNotStartedError(f"the cache of {self.name} was not started")
        return self._store

    def _note_heard(self, scope: str) -> None:
        self._heard[scope] = self._options.clock.monotonic()
