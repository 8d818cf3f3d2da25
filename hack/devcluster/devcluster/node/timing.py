"""Delays of the node, in seconds.

Delays of its own (back-off, resync) are those of a kubelet and pass `Clock.speed` times faster; delays from an
object never do.
"""

from __future__ import annotations

SANDBOX_SECONDS = 0.01
PULL_SECONDS = 0.02
RESYNC_SECONDS = 5.0
"""Seconds until the next try to create a container after a failure (a kubelet: 10 to 15)."""
SETTLE_SECONDS = 0.05
"""From the start of the last of several containers to the status that shows them; not divided by the speed."""
SEEN_SECONDS = 0.8
"""A container that runs longer is shown as running, even if others have to be started first."""
MOUNT_BACKOFF_SECONDS = 0.5
MOUNT_BACKOFF_MAX_SECONDS = 122.0
BACKOFF_SECONDS = 10.0
BACKOFF_MAX_SECONDS = 300.0
BACKOFF_RESET_SECONDS = 600.0
DEFAULT_GRACE_SECONDS = 30
FORCED_GRACE_SECONDS = 1
STOP_SECONDS = 5.0
"""Time that `Node.stop` waits for killed processes to exit."""


class Backoffs:
    """Delays in seconds of the node's own time."""

    def __init__(self) -> None:
        self._delays: dict[str, float] = {}

    def next(self, key: str) -> float:
        """The delay before the next try."""
        delay = self._delays.get(key, BACKOFF_SECONDS)
        self._delays[key] = min(delay * 2, BACKOFF_MAX_SECONDS)
        return delay

    def next_after_first(self, key: str) -> float:
        """As `next`, but nothing the first time."""
        if key not in self._delays:
            self._delays[key] = BACKOFF_SECONDS
            return 0.0
        return self.next(key)

    def reset(self, key: str) -> None:
        """Start again with the first delay."""
        self._delays.pop(key, None)
