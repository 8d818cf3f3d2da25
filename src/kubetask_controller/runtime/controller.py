"""A controller: sources fill its queue, workers hand the requests to a reconciler.

Guarantees:
- no reconcile before every source has told of all that exists;
- whatever a reconciler raises, the worker lives on and the request is not lost;
- a reconcile that takes too long is cancelled, and repeated with a delay;
- once asked to stop it begins nothing new, and returns when what is under way has ended;
- nothing is begun when the process must not act (any more) as the leader.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from kubetask_controller.runtime.cache import SYNC_POLL, CacheSyncTimeoutError
from kubetask_controller.runtime.clock import Clock, RealClock
from kubetask_controller.runtime.metrics import Metrics
from kubetask_controller.runtime.ratelimiter import RateLimiter
from kubetask_controller.runtime.reconcile import Reconciler, Request, Result
from kubetask_controller.runtime.slicing import TimeSlices
from kubetask_controller.runtime.source import Source
from kubetask_controller.runtime.verdict import Verdict, judge
from kubetask_controller.runtime.workqueue import ShutDown, WorkQueue

RECONCILE_TIMEOUT = 60.0
CACHE_SYNC_TIMEOUT = 120.0

logger = structlog.get_logger("controller")


@dataclass(frozen=True, slots=True)
class ControllerOptions:
    """How a controller works.

    Attributes:
        name: unique in the process; label of its metrics.
        group: of the kind it reconciles, for logs.
        kind: that it reconciles, for logs.
        max_concurrent_reconciles: number of workers.
        reconcile_timeout: seconds after which a reconcile is cancelled; None for never.
        cache_sync_timeout: seconds to wait for the sources before run() fails.
        limiter: of repeated requests; per request from 5 ms to 1,000 s by default.
    """

    name: str
    group: str = ""
    kind: str = ""
    max_concurrent_reconciles: int = 1
    reconcile_timeout: float | None = RECONCILE_TIMEOUT
    cache_sync_timeout: float = CACHE_SYNC_TIMEOUT
    limiter: RateLimiter[Request] | None = None


STALE_MOST = 1.0
"""Seconds at most between two looks at a cache that is behind our own writes; a look costs no request."""


class Controller:
    """A runnable; see the module."""

    def __init__(
        self,
        reconciler: Reconciler,
        *,
        sources: Sequence[Source],
        options: ControllerOptions,
        metrics: Metrics,
        may_act: Callable[[], bool] = lambda: True,
        clock: Clock | None = None,
    ) -> None:
        """`may_act` is asked before each reconcile; after its first False nothing is begun."""
        self._reconciler = reconciler
        self._sources = sources
        self._options = options
        self._may_act = may_act
        self._clock = clock or RealClock()
        self._metrics = metrics.controller(options.name)
        self._metrics.max_concurrent.set(options.max_concurrent_reconciles)
        self._queue_metrics = metrics.queue(options.name)
        self._queue = WorkQueue[Request](metrics=self._queue_metrics, limiter=options.limiter)
        self._slices = TimeSlices()
        self._started = False
        self._log = logger.bind(
            controller=options.name, controllerGroup=options.group, controllerKind=options.kind
        )

    @property
    def name(self) -> str:
        """The name it was given."""
        return self._options.name

    @property
    def queue(self) -> WorkQueue[Request]:
        """Where requests from elsewhere may be added."""
        return self._queue

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set and what was under way has ended; cancellation ends at once.

        Raises:
            RuntimeError: it ran before.
            CacheSyncTimeoutError: a source did not come up in time; the message names it.
        """
        if self._started:
            raise RuntimeError(f"controller {self.name} was started before")
        self._started = True
        self._log.info("Starting Controller")
        endings: list[Callable[[], None]] = []
        try:
            for source in self._sources:
                end_source = await source.start(self._queue)
                endings.append(end_source)
            if await self._synced(stop):
                await self._run_workers(stop)
        finally:
            self._queue.discard()
            self._queue.shut_down()
            for end in endings:
                end()
            self._log.info("Controller stopped")

    async def _synced(self, stop: asyncio.Event) -> bool:
        """Wait for the sources; False if asked to stop first."""
        deadline = self._clock.monotonic() + self._options.cache_sync_timeout
        while laggards := [name for source in self._sources for name in source.laggards()]:
            if stop.is_set():
                return False
            if self._clock.monotonic() >= deadline:
                raise CacheSyncTimeoutError(
                    f"controller {self.name}: not synced after "
                    f"{self._options.cache_sync_timeout:g} s: {', '.join(laggards)}"
                )
            await self._clock.sleep(SYNC_POLL)
        return not stop.is_set()

    async def _run_workers(self, stop: asyncio.Event) -> None:
        count = self._options.max_concurrent_reconciles
        self._log.info("Starting workers", worker_count=count)
        async with asyncio.TaskGroup() as workers:
            for index in range(count):
                workers.create_task(self._work(), name=f"{self.name}/worker-{index}")
            await stop.wait()
            # What is queued is the successor's: it lists everything anyway, and sooner than this
            # process could work it off.
            self._queue.discard()
            await self._queue.shut_down_with_drain()
            self._log.info("All workers finished", worker_count=count)

    async def _work(self) -> None:
        # For all that this worker writes; what differs from one reconcile to the next comes later.
        structlog.contextvars.bind_contextvars(
            controller=self._options.name,
            controllerGroup=self._options.group,
            controllerKind=self._options.kind,
        )
        while True:
            try:
                request, priority = await self._queue.get_with_priority()
            except ShutDown:
                return
            try:
                if self._may_act():
                    await self._handle(request, priority)
                else:
                    self._queue.discard()
                    self._queue.shut_down()
            finally:
                self._queue.done(request)
            # A reconciler that awaits nothing would never let go of the event loop.
            if self._slices.used_up():
                await self._slices.rest()

    async def _handle(self, request: Request, priority: int) -> None:
        self._bind(request)
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._metrics.active_workers.inc()
        try:
            await self._reconcile(request, priority)
        finally:
            self._metrics.active_workers.dec()
            self._metrics.time.observe(loop.time() - started)

    async def _reconcile(self, request: Request, priority: int) -> None:
        limit = asyncio.timeout(self._options.reconcile_timeout)
        try:
            async with limit:
                result = await self._reconciler.reconcile(request)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Not meant for us: the reconciler let out what it had cancelled itself.
            self._failed(request, priority, error, timed_out=False)
        except Exception as error:
            self._failed(request, priority, error, timed_out=limit.expired())
        else:
            self._succeeded(request, priority, result)
        if limit.expired():
            self._metrics.timeouts.inc()

    def _succeeded(self, request: Request, priority: int, result: Result) -> None:
        self._queue.forget(request)
        if result.requeue_after > 0:
            wanted = priority if result.priority is None else result.priority
            self._queue.add_after(request, result.requeue_after, priority=wanted)
            self._metrics.results["requeue_after"].inc()
        else:
            self._metrics.results["success"].inc()

    def _failed(
        self, request: Request, priority: int, error: BaseException, *, timed_out: bool
    ) -> None:
        verdict = judge(error, timed_out=timed_out)
        if verdict is Verdict.STALE:
            # A cache that catches up need not have an event for this request, so nobody else may wake it.
            self._queue.add_rate_limited(request, priority=priority, at_most=STALE_MOST)
            self._metrics.results["requeue"].inc()
            logger.debug("Cache is behind own writes", reason=str(error))
            return
        if verdict is not Verdict.TERMINAL:
            self._queue.add_rate_limited(request, priority=priority)
        self._metrics.results["error"].inc()
        self._metrics.errors.inc()
        if verdict is Verdict.TERMINAL:
            self._metrics.terminal_errors.inc()
        facts: dict[str, Any] = {"error": describe(error)}
        if timed_out:
            facts["error"] = f"not done after {self._options.reconcile_timeout:g} s"
        if verdict is Verdict.PANIC:
            self._metrics.panics.inc()
            facts["exc_info"] = error
        logger.error("Reconciler error", **facts)

    def _bind(self, request: Request) -> None:
        """Log keys for all that this reconcile does; the worker's next one replaces them."""
        keys: dict[str, Any] = {
            "namespace": request.namespace,
            "name": request.name,
            "reconcileID": _new_id(),
        }
        if self._options.kind:
            # As controller-runtime: the object once more under its kind, by which logs of several
            # controllers are searched for one object.
            keys[self._options.kind] = {"name": request.name, "namespace": request.namespace}
        structlog.contextvars.bind_contextvars(**keys)


def _new_id() -> str:
    """A UUID of version 4; not a secret, so not worth a system call."""
    digits = f"{random.getrandbits(128):032x}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def describe(error: BaseException) -> str:
    """An error in one line; groups by their members."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(describe(member) for member in error.exceptions)
    return str(error) or type(error).__name__
