"""A reader that returns our own writes and live reads before the watch delivers them: client-go's MutationCache.

A watch lags behind the API server. The result of a write or a live read is kept here until the informer's cache is as new,
so a reconciler reads each object in its newest known version, whatever the lag.

Guarantees: an object is never older than the version that was added here; an object that a live read did not find stays
hidden, and one that was added here and deleted since disappears once the informer's cache is newer than it. Where
resourceVersions cannot be compared, the informer's cache counts. No method awaits.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Generic

from kubetask_controller.runtime.informer import EventHandler, Informer
from kubetask_controller.runtime.meta import MalformedResourceVersionError, compare
from kubetask_controller.runtime.store import (
    NAMESPACE_INDEX,
    IndexFunction,
    Key,
    ListOf,
    T,
)

_SWEPT = 4
"""Entries that are checked at each event of the informer."""


class MutationCache(Generic[T]):
    """A Reader over an informer. See the module."""

    def __init__(
        self, informer: Informer[T], indexers: Mapping[str, IndexFunction[T]] | None = None
    ) -> None:
        """`indexers` are those of the informer; only they can be read."""
        self._informer = informer
        self._indexers: dict[str, IndexFunction[T]] = {
            NAMESPACE_INDEX: lambda obj: (obj.namespace,),
            **(indexers or {}),
        }
        self._newer: dict[Key, T] = {}
        self._absent: dict[str, None] = {}
        informer.add_event_handler(_Expiry(informer, self._newer, self._absent))

    @property
    def informer(self) -> Informer[T]:
        """The informer, for handlers of its changes."""
        return self._informer

    def mutated(self, obj: T) -> None:
        """Add the version that a write or a live read returned, unless a newer one is known."""
        cached = self.get(obj.namespace, obj.name)
        if cached is None or _older(cached.resource_version, obj.resource_version):
            self._newer[(obj.namespace, obj.name)] = obj

    def not_found(self, obj: T) -> None:
        """Hide this object: a live read or a delete has found that it no longer exists."""
        key = (obj.namespace, obj.name)
        newer = self._newer.get(key)
        if newer is not None and newer.uid == obj.uid:
            del self._newer[key]
        cached = self._informer.get(obj.namespace, obj.name)
        if cached is not None and cached.uid == obj.uid:
            self._absent[obj.uid] = None

    def get(self, namespace: str, name: str) -> T | None:
        """The newest known version of the object of that name."""
        cached = self._informer.get(namespace, name)
        if not self._newer and not self._absent:
            return cached
        newer = self._valid((namespace, name), cached)
        if newer is not None:
            return newer
        return None if cached is not None and cached.uid in self._absent else cached

    def list(self, namespace: str | None = None) -> ListOf[T]:
        """All objects, or those of a namespace, in their newest known versions."""
        if namespace is not None:
            return self.by_index(NAMESPACE_INDEX, namespace)
        return self._merged(self._informer.list(), lambda _: True)

    def by_index(self, index: str, value: str) -> ListOf[T]:
        """The objects for whose newest known version the index function returns that value."""
        function = self._indexers[index]
        return self._merged(
            self._informer.by_index(index, value), lambda obj: value in function(obj)
        )

    def resource_version(self, namespace: str) -> str:
        """The resourceVersion of the informer's cache."""
        return self._informer.resource_version(namespace)

    def __len__(self) -> int:
        return len(self._informer)

    def expire(self) -> None:
        """Drop the versions that the informer's cache has reached, also by a bookmark, which causes no event."""
        for key in list(self._newer):
            self._valid(key, self._informer.get(*key))

    @property
    def pending(self) -> int:
        """The number of versions that the informer's cache lacks."""
        return len(self._newer) + len(self._absent)

    def _merged(self, cached: ListOf[T], matches: Callable[[T], bool]) -> ListOf[T]:
        if not self._newer and not self._absent:
            return cached
        result = []
        shown: set[Key] = set()
        for obj in cached:
            key = (obj.namespace, obj.name)
            newer = self._valid(key, obj)
            if newer is not None:
                shown.add(key)
                if matches(newer):
                    result.append(newer)
            elif obj.uid not in self._absent:
                result.append(obj)
        for key in [key for key in self._newer if key not in shown]:
            newer = self._valid(key, self._informer.get(*key))
            if newer is not None and matches(newer):
                result.append(newer)
        return result

    def _valid(self, key: Key, cached: T | None) -> T | None:
        """The version kept here, while it is newer than the informer's cache; else it is dropped."""
        newer = self._newer.get(key)
        if newer is None:
            return None
        if cached is not None:
            valid = _older(cached.resource_version, newer.resource_version)
        else:
            valid = _older(self._informer.resource_version(key[0]), newer.resource_version)
        if not valid:
            del self._newer[key]
        return newer if valid else None


class _Expiry(EventHandler[T]):
    """Drops the versions that the informer's cache has reached."""

    def __init__(self, informer: Informer[T], newer: dict[Key, T], absent: dict[str, None]) -> None:
        self._informer, self._newer, self._absent = informer, newer, absent

    def on_add(self, obj: T, initial: bool) -> None:
        """The cache has the object."""
        self._reached(obj)

    def on_update(self, old: T, new: T) -> None:
        """The cache has a newer version."""
        if old.uid != new.uid:
            self._absent.pop(old.uid, None)
        self._reached(new)

    def on_delete(self, obj: T, final_state_unknown: bool) -> None:
        """The object was deleted. A later object of its name, if one was added here, stays."""
        self._absent.pop(obj.uid, None)
        newer = self._newer.get((obj.namespace, obj.name))
        if newer is not None and newer.uid == obj.uid:
            del self._newer[(obj.namespace, obj.name)]
        self._sweep()

    def _reached(self, obj: T) -> None:
        newer = self._newer.get((obj.namespace, obj.name))
        if newer is not None and not _older(obj.resource_version, newer.resource_version):
            del self._newer[(obj.namespace, obj.name)]
        self._sweep()

    def _sweep(self) -> None:
        """Check the oldest entries, a few at each event, so that entries that nothing reads are dropped too."""
        for key in list(itertools.islice(self._newer, _SWEPT)):
            version = self._newer[key].resource_version
            if not _older(self._informer.resource_version(key[0]), version):
                del self._newer[key]


def _older(has: str, than: str) -> bool:
    """Whether the first resourceVersion is older; "" is older than every other."""
    if not has:
        return bool(than)
    try:
        return compare(has, than) < 0
    except MalformedResourceVersionError:
        return False
