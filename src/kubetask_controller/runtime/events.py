"""Events through events.k8s.io/v1: recorded at once, sent in the background.

Guarantees: `event` never blocks and never raises; what cannot be sent (a full queue, an API server that is gone) is dropped
and counted, never waited for. An Event that repeats becomes a series: its second time is written at once, further ones
every half hour. One that floods is held back by a bucket of 25 for each object, refilled by one in five minutes.

Unlike client-go, the key of a series has the note in it and no resourceVersion: a message that changes is seen, and an
object whose status moves still has one series.
"""

import asyncio
import random
import socket
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

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
from kubetask_controller.runtime.objectref import ObjectReference

__all__ = ["EventBroadcaster", "EventRecorder", "ObjectReference"]

QUEUE_SIZE = 1000
MAX_TRIES = 12
RETRY_SECONDS = 10.0
SERIES_IDLE = 6 * 60.0
"""Seconds without a repeat after which a series is closed."""
SERIES_HEARTBEAT = 30 * 60.0
"""Seconds between two writes of a series that goes on."""
SPAM_BURST = 25.0
SPAM_REFILL = 1 / 300
"""Events a second that an object may have once its burst is used up."""
MAX_KEYS = 4096
MAX_NOTE = 1024
_MAX_FIELD = 128
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"

logger = structlog.get_logger("events")

EventType = Literal["Normal", "Warning"]
_Key = tuple[ObjectReference, str, str, str, str, str]


@dataclass(slots=True)
class _Series:
    """An Event that was sent, and how often it happened since."""

    body: dict[str, Any]
    count: int
    last: float
    written: float
    last_time: str


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled: float


class EventRecorder:
    """Records what one component has to say."""

    def __init__(self, broadcaster: "EventBroadcaster", controller: str) -> None:
        self._broadcaster = broadcaster
        self._controller = controller

    def event(
        self, regarding: ObjectReference, *, type: EventType, reason: str, action: str, note: str
    ) -> None:
        """Tell users of `regarding` something; `note` is cut to 1,024 characters."""
        key: _Key = (regarding, type, reason, action, note[:MAX_NOTE], self._controller)
        self._broadcaster.take(key)


class EventBroadcaster:
    """Sends Events; a runnable that is to be stopped last."""

    name = "events"

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._queue: asyncio.Queue[_Key] = asyncio.Queue(QUEUE_SIZE)
        self._series: OrderedDict[_Key, _Series] = OrderedDict()
        self._buckets: OrderedDict[ObjectReference, _Bucket] = OrderedDict()
        self._instance = socket.gethostname()
        self._stopping = False
        self.dropped = 0

    def recorder(self, controller: str) -> EventRecorder:
        """A recorder for the component of that name."""
        return EventRecorder(self, controller)

    def take(self, key: _Key) -> None:
        """Queue an Event, unless its object has had too many or the queue is full."""
        if not self._allowed(key[0]):
            self.dropped += 1
            return
        try:
            self._queue.put_nowait(key)
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop` is set and what was recorded before has been tried once."""
        sender = asyncio.create_task(self._send_all(), name="events/sender")
        keeper = asyncio.create_task(self._keep_series(), name="events/series")
        try:
            await stop.wait()
            self._stopping = True
            keeper.cancel()
            await self._queue.join()
        finally:
            for task in (sender, keeper):
                task.cancel()
            await asyncio.gather(sender, keeper, return_exceptions=True)
            if self.dropped:
                logger.warning("Events were dropped", count=self.dropped)

    async def _send_all(self) -> NoReturn:
        while True:
            key = await self._queue.get()
            try:
                await self._send(key)
            except ClientError as error:
                self.dropped += 1
                logger.debug("Event could not be sent", error=str(error))
            finally:
                self._queue.task_done()

    async def _send(self, key: _Key) -> None:
        now = self._clock.monotonic()
        moment = self._clock.now().strftime(_TIME)
        series = self._series.get(key)
        if series is not None and now - series.last < SERIES_IDLE:
            series.count += 1
            series.last, series.last_time = now, moment
            if series.count == 2:
                await self._write_series(series)
            return
        body = self._body(key, moment)
        await self._create_with_retries(body)
        self._series[key] = _Series(body, 1, now, now, moment)
        self._series.move_to_end(key)
        if len(self._series) > MAX_KEYS:
            self._series.popitem(last=False)

    async def _create(self, body: dict[str, Any]) -> None:
        await self._client.create(EVENTS, body["metadata"]["namespace"], body)

    async def _create_with_retries(self, body: dict[str, Any]) -> None:
        for _ in range(MAX_TRIES - 1):
            try:
                return await self._create(body)
            except APIStatusError as error:
                if is_already_exists(error):
                    return None  # an earlier try was carried out, and its answer lost
                if error.code < 500 and error.code != 429:
                    raise
            except TransportError:
                pass
            if self._stopping:
                break
            await self._clock.sleep(RETRY_SECONDS * (1 + 0.25 * random.random()))
        return await self._create(body)

    async def _write_series(self, series: _Series) -> None:
        metadata = series.body["metadata"]
        state = {"count": series.count, "lastObservedTime": series.last_time}
        series.written = self._clock.monotonic()
        try:
            await self._client.patch(
                EVENTS, metadata["namespace"], metadata["name"], {"series": state}
            )
        except APIStatusError as error:
            if not is_not_found(error):
                raise
            # The API server keeps Events for an hour: what goes on longer is made anew.
            await self._create(series.body | {"series": state})

    async def _keep_series(self) -> NoReturn:
        """Write what series have counted, and close those that have gone quiet."""
        while True:
            await self._clock.sleep(SERIES_IDLE / 2)
            now = self._clock.monotonic()
            for key, series in list(self._series.items()):
                quiet = now - series.last >= SERIES_IDLE
                due = now - series.written >= SERIES_HEARTBEAT
                if series.last > series.written and (quiet or due):
                    try:
                        await self._write_series(series)
                    except ClientError as error:
                        logger.debug("Series of Events could not be written", error=str(error))
                if quiet:
                    self._series.pop(key, None)

    def _body(self, key: _Key, moment: str) -> dict[str, Any]:
        regarding, type, reason, action, note, controller = key
        name = f"{regarding.name[:230]}.{time.time_ns():x}"
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": name, "namespace": regarding.namespace or "default"},
            "eventTime": moment,
            "type": type,
            "reason": reason[:_MAX_FIELD],
            "action": action[:_MAX_FIELD],
            "note": note,
            "regarding": regarding.to_dict(),
            "reportingController": controller,
            "reportingInstance": f"{controller}-{self._instance}"[:_MAX_FIELD],
        }

    def _allowed(self, regarding: ObjectReference) -> bool:
        now = self._clock.monotonic()
        bucket = self._buckets.get(regarding)
        if bucket is None:
            bucket = self._buckets[regarding] = _Bucket(SPAM_BURST, now)
            if len(self._buckets) > MAX_KEYS:
                self._buckets.popitem(last=False)
        bucket.tokens = min(SPAM_BURST, bucket.tokens + (now - bucket.filled) * SPAM_REFILL)
        bucket.filled = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True
