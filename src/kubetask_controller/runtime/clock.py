"""Time as the runtime sees it, so that tests can move it.

Two clocks, never mixed: wall time for what is written into objects, monotonic time for every
duration and deadline.
"""

import asyncio
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where the runtime takes its time from."""

    def now(self) -> datetime:
        """Wall time, aware, in UTC. May step; never subtract two of these to get a duration."""

    def monotonic(self) -> float:
        """Seconds that never step; the event loop's own time, which asyncio.timeout uses too."""

    async def sleep(self, seconds: float) -> None:
        """Wait; zero and less only yield."""


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
