"""RFC 3339 times as the API server writes them: whole seconds, UTC, ending in Z."""

from datetime import UTC, datetime

EPOCH = "1970-01-01T00:00:00Z"
"""What a kubelet writes as startedAt of a container that never started."""


def format_time(moment: datetime) -> str:
    """``metav1.Time``: seconds are the finest unit."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """A ``metav1.Time`` or ``MicroTime``.

    Raises:
        ValueError: the text is no RFC 3339 time.
    """
    return datetime.fromisoformat(text)


def seconds_since(text: str, now: datetime) -> float:
    """How long ago that was, in seconds; a time in the future (a clock that steps back) counts as now."""
    return max((now - parse_time(text)).total_seconds(), 0.0)
