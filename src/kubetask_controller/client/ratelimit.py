"""A client-side limit of requests a second, as client-go's QPS and burst; off unless asked for.

The API server's own priority and fairness is the better limit; this one is for clusters whose
operators want a number.
"""

import asyncio


class TokenBucket:
    """Lets `qps` requests a second pass, and up to `burst` at once after a quiet time.

    First come, first served.
    """

    def __init__(self, qps: float, burst: int) -> None:
        if qps <= 0 or burst < 1:
            raise ValueError("a rate limit needs qps > 0 and burst >= 1")
        self._interval = 1 / qps
        self._burst = burst
        # When the bucket is (or will be) empty; tokens are reserved ahead by moving it on.
        self._empty_at: float | None = None

    async def acquire(self) -> float:
        """Take a token, waiting for it if need be; the seconds waited."""
        now = asyncio.get_running_loop().time()
        earliest = now - self._burst * self._interval
        start = earliest if self._empty_at is None else max(self._empty_at, earliest)
        self._empty_at = start + self._interval
        wait = max(0.0, self._empty_at - now)
        if wait:
            try:
                await asyncio.sleep(wait)
            except asyncio.CancelledError:
                # Else those who gave up would hold up those who come, the more of them the longer.
                self._empty_at -= self._interval
                raise
        return wait
