"""Watch streams over HTTP: resume, initial events, bookmarks, selection, expiry, shared bytes."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web
from pydantic_core import to_json

from devcluster.storage import CompactedError, Event, EventType, Storage, Stored, Watch

from . import fanout
from .codec import ResourceCodec
from .errors import (
    FieldError,
    StatusError,
    bad_request,
    expired,
    invalid,
    too_large_resource_version,
)
from .lists import parse_revision
from .selectors import Selection

if TYPE_CHECKING:
    from .faults import WatchGate

MIN_TIMEOUT = 1800.0
BOOKMARK_SECONDS = 60.0
BOOKMARK_LEAD = 2.0
LINGER = 0.005  # while events pour in, wait this long to write several at once
LONGEST_LINGER = 0.05  # with many watchers, so that the server has time for anything else
WATCHERS_A_LINGER = 5
INITIAL_END = "k8s.io/initial-events-end"

Seen = tuple[EventType, Stored, bool]
Render = Callable[[Event, Seen], bytes]


@dataclass(frozen=True, slots=True)
class WatchQuery:
    """The parameters of a watch. `since` None means any state, starting with synthetic ADDED events."""

    since: int | None
    timeout: float
    bookmarks: bool
    initial: bool
    most_recent: bool = False

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> WatchQuery:
        """From a request's query. Raises StatusError."""
        version = query.get("resourceVersion", "")
        revision = parse_revision(version) if version else 0
        send_initial = query.get("sendInitialEvents")
        match = query.get("resourceVersionMatch", "")
        bookmarks = query.get("allowWatchBookmarks") in ("1", "true", "True")
        _check_initial(send_initial, match)
        timeout = float(query.get("timeoutSeconds", "0") or 0)
        if send_initial == "true" or send_initial == "1":
            return cls(revision or None, timeout, bookmarks, initial=True)
        if send_initial in ("false", "0") and not revision:
            return cls(None, timeout, bookmarks, initial=False, most_recent=True)
        return cls(revision or None, timeout, bookmarks, initial=False)


def _check_initial(send_initial: str | None, match: str) -> None:
    if match and send_initial is None:
        error = FieldError(
            "FieldValueForbidden",
            "resourceVersionMatch",
            "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        )
        raise invalid("meta.k8s.io", "ListOptions", "", [error])
    if send_initial is not None and match != "NotOlderThan":
        error = FieldError(
            "FieldValueForbidden",
            "sendInitialEvents",
            "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        )
        raise invalid("meta.k8s.io", "ListOptions", "", [error])


class WatchStream:
    """One client's watch: its selection, the form of its events, and its timeout."""

    def __init__(
        self,
        storage: Storage,
        codec: ResourceCodec,
        namespace: str | None,
        query: WatchQuery,
        selection: Selection,
    ) -> None:
        self.storage = storage
        self.codec = codec
        self.query = query
        self.selection = selection
        self.namespace = namespace
        self.render: Render = lambda event, seen: fanout.event_bytes(codec, event, seen)
        self.render_bookmark: Callable[[dict[str, object]], bytes] = self._bookmark_bytes
        self.gate: WatchGate | None = None
        self.first: list[bytes] = []
        self.watch: Watch | None = None
        self._error: StatusError | None = None

    def open(self) -> None:
        """Attach to the store. Must run in the request's transaction. An expired start becomes an ERROR event."""
        query, key = self.query, self.codec.info.storage_key
        current = self.storage.revision
        if query.since is not None and query.since > current:
            if query.initial:
                raise too_large_resource_version(query.since, current)
            self.watch = self.storage.watch(key, self.namespace)
            return
        if query.initial or (query.since is None and not query.most_recent):
            self.first = [
                self._added(item)
                for item in self.storage.list(key, self.namespace)
                if self.selection.matches(item)
            ]
            if query.initial and query.bookmarks:
                self.first.append(self._bookmark({INITIAL_END: "true"}))
            self.watch = self.storage.watch(key, self.namespace)
            return
        try:
            self.watch = self.storage.watch(key, self.namespace, since=query.since)
        except CompactedError as error:
            self._error = expired(str(error))

    def _added(self, stored: Stored) -> bytes:
        event = Event(EventType.ADDED, stored, None, time=0.0)
        return self.render(event, (EventType.ADDED, stored, False))

    def _bookmark(self, annotations: dict[str, str] | None = None) -> bytes:
        metadata: dict[str, object] = {"resourceVersion": str(self.storage.revision)}
        if annotations:
            metadata["annotations"] = annotations
        return self.render_bookmark(metadata)

    def _bookmark_bytes(self, metadata: dict[str, object]) -> bytes:
        info = self.codec.info
        obj: dict[str, object] = {
            "kind": info.kind,
            "apiVersion": info.api_version,
            "metadata": metadata,
        }
        for name, empty in self.codec.node.emitted.items():
            obj[name] = empty
        return to_json({"type": "BOOKMARK", "object": obj}) + b"\n"

    async def run(self, response: web.StreamResponse) -> None:
        """Write events until the timeout, until the store ends the watch or until the client disconnects."""
        if self.gate is not None:
            self.gate.attach(self.watch)
            await self.gate.opened()
        try:
            if self._error is not None:
                raise self._error
            watch = self.watch
            assert watch is not None
            if self.first:
                await response.write(b"".join(self.first))
                self.first = []
            await self._pump(watch, response)
        except StatusError as error:
            await response.write(to_json({"type": "ERROR", "object": error.body()}) + b"\n")

    def close(self) -> None:
        """Detach from the store."""
        if self.watch is not None:
            self.watch.close()

    async def _pump(self, watch: Watch, response: web.StreamResponse) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        timeout = self.query.timeout or random.uniform(MIN_TIMEOUT, 2 * MIN_TIMEOUT)
        deadline = started + timeout
        bookmark_at = self._next_bookmark(started, deadline)
        busy = False
        while True:
            now = loop.time()
            if now >= deadline:
                if self.gate is not None:
                    await self.gate.opened()
                return
            limit = min(deadline, bookmark_at) if self.query.bookmarks else deadline
            if await watch.wait(max(0.0, limit - now)):
                busy = await self._write_pending(watch, response, busy)
                if watch.closed:
                    return
            now = loop.time()
            if self.query.bookmarks and now >= bookmark_at:
                if self.gate is not None:
                    await self.gate.opened()
                # A bookmark guarantees that all earlier events were sent, so send pending events first.
                if not watch.pending:
                    await response.write(self._bookmark())
                    bookmark_at = self._next_bookmark(now, deadline)

    @staticmethod
    def _next_bookmark(now: float, deadline: float) -> float:
        """Every minute, and once shortly before the end."""
        last = deadline - BOOKMARK_LEAD
        return min(now + BOOKMARK_SECONDS, last) if last > now else deadline + 1

    async def _write_pending(self, watch: Watch, response: web.StreamResponse, busy: bool) -> bool:
        """Write pending events. Returns whether more than one event came, so that the next round lingers."""
        if busy:
            await asyncio.sleep(
                min(LINGER * max(1.0, watch.peers / WATCHERS_A_LINGER), LONGEST_LINGER)
            )
        events = watch.drain()
        gate = self.gate
        if gate is not None and gate.holds:
            await self._write_held(gate, deque(events), response)
        else:
            await self._write(events, response)
        return len(events) > 0

    async def _write_held(
        self, gate: WatchGate, events: deque[Event], response: web.StreamResponse
    ) -> None:
        while events:
            await gate.passes(events[0])
            if gate.expired:
                floor = self.storage.floor(self.codec.info.storage_key)
                raise expired(str(CompactedError(events[0].revision, floor)))
            due = []
            while events and gate.is_due(events[0]):
                due.append(events.popleft())
            await self._write(due, response)

    async def _write(self, events: list[Event], response: web.StreamResponse) -> None:
        lines = []
        for event in events:
            seen = fanout.select(event, self.selection)
            if seen is not None:
                lines.append(self.render(event, seen))
        if lines:
            await response.write(lines[0] if len(lines) == 1 else b"".join(lines))


def check_watchable(codec: ResourceCodec) -> None:
    """Refuse a watch of a resource without the watch verb."""
    if "watch" not in codec.info.verbs:
        raise bad_request(f"watch is not supported on resources of kind {codec.info.kind}")
