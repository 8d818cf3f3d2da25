"""RFC 3339 times as the API server writes them: whole seconds, UTC, ending in Z."""

from datetime import UTC, datetime

EPOCH = "1970-01-01T00:00:00Z"
"""The startedAt that a kubelet writes for a container that never started."""


def format_time(moment: datetime) -> str:
    """A time as ``metav1.Time``, with a precision of seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """A ``metav1.Time`` or ``MicroTime``.

    Raises:
        ValueError: the text is not an RFC 3339 time.
    """
    return datetime.fromisoformat(text)


def seconds_since(text: str, now: datetime) -> float:
    """Seconds since that time; 0 for a time in the future, as after a clock step."""
    return max((now - parse_time(text)).total_seconds(), 0.0)
