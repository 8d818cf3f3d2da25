"""Events of events.k8s.io/v1: recorded at once, sent in the background.

Guarantees: `event` never blocks and never raises; an Event that cannot be sent (a full queue, an unreachable API server) is
dropped and counted. Repeated Events become one Event with a count: see eventcorrelator.py.
"""

import asyncio
import random
import socket
import time
from typing import NoReturn

import structlog

from kubetask_controller.client.errors import (
    APIStatusError,
    ClientError,
    TransportError,
    is_already_exists,
    is_not_found,
)
from kubetask_controller.client.resources import EVENTS
from kubetask_controller.client.rest import Client
from kubetask_controller.runtime.clock import Clock
from kubetask_controller.runtime.eventcorrelator import (
    SERIES_IDLE,
    EventCorrelator,
    EventKey,
    EventType,
    Series,
)
from kubetask_controller.runtime.meta import ObjectReference, micro_time
from kubetask_controller.types import JSON

__all__ = ["EventBroadcaster", "EventRecorder", "EventType", "ObjectReference"]

QUEUE_SIZE = 1000
SENDERS = 4
MAX_TRIES = 12
RETRY_SECONDS = 10.0
RETRY_JITTER = 0.25
MAX_NOTE = 1024
"""Bytes, as the API server counts them."""
_MAX_FIELD = 128
_MAX_PREFIX = 230

logger = structlog.get_logger("events")


class EventRecorder:
    """Records the Events of one component."""

    def __init__(self, broadcaster: "EventBroadcaster", controller: str) -> None:
        self._broadcaster = broadcaster
        self._controller = controller

    def event(
        self, regarding: ObjectReference, *, type: EventType, reason: str, action: str, note: str
    ) -> None:
        """Record an Event about an object; `note` is cut to 1,024 bytes."""
        self._broadcaster.record(EventKey(regarding, type, reason, action, note, self._controller))


class EventBroadcaster:
    """Sends Events; a runnable that stops last."""

    name = "events"

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._correlator = EventCorrelator(clock)
        self._queue: asyncio.Queue[Series] = asyncio.Queue(QUEUE_SIZE)
        self._last_stamp = 0
        self._instance = socket.gethostname()
        self._stopping = asyncio.Event()
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """The number of Events that the spam filter dropped or that could not be sent."""
        return self._dropped + self._correlator.filtered

    def recorder(self, controller: str) -> EventRecorder:
        """A recorder for the component of that name."""
        return EventRecorder(self, controller)

    def record(self, key: EventKey) -> None:
        """Count the Event, and queue its series where it must be written."""
        series = self._correlator.observe(key)
        if series is None:
            return
        if not series.name:
            # Unlike client-go's, unique even where the clock stops or steps back.
            self._last_stamp = max(self._last_stamp + 1, time.time_ns())
            prefix = key.regarding.name[:_MAX_PREFIX].rstrip(".-")
            series.name = f"{prefix}.{self._last_stamp:x}"
            self._enqueue(series)
        elif series.written:
            self._enqueue(series)
        # Else it is being created, and its count is written after that.

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop` is set and every Event recorded before has been tried once."""
        tasks = [
            asyncio.create_task(self._send_all(), name=f"events/sender-{index}")
            for index in range(SENDERS)
        ]
        tasks.append(asyncio.create_task(self._keep_series(), name="events/series"))
        try:
            await stop.wait()
            self._stopping.set()
            for series in self._correlator.unwritten():
                self._enqueue(series)
            await self._queue.join()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self.dropped:
                logger.warning("Events were dropped", count=self.dropped)

    def _enqueue(self, series: Series) -> None:
        try:
            self._queue.put_nowait(series)
        except asyncio.QueueFull:
            self._drop(series)

    def _drop(self, series: Series) -> None:
        self._dropped += 1
        if not series.written:
            self._correlator.forget(series)

    async def _keep_series(self) -> NoReturn:
        while True:
            await self._clock.sleep(SERIES_IDLE / 2)
            for series in self._correlator.due():
                self._enqueue(series)

    async def _send_all(self) -> NoReturn:
        while True:
            series = await self._queue.get()
            try:
                await self._send(series)
            except ClientError as error:
                self._drop(series)
                logger.debug("Event could not be sent", error=str(error))
            except Exception:
                # Without this a sender would end, and Events would be lost once the queue is full.
                self._drop(series)
                logger.exception("Event could not be sent")
            finally:
                self._queue.task_done()

    async def _send(self, series: Series) -> None:
        if not series.written:
            body = self._body(series)
            count = series.count
            await self._create_with_retries(body)
            series.written, series.written_at = count, self._clock.monotonic()
        if series.count > series.written:
            await self._write_count(series)

    async def _create(self, body: JSON) -> None:
        await self._client.create(EVENTS, body["metadata"]["namespace"], body)

    async def _create_with_retries(self, body: JSON) -> None:
        for _ in range(MAX_TRIES - 1):
            try:
                return await self._create(body)
            except APIStatusError as error:
                if is_already_exists(error):
                    return None  # an earlier try succeeded, and its answer was lost
                if error.code < 500 and error.code != 429:
                    raise
            except TransportError:
                pass
            if await self._stopped_within(RETRY_SECONDS * (1 + RETRY_JITTER * random.random())):
                break
        return await self._create(body)

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    async def _write_count(self, series: Series) -> None:
        body = self._body(series)
        count = series.count
        namespace = body["metadata"]["namespace"]
        patch = {"series": body["series"]}
        try:
            await self._client.patch(EVENTS, namespace, series.name, patch)
        except APIStatusError as error:
            if not is_not_found(error):
                raise
            # The API server keeps Events for an hour: a longer series is recreated.
            await self._create(body)
        series.written, series.written_at = count, self._clock.monotonic()

    def _body(self, series: Series) -> JSON:
        key = series.key
        body: JSON = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": series.name, "namespace": key.regarding.namespace or "default"},
            "eventTime": micro_time(series.first),
            "type": key.type,
            "reason": _cut(key.reason, _MAX_FIELD),
            "action": _cut(key.action, _MAX_FIELD),
            "note": _cut(series.note, MAX_NOTE),
            "regarding": key.regarding.to_dict(),
            "reportingController": key.controller,
            "reportingInstance": _cut(f"{key.controller}-{self._instance}", _MAX_FIELD),
        }
        if series.count > 1:
            observed = micro_time(series.last)
            body["series"] = {"count": series.count, "lastObservedTime": observed}
        return body


def _cut(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, without a partial character at the end."""
    return text.encode(errors="replace")[:limit].decode(errors="ignore")
