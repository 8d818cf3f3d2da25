"""A queue of names to work on: client-go's work queue with controller-runtime's priorities.

Guarantees:
- an item is never handed to two workers at once; what is added while it is worked on is handed out
  once more when done() was called for it, and never lost;
- many adds of an item that waits are one: with the highest of their priorities, and the earliest of
  their times (an item that is ready stays ready);
- higher priorities go first, and within one, first come goes first served;
- every get() is followed by done(), or the item is locked for ever.

Not thread-safe: everything happens on one event loop.
"""

import asyncio
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from kubetask_controller.runtime.lazyheap import LazyHeap
from kubetask_controller.runtime.metrics import QueueMetrics
from kubetask_controller.runtime.ratelimiter import ItemExponentialFailureRateLimiter, RateLimiter

DEFAULT_PRIORITY = 0
LOW_PRIORITY = -100
"""controller-runtime's priority for what no change asked for: initial lists and resyncs."""

T = TypeVar("T", bound=Hashable)


class ShutDown(Exception):
    """The queue is shut down, and nothing is left in it."""


@dataclass(slots=True, eq=False)
class _Entry(Generic[T]):
    """An item that was added and not handed out since.

    Attributes:
        ready_at: when it becomes ready; None when it is.
        since: when it became ready.
        token: of its place in a heap.
    """

    item: T
    priority: int
    ready_at: float | None
    since: float = 0.0
    token: int = 0


class WorkQueue(Generic[T]):
    """See the module."""

    def __init__(self, *, metrics: QueueMetrics, limiter: RateLimiter[T] | None = None) -> None:
        """`limiter` gives the delays of add_rate_limited: 5 ms to 1,000 s by default."""
        self._limiter = limiter or ItemExponentialFailureRateLimiter[T]()
        self._metrics = metrics
        self._entries: dict[T, _Entry[T]] = {}
        self._processing: dict[T, float] = {}
        self._ready = LazyHeap[_Entry[T]]()  # by falling priority
        self._waiting = LazyHeap[_Entry[T]]()  # by time
        self._tokens = 0
        self._timer: asyncio.TimerHandle | None = None
        self._getters: deque[asyncio.Future[None]] = deque()
        self._shutting_down = False
        self._drained: asyncio.Future[None] | None = None
        for priority in (DEFAULT_PRIORITY, LOW_PRIORITY):
            metrics.depth(priority).set(0)
        metrics.watch_work(unfinished=self._unfinished_seconds, longest=self._longest_seconds)

    def __len__(self) -> int:
        """Items that are ready or become so when they are done; delayed ones do not count."""
        return sum(entry.ready_at is None for entry in self._entries.values())

    @property
    def shutting_down(self) -> bool:
        """Whether shut_down() was called."""
        return self._shutting_down

    def add(self, item: T, *, priority: int = DEFAULT_PRIORITY) -> None:
        """Hand the item out as soon as it may be."""
        self._put(item, priority, None)

    def add_after(self, item: T, delay: float, *, priority: int = DEFAULT_PRIORITY) -> None:
        """Hand the item out after `delay` seconds, or earlier if it is added otherwise."""
        if delay > 0:
            self._metrics.retries.inc()
            self._put(item, priority, asyncio.get_running_loop().time() + delay)
        else:
            self._put(item, priority, None)

    def add_rate_limited(
        self, item: T, *, priority: int = DEFAULT_PRIORITY, at_most: float = float("inf")
    ) -> None:
        """Hand the item out after the delay of its limiter, `at_most` seconds; counts as a failure."""
        self.add_after(item, min(self._limiter.when(item), at_most), priority=priority)

    def forget(self, item: T) -> None:
        """The item no longer fails; does not take it out of the queue."""
        self._limiter.forget(item)

    def num_requeues(self, item: T) -> int:
        """Failures of the item since forget()."""
        return self._limiter.num_requeues(item)

    async def get(self) -> T:
        """The next item; waits for one.

        Raises:
            ShutDown: there will be no more.
        """
        return (await self.get_with_priority())[0]

    async def get_with_priority(self) -> tuple[T, int]:
        """The next item and its priority, for those who may add it again.

        Raises:
            ShutDown: there will be no more.
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
        """The item is no longer worked on; must be called once for each get()."""
        started = self._processing.pop(item)
        self._metrics.work_duration.observe(asyncio.get_running_loop().time() - started)
        entry = self._entries.get(item)
        if entry is not None and entry.ready_at is None:
            self._enqueue(entry)
        self._check_drained()

    def discard(self) -> None:
        """Drop everything that nobody works on yet."""
        for entry in self._entries.values():
            if entry.ready_at is None:
                self._metrics.depth(entry.priority).dec()
        self._entries.clear()
        self._ready.clear()
        self._waiting.clear()
        self._arm()
        self._check_drained()

    def shut_down(self) -> None:
        """Take nothing more and drop what is delayed; what is ready is still handed out.

        Ends a shut_down_with_drain() that is under way.
        """
        self._shutting_down = True
        self._entries = {k: e for k, e in self._entries.items() if e.ready_at is None}
        self._waiting.clear()
        self._arm()
        self._wake_all()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def shut_down_with_drain(self) -> None:
        """Like shut_down(), and wait until nothing is queued or worked on any more."""
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
        # What is being processed stays out of the heap until done().
        entry.token = 0
        if entry.item not in self._processing:
            self._ready.push(-entry.priority, entry, token=self._next_token())
            self._wake_one()

    def _delay(self, entry: _Entry[T], ready_at: float) -> None:
        entry.ready_at = ready_at
        self._waiting.push(ready_at, entry, token=self._next_token())
        self._arm()

    def _due(self) -> None:
        """The timer: what has waited long enough is ready, in the order of its times."""
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
                # Woken and cancelled at once: the next one must have the item.
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
