"""Warning of something that should be heard, and is not."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from kubetask_controller.runtime.clock import Clock


@asynccontextmanager
async def warn_of_silence(
    clock: Clock, period: float, warn: Callable[[float], None]
) -> AsyncIterator[Callable[[], None]]:
    """Within the block call `warn` with the seconds of silence, once for each `period` of it.

    Gives the function by which the block tells that it has heard something.
    """
    heard_at = clock.monotonic()

    def heard() -> None:
        nonlocal heard_at
        heard_at = clock.monotonic()

    async def listen() -> None:
        while True:
            await clock.sleep(period)
            silent = clock.monotonic() - heard_at
            if silent >= period:
                warn(silent)

    listener = asyncio.create_task(listen())
    try:
        yield heard
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
