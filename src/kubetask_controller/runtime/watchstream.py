"""One watch while it is open: its events understood, its resourceVersion followed."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import structlog

from kubetask_controller.client.errors import APIStatusError
from kubetask_controller.client.resources import Resource
from kubetask_controller.runtime.informermetrics import InformerMetrics

JSON = dict[str, Any]
ADDED, MODIFIED, DELETED, BOOKMARK, ERROR = "ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"
_TYPES = frozenset((ADDED, MODIFIED, DELETED, BOOKMARK))
INITIAL_EVENTS_END = "k8s.io/initial-events-end"
SHORTEST_WATCH = 1.0
"""Seconds; a watch that ends sooner without an event says that something is wrong."""

logger = structlog.get_logger("reflector")


class WatchEvent(NamedTuple):
    """A watch event that makes sense."""

    type: str
    object: JSON
    resource_version: str

    @property
    def ends_initial_events(self) -> bool:
        """The bookmark after which a streamed list is whole."""
        annotations = self.object["metadata"].get("annotations") or {}
        return self.type == BOOKMARK and annotations.get(INITIAL_EVENTS_END) == "true"


@dataclass(slots=True)
class WatchStream:
    """An open watch.

    Attributes:
        events: what the server sends.
        resource: what it should be about.
        metrics: is told of events that make no sense.
        started: when the request was sent; some proxies answer only with the first event.
        ordered: whether events come in the order of their resourceVersions. They do not while a
            watch that began at "" or "0" first sends what exists.
        count: events so far, bookmarks included.
    """

    events: AsyncIterator[JSON]
    resource: Resource
    metrics: InformerMetrics
    started: float
    ordered: bool = True
    count: int = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchEvent:
        """The next event that makes sense.

        Raises:
            APIStatusError: the server sent an ERROR event.
            TransportError: the stream broke, or was silent for too long.
        """
        while True:
            raw = await anext(self.events)
            self.count += 1
            event = self._understood(raw)
            if event is not None:
                self.ordered = self.ordered or event.type != ADDED
                return event
            self.metrics.event_dropped(str(self.resource))
            logger.error(
                "Unexpected watch event", type=str(self.resource), event_type=raw.get("type")
            )

    def _understood(self, raw: JSON) -> WatchEvent | None:
        kind, obj = raw.get("type"), raw.get("object")
        if not isinstance(obj, dict):
            return None
        if kind == ERROR:
            raise APIStatusError.from_status(obj)
        metadata = obj.get("metadata")
        if (
            kind not in _TYPES
            or obj.get("kind") != self.resource.kind
            or obj.get("apiVersion") != self.resource.api_version
            or not isinstance(metadata, dict)
        ):
            return None
        return WatchEvent(kind, obj, metadata.get("resourceVersion") or "")
