"""A queue of keys as client-go's: a key waits once, is handled once at a time, can be added later or after a failure.

For one event loop. It does not drain at shutdown: its workers are cancelled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """Keys to handle. Failure delays double from `base_delay` to `max_delay` seconds."""

    def __init__(self, *, base_delay: float = 0.005, max_delay: float = 1000.0) -> None:
        self._base_delay = base_delay
        self._max_delay = max_delay
        self._ready: deque[K] = deque()
        self._queued: set[K] = set()
        self._active: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, key: K) -> None:
        """Handle `key` soon; once more when it is being handled now."""
        if key in self._queued:
            return
        self._queued.add(key)
        if key not in self._active:
            self._ready.append(key)
            self._wake.set()

    def add_after(self, key: K, delay: float) -> None:
        """Handle `key` in `delay` seconds; of several the earliest counts."""
        if delay <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        when = loop.time() + delay
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= when:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(when, self._due, key)

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def add_rate_limited(self, key: K) -> None:
        """Handle `key` again after a delay that grows with its failures."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        self.add_after(key, min(self._base_delay * 2.0 ** min(count, 60), self._max_delay))

    def forget(self, key: K) -> None:
        """Count failures of `key` from none again."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """The next key; hand it back with `done`."""
        while not self._ready:
            self._wake.clear()
            await self._wake.wait()
        key = self._ready.popleft()
        self._queued.discard(key)
        self._active.add(key)
        return key

    def done(self, key: K) -> None:
        """The key is handled; it comes again when it was added meanwhile."""
        self._active.discard(key)
        if key in self._queued:
            self._ready.append(key)
            self._wake.set()

    def close(self) -> None:
        """Cancel every timer."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
