"""metadata.managedFields: who owns which field.

Updates compare the stored object with the new one and give the changed fields to the writer; applies own what they name. Sets
of fields are kept in their JSON form (FieldsV1), as `fieldset` describes.
"""

from __future__ import annotations

from typing import Any

from . import fieldset
from .fieldset import FieldSet
from .schema import SchemaNode

Object = dict[str, Any]
Entry = dict[str, Any]

_STRIPPED = (
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "generation",
    "managedFields",
    "resourceVersion",
)
_SYSTEM_PATHS: FieldSet = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {".": {}, **{f"f:{name}": {} for name in _STRIPPED}},
}


def strip(fields: FieldSet, reset: tuple[str, ...]) -> FieldSet:
    """`fields` without those that have no owner: identity, server-set metadata, and the top-level fields in `reset`."""
    kept = fieldset.difference(fields, _SYSTEM_PATHS)
    for name in reset:
        kept.pop(f"f:{name}", None)
    metadata = kept.get("f:metadata")
    if metadata == {}:
        del kept["f:metadata"]
    return kept


def find(
    entries: list[Entry], manager: str, operation: str, api_version: str, subresource: str
) -> Entry | None:
    """The entry of one writer, or None."""
    for entry in entries:
        if (
            entry.get("manager") == manager
            and entry.get("operation") == operation
            and entry.get("subresource", "") == subresource
            and (operation == "Apply" or entry.get("apiVersion") == api_version)
        ):
            return entry
    return None


class Writer:
    """One write's part in ownership: manager, version, subresource, time, and what the write cannot own."""

    __slots__ = ("api_version", "manager", "reset", "subresource", "time")

    def __init__(
        self, manager: str, api_version: str, subresource: str, time: str, reset: tuple[str, ...]
    ) -> None:
        self.manager = manager
        self.api_version = api_version
        self.subresource = subresource
        self.time = time
        self.reset = reset

    def entry(self, operation: str, fields: FieldSet) -> Entry:
        """A managedFields entry of this writer."""
        entry: Entry = {
            "manager": self.manager,
            "operation": operation,
            "apiVersion": self.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
        }
        if self.subresource:
            entry["subresource"] = self.subresource
        return entry


def update(node: SchemaNode, live: Object, new: Object, writer: Writer) -> None:
    """Record an update from `live` (an empty object on create) to `new` in new's managedFields.

    A writer that sends managedFields `[]` or `[{}]` resets them; entries sent otherwise are taken over.
    """
    added, modified, removed = fieldset.compare(node, live, new)
    changed = strip(fieldset.union(added, modified), writer.reset)
    removed = strip(removed, writer.reset)
    entries: list[Entry] = (
        new["metadata"].get("managedFields") or live["metadata"].get("managedFields") or []
    )
    entries = [entry for entry in entries if entry.get("fieldsV1") is not None]
    if changed or removed:
        entries = _after_change(entries, changed, removed, writer)
    store(new, entries)


def _after_change(
    entries: list[Entry], changed: FieldSet, removed: FieldSet, writer: Writer
) -> list[Entry]:
    own = find(entries, writer.manager, "Update", writer.api_version, writer.subresource)
    result: list[Entry] = []
    for entry in entries:
        if entry is own:
            continue
        lost = fieldset.union(changed, removed)
        fields = fieldset.difference(entry["fieldsV1"], lost)
        if fields:
            result.append({**entry, "fieldsV1": fields})
    before = fieldset.difference(own["fieldsV1"], removed) if own is not None else {}
    fields = fieldset.union(before, changed)
    if fields:
        entry = writer.entry("Update", fields)
        if own is not None and not changed:
            entry["time"] = own.get("time", writer.time)
        result.append(entry)
    return result


def store(new: Object, entries: list[Entry]) -> None:
    """Put entries into an object in the server's order."""
    if not entries:
        new["metadata"].pop("managedFields", None)
        return
    new["metadata"]["managedFields"] = sorted(entries, key=_order)


def _order(entry: Entry) -> tuple[str, ...]:
    return (
        entry.get("operation", ""),
        entry.get("time", ""),
        entry.get("manager", ""),
        entry.get("apiVersion", ""),
        entry.get("subresource", ""),
    )
