"""core/v1 and events.k8s.io/v1 Events are one object in two forms; this converts."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

# (events.k8s.io/v1 field, core/v1 field)
_RENAMED = (
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
)
_TO_CORE = dict(_RENAMED)
_FROM_CORE = {core: new for new, core in _RENAMED}


def to_core(event: Object) -> Object:
    """An events.k8s.io/v1 Event as core/v1."""
    result = {_TO_CORE.get(key, key): value for key, value in event.items()}
    result["apiVersion"] = "v1"
    for key in ("reportingComponent", "reportingInstance"):
        result.setdefault(key, "")
    return result


def from_core(event: Object) -> Object:
    """A core/v1 Event as events.k8s.io/v1."""
    result = {_FROM_CORE.get(key, key): value for key, value in event.items()}
    result["apiVersion"] = "events.k8s.io/v1"
    for key in ("reportingController", "reportingInstance"):
        if result.get(key) == "":
            del result[key]
    return result
