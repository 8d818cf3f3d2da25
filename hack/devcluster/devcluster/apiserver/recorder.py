"""core/v1 Events as client-go's recorder writes them: one object for like events, whose count grows."""

from __future__ import annotations

import time
from typing import Any

from .gotime import format_time

Object = dict[str, Any]
AGGREGATE_SECONDS = 600.0


def reference_to(regarding: Object, field_path: str) -> Object:
    """An ObjectReference without empty fields."""
    metadata = regarding["metadata"]
    reference = {
        "kind": regarding.get("kind", ""),
        "namespace": metadata.get("namespace", ""),
        "name": metadata["name"],
        "uid": metadata.get("uid", ""),
        "apiVersion": regarding.get("apiVersion", ""),
        "resourceVersion": metadata.get("resourceVersion", ""),
        "fieldPath": field_path,
    }
    return {key: value for key, value in reference.items() if value}


class Correlator:
    """Maps each kind of event to the Event object that counts it."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], tuple[str, str, float]] = {}

    def find(self, key: tuple[str, ...], now: float) -> tuple[str, str] | None:
        """(namespace, name) of a similar event that is recent enough."""
        known = self._known.get(key)
        if known is None or now - known[2] > AGGREGATE_SECONDS:
            return None
        return known[0], known[1]

    def remember(self, key: tuple[str, ...], namespace: str, name: str, now: float) -> None:
        """Record the Event object of a kind of event."""
        if len(self._known) >= 4096:
            self._known.pop(next(iter(self._known)))
        self._known.pop(key, None)
        self._known[key] = (namespace, name, now)


def event_key(reference: Object, what: Object, source: Object) -> tuple[str, ...]:
    """The key of like events: source, regarded object, type, reason and message."""
    fields = ("kind", "namespace", "name", "uid", "apiVersion", "fieldPath")
    return (
        source["component"],
        source.get("host", ""),
        *(str(reference.get(field, "")) for field in fields),
        what["type"],
        what["reason"],
        what["message"],
    )


def counted_event(current: Object, now: float) -> Object:
    """An Event that occurred once more."""
    return {**current, "count": current.get("count", 1) + 1, "lastTimestamp": format_time(now)}


def new_event(reference: Object, what: Object, source: Object, now: float) -> Object:
    """A new Event. `what` has type, reason and message; `source` has component and perhaps host."""
    stamp = int(now * 1e9) + time.perf_counter_ns() % 1000
    return {
        "metadata": {
            "name": f"{reference['name']}.{stamp:x}",
            "namespace": reference.get("namespace") or "default",
        },
        "involvedObject": reference,
        **what,
        "source": source,
        "firstTimestamp": format_time(now),
        "lastTimestamp": format_time(now),
        "count": 1,
        "reportingComponent": source["component"],
        "reportingInstance": source.get("host", ""),
    }
