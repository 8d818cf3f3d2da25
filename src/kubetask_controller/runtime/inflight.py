"""A limit of concurrent requests that adapts to the API server: as many as it answers without becoming slow.

The limit starts low and doubles with each round of answers until one is slow. From then on it grows by one a round, and it
shrinks when answers are slow or the server is overloaded: additive increase, multiplicative decrease, as in TCP. The service
level objective of Kubernetes for a write of one object is a second; a server that takes longer is busy.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kubetask_controller.runtime.clock import Clock

MOST = 64
"""Greatest limit of concurrent requests."""

TARGET = 1.0
"""Seconds within which a server that is not busy answers: the service level objective of Kubernetes."""

LEAST = 32
"""Limit of concurrent requests that slow answers alone do not reduce further.

On a machine that other processes keep busy, answers are slow however few requests are sent, and a lower limit would only give
our share to others. An overloaded server answers 429 or 503, and then the limit may fall to one.
"""

IDLE = 30.0
"""Seconds without a request after which the limit starts over."""

FIRST = 8.0
_SMOOTHING = 0.2
_SLOW, _OVERLOADED = 0.7, 0.5


class Attempt:
    """One running request."""

    def __init__(self) -> None:
        self.refused = False

    def overloaded(self) -> None:
        """Record that the server refused because of its load (429, 503), or did not answer."""
        self.refused = True


class InFlightLimit:
    """A limit that several senders of requests share. Waiters are served first in, first out.

    Attributes:
        most: the greatest value of the limit.
    """

    def __init__(
        self, clock: Clock, *, most: int = MOST, least: int = LEAST, target: float = TARGET
    ) -> None:
        self.most = most
        self._least = float(min(least, most))
        self._clock = clock
        self._target = target
        self._limit = min(FIRST, float(most))
        self._doubling = True
        # The server has refused requests because of its load since the limit was last at `least`.
        self._was_refused = False
        self._running = 0
        self._latency = 0.0
        self._shrunk_at = self._used_at = float("-inf")
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """The present limit of concurrent requests."""
        return int(self._limit)

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[Attempt]:
        """Wait until one more request may be sent; the block ends with its answer. An exception counts as no answer."""
        await self._enter()
        started, attempt = self._clock.monotonic(), Attempt()
        try:
            yield attempt
        except Exception:
            attempt.overloaded()
            raise
        finally:
            self._adapt(started, attempt)
            self._running -= 1
            self._wake()

    async def _enter(self) -> None:
        if not self._running and self._clock.monotonic() - self._used_at > IDLE:
            self._limit, self._doubling = max(self._limit, min(FIRST, float(self.most))), True
            self._latency = 0.0
        if self._running < self.limit and not self._waiting:
            self._running += 1
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                # The slot was granted in the same moment.
                self._running -= 1
                self._wake()
            raise

    def _wake(self) -> None:
        while self._waiting and self._running < self.limit:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._running += 1
                waiter.set_result(None)

    def _adapt(self, started: float, attempt: Attempt) -> None:
        now = self._clock.monotonic()
        seconds, self._used_at = now - started, now
        self._latency += _SMOOTHING * (seconds - self._latency)
        if attempt.refused or self._latency > self._target:
            # Once for each round: requests sent before the last decrease do not measure the present limit.
            if started > self._shrunk_at:
                if attempt.refused:
                    self._limit, self._was_refused = max(1.0, self._limit * _OVERLOADED), True
                else:
                    self._limit = max(min(self._limit, self._least), self._limit * _SLOW)
                self._shrunk_at = now
                self._doubling = False
            if self._limit >= self._least or attempt.refused:
                return
        if self._running < self.limit:
            # The limit is not reached, so the answers do not show whether more requests would be slow.
            return
        doubling = self._doubling or (self._limit < self._least and not self._was_refused)
        self._limit = min(float(self.most), self._limit + (1.0 if doubling else 1.0 / self._limit))
        self._was_refused = self._was_refused and self._limit < self._least
