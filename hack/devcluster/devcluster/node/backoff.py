"""Growing delays by key, as client-go's flowcontrol.Backoff: 10 s, doubled each time, at most 5 minutes."""

from __future__ import annotations

from . import timing


class Backoffs:
    """Delays in seconds of the node's own time."""

    def __init__(self) -> None:
        self._delays: dict[str, float] = {}

    def next(self, key: str) -> float:
        """The delay before the next try."""
        delay = self._delays.get(key, timing.BACKOFF_SECONDS)
        self._delays[key] = min(delay * 2, timing.BACKOFF_MAX_SECONDS)
        return delay

    def next_after_first(self, key: str) -> float:
        """As `next`, but nothing the first time."""
        if key not in self._delays:
            self._delays[key] = timing.BACKOFF_SECONDS
            return 0.0
        return self.next(key)

    def reset(self, key: str) -> None:
        """Begin anew."""
        self._delays.pop(key, None)
