"""Keeping the event loop responsive: yielding, cancellation, garbage collection, signals and a heartbeat."""

import asyncio
import gc
import os
import signal
from collections.abc import Coroutine
from time import perf_counter
from types import FrameType
from typing import Any

import structlog

SLICE = 0.01
"""Seconds of work before the event loop runs everything else; far below the 50 ms that a user notices."""
HEARTBEAT_INTERVAL = 1.0
"""Seconds between two beats."""
SLOW = 0.25
"""Seconds of delay of a beat from which it is logged."""
STALLED = 30.0
"""Seconds without a beat after which the process is unhealthy."""

logger = structlog.get_logger("eventloop")


class Yielder:
    """Decides when long work on the event loop yields: ``if yielder.due(): await yielder.pause()``.

    Measures real time instead of the runtime's clock: what counts is use of the processor.
    """

    def __init__(self) -> None:
        self._since = perf_counter()

    def due(self) -> bool:
        """Whether the work since the last pause has taken longer than SLICE."""
        return perf_counter() - self._since > SLICE

    async def pause(self) -> None:
        """Let the event loop run everything else that is ready."""
        await asyncio.sleep(0)
        self._since = perf_counter()


async def run_until(stop: asyncio.Event, work: Coroutine[Any, Any, Any]) -> None:
    """Run `work` until it returns, or until `stop` is set, which cancels it.

    Raises:
        Exception: whatever `work` raises.
    """
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)
    if not working.cancelled():
        working.result()


class Heartbeat:
    """A runnable that measures delays of the event loop once a second, and a health check of them."""

    name = "heartbeat"

    def __init__(self) -> None:
        self._last: float | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Beat until `stop` is set."""
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            self._last = before = loop.time()
            try:
                async with asyncio.timeout(HEARTBEAT_INTERVAL):
                    await stop.wait()
            except TimeoutError:
                late = loop.time() - before - HEARTBEAT_INTERVAL
                if late > SLOW:
                    logger.warning("The event loop was blocked", seconds=round(late, 3))

    def check(self) -> None:
        """For /healthz.

        Raises:
            RuntimeError: the last beat is too long ago.
        """
        if self._last is None:
            return
        silence = asyncio.get_running_loop().time() - self._last
        if silence > STALLED:
            raise RuntimeError(f"the event loop has been blocked for {silence:.0f} s")


class GarbageFreeze:
    """A runnable that enables garbage collection once the caches are full; it needs no leader election.

    Cached objects live as long as the process. A full collection visits all of them: with 50,000 Jobs for a third of a
    second, in which no Lease is renewed, and several times while the caches fill. So the process starts with
    ``gc.disable()``, and from here on the collector runs but never visits objects allocated before.
    """

    name = "garbage"

    async def run(self, stop: asyncio.Event) -> None:
        """Exempt all present objects from collection, and enable the collector."""
        gc.freeze()
        gc.enable()
        logger.debug("Objects are exempt from garbage collection", count=gc.get_freeze_count())


def stop_on_signals() -> asyncio.Event:
    """An event that the first SIGTERM or SIGINT sets; call it once, in the main thread's event loop.

    The second signal ends the process at once with exit code 128 plus its number, even while the event loop is blocked.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    received = False

    def begin(name: str) -> None:
        logger.info("Received signal", signal=name)
        stop.set()

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal received
        if received:
            os._exit(128 + number)
        received = True
        loop.call_soon_threadsafe(begin, signal.Signals(number).name)

    # Not loop.add_signal_handler, which runs the handler only when the loop does.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return stop
