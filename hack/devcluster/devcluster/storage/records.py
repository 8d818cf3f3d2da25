"""One stored object: its bytes, and a parsed form kept only while it is in use.

A Job is some 2.5 KB of JSON but some 40 KB of Python dicts, so the store holds the bytes; a bounded cache holds the parsed
form. Both are immutable by contract: a change builds a new object.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from pydantic_core import from_json, to_json

PARSED_OBJECTS_KEPT = 1024

_EMPTY: dict[str, str] = {}


class _ParsedCache:
    """The most recently used parsed objects, by record."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: OrderedDict[int, tuple[Stored, dict[str, Any]]] = OrderedDict()

    def get(self, record: Stored) -> dict[str, Any]:
        entry = self._entries.get(id(record))
        if entry is not None:
            return entry[1]
        parsed: dict[str, Any] = from_json(record.data)
        self.put(record, parsed)
        return parsed

    def is_of(self, record: Stored, obj: dict[str, Any]) -> bool:
        entry = self._entries.get(id(record))
        return entry is not None and entry[1] is obj

    def put(self, record: Stored, parsed: dict[str, Any]) -> None:
        self._entries[id(record)] = (record, parsed)
        if len(self._entries) > PARSED_OBJECTS_KEPT:
            self._entries.popitem(last=False)


_PARSED = _ParsedCache()


def is_stored(record: Stored, obj: dict[str, Any]) -> bool:
    """Whether a record was created from this very object, so that the record's bytes are the JSON of `obj`."""
    return _PARSED.is_of(record, obj)


class Stored:
    """An object at one resourceVersion. `data` is its JSON in storage form, `labels` are kept for selectors."""

    __slots__ = ("data", "labels", "name", "namespace", "revision", "uid")

    def __init__(self, obj: dict[str, Any], revision: int, *, keep: bool = True) -> None:
        """Take `obj`, whose metadata must already carry `revision` as its resourceVersion."""
        metadata = obj["metadata"]
        self.data: bytes = to_json(obj)
        self.labels: dict[str, str] = metadata.get("labels") or _EMPTY
        self.name: str = metadata["name"]
        self.namespace: str = metadata.get("namespace") or ""
        self.uid: str = metadata.get("uid") or ""
        self.revision = revision
        if keep:
            _PARSED.put(self, obj)

    @property
    def object(self) -> dict[str, Any]:
        """The parsed object. Shared: never change it in place."""
        return _PARSED.get(self)
