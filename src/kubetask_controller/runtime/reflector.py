"""Keeps one scope of an informer equal to the server: list, watch, and whatever goes wrong.

A round is a list and then watches, one after the other, for as long as they can go on from where the
last one ended. The list is streamed by the first watch where the server can do that, else read in
pages; the next round tries streaming again.

Guarantees, as client-go's reflector has them: a watch that ends as it should goes on at the last
resourceVersion, without a list and without a delay; a server that refuses connections or sheds load
is asked again after a delay, without a list; an expired resourceVersion costs one list, not older
than what is known; every other failure waits and begins a new round. run() ends only by
cancellation, or by an error that is no ClientError: a fault of the program.
"""

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

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
from kubetask_controller.runtime.backoff import Backoff, Random, RetryWindow
from kubetask_controller.runtime.clock import Clock, RealClock
from kubetask_controller.runtime.feed import Draft, Feed
from kubetask_controller.runtime.informermetrics import (
    InformerMetrics,
    NoInformerMetrics,
    WatchEnd,
)
from kubetask_controller.runtime.listwatch import ListerWatcher
from kubetask_controller.runtime.pager import PAGE_SIZE, list_pages
from kubetask_controller.runtime.silence import warn_of_silence
from kubetask_controller.runtime.slicing import TimeSlices
from kubetask_controller.runtime.watchstream import (
    BOOKMARK,
    DELETED,
    SHORTEST_WATCH,
    WatchStream,
)

MIN_WATCH_TIMEOUT = 300.0
"""Seconds; the server is asked to end each watch after one to two times this, at random."""
SILENCE_WARNING = 10.0
"""Seconds between the warnings while a streamed list does not come to its end."""

logger = structlog.get_logger("reflector")


@dataclass(frozen=True, slots=True)
class ReflectorOptions:
    """How a reflector behaves; the defaults are client-go's.

    Attributes:
        streaming: try a streamed list first.
        page_size: items a page of a list that is not streamed.
        internal_error_window: seconds for which a watch that ends with an internal error is opened
            again at once; 0 for never.
        clock: of everything that waits.
        random: of all jitter.
        metrics: is told what happens.
    """

    streaming: bool = True
    page_size: int = PAGE_SIZE
    internal_error_window: float = 0.0
    clock: Clock = field(default_factory=RealClock)
    random: Random = random.random
    metrics: InformerMetrics = field(default_factory=NoInformerMetrics)


class Reflector:
    """Fills one feed. Runs once."""

    def __init__(
        self,
        resource: Resource,
        source: ListerWatcher,
        feed: Feed[Any],
        *,
        options: ReflectorOptions | None = None,
    ) -> None:
        self._options = options or ReflectorOptions()
        self._resource = resource
        self._source = source
        self._feed = feed
        self._clock = self._options.clock
        self._metrics = self._options.metrics
        self._backoff = Backoff(self._clock, random=self._options.random)
        self._window = RetryWindow(self._clock, length=self._options.internal_error_window)
        # The resourceVersion from which to go on, and whether the server said it cannot.
        self._version = ""
        self._version_unavailable = False
        self._always_paginate = False
        self._log = logger.bind(type=str(resource))

    async def run(self) -> NoReturn:
        """Rounds for ever, with a delay after each."""
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
            stream = None
            if self._options.streaming:
                try:
                    stream = await self._list_by_watch(stack)
                except ClientError as error:
                    await stack.aclose()
                    self._log.info("Streamed list failed, listing in pages", error=str(error))
            if stream is None:
                await self._list_in_pages()
            await self._watch(stream, stack)

    async def _list_by_watch(self, stack: AsyncExitStack) -> WatchStream:
        """Take over a streamed list; the watch that brought it goes on as the live one.

        Raises:
            ClientError: the server cannot do it.
        """
        while True:
            draft = self._feed.draft()
            try:
                stream = await stack.enter_async_context(self._open(initial_events=True))
                version = await self._read_initial_events(stream, draft)
            except ClientError as error:
                await stack.aclose()
                await self._before_next_stream(error)
                continue
            if not version:
                # Closed before its end. Unlike client-go wait, or a proxy that cuts us off would
                # keep us both busy.
                await stack.aclose()
                await self._pause()
                continue
            await self._take_over(draft, version)
            return stream

    async def _read_initial_events(self, stream: WatchStream, draft: Draft[Any]) -> str:
        """Fill the draft; the list's resourceVersion, or "" when the stream ended too early."""
        slices = TimeSlices()
        async with warn_of_silence(self._clock, SILENCE_WARNING, self._warn) as heard:
            async for event in stream:
                heard()
                if event.ends_initial_events:
                    return event.resource_version
                if event.type == DELETED:
                    draft.remove(event.object)
                elif event.type != BOOKMARK:
                    draft.put(event.object)
                if slices.used_up():
                    await slices.rest()
        return ""

    async def _before_next_stream(self, error: ClientError) -> None:
        """Prepare to try a streamed list again, or give it up for this round by raising."""
        unavailable = is_expired(error) or is_too_large_resource_version(error)
        if unavailable and not self._version_unavailable:
            self._version_unavailable = True
        elif _asks_for_patience(error):
            await self._pause(error)
        else:
            raise error

    async def _list_in_pages(self) -> None:
        """Take over a list that is read in pages."""
        draft = self._feed.draft()
        version = "" if self._version_unavailable else self._version or "0"
        # A list that is to be not older than some version comes from the server's watch cache, but
        # only when it is asked for in one piece.
        limit = self._options.page_size if version in ("", "0") or self._always_paginate else 0
        try:
            result = await list_pages(self._source, draft, resource_version=version, limit=limit)
        except APIStatusError as error:
            if not is_expired(error) and not is_too_large_resource_version(error):
                raise
            self._version_unavailable = True
            draft.clear()
            result = await list_pages(self._source, draft, resource_version="", limit=limit)
        # From version "0" only a server without a watch cache answers in pages.
        self._always_paginate = self._always_paginate or (version == "0" and result.paginated)
        await self._take_over(draft, result.resource_version)

    async def _take_over(self, draft: Draft[Any], version: str) -> None:
        self._version_unavailable = False
        await self._feed.replace(draft, version)
        self._version = version
        self._metrics.listed(str(self._resource))
        self._log.debug("Caches populated", resource_version=version)

    async def _watch(self, stream: WatchStream | None, stack: AsyncExitStack) -> None:
        """Watch after watch; returns when a new list is needed.

        Raises:
            ClientError: a watch could not be opened, for a reason that patience does not cure.
        """
        while True:
            error: ClientError | None = None
            try:
                if stream is None:
                    stream = await stack.enter_async_context(self._open())
                await self._follow(stream)
            except ClientError as caught:
                error = caught
            await stack.aclose()
            end = self._why(error, stream)
            self._metrics.watch_ended(str(self._resource), end)
            self._log.debug("Watch closed", reason=end, error=error and str(error))
            if not await self._can_go_on(end, error, stream):
                return
            stream = None

    async def _follow(self, stream: WatchStream) -> None:
        """Apply the events of a watch until it ends."""
        slices = TimeSlices()
        async for event in stream:
            if event.type != BOOKMARK:
                self._feed.apply(event.type, event.object)
            if stream.ordered and event.resource_version:
                self._version = event.resource_version
                self._feed.advance(event.resource_version)
            if slices.used_up():
                await slices.rest()

    def _why(self, error: ClientError | None, stream: WatchStream | None) -> WatchEnd:
        if isinstance(error, TransportError) and stream is None:
            return WatchEnd.REFUSED if error.refused else WatchEnd.BROKEN
        if error is None or isinstance(error, TransportError):
            # A connection that breaks is an end like any other: nothing says that the next
            # watch cannot go on from there.
            if stream is not None and self._was_short(stream):
                return WatchEnd.SHORT
            if error is None:
                return WatchEnd.CLOSED
            return WatchEnd.SILENT if error.timed_out else WatchEnd.BROKEN
        return _why_refused(error)

    def _was_short(self, stream: WatchStream) -> bool:
        return self._was_brief(stream) and not stream.count

    def _was_brief(self, stream: WatchStream) -> bool:
        return self._clock.monotonic() - stream.started < SHORTEST_WATCH

    async def _can_go_on(
        self, end: WatchEnd, error: ClientError | None, stream: WatchStream | None
    ) -> bool:
        """Whether to open the next watch; after a delay, if need be."""
        if error is not None and _asks_for_patience(error):
            await self._pause(error)
            return True
        if stream is None and error is not None:
            raise error
        if end is WatchEnd.BROKEN and stream is not None and self._was_brief(stream):
            # Unlike client-go: a proxy that cuts every watch off after a first event would have
            # us ask without end.
            await self._pause()
        if end is WatchEnd.INTERNAL_ERROR:
            return self._window.allows_retry()
        return end in (WatchEnd.CLOSED, WatchEnd.BROKEN, WatchEnd.SILENT)

    @asynccontextmanager
    async def _open(self, *, initial_events: bool = False) -> AsyncIterator[WatchStream]:
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
            yield WatchStream(
                events=events,
                resource=self._resource,
                metrics=self._metrics,
                started=started,
                ordered=version not in ("", "0"),
            )

    async def _pause(self, error: ClientError | None = None) -> None:
        """Wait for the next delay, and not less than the server asked for."""
        asked = error.retry_after if isinstance(error, APIStatusError) else None
        await self._clock.sleep(max(self._backoff.next_delay(), asked or 0.0))

    def _warn(self, seconds: float) -> None:
        self._log.warning("Streamed list is silent, still waiting for its end", seconds=seconds)


def _asks_for_patience(error: ClientError) -> bool:
    """The server is there but busy, or about to come back: a list would only add to its load."""
    return is_connection_refused(error) or is_too_many_requests(error)


def _why_refused(error: ClientError) -> WatchEnd:
    if is_expired(error):
        return WatchEnd.EXPIRED
    if is_too_many_requests(error):
        return WatchEnd.TOO_MANY_REQUESTS
    return WatchEnd.INTERNAL_ERROR if is_internal_error(error) else WatchEnd.ERROR
