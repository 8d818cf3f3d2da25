"""Objects held in memory, by name and by index.

A store has one shard for each watch that fills it: one for the cluster, else one for each namespace. A
list fills a new shard, which then replaces the present one in one step, so that a reader never sees
half of a list, and the resourceVersion of a shard always matches its content.

Guarantees: reads are O(1) in the number of objects (by_index in that of its results); no method
awaits. Objects must be immutable: readers get them without a copy.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, NamedTuple, Protocol, TypeVar
from weakref import WeakSet

ALL_NAMESPACES = ""
"""The scope of a shard that spans the cluster."""
NAMESPACE_INDEX = "namespace"
"""The index that every store has."""


class Object(Protocol):
    """What a view must have; empty strings where the object has none."""

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
"""The built-in list, for classes that have a method of that name."""


class Reader(Protocol[T]):
    """Read access to a cache."""

    def get(self, namespace: str, name: str) -> T | None:
        """The object of that name."""

    def list(self, namespace: str | None = None) -> ListOf[T]:
        """All objects, or those of a namespace; in no particular order."""

    def by_index(self, index: str, value: str) -> ListOf[T]:
        """The objects for which the index function returned that value."""

    def resource_version(self, namespace: str) -> str:
        """The resourceVersion of that namespace's content; "" before the first list."""

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
        # Dictionaries serve as ordered sets, so that reads are reproducible.
        self._indexes: dict[str, dict[str, dict[Key, None]]] = {name: {} for name in functions}

    def put(self, obj: T) -> T | None:
        """Add or replace an object; returns the replaced one."""
        key = (obj.namespace, obj.name)
        old = self.items.get(key)
        self.items[key] = obj
        for name in self._functions:
            self._reindex(name, key, old=old, new=obj)
        return old

    def remove(self, namespace: str, name: str) -> T | None:
        """Remove an object; returns it."""
        key = (namespace, name)
        old = self.items.pop(key, None)
        if old is not None:
            for index in self._functions:
                self._reindex(index, key, old=old, new=None)
        return old

    def clear(self) -> None:
        """Remove all objects."""
        self.items = {}
        self._indexes = {name: {} for name in self._functions}

    def backfill(self, index: str) -> None:
        """Build an index whose function was added after objects."""
        self._indexes[index] = {}
        for key, obj in self.items.items():
            self._reindex(index, key, old=None, new=obj)

    def find(self, index: str, value: str) -> Iterator[T]:
        """The objects under a value of an index."""
        for key in self._indexes[index].get(value, ()):
            yield self.items[key]

    def index_values(self, index: str) -> Iterable[str]:
        """The values under which an index has objects."""
        return self._indexes[index].keys()

    def _reindex(self, index: str, key: Key, *, old: T | None, new: T | None) -> None:
        function = self._functions[index]
        before = () if old is None else tuple(function(old))
        after = () if new is None else tuple(function(new))
        if before == after:
            return
        table = self._indexes[index]
        for value in before:
            # A function may return a value twice, so the key may be removed already.
            if value not in after and value in table:
                table[value].pop(key, None)
                if not table[value]:
                    # Else values that no object has any more would accumulate.
                    del table[value]
        for value in after:
            table.setdefault(value, {})[key] = None


class Changes(NamedTuple, Generic[T]):
    """The differences between a list and the content that it replaces.

    Attributes:
        deleted: objects that the list lacks, in their last stored state.
        added: objects that only the list has.
        updated: old and new object where UID or resourceVersion differs.
    """

    deleted: list[T]
    added: list[T]
    updated: list[tuple[T, T]]


class Store(Generic[T]):
    """A Reader, and its write side."""

    def __init__(
        self,
        indexers: Mapping[str, IndexFunction[T]] | None = None,
        *,
        scopes: Iterable[str] = (ALL_NAMESPACES,),
    ) -> None:
        """`scopes` are the namespaces that are watched one by one, or only ALL_NAMESPACES."""
        self._functions: dict[str, IndexFunction[T]] = {NAMESPACE_INDEX: lambda o: (o.namespace,)}
        self._shards: dict[str, Shard[T]] = {scope: Shard(self._functions) for scope in scopes}
        self._unpublished: WeakSet[Shard[T]] = WeakSet()
        for name, function in (indexers or {}).items():
            self.add_index(name, function)

    def add_index(self, name: str, function: IndexFunction[T]) -> None:
        """Index all objects, present ones too, by the values that `function` returns.

        The function must be pure and must not raise: an exception ends the informer.

        Raises:
            DuplicateIndexError: an index of that name exists.
        """
        if name in self._functions:
            raise DuplicateIndexError(f"the index {name!r} exists already")
        self._functions[name] = function
        for shard in (*self._shards.values(), *self._unpublished):
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
        """The objects for which the index function returned that value.

        Raises:
            UnknownIndexError: no index of that name exists.
        """
        if index not in self._functions:
            raise UnknownIndexError(index)
        return [obj for shard in self._shards.values() for obj in shard.find(index, value)]

    def __len__(self) -> int:
        return sum(len(shard.items) for shard in self._shards.values())

    def resource_version(self, namespace: str) -> str:
        """The resourceVersion of that namespace's content; "" before its first list."""
        shard = self._shard(namespace)
        return "" if shard is None else shard.resource_version

    def put(self, scope: str, obj: T) -> T | None:
        """Add or replace an object; returns the replaced one."""
        return self._shards[scope].put(obj)

    def remove(self, scope: str, namespace: str, name: str) -> T | None:
        """Remove an object; returns it."""
        return self._shards[scope].remove(namespace, name)

    def set_resource_version(self, scope: str, resource_version: str) -> None:
        """Set the resourceVersion of the scope's content; call it after every event and bookmark."""
        self._shards[scope].resource_version = resource_version

    def new_shard(self) -> Shard[T]:
        """An empty shard to fill; no reader sees it before replace()."""
        shard = Shard(self._functions)
        self._unpublished.add(shard)
        return shard

    def replace(self, scope: str, shard: Shard[T], resource_version: str) -> Changes[T]:
        """Replace the scope's content by a filled shard.

        An object that has not changed stays the same Python object.
        """
        live = self._shards[scope]
        changes = Changes[T]([], [], [])
        changes.deleted.extend(obj for key, obj in live.items.items() if key not in shard.items)
        for key, obj in shard.items.items():
            old = live.items.get(key)
            if old is None:
                changes.added.append(obj)
            elif _same(old, obj):
                shard.items[key] = old
            else:
                changes.updated.append((old, obj))
        shard.resource_version = resource_version
        self._unpublished.discard(shard)
        self._shards[scope] = shard
        return changes

    def _shard(self, namespace: str) -> Shard[T] | None:
        return self._shards.get(ALL_NAMESPACES) or self._shards.get(namespace)


def _same(old: Object, new: Object) -> bool:
    unchanged = old.uid == new.uid and old.resource_version == new.resource_version
    return unchanged and bool(new.resource_version)
