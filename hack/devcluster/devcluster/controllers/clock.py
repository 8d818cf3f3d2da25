"""Time for controllers and the node.

`now` is the cluster's wall clock (what objects show), `monotonic` what delays are measured with. A component's own delays
(batching, back-off, how long a sandbox takes) pass `speed` times faster; seconds in an object (deadlines,
grace, ttl) never do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

from devcluster.apiserver.gotime import format_time

__all__ = ["Clock", "format_time", "unix"]


class Clock:
    """Real time. `speed` divides the components' own delays."""

    def __init__(self, now: Callable[[], float] = time.time, *, speed: float = 1.0) -> None:
        self.now = now
        self.speed = speed

    def monotonic(self) -> float:
        """Seconds that only ever grow."""
        return time.monotonic()

    def stamp(self) -> str:
        """The time as objects show it."""
        return format_time(self.now())

    def scaled(self, seconds: float) -> float:
        """The real duration of a component's own delay."""
        return seconds / self.speed

    async def sleep(self, seconds: float) -> None:
        """Wait, in real seconds."""
        await asyncio.sleep(seconds)

    async def pause(self, seconds: float) -> None:
        """Wait for a delay of a component's own."""
        await asyncio.sleep(seconds / self.speed)


def unix(stamp: str) -> float:
    """The Unix time of a metav1.Time as the API server writes it."""
    return datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
