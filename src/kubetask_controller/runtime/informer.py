"""An informer keeps the objects of one resource in memory and notifies event handlers of their changes.

Guarantees: every object is projected once for each version that arrives, and its JSON can then be freed; the store changes
before handlers run; the events of a list are distributed in slices of time, deletions first, so that the event loop never
waits long; a handler that is added late first gets an add for every stored object; has_synced is true once every handler has
run for the whole first list. An informer sends no requests: reflectors do, each through the ReflectorStore of its scope.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import structlog

from kubetask_controller.client.resources import Resource
from kubetask_controller.runtime.clock import Clock, RealClock
from kubetask_controller.runtime.eventloop import Yielder
from kubetask_controller.runtime.meta import oldest
from kubetask_controller.runtime.metrics.clients import InformerMetrics, InformerStatistics
from kubetask_controller.runtime.store import (
    ALL_NAMESPACES,
    IndexFunction,
    ListOf,
    Shard,
    Store,
    T,
)
from kubetask_controller.types import JSON

DELETED = "DELETED"
T_contra = TypeVar("T_contra", contravariant=True)

logger = structlog.get_logger("informer")


class EventHandler(Protocol[T_contra]):
    """Receives the changes of objects. Runs on the event loop: it must only enqueue, and must not block."""

    def on_add(self, obj: T_contra, initial: bool) -> None:
        """An object is new; `initial` when it was stored before this handler was added."""

    def on_update(self, old: T_contra, new: T_contra) -> None:
        """An object changed, or was deleted and recreated; a resync passes the same object twice."""

    def on_delete(self, obj: T_contra, final_state_unknown: bool) -> None:
        """An object was deleted; with `final_state_unknown` its last state may differ from `obj`."""


@dataclass(slots=True, eq=False)
class Registration(Generic[T]):
    """A handler that was added; pass it to remove_event_handler()."""

    handler: EventHandler[T]
    active: bool = True


class SharedProcessor(Generic[T]):
    """Distributes changes to the handlers of one informer.

    Guarantees: a handler gets the changes of an object in order; an exception in a handler is logged and counted, and no
    handler misses the next change; a removed handler gets nothing more.
    """

    def __init__(self, name: str, metrics: InformerMetrics) -> None:
        self._name = name
        self._metrics = metrics
        self._registrations: tuple[Registration[T], ...] = ()

    @property
    def registrations(self) -> tuple[Registration[T], ...]:
        """The current handlers; the tuple is immutable."""
        return self._registrations

    def add(self, handler: EventHandler[T], existing: Iterable[T]) -> Registration[T]:
        """Add a handler; it gets an add for each of the `existing` objects at once."""
        registration = Registration(handler)
        for obj in existing:
            self.added(obj, initial=True, to=(registration,))
        self._registrations = (*self._registrations, registration)
        return registration

    def remove(self, registration: Registration[T]) -> None:
        """Remove a handler; it receives no further event, not even one in distribution."""
        registration.active = False
        self._registrations = tuple(r for r in self._registrations if r is not registration)

    def added(self, obj: T, *, initial: bool, to: Iterable[Registration[T]]) -> None:
        """Distribute a new object."""
        for registration in to:
            if registration.active:
                try:
                    registration.handler.on_add(obj, initial)
                except Exception:
                    self._failed("add", obj)

    def updated(self, old: T, new: T, *, to: Iterable[Registration[T]]) -> None:
        """Distribute a changed object."""
        for registration in to:
            if registration.active:
                try:
                    registration.handler.on_update(old, new)
                except Exception:
                    self._failed("update", new)

    def deleted(self, obj: T, *, unknown: bool, to: Iterable[Registration[T]]) -> None:
        """Distribute a deleted object; `unknown` when its last state was not observed."""
        for registration in to:
            if registration.active:
                try:
                    registration.handler.on_delete(obj, unknown)
                except Exception:
                    self._failed("delete", obj)

    def _failed(self, event: str, obj: T) -> None:
        # client-go pauses for a second here; on one event loop that would stop every other handler.
        self._metrics.handler_failed(self._name)
        logger.exception(
            "Event handler failed",
            type=self._name,
            event_type=event,
            namespace=obj.namespace,
            name=obj.name,
        )


@dataclass(frozen=True, slots=True)
class _State(Generic[T]):
    """What the informer and its ReflectorStores share.

    Attributes:
        unsynced: scopes whose first list has not been distributed yet.
        observed_at: scope to the time of its last list, event or bookmark.
    """

    name: str
    store: Store[T]
    processor: SharedProcessor[T]
    project: Callable[[JSON], T]
    metrics: InformerMetrics
    clock: Clock
    unsynced: set[str]
    observed_at: dict[str, float] = field(default_factory=dict)

    def projected(self, raw: JSON) -> T | None:
        """The view of an object, or None when the projection fails; the failure is logged and counted."""
        try:
            return self.project(raw)
        except Exception:
            self.metrics.event_dropped(self.name)
            namespace, name = key_of(raw)
            logger.exception(
                "Object cannot be projected", type=self.name, namespace=namespace, name=name
            )
            return None

    def observed(self, scope: str) -> None:
        """Record that the API server sent something for this scope."""
        self.observed_at[scope] = self.clock.monotonic()


class TemporaryStore(Generic[T]):
    """A list that is still being read; readers see it only after ReflectorStore.replace()."""

    def __init__(self, state: _State[T]) -> None:
        self._state = state
        self.shard: Shard[T] = state.store.new_shard()

    def put(self, raw: JSON) -> None:
        """Add an object, or replace it by a newer version."""
        obj = self._state.projected(raw)
        if obj is None:
            # Without it, replace() would report the object as deleted.
            obj = self._state.store.get(*key_of(raw))
        if obj is not None:
            self.shard.put(obj)

    def remove(self, raw: JSON) -> None:
        """Remove an object that was deleted while the list was streamed."""
        namespace, name = key_of(raw)
        self.shard.remove(namespace, name)

    def clear(self) -> None:
        """Remove all objects; the list starts over."""
        self.shard.clear()


class ReflectorStore(Generic[T]):
    """Where the reflector of one scope stores what it lists and watches."""

    def __init__(self, state: _State[T], scope: str) -> None:
        self._state = state
        self._scope = scope
        self._initial = True

    def temporary(self) -> TemporaryStore[T]:
        """An empty list to fill."""
        return TemporaryStore(self._state)

    async def replace(self, temporary: TemporaryStore[T], resource_version: str) -> None:
        """Replace the content by a whole list; returns when all handlers have run for it."""
        state, initial = self._state, self._initial
        # A handler that is added from here on finds everything in the store.
        listeners = state.processor.registrations
        changes = state.store.replace(self._scope, temporary.shard, resource_version)
        state.observed(self._scope)
        yielder = Yielder()
        for obj in changes.deleted:
            state.processor.deleted(obj, unknown=True, to=listeners)
            if yielder.due():
                await yielder.pause()
        for obj in changes.added:
            state.processor.added(obj, initial=initial, to=listeners)
            if yielder.due():
                await yielder.pause()
        for old, new in changes.updated:
            state.processor.updated(old, new, to=listeners)
            if yielder.due():
                await yielder.pause()
        self._initial = False
        state.unsynced.discard(self._scope)

    def apply(self, event_type: str, raw: JSON) -> None:
        """Apply a watch event: ADDED, MODIFIED or DELETED."""
        state = self._state
        obj = state.projected(raw)
        listeners = state.processor.registrations
        if event_type == DELETED:
            stored = state.store.remove(self._scope, *key_of(raw))
            last = stored if obj is None else obj
            if last is not None:
                state.processor.deleted(last, unknown=obj is None, to=listeners)
        elif obj is not None:
            stored = state.store.put(self._scope, obj)
            if stored is None:
                state.processor.added(obj, initial=False, to=listeners)
            else:
                state.processor.updated(stored, obj, to=listeners)

    def advance(self, resource_version: str) -> None:
        """Record that all changes up to this resourceVersion have been applied."""
        self._state.store.set_resource_version(self._scope, resource_version)
        self._state.observed(self._scope)


@dataclass(frozen=True, slots=True)
class InformerOptions:
    """What the informers of one cache share.

    Attributes:
        scopes: the namespaces that are watched one by one, or only ALL_NAMESPACES.
        clock: for the age of the last event.
        metrics: counts lists, watches and failures.
    """

    scopes: tuple[str, ...] = (ALL_NAMESPACES,)
    clock: Clock = field(default_factory=RealClock)
    metrics: InformerMetrics = field(default_factory=InformerMetrics)


class CacheNotStartedError(RuntimeError):
    """A cache is read before it was started, when it would wrongly report that nothing exists."""


class Informer(Generic[T]):
    """A Reader of the objects of one resource. Created by a Cache."""

    def __init__(
        self,
        resource: Resource,
        *,
        project: Callable[[JSON], T],
        indexers: Mapping[str, IndexFunction[T]] | None = None,
        options: InformerOptions | None = None,
    ) -> None:
        """`project` converts an object's JSON into the view that is stored; it runs once for each version."""
        self.resource = resource
        self._options = options = options or InformerOptions()
        self._store: Store[T] = Store(indexers, scopes=options.scopes)
        self._processor: SharedProcessor[T] = SharedProcessor(self.name, options.metrics)
        self._started = False
        self._state = _State(
            name=self.name,
            store=self._store,
            processor=self._processor,
            project=project,
            metrics=options.metrics,
            clock=options.clock,
            unsynced=set(options.scopes),
        )
        options.metrics.track(self.name, self.statistics)

    @property
    def name(self) -> str:
        """The resource as kubectl takes it, such as ``jobs.batch``; unique in a cache."""
        return str(self.resource)

    @property
    def scopes(self) -> tuple[str, ...]:
        """The namespaces that are watched one by one, or only ALL_NAMESPACES."""
        return self._options.scopes

    @property
    def has_synced(self) -> bool:
        """Every handler has run for every object of the first list."""
        return not self._state.unsynced

    @property
    def unsynced_scopes(self) -> ListOf[str]:
        """The namespaces (or ALL_NAMESPACES) whose first list has not been distributed yet."""
        return sorted(self._state.unsynced)

    def start(self) -> None:
        """Allow reads; until the sync they return the objects that have arrived so far."""
        self._started = True

    def get(self, namespace: str, name: str) -> T | None:
        """The object of that name."""
        return self._readable().get(namespace, name)

    def list(self, namespace: str | None = None) -> ListOf[T]:
        """All objects, or those of a namespace."""
        return self._readable().list(namespace)

    def by_index(self, index: str, value: str) -> ListOf[T]:
        """The objects for which the index function returned that value."""
        return self._readable().by_index(index, value)

    def resource_version(self, namespace: str) -> str:
        """The resourceVersion of that namespace's content; "" before its first list."""
        return self._store.resource_version(namespace)

    def __len__(self) -> int:
        return len(self._store)

    def add_index(self, name: str, function: IndexFunction[T]) -> None:
        """As Store.add_index; allowed at any time."""
        self._store.add_index(name, function)

    def add_event_handler(
        self, handler: EventHandler[T], *, existing: bool = True
    ) -> Registration[T]:
        """Add a handler of changes; with ``existing`` it first gets an add for every stored object."""
        return self._processor.add(handler, self._store.list() if existing else ())

    async def follow(self, handler: EventHandler[T]) -> Registration[T]:
        """As add_event_handler, in slices of time between which the event loop runs everything else.

        For handlers that take the changes of an object in any order: an object that changes before its add was distributed
        is distributed as an update first, and then as an add. Cancellation removes the handler.
        """
        existing = self._store.list()
        registration = self._processor.add(handler, ())
        yielder = Yielder()
        try:
            for obj in existing:
                current = self._store.get(obj.namespace, obj.name)
                if current is not None:
                    self._processor.added(current, initial=True, to=(registration,))
                if yielder.due():
                    await yielder.pause()
        except asyncio.CancelledError:
            self._processor.remove(registration)
            raise
        return registration

    def remove_event_handler(self, registration: Registration[T]) -> None:
        """Remove a handler; it gets nothing more."""
        self._processor.remove(registration)

    def reflector_store(self, scope: str) -> ReflectorStore[T]:
        """The store of that scope's reflector."""
        return ReflectorStore(self._state, scope)

    async def resync(self) -> None:
        """Distribute every object once more as an update, with old and new the same."""
        yielder = Yielder()
        for obj in self._store.list():
            # A change since then has been distributed already.
            if self._store.get(obj.namespace, obj.name) is obj:
                self._processor.updated(obj, obj, to=self._processor.registrations)
            if yielder.due():
                await yielder.pause()

    def statistics(self) -> InformerStatistics:
        """The informer's present state, for metrics."""
        scopes, observed_at = self._options.scopes, self._state.observed_at
        age = None
        if len(observed_at) == len(scopes):
            age = self._options.clock.monotonic() - min(observed_at.values())
        return InformerStatistics(
            synced=self.has_synced,
            objects=len(self),
            last_event_age=age,
            resource_version=oldest(self._store.resource_version(scope) for scope in scopes),
        )

    def _readable(self) -> Store[T]:
        if not self._started:
            raise CacheNotStartedError(f"the cache of {self.name} is read before it was started")
        return self._store


def key_of(raw: JSON) -> tuple[str, str]:
    """Namespace and name of an object; empty strings where it has none."""
    metadata = raw.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    return metadata.get("namespace") or "", metadata.get("name") or ""
