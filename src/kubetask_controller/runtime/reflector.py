"""A reflector keeps one scope of an informer equal to the API server by a list and a series of watches.

Each round lists once and then watches, one watch after the other, for as long as a watch can resume where the last one
ended. Where the server supports it, the list is streamed by the first watch; else it is read in pages, and the next round
tries streaming again.

Guarantees, as in client-go's reflector: a watch that ends normally is resumed at the last resourceVersion, without a list
and without a delay; while the server refuses connections or answers 429, the reflector retries after a delay, without a
list; an expired resourceVersion costs one list, which is not older than the stored content; every other failure waits and
starts a new round. run() ends only by cancellation, or by an error that is no ClientError: a fault of the program.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn, Self

import structlog

from kubetask_controller.client.errors import (
    APIStatusError,
    ClientError,
    TransportError,
    is_connection_refused,
    is_expired,
    is_internal_error,
    is_too_large_resource_version,
    is_too_many_requests,
)
from kubetask_controller.client.resources import Resource
from kubetask_controller.runtime.clock import Clock, Random, RealClock
from kubetask_controller.runtime.eventloop import Yielder
from kubetask_controller.runtime.informer import DELETED, ReflectorStore, TemporaryStore
from kubetask_controller.runtime.listwatch import PAGE_SIZE, ListerWatcher, list_pages
from kubetask_controller.runtime.metrics.clients import InformerMetrics, WatchEnd
from kubetask_controller.types import JSON

ADDED, MODIFIED, BOOKMARK, ERROR = "ADDED", "MODIFIED", "BOOKMARK", "ERROR"
_TYPES = frozenset((ADDED, MODIFIED, DELETED, BOOKMARK))
INITIAL_EVENTS_END = "k8s.io/initial-events-end"
MAX_RETRY_AFTER = 60.0
"""Seconds for which a server or a proxy in front of it may keep a watch closed."""
SHORTEST_WATCH = 1.0
"""Seconds; a watch that ends sooner without an event indicates a fault of the server or a proxy."""
MIN_WATCH_TIMEOUT = 300.0
"""Seconds; the server ends each watch after one to two times this, at random."""
SILENCE_WARNING = 10.0
"""Seconds between the warnings while a streamed list sends nothing."""
_INITIAL_DELAY, _MAX_DELAY, _RESET_AFTER = 0.8, 30.0, 120.0

logger = structlog.get_logger("reflector")


class Backoff:
    """Delays that double, each with a random part as large as itself: client-go's rule for reflectors.

    0.8 to 1.6 s first, in the end 30 to 60 s, and from the start again after two minutes without a call.
    """

    def __init__(self, clock: Clock, *, random: Random) -> None:
        self._clock = clock
        self._random = random
        self._next = _INITIAL_DELAY
        self._called_at: float | None = None

    def next_delay(self) -> float:
        """Seconds to wait now."""
        now = self._clock.monotonic()
        if self._called_at is not None and now - self._called_at > _RESET_AFTER:
            self._next = _INITIAL_DELAY
        self._called_at = now
        delay = self._next * (1 + self._random())
        self._next = min(self._next * 2, _MAX_DELAY)
        return delay


class WatchEvent(NamedTuple):
    """A valid watch event."""

    type: str
    object: JSON
    resource_version: str

    @property
    def ends_initial_events(self) -> bool:
        """Whether it is the bookmark at the end of a streamed list."""
        annotations = self.object["metadata"].get("annotations") or {}
        return self.type == BOOKMARK and annotations.get(INITIAL_EVENTS_END) == "true"


@dataclass(slots=True)
class Watch:
    """An open watch: it validates the events and counts them.

    Attributes:
        events: as the server sends them.
        resource: of the objects that are expected.
        metrics: counts invalid events.
        started: when the request was sent; some proxies answer only with the first event.
        ordered: whether events arrive in the order of their resourceVersions. The initial events of a watch that starts at
            "" or "0" do not.
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
        """The next valid event; invalid ones are logged, counted and skipped.

        Raises:
            APIStatusError: the server sent an ERROR event.
            TransportError: the stream broke, or was silent for too long.
        """
        while True:
            raw = await anext(self.events)
            self.count += 1
            event = self._validated(raw)
            if event is not None:
                self.ordered = self.ordered or event.type != ADDED
                return event
            self.metrics.event_dropped(str(self.resource))
            logger.error(
                "Unexpected watch event", type=str(self.resource), event_type=raw.get("type")
            )

    def _validated(self, raw: JSON) -> WatchEvent | None:
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


@dataclass(frozen=True, slots=True)
class ReflectorOptions:
    """How a reflector behaves; the defaults are client-go's.

    Attributes:
        streaming: try a streamed list first.
        page_size: items a page of a list that is not streamed.
        clock: for all delays.
        random: for all jitter.
        metrics: counts lists and watches.
    """

    streaming: bool = True
    page_size: int = PAGE_SIZE
    clock: Clock = field(default_factory=RealClock)
    random: Random = random.random
    metrics: InformerMetrics = field(default_factory=InformerMetrics)


class Reflector:
    """Fills one ReflectorStore. Runs once."""

    def __init__(
        self,
        resource: Resource,
        source: ListerWatcher,
        store: ReflectorStore[Any],
        *,
        options: ReflectorOptions | None = None,
    ) -> None:
        self._options = options or ReflectorOptions()
        self._resource = resource
        self._source = source
        self._store = store
        self._clock = self._options.clock
        self._metrics = self._options.metrics
        self._backoff = Backoff(self._clock, random=self._options.random)
        # The resourceVersion to resume from, and whether the server can no longer serve it.
        self._version = ""
        self._version_unavailable = False
        self._always_paginate = False
        self._log = logger.bind(type=str(resource))

    async def run(self) -> NoReturn:
        """Run rounds until cancelled, with a delay after each."""
        while True:
            failure: ClientError | None = None
            try:
                await self._round()
            except ClientError as error:
                failure = error
                self._log.warning("Failed to list or watch", error=str(error))
            await self._pause(failure)

    async def _round(self) -> None:
        async with AsyncExitStack() as stack:
            watch = None
            if self._options.streaming:
                try:
                    watch = await self._list_by_watch(stack)
                except ClientError as error:
                    await stack.aclose()
                    self._log.info("Streamed list failed, listing in pages", error=str(error))
            if watch is None:
                await self._list_in_pages()
            await self._watch(watch, stack)

    async def _list_by_watch(self, stack: AsyncExitStack) -> Watch:
        """Store a streamed list; returns its watch, which continues with the changes.

        Raises:
            ClientError: the server does not support it.
        """
        while True:
            temporary = self._store.temporary()
            try:
                watch = await stack.enter_async_context(self._open(initial_events=True))
                version = await self._read_initial_events(watch, temporary)
            except ClientError as error:
                await stack.aclose()
                await self._before_next_stream(error)
                continue
            if not version:
                # Closed before its end. Unlike client-go, wait: else a proxy that cuts every
                # connection would cause requests without a pause.
                await stack.aclose()
                await self._pause()
                continue
            await self._replace(temporary, version)
            return watch

    async def _read_initial_events(self, watch: Watch, temporary: TemporaryStore[Any]) -> str:
        """Read a streamed list; returns its resourceVersion, or "" when the watch ended too early."""
        yielder = Yielder()
        async with _silence_warnings(self._clock, self._warn) as received:
            async for event in watch:
                received()
                if event.ends_initial_events:
                    return event.resource_version
                if event.type == DELETED:
                    temporary.remove(event.object)
                elif event.type != BOOKMARK:
                    temporary.put(event.object)
                if yielder.due():
                    await yielder.pause()
        return ""

    async def _before_next_stream(self, error: ClientError) -> None:
        """Prepare to retry a streamed list; raises when this round must do without it."""
        unavailable = is_expired(error) or is_too_large_resource_version(error)
        if unavailable and not self._version_unavailable:
            self._version_unavailable = True
        elif _is_busy(error):
            await self._pause(error)
        else:
            raise error

    async def _list_in_pages(self) -> None:
        """Store a list that is read in pages."""
        temporary = self._store.temporary()
        version = "" if self._version_unavailable else self._version or "0"
        # The server serves a list that is not older than some version from its watch cache, but
        # only in one piece.
        limit = self._options.page_size if version in ("", "0") or self._always_paginate else 0
        try:
            result = await list_pages(
                self._source, temporary, resource_version=version, limit=limit
            )
        except APIStatusError as error:
            if not is_expired(error) and not is_too_large_resource_version(error):
                raise
            self._version_unavailable = True
            temporary.clear()
            result = await list_pages(self._source, temporary, resource_version="", limit=limit)
        # From version "0" only a server without a watch cache answers in pages.
        self._always_paginate = self._always_paginate or (version == "0" and result.paginated)
        await self._replace(temporary, result.resource_version)

    async def _replace(self, temporary: TemporaryStore[Any], version: str) -> None:
        self._version_unavailable = False
        await self._store.replace(temporary, version)
        self._version = version
        self._metrics.listed(str(self._resource))
        self._log.debug("Caches populated", resource_version=version)

    async def _watch(self, watch: Watch | None, stack: AsyncExitStack) -> None:
        """Run one watch after the other; returns when a new list is needed.

        Raises:
            ClientError: a watch could not be opened, and a delay would not help.
        """
        while True:
            error: ClientError | None = None
            try:
                if watch is None:
                    watch = await stack.enter_async_context(self._open())
                await self._apply(watch)
            except ClientError as caught:
                error = caught
            await stack.aclose()
            end = self._reason(error, watch)
            self._metrics.watch_ended(str(self._resource), end)
            self._log.debug("Watch closed", reason=end, error=error and str(error))
            if not await self._can_resume(end, error, watch):
                return
            watch = None

    async def _apply(self, watch: Watch) -> None:
        """Apply the events of a watch until it ends."""
        yielder = Yielder()
        async for event in watch:
            if event.type != BOOKMARK:
                self._store.apply(event.type, event.object)
            if watch.ordered and event.resource_version:
                self._version = event.resource_version
                self._store.advance(event.resource_version)
            if yielder.due():
                await yielder.pause()

    def _reason(self, error: ClientError | None, watch: Watch | None) -> WatchEnd:
        if isinstance(error, TransportError) and watch is None:
            return WatchEnd.REFUSED if error.refused else WatchEnd.BROKEN
        if error is None or isinstance(error, TransportError):
            # A connection that breaks is an end like any other: the next watch may resume there.
            if watch is not None and self._was_brief(watch) and not watch.count:
                return WatchEnd.SHORT
            if error is None:
                return WatchEnd.CLOSED
            return WatchEnd.SILENT if error.timed_out else WatchEnd.BROKEN
        return _status_reason(error)

    def _was_brief(self, watch: Watch) -> bool:
        return self._clock.monotonic() - watch.started < SHORTEST_WATCH

    async def _can_resume(
        self, end: WatchEnd, error: ClientError | None, watch: Watch | None
    ) -> bool:
        """Whether the next watch can resume without a list; returns after a delay where one is due."""
        if error is not None and _is_busy(error):
            await self._pause(error)
            return True
        if watch is None and error is not None:
            raise error
        if end is WatchEnd.BROKEN and watch is not None and self._was_brief(watch):
            # Unlike client-go: else a proxy that cuts every watch after its first event would
            # cause requests without a pause.
            await self._pause()
        return end in (WatchEnd.CLOSED, WatchEnd.BROKEN, WatchEnd.SILENT)

    @asynccontextmanager
    async def _open(self, *, initial_events: bool = False) -> AsyncIterator[Watch]:
        version = self._version
        params = {"allowWatchBookmarks": "true"}
        if initial_events:
            version = "" if self._version_unavailable else version
            params |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        if version:
            params["resourceVersion"] = version
        timeout = MIN_WATCH_TIMEOUT * (1 + self._options.random())
        started = self._clock.monotonic()
        async with self._source.watch(params, timeout_seconds=timeout) as events:
            yield Watch(
                events=events,
                resource=self._resource,
                metrics=self._metrics,
                started=started,
                ordered=version not in ("", "0"),
            )

    async def _pause(self, error: ClientError | None = None) -> None:
        """Wait for the next delay, and not less than the error's Retry-After, which is bounded: a cache must not freeze."""
        least = (error.retry_after if isinstance(error, APIStatusError) else None) or 0.0
        if least > MAX_RETRY_AFTER:
            self._log.warning("Retry-After is too long; trying again sooner", seconds=least)
        await self._clock.sleep(max(self._backoff.next_delay(), min(least, MAX_RETRY_AFTER)))

    def _warn(self, seconds: float) -> None:
        self._log.warning("Streamed list sends nothing, still waiting for its end", seconds=seconds)


def _is_busy(error: ClientError) -> bool:
    """The server is overloaded or restarting: a list would only add to its load."""
    return is_connection_refused(error) or is_too_many_requests(error)


def _status_reason(error: ClientError) -> WatchEnd:
    if is_expired(error):
        return WatchEnd.EXPIRED
    if is_too_many_requests(error):
        return WatchEnd.TOO_MANY_REQUESTS
    return WatchEnd.INTERNAL_ERROR if is_internal_error(error) else WatchEnd.ERROR


@asynccontextmanager
async def _silence_warnings(
    clock: Clock, warn: Callable[[float], None]
) -> AsyncIterator[Callable[[], None]]:
    """Within the block, call `warn` with the seconds of silence every SILENCE_WARNING seconds of it.

    Yields the function that the block calls when it has received something.
    """
    received_at = clock.monotonic()

    def received() -> None:
        nonlocal received_at
        received_at = clock.monotonic()

    async def run() -> None:
        while True:
            await clock.sleep(SILENCE_WARNING)
            silent = clock.monotonic() - received_at
            if silent >= SILENCE_WARNING:
                warn(silent)

    task = asyncio.create_task(run())
    try:
        yield received
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
