"""Times of the API, and durations in the format of kubectl."""

from datetime import UTC, datetime


def time_or_none(text: object) -> datetime | None:
    """A time of the API; None for invalid values."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None


def elapsed(start: object, end: object, now: datetime) -> float | None:
    """Seconds from start to end, or to now without an end; None without a start."""
    began = time_or_none(start)
    if began is None:
        return None
    return max((time_or_none(end) or now).timestamp() - began.timestamp(), 0.0)


def human(seconds: float | None) -> str:
    """The two largest units: 45s, 4m12s, 2h5m, 3d4h; empty for None."""
    if seconds is None:
        return ""
    whole = int(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if days:
        return f"{days}d{hours % 24}h"
    if hours:
        return f"{hours}h{minutes % 60}m"
    return f"{minutes}m{whole % 60}s" if minutes else f"{whole}s"


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Seconds of a Go duration such as 90s, 1h30m, or of a plain number of seconds.

    Raises:
        ValueError: the text is not a duration.
    """
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    total, number = 0.0, ""
    for character in text:
        if character in _UNITS and number:
            total, number = total + float(number) * _UNITS[character], ""
        else:
            number += character
    if number or not text:
        raise ValueError(f"{text!r} is not a duration such as 90s or 1h30m")
    return total
