"""Whether the event loop turns: a runnable, and a health check."""

import asyncio

import structlog

INTERVAL = 1.0
"""Seconds between two beats."""
SLOW = 0.25
"""Seconds by which a beat may be late before the log says so."""
STALLED = 30.0
"""Seconds without a beat after which the process is unhealthy."""

logger = structlog.get_logger("heartbeat")


class Heartbeat:
    """Beats once a second while it runs."""

    name = "heartbeat"

    def __init__(self) -> None:
        self._last: float | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Beat until `stop` is set."""
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            self._last = before = loop.time()
            try:
                async with asyncio.timeout(INTERVAL):
                    await stop.wait()
            except TimeoutError:
                late = loop.time() - before - INTERVAL
                if late > SLOW:
                    logger.warning("The event loop was held up", seconds=round(late, 3))

    def check(self) -> None:
        """For /healthz.

        Raises:
            RuntimeError: there was no beat for too long.
        """
        if self._last is None:
            return
        silence = asyncio.get_running_loop().time() - self._last
        if silence > STALLED:
            raise RuntimeError(f"the event loop has not turned for {silence:.0f} s")
