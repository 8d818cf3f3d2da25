"""Objects held in memory, by name and by index.

A store is made of shards, one for each stream of events that fills it: one for a cluster-wide
watch, else one for each namespace. A list fills a *draft* shard beside the live one, which then
takes its place at once, so that a reader never sees half of a list, and the resourceVersion of a
shard always tells how new its content is.

Guarantees: reads are O(1) in the number of objects (by_index in that of its results); no method
awaits. Objects must be immutable: they are handed out without a copy.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, NamedTuple, Protocol, TypeVar
from weakref import WeakSet

ALL_NAMESPACES = ""
"""The scope of a shard that spans the cluster."""
NAMESPACE_INDEX = "namespace"
"""The index that every store has."""


class Object(Protocol):
    """What a projection must have; empty strings where the object has none."""

    @property
    def namespace(self) -> str:
        """metadata.namespace."""

    @property
    def name(self) -> str:
        """metadata.name."""

    @property
    def uid(self) -> str:
        """metadata.uid."""

    @property
    def resource_version(self) -> str:
        """metadata.resourceVersion."""


T = TypeVar("T", bound=Object)
Key = tuple[str, str]
IndexFunction = Callable[[T], Iterable[str]]
ListOf = list
"""The built-in, under a name that a method called list does not hide."""


class Reader(Protocol[T]):
    """Reading a cache."""

    def get(self, namespace: str, name: str) -> T | None:
        """The object of that name."""

    def list(self, namespace: str | None = None) -> ListOf[T]:
        """All objects, or those of a namespace; in no order that means anything."""

    def by_index(self, index: str, value: str) -> ListOf[T]:
        """The objects for which the index function gave that value."""

    def resource_version(self, namespace: str) -> str:
        """How new the content of that namespace is; "" before the first list."""

    def __len__(self) -> int: ...


class DuplicateIndexError(ValueError):
    """An index of that name exists."""


class UnknownIndexError(KeyError):
    """No index of that name exists."""


class Shard(Generic[T]):
    """The objects of one scope with their indexes."""

    def __init__(self, functions: Mapping[str, IndexFunction[T]]) -> None:
        self.resource_version = ""
        self.items: dict[Key, T] = {}
        self._functions = functions
        # Dictionaries serve as sets that keep their order, so that reads can be repeated.
        self._indexes: dict[str, dict[str, dict[Key, None]]] = {name: {} for name in functions}

    def put(self, obj: T) -> T | None:
        """Add or replace an object; the one it replaces."""
        key = (obj.namespace, obj.name)
        old = self.items.get(key)
        self.items[key] = obj
        for name in self._functions:
            self._reindex(name, key, old=old, new=obj)
        return old

    def remove(self, namespace: str, name: str) -> T | None:
        """Take an object out; the one that was there."""
        key = (namespace, name)
        old = self.items.pop(key, None)
        if old is not None:
            for index in self._functions:
                self._reindex(index, key, old=old, new=None)
        return old

    def clear(self) -> None:
        """Start anew."""
        self.items = {}
        self._indexes = {name: {} for name in self._functions}

    def backfill(self, index: str) -> None:
        """Build an index whose function was added after objects were."""
        self._indexes[index] = {}
        for key, obj in self.items.items():
            self._reindex(index, key, old=None, new=obj)

    def find(self, index: str, value: str) -> Iterator[T]:
        """The objects under a value of an index."""
        for key in self._indexes[index].get(value, ()):
            yield self.items[key]

    def index_values(self, index: str) -> Iterable[str]:
        """The values under which an index holds anything."""
        return self._indexes[index].keys()

    def _reindex(self, index: str, key: Key, *, old: T | None, new: T | None) -> None:
        function = self._functions[index]
        before = () if old is None else tuple(function(old))
        after = () if new is None else tuple(function(new))
        if before == after:
            return
        table = self._indexes[index]
        for value in before:
            # A function may give a value twice, so the key may be gone already.
            if value not in after and value in table:
                table[value].pop(key, None)
                if not table[value]:
                    # Else values that no object has any more would pile up.
                    del table[value]
        for value in after:
            table.setdefault(value, {})[key] = None


class Changes(NamedTuple, Generic[T]):
    """What a new list changed.

    Attributes:
        deleted: objects that are not in it, as they were last known.
        added: objects that were not there before.
        updated: old and new of those whose UID or resourceVersion differs.
    """

    deleted: list[T]
    added: list[T]
    updated: list[tuple[T, T]]


class Store(Generic[T]):
    """A Reader, and what fills it."""

    def __init__(
        self,
        indexers: Mapping[str, IndexFunction[T]] | None = None,
        *,
        scopes: Iterable[str] = (ALL_NAMESPACES,),
    ) -> None:
        """`scopes` are the namespaces that are filled one by one, or only ALL_NAMESPACES."""
        self._functions: dict[str, IndexFunction[T]] = {NAMESPACE_INDEX: lambda o: (o.namespace,)}
        self._shards: dict[str, Shard[T]] = {scope: Shard(self._functions) for scope in scopes}
        self._drafts: WeakSet[Shard[T]] = WeakSet()
        for name, function in (indexers or {}).items():
            self.add_index(name, function)

    def add_index(self, name: str, function: IndexFunction[T]) -> None:
        """Index by what `function` gives for an object; objects that are there are indexed too.

        The function must be pure, and must not raise: an error in it ends the informer.

        Raises:
            DuplicateIndexError: there is an index of that name.
        """
        if name in self._functions:
            raise DuplicateIndexError(f"the index {name!r} exists already")
        self._functions[name] = function
        for shard in (*self._shards.values(), *self._drafts):
            shard.backfill(name)

    def get(self, namespace: str, name: str) -> T | None:
        """The object of that name."""
        shard = self._shard(namespace)
        return None if shard is None else shard.items.get((namespace, name))

    def list(self, namespace: str | None = None) -> ListOf[T]:
        """All objects, or those of a namespace."""
        if namespace is not None:
            return self.by_index(NAMESPACE_INDEX, namespace)
        return [obj for shard in self._shards.values() for obj in shard.items.values()]

    def by_index(self, index: str, value: str) -> ListOf[T]:
        """The objects for which the index function gave that value.

        Raises:
            UnknownIndexError: there is no such index.
        """
        if index not in self._functions:
            raise UnknownIndexError(index)
        return [obj for shard in self._shards.values() for obj in shard.find(index, value)]

    def __len__(self) -> int:
        return sum(len(shard.items) for shard in self._shards.values())

    def resource_version(self, namespace: str) -> str:
        """How new the content of that namespace is; "" before its first list."""
        shard = self._shard(namespace)
        return "" if shard is None else shard.resource_version

    def put(self, scope: str, obj: T) -> T | None:
        """Add or replace an object; the one it replaces."""
        return self._shards[scope].put(obj)

    def remove(self, scope: str, namespace: str, name: str) -> T | None:
        """Take an object out; the one that was there."""
        return self._shards[scope].remove(namespace, name)

    def set_resource_version(self, scope: str, resource_version: str) -> None:
        """The scope's content is as new as this: to be told after every event and bookmark."""
        self._shards[scope].resource_version = resource_version

    def draft(self) -> Shard[T]:
        """An empty shard to fill; no reader sees it before replace()."""
        draft = Shard(self._functions)
        self._drafts.add(draft)
        return draft

    def replace(self, scope: str, draft: Shard[T], resource_version: str) -> Changes[T]:
        """Let a filled draft take the place of the scope's content.

        An object that has not changed stays the same Python object.
        """
        live = self._shards[scope]
        changes = Changes[T]([], [], [])
        changes.deleted.extend(obj for key, obj in live.items.items() if key not in draft.items)
        for key, obj in draft.items.items():
            old = live.items.get(key)
            if old is None:
                changes.added.append(obj)
            elif _same(old, obj):
                draft.items[key] = old
            else:
                changes.updated.append((old, obj))
        draft.resource_version = resource_version
        self._drafts.discard(draft)
        self._shards[scope] = draft
        return changes

    def _shard(self, namespace: str) -> Shard[T] | None:
        return self._shards.get(ALL_NAMESPACES) or self._shards.get(namespace)


def _same(old: Object, new: Object) -> bool:
    unchanged = old.uid == new.uid and old.resource_version == new.resource_version
    return unchanged and bool(new.resource_version)
