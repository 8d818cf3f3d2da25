"""History of changes and the watches fed from it.

Every change of one resource is an `Event`, kept in order until compaction. A `Watch` first replays what it missed, then gets
each new event as it happens; it never loses one and never blocks a writer. Bytes of an event are encoded once per
representation and shared by all watchers (`Event.cache`).
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator
from enum import StrEnum

from .records import Stored

ENCODED_EVENTS_KEPT = 2048


class EventType(StrEnum):
    """The type of a change."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class Event:
    """One change. `current` is the object after it (for DELETED: its last state, with the deletion's resourceVersion).

    `time` is of the monotonic clock.
    """

    __slots__ = ("_cache", "current", "previous", "revision", "time", "type")

    def __init__(
        self, type_: EventType, current: Stored, previous: Stored | None, *, time: float
    ) -> None:
        self.type = type_
        self.current = current
        self.previous = previous
        self.revision = current.revision
        self.time = time
        self._cache: dict[object, bytes] | None = None

    @property
    def cache(self) -> dict[object, bytes]:
        """Its encodings. Only those of recent events are kept; a late watcher encodes the event again."""
        cache = self._cache
        if cache is None:
            cache = self._cache = {}
            _encoded.append(self)
            if len(_encoded) > ENCODED_EVENTS_KEPT:
                _encoded.popleft()._cache = None
        return cache


_encoded: deque[Event] = deque()


class Watch:
    """A stream of events of one resource, in order. Close it, or leave it to `Storage.close_watches`."""

    __slots__ = ("_history", "_pending", "_waiter", "closed", "namespace")

    def __init__(self, history: History, namespace: str | None, backlog: list[Event]) -> None:
        self.namespace = namespace
        self.closed = False
        self._history = history
        self._pending: deque[Event] = deque(backlog)
        self._waiter: asyncio.Future[None] | None = None

    def push(self, event: Event) -> None:
        """Add an event and wake the reader."""
        self._pending.append(event)
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    @property
    def pending(self) -> int:
        """The number of events to drain."""
        return len(self._pending)

    @property
    def peers(self) -> int:
        """The number of watches of the resource."""
        return len(self._history.watches)

    def drain(self) -> list[Event]:
        """Everything pending, without waiting."""
        events = list(self._pending)
        self._pending.clear()
        return events

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until something is pending or the watch is closed. False when `timeout` seconds passed first."""
        if self._pending or self.closed:
            return True
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = loop.call_later(timeout, self._wake_late, waiter) if timeout is not None else None
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()
        return bool(self._pending) or self.closed

    @staticmethod
    def _wake_late(waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            waiter.set_result(None)

    def close(self) -> None:
        """End the stream; pending events may still be read."""
        if not self.closed:
            self.closed = True
            self._history.watches.discard(self)
            self._wake()

    async def __aiter__(self) -> AsyncIterator[Event]:
        try:
            while await self.wait():
                for event in self.drain():
                    yield event
                if self.closed:
                    return
        finally:
            self.close()


class History:
    """The events of one resource that are still known, and its open watches.

    `floor` is the newest resourceVersion whose successor is still complete: a watch may start at `floor` or later.
    """

    __slots__ = ("events", "floor", "revisions", "watches")

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self.events: list[Event] = []
        self.revisions: list[int] = []
        self.watches: set[Watch] = set()

    def append(self, event: Event) -> None:
        """Record an event and hand it to every watch of its namespace."""
        self.events.append(event)
        self.revisions.append(event.revision)
        namespace = event.current.namespace
        for watch in self.watches:
            if watch.namespace is None or watch.namespace == namespace:
                watch.push(event)

    def after(self, revision: int) -> list[Event]:
        """Events newer than `revision`, oldest first."""
        return self.events[bisect_right(self.revisions, revision) :]

    def compact(self, revision: int) -> None:
        """Discard events up to and including `revision`."""
        cut = bisect_right(self.revisions, revision)
        del self.events[:cut]
        del self.revisions[:cut]
        self.floor = max(self.floor, revision)

    def trim(self, keep: int, older_than: float) -> None:
        """Drop events beyond `keep`, or older than the clock reading `older_than`."""
        cut = max(0, len(self.events) - keep)
        while cut < len(self.events) and self.events[cut].time < older_than:
            cut += 1
        if cut:
            self.compact(self.revisions[cut - 1])
