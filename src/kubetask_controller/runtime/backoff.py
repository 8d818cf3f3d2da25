"""Waiting longer and longer between attempts: client-go's rules for reflectors."""

import random
from collections.abc import Callable

from kubetask_controller.runtime.clock import Clock

Random = Callable[[], float]
"""Gives a number in [0, 1)."""


class Backoff:
    """Delays that double, each with a random part as large as itself.

    With the defaults: 0.8 to 1.6 s first, in the end 30 to 60 s, and from the start again when
    nobody has asked for two minutes.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        initial: float = 0.8,
        cap: float = 30.0,
        reset_after: float = 120.0,
        random: Random = random.random,
    ) -> None:
        self._clock = clock
        self._initial = initial
        self._cap = cap
        self._reset_after = reset_after
        self._random = random
        self._next = initial
        self._asked_at: float | None = None

    def next_delay(self) -> float:
        """Seconds to wait now; starts over when nobody has asked for `reset_after` seconds."""
        now = self._clock.monotonic()
        if self._asked_at is not None and now - self._asked_at > self._reset_after:
            self._next = self._initial
        self._asked_at = now
        delay = self._next * (1 + self._random())
        self._next = min(self._next * 2, self._cap)
        return delay


class RetryWindow:
    """Allows retries of a kind of error for some time after the first of a series.

    A series ends when the error has not come for `quiet` seconds.
    """

    def __init__(self, clock: Clock, *, length: float, quiet: float = 60.0) -> None:
        self._clock = clock
        self._length = length
        self._quiet = quiet
        self._first = self._last = float("-inf")

    def allows_retry(self) -> bool:
        """The error has come once more: whether to try again; never when the length is 0."""
        now = self._clock.monotonic()
        if now - self._last >= self._quiet:
            self._first = now
        self._last = now
        return self._length > 0 and now - self._first <= self._length
