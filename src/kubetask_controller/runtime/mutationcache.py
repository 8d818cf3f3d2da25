"""A reader that shows our own writes and live reads before the watch does: client-go's MutationCache.

A watch lags behind the API server. What a write or a live read returned is kept here until the cache below has come as
far, so a reconciler sees each object in its newest known version, whatever the lag.

Guarantees: an object is never older than what was added here for it; an object that a live read did not find stays
hidden, and one that was added and deleted since disappears once the cache below is newer than it. Where
resourceVersions cannot be compared, the cache below counts. No method awaits.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Generic

from kubetask_controller.runtime.delivery import EventHandler
from kubetask_controller.runtime.informer import Informer
from kubetask_controller.runtime.resourceversion import MalformedResourceVersionError, compare
from kubetask_controller.runtime.store import (
    NAMESPACE_INDEX,
    IndexFunction,
    Key,
    ListOf,
    T,
)

_SWEPT = 4
"""Entries that are checked with each event of the cache below."""


class MutationCache(Generic[T]):
    """A Reader over an informer. See the module."""

    def __init__(
        self, informer: Informer[T], indexers: Mapping[str, IndexFunction[T]] | None = None
    ) -> None:
        """`indexers` are those of the informer; only they can be asked for."""
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
        """The cache below, for handlers of its changes."""
        return self._informer

    def mutated(self, obj: T) -> None:
        """Show this version, which a write or a live read returned, unless a newer one is known."""
        cached = self.get(obj.namespace, obj.name)
        if cached is None or _older(cached.resource_version, obj.resource_version):
            self._newer[(obj.namespace, obj.name)] = obj

    def not_found(self, obj: T) -> None:
        """Hide this object: a live read, or a delete, found that it is gone."""
        key = (obj.namespace, obj.name)
        newer = self._newer.get(key)
        if newer is not None and newer.uid == obj.uid:
            del self._newer[key]
        cached = self._informer.get(obj.namespace, obj.name)
        if cached is not None and cached.uid == obj.uid:
            self._absent[obj.uid] = None

    def is_confirmed(self, obj: T) -> bool:
        """Whether the cache below shows the object itself, in this or a newer version."""
        cached = self._informer.get(obj.namespace, obj.name)
        return (
            cached is not None
            and cached.uid == obj.uid
            and not _older(cached.resource_version, obj.resource_version)
        )

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
        """The objects for whose newest known version the index function gives that value."""
        function = self._indexers[index]
        return self._merged(
            self._informer.by_index(index, value), lambda obj: value in function(obj)
        )

    def resource_version(self, namespace: str) -> str:
        """How new the cache below is."""
        return self._informer.resource_version(namespace)

    def __len__(self) -> int:
        return len(self._informer)

    def expire(self) -> None:
        """Drop what the cache below has caught up with, also where no event of it came: bookmarks make it newer too."""
        for key in list(self._newer):
            self._valid(key, self._informer.get(*key))

    @property
    def pending(self) -> int:
        """Versions that the cache below does not show yet."""
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
        """The version kept here, if the cache below has not come as far; else it is dropped."""
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
    """Drops what the cache below has caught up with."""

    def __init__(self, informer: Informer[T], newer: dict[Key, T], absent: dict[str, None]) -> None:
        self._informer, self._newer, self._absent = informer, newer, absent

    def on_add(self, obj: T, initial: bool) -> None:
        """The cache shows the object."""
        self._caught_up(obj)

    def on_update(self, old: T, new: T) -> None:
        """The cache shows a newer version."""
        if old.uid != new.uid:
            self._absent.pop(old.uid, None)
        self._caught_up(new)

    def on_delete(self, obj: T, final_state_unknown: bool) -> None:
        """The object is gone. A later object of its name, if one was added here, stays."""
        self._absent.pop(obj.uid, None)
        newer = self._newer.get((obj.namespace, obj.name))
        if newer is not None and newer.uid == obj.uid:
            del self._newer[(obj.namespace, obj.name)]
        self._sweep()

    def _caught_up(self, obj: T) -> None:
        newer = self._newer.get((obj.namespace, obj.name))
        if newer is not None and not _older(obj.resource_version, newer.resource_version):
            del self._newer[(obj.namespace, obj.name)]
        self._sweep()

    def _sweep(self) -> None:
        """Drop what nobody asks for any more: the oldest entries, a few with each event."""
        for key in list(itertools.islice(self._newer, _SWEPT)):
            version = self._newer[key].resource_version
            if not _older(self._informer.resource_version(key[0]), version):
                del self._newer[key]


def _older(has: str, than: str) -> bool:
    """Whether the first resourceVersion is older; nothing ("") is older than everything."""
    if not has:
        return bool(than)
    try:
        return compare(has, than) < 0
    except MalformedResourceVersionError:
        return False
