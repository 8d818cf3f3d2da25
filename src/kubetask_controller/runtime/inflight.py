"""How many requests may be under way at once: as many as the API server takes without its answers becoming slow.

The number begins low and doubles with each round of answers until one is slow. From then on it grows by one a round, and it
shrinks when answers are slow or the server has too much to do: additive increase, multiplicative decrease, as in TCP.
The service level objective of Kubernetes for a write of one object is a second; a server that takes longer is busy.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kubetask_controller.runtime.clock import Clock

MOST = 64
"""Requests under way at most."""

TARGET = 1.0
"""Seconds within which answers come from a server that is not busy: the service level objective of Kubernetes."""

LEAST = 32
"""Requests under way that slow answers alone do not reduce further.

On a machine that others keep busy, answers are slow however few requests we send, and fewer would only give our share away. A
server that has too much to do says so (429, 503), and then the number goes down to one.
"""

IDLE = 30.0
"""Seconds without a request after which what was learned no longer holds."""

FIRST = 8.0
_SMOOTHING = 0.2
_SLOW, _OVERLOADED = 0.7, 0.5


class Attempt:
    """One request under way."""

    def __init__(self) -> None:
        self.refused = False

    def overloaded(self) -> None:
        """The server refused for load (429, 503), or did not answer."""
        self.refused = True


class InFlightLimit:
    """A limit of concurrent requests, shared by everything that sends them. Waiters are served in the order of their arrival.

    Attributes:
        most: the limit's own limit.
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
        # The server has refused requests for load since the limit was last a usual one.
        self._careful = False
        self._under_way = 0
        self._latency = 0.0
        self._shrunk_at = self._used_at = float("-inf")
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """Requests that may be under way now."""
        return int(self._limit)

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[Attempt]:
        """Wait until one more request may be sent; to be left when it was answered. What it raises counts as no answer."""
        await self._enter()
        started, attempt = self._clock.monotonic(), Attempt()
        try:
            yield attempt
        except Exception:
            attempt.overloaded()
            raise
        finally:
            self._adapt(started, attempt)
            self._under_way -= 1
            self._wake()

    async def _enter(self) -> None:
        if not self._under_way and self._clock.monotonic() - self._used_at > IDLE:
            self._limit, self._doubling = max(self._limit, min(FIRST, float(self.most))), True
            self._latency = 0.0
        if self._under_way < self.limit and not self._waiting:
            self._under_way += 1
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                # The place was given in the same moment.
                self._under_way -= 1
                self._wake()
            raise

    def _wake(self) -> None:
        while self._waiting and self._under_way < self.limit:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._under_way += 1
                waiter.set_result(None)

    def _adapt(self, started: float, attempt: Attempt) -> None:
        now = self._clock.monotonic()
        seconds, self._used_at = now - started, now
        self._latency += _SMOOTHING * (seconds - self._latency)
        if attempt.refused or self._latency > self._target:
            # Once for each round: what was sent before the last decrease says nothing about the present number.
            if started > self._shrunk_at:
                if attempt.refused:
                    self._limit, self._careful = max(1.0, self._limit * _OVERLOADED), True
                else:
                    self._limit = max(min(self._limit, self._least), self._limit * _SLOW)
                self._shrunk_at = now
                self._doubling = False
            if self._limit >= self._least or attempt.refused:
                return
        if self._under_way < self.limit:
            # Not used up: its answers say nothing about more.
            return
        doubling = self._doubling or (self._limit < self._least and not self._careful)
        self._limit = min(float(self.most), self._limit + (1.0 if doubling else 1.0 / self._limit))
        self._careful = self._careful and self._limit < self._least
