"""Hearing that a leader has left, so that a candidate need not wait for its next look.

client-go's candidates only look, and so leave the lead vacant for up to 4.4 s. Where the Lease may not
be watched, ours only look too.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from kubetask_controller.client.errors import ClientError, is_forbidden
from kubetask_controller.runtime.leaselock import LeaseLock

logger = structlog.get_logger("leaderelection")


class LeaseRelease:
    """One candidate's ear at the Lease; see the module."""

    def __init__(self, lock: LeaseLock) -> None:
        self._lock = lock
        self._watching: asyncio.Task[None] | None = None
        self._heeded = self._denied = False

    async def wait(self, pause: Coroutine[Any, Any, None]) -> None:
        """Return when `pause` is over, or the Lease has been given up."""
        pausing = asyncio.ensure_future(pause)
        try:
            # Not twice in a row: a Lease without a holder that cannot be taken either would have us
            # ask without end.
            if self._heeded or self._denied:
                await asyncio.wait({pausing})
            else:
                await self._either(pausing, self._watch())
            self._heeded = not pausing.done()
        finally:
            pausing.cancel()
            await asyncio.gather(pausing, return_exceptions=True)

    async def close(self) -> None:
        """Stop watching."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    async def _either(self, pausing: asyncio.Future[None], watching: asyncio.Task[None]) -> None:
        await asyncio.wait({pausing, watching}, return_when=asyncio.FIRST_COMPLETED)
        error = watching.exception() if watching.done() else None
        if error is None:
            return
        if not isinstance(error, ClientError):
            raise error
        self._denied = is_forbidden(error)
        logger.debug("Lease cannot be watched", error=str(error))
        await asyncio.wait({pausing})

    def _watch(self) -> asyncio.Task[None]:
        if self._watching is None or self._watching.done():
            work = self._lock.wait_released()
            self._watching = asyncio.create_task(work, name="leader-election/watch")
            # It may end while nobody waits for it, and asyncio complains of what nobody looks at.
            self._watching.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._watching
