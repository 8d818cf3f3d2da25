"""SIGTERM and SIGINT: the first asks for an orderly end, the second ends the process at once."""

import asyncio
import os
import signal
from types import FrameType

import structlog

logger = structlog.get_logger("manager")


def stop_on_signals() -> asyncio.Event:
    """An event that the first signal sets; to be called once, in the main thread's event loop.

    The second one ends the process with 128 and its number, as if nobody had caught it: also when
    the event loop does not turn any more.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    asked = False

    def begin(name: str) -> None:
        logger.info("Received signal", signal=name)
        stop.set()

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os._exit(128 + number)
        asked = True
        loop.call_soon_threadsafe(begin, signal.Signals(number).name)

    # Not loop.add_signal_handler, which waits for the loop's next turn.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return stop
