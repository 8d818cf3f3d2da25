"""Long work on the event loop, cut into slices that let everything else run in between."""

import asyncio
from time import perf_counter

SLICE = 0.01
"""Seconds of work before the event loop gets its turn; far below the 50 ms that would be felt."""


class TimeSlices:
    """Keeps count of the time worked since the event loop last had its turn.

    Measures real time, not the runtime's clock: it is about the processor.
    """

    def __init__(self) -> None:
        self._since = perf_counter()

    def used_up(self) -> bool:
        """Whether it is time to rest()."""
        return perf_counter() - self._since > SLICE

    async def rest(self) -> None:
        """Let the event loop do everything else that is ready."""
        await asyncio.sleep(0)
        self.renew()

    def renew(self) -> None:
        """The event loop has had its turn: something was awaited."""
        self._since = perf_counter()
