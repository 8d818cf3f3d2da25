"""Merges repeated Events into series, combines similar ones, and filters spam. Nothing here awaits or sends.

- An Event that repeats is a series: its second occurrence is written at once, later ones every half hour, and the final
  count when it stops.
- The eleventh note of one reason about one object within ten minutes, and all further ones, become one series.
- A token bucket of 25, refilled by one in five minutes, limits the new series of one object. Repeats need no token.

Unlike client-go, the key of a series contains the note and no resourceVersion: a changed message is a new Event, and an
object whose status changes still has one series.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, TypeVar

from kubetask_controller.runtime.clock import Clock
from kubetask_controller.runtime.meta import ObjectReference

SERIES_IDLE = 6 * 60.0
"""Seconds without a repeat after which due() closes a series."""
SERIES_HEARTBEAT = 30 * 60.0
"""Seconds between two writes of an open series."""
COMBINE_AFTER = 10
"""Number of different notes from which further ones are combined."""
COMBINE_SECONDS = 600.0
COMBINED = "(combined from similar events): "
SPAM_BURST = 25.0
SPAM_REFILL = 1 / 300
"""New series a second of one object after its burst."""
MAX_KEYS = 4096

EventType = Literal["Normal", "Warning"]
V = TypeVar("V")
K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class EventKey:
    """Two Events with equal keys belong to one series."""

    regarding: ObjectReference
    type: EventType
    reason: str
    action: str
    note: str
    controller: str


@dataclass(slots=True, eq=False)
class Series:
    """An Event, and its occurrences.

    Attributes:
        key: of the Event.
        note: its text.
        first: wall time of the first occurrence.
        last: wall time of the newest occurrence.
        observed_at: monotonic time of the newest occurrence.
        written_at: monotonic time of the last write.
        count: number of occurrences.
        written: the count that the API server has; 0 before the Event is created.
        name: of the Event; the sender sets it.
    """

    key: EventKey
    note: str
    first: datetime
    last: datetime
    observed_at: float
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
    """See the module. It keeps a bounded number of series and objects, the latest ones."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._series: OrderedDict[EventKey, Series] = OrderedDict()
        self._notes: OrderedDict[EventKey, _Notes] = OrderedDict()
        self._buckets: OrderedDict[tuple[ObjectReference, EventType, str], _Bucket] = OrderedDict()
        self.filtered = 0

    def observe(self, key: EventKey) -> Series | None:
        """Count an occurrence; returns the series that must be written now, or None."""
        now = self._clock.monotonic()
        note = key.note
        series = self._open(key)
        if series is None and self._must_combine(key, now):
            note = COMBINED + note
            key = replace(key, note=COMBINED)
            series = self._open(key)
        if series is not None:
            series.count += 1
            series.observed_at, series.last = now, self._clock.now()
            return series if series.count == 2 else None
        if not self._has_token(key, now):
            self.filtered += 1
            return None
        moment = self._clock.now()
        series = Series(key, note, moment, moment, now, now)
        self._series[key] = series
        _trim(self._series)
        return series

    def forget(self, series: Series) -> None:
        """Drop a series that could not be sent: its next occurrence starts a new one."""
        if self._series.get(series.key) is series:
            del self._series[series.key]

    def due(self) -> list[Series]:
        """The series whose count must be written; idle ones are closed."""
        now = self._clock.monotonic()
        due = []
        for key, series in list(self._series.items()):
            idle = now - series.observed_at >= SERIES_IDLE
            if series.count > series.written > 0 and (
                idle or now - series.written_at >= SERIES_HEARTBEAT
            ):
                due.append(series)
            if idle:
                del self._series[key]
        return due

    def unwritten(self) -> list[Series]:
        """The series whose count the API server lacks."""
        return [x for x in self._series.values() if x.count > x.written > 0]

    def _open(self, key: EventKey) -> Series | None:
        series = self._series.get(key)
        if series is not None:
            self._series.move_to_end(key)
        return series

    def _must_combine(self, key: EventKey, now: float) -> bool:
        notes = _get_or_create(self._notes, replace(key, note=""), lambda: _Notes(now))
        if now - notes.last > COMBINE_SECONDS:
            notes.seen.clear()
        notes.last = now
        if key.note not in notes.seen and len(notes.seen) >= COMBINE_AFTER:
            return True
        notes.seen.add(key.note)
        return False

    def _has_token(self, key: EventKey, now: float) -> bool:
        spender = (key.regarding, key.type, key.controller)
        bucket = _get_or_create(self._buckets, spender, lambda: _Bucket(SPAM_BURST, now))
        bucket.tokens = min(SPAM_BURST, bucket.tokens + (now - bucket.filled) * SPAM_REFILL)
        bucket.filled = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True


def _get_or_create(table: OrderedDict[K, V], key: K, make: Callable[[], V]) -> V:
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
