"""From stored events to watch events: selection, synthetic ADDED and DELETED, bytes encoded once and shared."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

from devcluster.storage import Event, EventType, Stored

from .codec import ResourceCodec
from .selectors import Selection

Object = dict[str, Any]


def select(event: Event, selection: Selection) -> tuple[EventType, Stored, bool] | None:
    """An event for a watcher with `selection`: (type, record, whether it is the state before), or None.

    An object that enters the selection is ADDED; one that leaves it is DELETED, shown as it was, at the new resourceVersion.
    """
    if not selection:
        return event.type, event.current, False
    previous = event.previous
    before = previous is not None and selection.matches(previous)
    after = event.type is not EventType.DELETED and selection.matches(event.current)
    if event.type is EventType.DELETED:
        return (EventType.DELETED, event.current, False) if before else None
    if after:
        return (EventType.MODIFIED if before else EventType.ADDED), event.current, False
    if before and previous is not None:
        return EventType.DELETED, previous, True
    return None


def left_object(stored: Stored, revision: int) -> Object:
    """An object that left a selection: its last matching state, at the revision of the change."""
    obj = stored.object
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(revision)}}


def object_bytes(codec: ResourceCodec, stored: Stored) -> bytes:
    """The JSON of a stored object in the codec's version."""
    return to_json(codec.from_storage(stored.object)) if codec.converts else stored.data


def event_bytes(codec: ResourceCodec, event: Event, seen: tuple[EventType, Stored, bool]) -> bytes:
    """One line of a watch stream; shared by all watchers that see the same of an event."""
    type_, stored, left = seen
    key = (codec.info.api_version, type_, left)
    line = event.cache.get(key)
    if line is None:
        gone = left_object(stored, event.revision) if left else None
        body = (
            to_json(codec.from_storage(gone)) if gone is not None else object_bytes(codec, stored)
        )
        line = b'{"type":"%s","object":%s}\n' % (type_.encode(), body)
        event.cache[key] = line
    return line
