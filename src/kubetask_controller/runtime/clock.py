"""The runtime's sources of time and randomness, which tests replace.

Two clocks, never mixed: wall time for times in objects, monotonic time for every duration and
deadline.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

Random = Callable[[], float]
"""Returns a number in [0, 1)."""


class Clock(Protocol):
    """Wall time, monotonic time and sleep."""

    def now(self) -> datetime:
        """Wall time, aware, in UTC. May step, so the difference of two is no duration."""

    def monotonic(self) -> float:
        """Seconds that never step: the event loop's time, which asyncio.timeout uses too."""

    async def sleep(self, seconds: float) -> None:
        """Wait; zero or less only yields."""


class RealClock:
    """The system's time; monotonic() needs a running event loop."""

    def now(self) -> datetime:
        """Wall time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """The event loop's time, which is CLOCK_MONOTONIC."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """asyncio.sleep."""
        await asyncio.sleep(seconds)
