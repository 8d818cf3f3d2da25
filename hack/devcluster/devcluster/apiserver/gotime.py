"""Times as Go reads and writes them: RFC 3339 to the second (Time) or microsecond (MicroTime), always UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

TIME_LAYOUT = "2006-01-02T15:04:05Z07:00"
MICRO_LAYOUT = "2006-01-02T15:04:05.000000Z07:00"

_RFC3339 = re.compile(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)\Z", re.ASCII)
_PREFIX = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)


def format_time(moment: float) -> str:
    """A Unix time as metav1.Time."""
    return _format_second(int(moment))


@lru_cache(maxsize=64)
def _format_second(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro_time(moment: float) -> str:
    """A Unix time as metav1.MicroTime."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """A time from its JSON form. Raises ValueError with Go's message."""
    match = _RFC3339.match(text)
    if match is None:
        raise ValueError(_complaint(text, TIME_LAYOUT, "2006", "Z07:00"))
    day, clock, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}")
    except ValueError:
        raise ValueError(f'parsing time "{text}": day out of range') from None
    micros = int((fraction or ".0")[1:7].ljust(6, "0"))
    offset = timedelta() if zone == "Z" else _offset(zone)
    return (
        (moment + timedelta(microseconds=micros)).replace(tzinfo=timezone(offset)).astimezone(UTC)
    )


def _offset(zone: str) -> timedelta:
    sign = -1 if zone[0] == "-" else 1
    return sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))


def _complaint(text: str, layout: str, first: str, rest: str) -> str:
    prefix = _PREFIX.match(text)
    if prefix is not None:
        return f'parsing time "{text}" as "{layout}": cannot parse "{text[prefix.end() :]}" as "{rest}"'
    return f'parsing time "{text}" as "{layout}": cannot parse "{text}" as "{first}"'


def canonical_time(text: str) -> str:
    """The Time that Go writes for `text`."""
    return parse_time(text).strftime("%Y-%m-%dT%H:%M:%SZ")


def canonical_micro_time(text: str) -> str:
    """The MicroTime that Go writes for `text`; without microseconds it is refused, as Go does."""
    match = _RFC3339.match(text)
    if match is None or len(match.group(3) or "") != 7:
        raise ValueError(_complaint(text, MICRO_LAYOUT, "2006", ".000000"))
    return parse_time(text).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
