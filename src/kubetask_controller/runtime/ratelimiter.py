"""How long a failing item waits, as in client-go's ``workqueue`` package.

A limiter remembers each item until forget(); whoever asks for delays must forget in the end, or
memory grows with every item that ever failed.
"""

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

BASE_DELAY = 0.005
"""Seconds after the first failure: client-go's default."""
MAX_DELAY = 1000.0
"""Seconds after the 19th failure and all later ones: client-go's default."""
# 2.0 ** 1024 overflows; every sensible pair of base and cap has met long before.
_MAX_EXPONENT = 1000

T = TypeVar("T", bound=Hashable)
T_contra = TypeVar("T_contra", bound=Hashable, contravariant=True)


class RateLimiter(Protocol[T_contra]):
    """Decides how long an item waits."""

    def when(self, item: T_contra) -> float:
        """Seconds that the item must wait now; counts as one more failure."""

    def forget(self, item: T_contra) -> None:
        """The item no longer fails."""

    def num_requeues(self, item: T_contra) -> int:
        """Failures since it was last forgotten."""


class ItemExponentialFailureRateLimiter(Generic[T]):
    """``base * 2**failures`` seconds for each item on its own, up to a cap; without jitter."""

    def __init__(self, base_delay: float = BASE_DELAY, max_delay: float = MAX_DELAY) -> None:
        self._base = base_delay
        self._max = max_delay
        self._failures: dict[T, int] = {}

    def when(self, item: T) -> float:
        """Seconds that the item must wait now; counts as one more failure."""
        failures = self._failures.get(item, 0)
        self._failures[item] = failures + 1
        return float(min(self._base * 2.0 ** min(failures, _MAX_EXPONENT), self._max))

    def forget(self, item: T) -> None:
        """The item no longer fails."""
        self._failures.pop(item, None)

    def num_requeues(self, item: T) -> int:
        """Failures since it was last forgotten."""
        return self._failures.get(item, 0)


class BucketRateLimiter(Generic[T]):
    """One token bucket for all items: `qps` a second, `burst` at once after a quiet time."""

    def __init__(
        self, qps: float, burst: int, *, monotonic: Callable[[], float] | None = None
    ) -> None:
        """`monotonic` gives seconds; the event loop's time by default."""
        if qps <= 0 or burst < 1:
            raise ValueError("a token bucket needs qps > 0 and burst >= 1")
        self._interval = 1 / qps
        self._burst = burst
        self._monotonic = monotonic or (lambda: asyncio.get_running_loop().time())
        self._empty_at = float("-inf")

    def when(self, item: T) -> float:
        """Seconds until there is a token for the item; it is taken already."""
        now = self._monotonic()
        earliest = now - self._burst * self._interval
        self._empty_at = max(self._empty_at, earliest) + self._interval
        return max(0.0, self._empty_at - now)

    def forget(self, item: T) -> None:
        """Nothing is kept of single items."""

    def num_requeues(self, item: T) -> int:
        """Nothing is kept of single items."""
        return 0


class MaxOfRateLimiter(Generic[T]):
    """The longest of several limiters' delays."""

    def __init__(self, *limiters: RateLimiter[T]) -> None:
        self._limiters = limiters

    def when(self, item: T) -> float:
        """The longest delay; every limiter counts the failure."""
        return max(limiter.when(item) for limiter in self._limiters)

    def forget(self, item: T) -> None:
        """The item no longer fails."""
        for limiter in self._limiters:
            limiter.forget(item)

    def num_requeues(self, item: T) -> int:
        """Failures since it was last forgotten."""
        return max(limiter.num_requeues(item) for limiter in self._limiters)
