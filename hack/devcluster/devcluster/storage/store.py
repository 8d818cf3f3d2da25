"""The store itself: objects by resource, namespace and name, one resourceVersion for all.

Guarantees: every write gets the next resourceVersion; a write with a stale expected revision changes nothing; listing is in
the order of names within namespaces, as etcd keys are; a state that is still in the history can be listed as it was.
Synchronous: within one event loop a read followed by a write without `await` between them is atomic.
"""

from __future__ import annotations

import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .events import Event, EventType, History, Watch
from .records import Stored

HISTORY_EVENTS = 50_000
HISTORY_SECONDS = 300.0
TRIM_EVERY = 1024
MAX_BYTES = 1_572_864  # etcd's --max-request-bytes


class StorageError(Exception):
    """A read or write that the store refuses."""


class NotFoundError(StorageError):
    """No such object."""


class AlreadyExistsError(StorageError):
    """The name is taken."""


class ConflictError(StorageError):
    """The expected revision is not the stored one."""


class TooLargeError(StorageError):
    """The object has more bytes than the store takes."""


class CompactedError(StorageError):
    """The requested revision is older than the history; `floor` is the oldest that works."""

    def __init__(self, revision: int, floor: int) -> None:
        super().__init__(f"too old resource version: {revision} ({floor})")
        self.revision = revision
        self.floor = floor


class _Namespace:
    """Objects of one resource in one namespace, with their names in order."""

    __slots__ = ("names", "objects")

    def __init__(self) -> None:
        self.objects: dict[str, Stored] = {}
        self.names: list[str] = []


class _Resource:
    """All objects of one resource and their history."""

    __slots__ = ("count", "history", "namespaces", "order")

    def __init__(self, floor: int) -> None:
        self.namespaces: dict[str, _Namespace] = {}
        self.order: list[str] = []
        self.history = History(floor)
        self.count = 0

    def put(self, stored: Stored) -> None:
        space = self.namespaces.get(stored.namespace)
        if space is None:
            space = self.namespaces[stored.namespace] = _Namespace()
            insort(self.order, stored.namespace)
        if stored.name not in space.objects:
            insort(space.names, stored.name)
            self.count += 1
        space.objects[stored.name] = stored

    def drop(self, namespace: str, name: str) -> None:
        space = self.namespaces[namespace]
        del space.objects[name]
        del space.names[bisect_left(space.names, name)]
        self.count -= 1
        if not space.objects:
            del self.namespaces[namespace]
            del self.order[bisect_left(self.order, namespace)]

    def items(self, namespace: str | None) -> Iterator[Stored]:
        spaces = self.order if namespace is None else [namespace]
        for key in spaces:
            space = self.namespaces.get(key)
            if space is not None:
                objects = space.objects
                for name in space.names:
                    yield objects[name]


class Storage:
    """All objects of a cluster. `resource` is everywhere the storage key of a resource, e.g. `jobs.batch` or `pods`."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        history_events: int = HISTORY_EVENTS,
        history_seconds: float = HISTORY_SECONDS,
    ) -> None:
        self.clock = clock
        self.history_events = history_events
        self.history_seconds = history_seconds
        self.revision = 1
        self._resources: dict[str, _Resource] = {}
        self._since_trim = 0
        self._compacted = self.revision

    # --- reads

    def get(self, resource: str, namespace: str | None, name: str) -> Stored | None:
        """The object, or None."""
        found = self._resources.get(resource)
        space = found.namespaces.get(namespace or "") if found is not None else None
        return space.objects.get(name) if space is not None else None

    def list(self, resource: str, namespace: str | None = None) -> list[Stored]:
        """Objects of one namespace, or of all (None), in key order. Cluster-scoped objects have namespace ''."""
        found = self._resources.get(resource)
        return list(found.items(namespace)) if found is not None else []

    def list_at(self, resource: str, namespace: str | None, revision: int) -> Sequence[Stored]:
        """The list as it was at `revision`. Raises CompactedError when the history does not reach back."""
        found = self._resource(resource)
        if revision < found.history.floor:
            raise CompactedError(revision, found.history.floor)
        undo = found.history.after(revision)
        if not undo:
            return list(found.items(namespace))
        state = {(item.namespace, item.name): item for item in found.items(namespace)}
        for event in reversed(undo):
            if namespace is not None and event.current.namespace != namespace:
                continue
            key = (event.current.namespace, event.current.name)
            if event.previous is None:
                state.pop(key, None)
            else:
                state[key] = event.previous
        return [state[key] for key in sorted(state)]

    def count(self, resource: str) -> int:
        """The number of objects of a resource."""
        found = self._resources.get(resource)
        return found.count if found is not None else 0

    def resources(self) -> Sequence[str]:
        """Storage keys that hold or held objects."""
        return list(self._resources)

    # --- writes

    def create(self, resource: str, obj: dict[str, Any]) -> Stored:
        """Store a new object; its metadata.resourceVersion is set (in place: hand over an object of your own)."""
        metadata = obj["metadata"]
        namespace = metadata.get("namespace") or ""
        if self.get(resource, namespace, metadata["name"]) is not None:
            raise AlreadyExistsError(metadata["name"])
        return self._write(resource, obj, None)

    def update(self, resource: str, obj: dict[str, Any], *, expected: int | None = None) -> Stored:
        """Replace an object. Raises NotFoundError, or ConflictError when `expected` is not its revision."""
        metadata = obj["metadata"]
        previous = self.get(resource, metadata.get("namespace"), metadata["name"])
        if previous is None:
            raise NotFoundError(metadata["name"])
        if expected is not None and previous.revision != expected:
            raise ConflictError(metadata["name"])
        return self._write(resource, obj, previous)

    def delete(
        self,
        resource: str,
        namespace: str | None,
        name: str,
        *,
        expected: int | None = None,
        last: dict[str, Any] | None = None,
    ) -> Stored:
        """Remove an object. Returns its last state (`last`, when given), carrying the deletion's resourceVersion."""
        previous = self.get(resource, namespace, name)
        if previous is None:
            raise NotFoundError(name)
        if expected is not None and previous.revision != expected:
            raise ConflictError(name)
        self.revision += 1
        old = last if last is not None else previous.object
        final = {**old, "metadata": {**old["metadata"], "resourceVersion": str(self.revision)}}
        stored = Stored(final, self.revision, keep=False)
        found = self._resource(resource)
        found.drop(previous.namespace, name)
        self._record(found, Event(EventType.DELETED, stored, previous, time=time.monotonic()))
        return stored

    def _write(self, resource: str, obj: dict[str, Any], previous: Stored | None) -> Stored:
        obj["metadata"]["resourceVersion"] = str(self.revision + 1)
        stored = Stored(obj, self.revision + 1)
        if len(stored.data) > MAX_BYTES:
            raise TooLargeError(stored.name)
        self.revision += 1
        found = self._resource(resource)
        found.put(stored)
        kind = EventType.ADDED if previous is None else EventType.MODIFIED
        self._record(found, Event(kind, stored, previous, time=time.monotonic()))
        return stored

    def _record(self, found: _Resource, event: Event) -> None:
        found.history.append(event)
        self._since_trim += 1
        if self._since_trim >= TRIM_EVERY:
            self._since_trim = 0
            oldest = time.monotonic() - self.history_seconds
            for each in self._resources.values():
                each.history.trim(self.history_events, oldest)

    def _resource(self, resource: str) -> _Resource:
        found = self._resources.get(resource)
        if found is None:
            found = self._resources[resource] = _Resource(self._compacted)
        return found

    # --- watches and history

    def floor(self, resource: str) -> int:
        """The oldest revision at which a watch of `resource` may start."""
        return self._resource(resource).history.floor

    def watch(
        self, resource: str, namespace: str | None = None, *, since: int | None = None
    ) -> Watch:
        """Events after `since` (None: from now on). Raises CompactedError when `since` is older than the history."""
        history = self._resource(resource).history
        backlog: list[Event] = []
        if since is not None:
            if since < history.floor:
                raise CompactedError(since, history.floor)
            backlog = [
                event
                for event in history.after(since)
                if namespace is None or event.current.namespace == namespace
            ]
        watch = Watch(history, namespace, backlog)
        history.watches.add(watch)
        return watch

    def watch_count(self) -> int:
        """The number of open watches."""
        return sum(len(found.history.watches) for found in self._resources.values())

    def compact(self, revision: int | None = None) -> int:
        """Compact the history up to `revision` (None: all of it). Returns the new floor. Open watches continue."""
        target = self.revision if revision is None else min(revision, self.revision)
        for found in self._resources.values():
            found.history.compact(target)
        self._compacted = max(self._compacted, target)
        return target

    def begin(self, resource: str) -> None:
        """Start the history of a resource that is served from now on."""
        if resource not in self._resources:
            self._resources[resource] = _Resource(self.revision)

    def forget(self, resource: str) -> None:
        """Drop a resource and its history (its CustomResourceDefinition was removed); its watches are closed."""
        found = self._resources.pop(resource, None)
        if found is not None:
            for watch in list(found.history.watches):
                watch.close()

    def close_watches(self, resource: str | None = None) -> int:
        """End open watches, of one resource or all, as a restart of the API server does. Returns how many."""
        closed = 0
        for key, found in self._resources.items():
            if resource is None or key == resource:
                for watch in list(found.history.watches):
                    watch.close()
                    closed += 1
        return closed
