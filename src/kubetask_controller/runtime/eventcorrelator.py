"""Which Events are one: series, combination of similar ones, and a spam filter. Nothing here awaits or sends.

- An Event that repeats is a series: its second time is to be written at once, later ones every half hour, and the last
  count when it has gone quiet.
- The eleventh note of one reason about one object within ten minutes, and all further ones, become one series.
- New series of one object are held back by a bucket of 25, refilled by one in five minutes. Repeats cost nothing.

Unlike client-go, the key of a series has the note in it and no resourceVersion: a message that changes is seen, and an
object whose status moves still has one series.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, TypeVar

from kubetask_controller.runtime.clock import Clock
from kubetask_controller.runtime.meta import ObjectReference

SERIES_IDLE = 6 * 60.0
"""Seconds without a repeat after which the next due() closes a series."""
SERIES_HEARTBEAT = 30 * 60.0
"""Seconds between two writes of a series that goes on."""
COMBINE_AFTER = 10
"""Notes that differ before further ones are combined."""
COMBINE_SECONDS = 600.0
COMBINED = "(combined from similar events): "
SPAM_BURST = 25.0
SPAM_REFILL = 1 / 300
"""New series a second that an object may have once its burst is used up."""
MAX_KEYS = 4096

EventType = Literal["Normal", "Warning"]
V = TypeVar("V")
K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class EventKey:
    """What makes two Events the same."""

    regarding: ObjectReference
    type: EventType
    reason: str
    action: str
    note: str
    controller: str


@dataclass(slots=True, eq=False)
class Series:
    """An Event, and how often it happened.

    Attributes:
        key: what it says.
        note: its text, as it is to be sent.
        first: wall time of the first one.
        last: wall time of the newest one.
        count: how often it happened.
        written: the count that the API server has; 0 before the Event was created.
        name: of the Event; up to whoever sends it.
    """

    key: EventKey
    note: str
    first: datetime
    last: datetime
    heard_at: float
    written_at: float
    count: int = 1
    written: int = 0
    name: str = ""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled: float


@dataclass(slots=True)
class _Notes:
    last: float
    seen: set[str] = field(default_factory=set)


class EventCorrelator:
    """See the module. Remembers a bounded number of series and objects, the latest ones."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._series: OrderedDict[EventKey, Series] = OrderedDict()
        self._notes: OrderedDict[EventKey, _Notes] = OrderedDict()
        self._buckets: OrderedDict[tuple[ObjectReference, EventType, str], _Bucket] = OrderedDict()
        self.held_back = 0

    def observe(self, key: EventKey) -> Series | None:
        """It happened: the series that is to be written now, None where there is nothing to write."""
        now = self._clock.monotonic()
        note = key.note
        series = self._open(key)
        if series is None and self._is_one_too_many(key, now):
            note = COMBINED + note
            key = replace(key, note=COMBINED)
            series = self._open(key)
        if series is not None:
            series.count += 1
            series.heard_at, series.last = now, self._clock.now()
            return series if series.count == 2 else None
        if not self._has_token(key, now):
            self.held_back += 1
            return None
        moment = self._clock.now()
        series = Series(key, note, moment, moment, now, now)
        self._series[key] = series
        _trim(self._series)
        return series

    def forget(self, series: Series) -> None:
        """It could not be sent: the next time it happens is the first again."""
        if self._series.get(series.key) is series:
            del self._series[series.key]

    def due(self) -> list[Series]:
        """The series whose count is to be written; those that have gone quiet are closed."""
        now = self._clock.monotonic()
        due = []
        for key, series in list(self._series.items()):
            quiet = now - series.heard_at >= SERIES_IDLE
            if series.count > series.written > 0 and (
                quiet or now - series.written_at >= SERIES_HEARTBEAT
            ):
                due.append(series)
            if quiet:
                del self._series[key]
        return due

    def unwritten(self) -> list[Series]:
        """The series of which the API server does not know the count."""
        return [x for x in self._series.values() if x.count > x.written > 0]

    def _open(self, key: EventKey) -> Series | None:
        series = self._series.get(key)
        if series is not None:
            self._series.move_to_end(key)
        return series

    def _is_one_too_many(self, key: EventKey, now: float) -> bool:
        notes = _remembered(self._notes, replace(key, note=""), lambda: _Notes(now))
        if now - notes.last > COMBINE_SECONDS:
            notes.seen.clear()
        notes.last = now
        if key.note not in notes.seen and len(notes.seen) >= COMBINE_AFTER:
            return True
        notes.seen.add(key.note)
        return False

    def _has_token(self, key: EventKey, now: float) -> bool:
        spender = (key.regarding, key.type, key.controller)
        bucket = _remembered(self._buckets, spender, lambda: _Bucket(SPAM_BURST, now))
        bucket.tokens = min(SPAM_BURST, bucket.tokens + (now - bucket.filled) * SPAM_REFILL)
        bucket.filled = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True


def _remembered(table: OrderedDict[K, V], key: K, make: Callable[[], V]) -> V:
    value = table.get(key)
    if value is None:
        value = table[key] = make()
        _trim(table)
    else:
        table.move_to_end(key)
    return value


def _trim(table: OrderedDict[K, V]) -> None:
    if len(table) > MAX_KEYS:
        table.popitem(last=False)
