"""A clock that stands still until a test moves it.

It takes over the running event loop's own time, so that asyncio.sleep, asyncio.timeout and call_later
obey it as much as whatever was handed the clock. Sockets work as ever; real time passes for nobody.
"""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

R = TypeVar("R")

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
LONGEST = 7 * 24 * 3600.0


class FakeClock:
    """A Clock for tests; one for each event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._start = self._now = loop.time()
        self._wall_offset = timedelta()
        loop.time = lambda: self._now  # type: ignore[method-assign]

    def close(self) -> None:
        """Give the loop its own time back."""
        del self._loop.time  # type: ignore[method-assign]

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._now - self._start) + self._wall_offset

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock, as an administrator would; the monotonic one does not notice."""
        self._wall_offset += timedelta(seconds=seconds)

    def stall(self, seconds: float) -> None:
        """Let time pass with the event loop blocked, as by a paused process: nothing runs."""
        self._now += seconds

    async def settle(self) -> None:
        """Let everything run that can run without time passing."""
        while True:
            await asyncio.sleep(0)
            if not self._loop._ready:  # type: ignore[attr-defined]
                return

    async def advance(self, seconds: float) -> None:
        """Let time pass; every timer on the way goes off at its time."""
        end = self._now + seconds
        await self.settle()
        while (due := self._next_timer()) is not None and due <= end:
            await self._jump(due)
        await self._jump(end)

    async def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Let time pass until `work` is done; its result. Fails when nothing is left to wait for."""
        task = asyncio.ensure_future(work)
        give_up = self._now + LONGEST
        await self.settle()
        while not task.done():
            due = self._next_timer()
            if due is None or due > give_up:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                raise AssertionError("nothing that could end the wait is going on")
            await self._jump(due)
        return task.result()

    async def _jump(self, to: float) -> None:
        self._now = max(self._now, to)
        # The loop moves due timers to its ready queue only when it has looked for I/O once.
        await asyncio.sleep(0)
        await self.settle()

    def _next_timer(self) -> float | None:
        timers = self._loop._scheduled  # type: ignore[attr-defined]
        return min((t._when for t in timers if not t._cancelled), default=None)
