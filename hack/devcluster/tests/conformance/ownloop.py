"""An event loop that does not wait: when nothing is left but timers, time jumps to the next of them.

Server and client run in the same loop, so whatever is going to happen on a socket has happened by the time a short look at it
finds nothing. Minutes of recorded watches pass in a second, and the order of everything is that of its timers.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable

LOOK_SECONDS = 0.004


class _Selector(selectors.DefaultSelector):
    """Waits no longer than one poll, and returns the remaining wait."""

    skipped: Callable[[float], None]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= LOOK_SECONDS:
            return super().select(timeout)
        ready = super().select(LOOK_SECONDS)
        if not ready:
            self.skipped(timeout - LOOK_SECONDS)
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._ahead = 0.0
        selector = _Selector()
        selector.skipped = self._skip
        super().__init__(selector)

    def _skip(self, seconds: float) -> None:
        self._ahead += seconds

    def time(self) -> float:
        """Seconds, with those that were skipped."""
        return super().time() + self._ahead
