"""A queue of names to work on: client-go's work queue with controller-runtime's priorities.

Guarantees:
- an item is never handed to two workers at once; an item that is added while a worker has it is handed out
  once more after done(), and never lost;
- adds of an item that waits are merged: with the highest of their priorities, and the earliest of
  their times (an item that is ready stays ready);
- higher priorities go first, and within one priority the order is first in, first out;
- every get() must be followed by done(): until then the item is locked.

Not thread-safe: everything runs on one event loop.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from kubetask_controller.runtime.metrics import QueueMetrics

BASE_DELAY = 0.005
"""Seconds after the first failure: client-go's default."""
MAX_DELAY = 1000.0
"""Seconds after the 19th failure and all later ones: client-go's default."""
# 2.0 ** 1024 overflows; every sensible pair of base and cap has met long before.
_MAX_EXPONENT = 1000
DEFAULT_PRIORITY = 0
LOW_PRIORITY = -100
"""controller-runtime's priority of requests that no change caused: initial lists and resyncs."""
_SWEEP_FROM = 64

T = TypeVar("T", bound=Hashable)


class ItemExponentialFailureRateLimiter(Generic[T]):
    """``base * 2**failures`` seconds for each item on its own, up to a cap; without jitter.

    It counts the failures of an item until forget(): an item that is never forgotten stays in memory.
    """

    def __init__(self, base_delay: float = BASE_DELAY, max_delay: float = MAX_DELAY) -> None:
        self._base = base_delay
        self._max = max_delay
        self._failures: dict[T, int] = {}

    def when(self, item: T) -> float:
        """Seconds that the item must wait now; counts one more failure."""
        failures = self._failures.get(item, 0)
        self._failures[item] = failures + 1
        return float(min(self._base * 2.0 ** min(failures, _MAX_EXPONENT), self._max))

    def forget(self, item: T) -> None:
        """Reset the failures of the item."""
        self._failures.pop(item, None)

    def num_requeues(self, item: T) -> int:
        """Failures since forget()."""
        return self._failures.get(item, 0)


class ShutDown(Exception):
    """The queue is shut down, and it is empty."""


@dataclass(slots=True, eq=False)
class _Entry(Generic[T]):
    """An item that was added and has not been handed out since.

    Attributes:
        ready_at: when it becomes ready; None when it is.
        since: when it became ready.
        token: of its present position in a heap; 0 when it is in none.
    """

    item: T
    priority: int
    ready_at: float | None
    since: float = 0.0
    token: int = 0


class _LazyHeap(Generic[T]):
    """Entries by a key, smallest first; of equal keys the one that was pushed first.

    An entry may move or leave without a search for it: positions with an old token are skipped when they come up, and are
    swept before they outnumber the others. So an item that is delayed for an hour again and again leaves no trail.
    """

    def __init__(self) -> None:
        self._positions: list[tuple[float, int, _Entry[T]]] = []
        self._sweep_at = _SWEEP_FROM

    def push(self, key: float, entry: _Entry[T], *, token: int) -> None:
        """Give the entry its new position; tokens must grow, across all heaps that share it."""
        entry.token = token
        heapq.heappush(self._positions, (key, token, entry))
        if len(self._positions) > self._sweep_at:
            self._positions = [x for x in self._positions if x[2].token == x[1]]
            heapq.heapify(self._positions)
            self._sweep_at = max(_SWEEP_FROM, 2 * len(self._positions))

    def first_key(self) -> float | None:
        """The smallest key."""
        while self._positions:
            key, token, entry = self._positions[0]
            if entry.token == token:
                return key
            heapq.heappop(self._positions)
        return None

    def pop(self) -> _Entry[T] | None:
        """Remove and return the entry with the smallest key."""
        while self._positions:
            _, token, entry = heapq.heappop(self._positions)
            if entry.token == token:
                entry.token = 0
                return entry
        return None

    def clear(self) -> None:
        """Remove all entries."""
        self._positions.clear()


class WorkQueue(Generic[T]):
    """See the module."""

    def __init__(
        self, *, metrics: QueueMetrics, limiter: ItemExponentialFailureRateLimiter[T] | None = None
    ) -> None:
        """`limiter` computes the delays of add_rate_limited: 5 ms to 1,000 s by default."""
        self._limiter = limiter or ItemExponentialFailureRateLimiter[T]()
        self._metrics = metrics
        self._entries: dict[T, _Entry[T]] = {}
        self._processing: dict[T, float] = {}
        self._ready = _LazyHeap[T]()  # by falling priority
        self._waiting = _LazyHeap[T]()  # by time
        self._tokens = 0
        self._timer: asyncio.TimerHandle | None = None
        self._getters: deque[asyncio.Future[None]] = deque()
        self._shutting_down = False
        self._drained: asyncio.Future[None] | None = None
        for priority in (DEFAULT_PRIORITY, LOW_PRIORITY):
            metrics.depth(priority).set(0)
        metrics.track_work(unfinished=self._unfinished_seconds, longest=self._longest_seconds)

    def __len__(self) -> int:
        """Items that are ready, or will be after done(); delayed items do not count."""
        return sum(entry.ready_at is None for entry in self._entries.values())

    def add(self, item: T, *, priority: int = DEFAULT_PRIORITY) -> None:
        """Make the item ready."""
        self._put(item, priority, None)

    def add_after(self, item: T, delay: float, *, priority: int = DEFAULT_PRIORITY) -> None:
        """Make the item ready after `delay` seconds, or earlier if it is added again."""
        if delay > 0:
            self._metrics.retries.inc()
            self._put(item, priority, asyncio.get_running_loop().time() + delay)
        else:
            self._put(item, priority, None)

    def add_rate_limited(
        self, item: T, *, priority: int = DEFAULT_PRIORITY, at_most: float = float("inf")
    ) -> None:
        """Make the item ready after the limiter's delay, and after `at_most` seconds; counts one more failure."""
        self.add_after(item, min(self._limiter.when(item), at_most), priority=priority)

    def forget(self, item: T) -> None:
        """Reset the failures of the item; it stays in the queue."""
        self._limiter.forget(item)

    def num_requeues(self, item: T) -> int:
        """Failures of the item since forget()."""
        return self._limiter.num_requeues(item)

    async def get(self) -> T:
        """The next item; waits for one.

        Raises:
            ShutDown: the queue is shut down and empty.
        """
        return (await self.get_with_priority())[0]

    async def get_with_priority(self) -> tuple[T, int]:
        """The next item and its priority, with which it may be added again.

        Raises:
            ShutDown: the queue is shut down and empty.
        """
        while (entry := self._ready.pop()) is None:
            if self._shutting_down and not self._entries:
                raise ShutDown
            await self._wait_for_item()
        del self._entries[entry.item]
        now = asyncio.get_running_loop().time()
        self._processing[entry.item] = now
        self._metrics.depth(entry.priority).dec()
        self._metrics.queue_duration.observe(now - entry.since)
        return entry.item, entry.priority

    def done(self, item: T) -> None:
        """Unlock the item; must be called once for each get()."""
        started = self._processing.pop(item)
        self._metrics.work_duration.observe(asyncio.get_running_loop().time() - started)
        entry = self._entries.get(item)
        if entry is not None and entry.ready_at is None:
            self._enqueue(entry)
        self._check_drained()

    def discard(self) -> None:
        """Remove all items, except those that workers have."""
        for entry in self._entries.values():
            if entry.ready_at is None:
                self._metrics.depth(entry.priority).dec()
        self._entries.clear()
        self._ready.clear()
        self._waiting.clear()
        self._arm()
        self._check_drained()

    def shut_down(self) -> None:
        """Refuse further items and drop delayed ones; ready items are still handed out.

        Ends a pending shut_down_with_drain().
        """
        self._shutting_down = True
        self._entries = {k: e for k, e in self._entries.items() if e.ready_at is None}
        self._waiting.clear()
        self._arm()
        self._wake_all()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def shut_down_with_drain(self) -> None:
        """Like shut_down(), and wait until the queue is empty and no worker has an item."""
        self.shut_down()
        if self._entries or self._processing:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    def _put(self, item: T, priority: int, ready_at: float | None) -> None:
        if self._shutting_down:
            return
        entry = self._entries.get(item)
        if entry is None:
            entry = self._entries[item] = _Entry(item, priority, ready_at)
            if ready_at is None:
                self._became_ready(entry)
            else:
                self._delay(entry, ready_at)
            return
        raised = priority > entry.priority
        if entry.ready_at is None:
            if raised:
                self._metrics.depth(entry.priority).dec()
                self._metrics.depth(priority).inc()
                entry.priority = priority
                self._enqueue(entry)  # at the end of its new level
            return
        entry.priority = max(priority, entry.priority)
        if ready_at is None:
            self._became_ready(entry)
        elif ready_at < entry.ready_at:
            self._delay(entry, ready_at)

    def _became_ready(self, entry: _Entry[T]) -> None:
        entry.ready_at = None
        entry.since = asyncio.get_running_loop().time()
        self._metrics.adds.inc()
        self._metrics.depth(entry.priority).inc()
        self._enqueue(entry)

    def _enqueue(self, entry: _Entry[T]) -> None:
        # An item that a worker has stays out of the heap until done().
        entry.token = 0
        if entry.item not in self._processing:
            self._ready.push(-entry.priority, entry, token=self._next_token())
            self._wake_one()

    def _delay(self, entry: _Entry[T], ready_at: float) -> None:
        entry.ready_at = ready_at
        self._waiting.push(ready_at, entry, token=self._next_token())
        self._arm()

    def _due(self) -> None:
        """The timer: delayed items whose time has come become ready, in the order of their times."""
        self._timer = None
        now = asyncio.get_running_loop().time()
        while (first := self._waiting.first_key()) is not None and first <= now:
            entry = self._waiting.pop()
            assert entry is not None
            self._became_ready(entry)
        self._arm()

    def _arm(self) -> None:
        first = self._waiting.first_key()
        if self._timer is not None:
            if first is not None and self._timer.when() <= first:
                return
            self._timer.cancel()
            self._timer = None
        if first is not None:
            self._timer = asyncio.get_running_loop().call_at(first, self._due)

    async def _wait_for_item(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._getters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                # Woken and cancelled at once: wake the next getter for the item.
                self._wake_one()
            raise
        finally:
            if waiter in self._getters:
                self._getters.remove(waiter)

    def _wake_one(self) -> None:
        while self._getters:
            waiter = self._getters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _wake_all(self) -> None:
        while self._getters:
            self._wake_one()

    def _check_drained(self) -> None:
        if self._shutting_down and not self._entries:
            self._wake_all()
            if not self._processing and self._drained is not None and not self._drained.done():
                self._drained.set_result(None)

    def _next_token(self) -> int:
        self._tokens += 1
        return self._tokens

    def _unfinished_seconds(self) -> float:
        now = asyncio.get_running_loop().time()
        return sum(now - started for started in self._processing.values())

    def _longest_seconds(self) -> float:
        now = asyncio.get_running_loop().time()
        return max((now - started for started in self._processing.values()), default=0.0)
