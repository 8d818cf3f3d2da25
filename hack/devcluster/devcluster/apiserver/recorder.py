"""core/v1 Events as client-go's recorder writes them: one object a kind of event, its count growing when it happens again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .gotime import format_time

if TYPE_CHECKING:
    from .local import LocalClient

Object = dict[str, Any]
AGGREGATE_SECONDS = 600.0


def _reference(regarding: Object, field_path: str) -> Object:
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
    """Remembers which Event object stands for which kind of event."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], tuple[str, str, float]] = {}

    def find(self, key: tuple[str, ...], now: float) -> tuple[str, str] | None:
        """(namespace, name) of a like event that is young enough."""
        known = self._known.get(key)
        if known is None or now - known[2] > AGGREGATE_SECONDS:
            return None
        return known[0], known[1]

    def remember(self, key: tuple[str, ...], namespace: str, name: str, now: float) -> None:
        """Note the object that stands for a kind of event."""
        if len(self._known) >= 4096:
            self._known.pop(next(iter(self._known)))
        self._known.pop(key, None)
        self._known[key] = (namespace, name, now)


def record(
    client: LocalClient, regarding: Object, what: Object, source: Object, field_path: str
) -> None:
    """Write or count up an Event. `what` has type, reason and message; `source` component and perhaps host."""
    from .local import EVENTS

    now = client.storage.clock()
    reference = _reference(regarding, field_path)
    correlator: Correlator = client.registry.correlator
    key = (
        source["component"],
        source.get("host", ""),
        *(
            str(reference.get(name, ""))
            for name in ("kind", "namespace", "name", "uid", "apiVersion", "fieldPath")
        ),
        what["type"],
        what["reason"],
        what["message"],
    )
    namespace = reference.get("namespace") or "default"
    known = correlator.find(key, now)
    if known is not None and client.find(EVENTS, *known) is not None:
        current = client.get(EVENTS, *known)
        changed = {
            **current,
            "count": current.get("count", 1) + 1,
            "lastTimestamp": format_time(now),
        }
        client.update(EVENTS, known[0], known[1], changed)
        correlator.remember(key, known[0], known[1], now)
        return
    stamp = int(now * 1e9) + time.perf_counter_ns() % 1000
    event = {
        "metadata": {"name": f"{reference['name']}.{stamp:x}", "namespace": namespace},
        "involvedObject": reference,
        **what,
        "source": source,
        "firstTimestamp": format_time(now),
        "lastTimestamp": format_time(now),
        "count": 1,
        "reportingComponent": source["component"],
        "reportingInstance": source.get("host", ""),
    }
    created = client.create(EVENTS, namespace, event)
    correlator.remember(key, namespace, created["metadata"]["name"], now)
