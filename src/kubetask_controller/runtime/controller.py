"""A controller: sources fill its queue, workers pass the requests to a reconciler.

Guarantees:
- no reconcile before every source has enqueued all existing objects;
- an exception in a reconciler ends neither its worker nor the request;
- a reconcile that takes too long is cancelled, and repeated with a delay;
- after the stop no reconcile begins, and run() returns when the running ones have ended;
- no reconcile begins while the process is not the leader.
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import structlog

from kubetask_controller.client import ClientError
from kubetask_controller.runtime.cache import SYNC_POLL, CacheSyncTimeoutError
from kubetask_controller.runtime.clock import Clock, RealClock
from kubetask_controller.runtime.consistency import StaleCacheError
from kubetask_controller.runtime.eventloop import Yielder
from kubetask_controller.runtime.handler import Source
from kubetask_controller.runtime.metrics import Metrics
from kubetask_controller.runtime.reconcile import Reconciler, Request, Result, TerminalError
from kubetask_controller.runtime.workqueue import (
    ItemExponentialFailureRateLimiter,
    ShutDown,
    WorkQueue,
)

RECONCILE_TIMEOUT = 60.0
CACHE_SYNC_TIMEOUT = 120.0

logger = structlog.get_logger("controller")


@dataclass(frozen=True, slots=True)
class ControllerOptions:
    """How a controller works.

    Attributes:
        name: unique in the process; the label of its metrics.
        group: of the kind it reconciles, for logs.
        kind: that it reconciles, for logs.
        max_concurrent_reconciles: number of workers.
        reconcile_timeout: seconds after which a reconcile is cancelled; None for never.
        cache_sync_timeout: seconds to wait for the sources before run() fails.
        limiter: of requests that failed; from 5 ms to 1,000 s for each request by default.
    """

    name: str
    group: str = ""
    kind: str = ""
    max_concurrent_reconciles: int = 1
    reconcile_timeout: float | None = RECONCILE_TIMEOUT
    cache_sync_timeout: float = CACHE_SYNC_TIMEOUT
    limiter: ItemExponentialFailureRateLimiter[Request] | None = None


STALE_MAX_DELAY = 1.0
"""Most seconds between two reconciles whose cache is behind our own writes; they send no request to the API server."""


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
        """`may_act` is called before each reconcile; after its first False no reconcile begins."""
        self.reconciler = reconciler
        """Of each request; another one may wrap it before run() (controller-runtime's ``Do``)."""
        self._sources = sources
        self._options = options
        self._may_act = may_act
        self._clock = clock or RealClock()
        self._metrics = metrics.controller(options.name)
        self._metrics.max_concurrent.set(options.max_concurrent_reconciles)
        self._queue_metrics = metrics.queue(options.name)
        self._queue = WorkQueue[Request](metrics=self._queue_metrics, limiter=options.limiter)
        self._yielder = Yielder()
        self._started = False
        self._log = logger.bind(
            controller=options.name, controllerGroup=options.group, controllerKind=options.kind
        )

    @property
    def name(self) -> str:
        """The name of its options."""
        return self._options.name

    @property
    def queue(self) -> WorkQueue[Request]:
        """The queue, to which other code may add requests."""
        return self._queue

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set and the running reconciles have ended; cancellation ends them at once.

        Raises:
            RuntimeError: it ran before.
            CacheSyncTimeoutError: an informer did not sync in time; the message names it.
        """
        if self._started:
            raise RuntimeError(f"controller {self.name} was started before")
        self._started = True
        self._log.info("Starting Controller")
        stops: list[Callable[[], None]] = []
        try:
            for source in self._sources:
                stop_source = await source.start(self._queue)
                stops.append(stop_source)
            if await self._synced(stop):
                await self._run_workers(stop)
        finally:
            self._queue.discard()
            self._queue.shut_down()
            for stop_source in stops:
                stop_source()
            self._log.info("Controller stopped")

    async def _synced(self, stop: asyncio.Event) -> bool:
        """Wait for the sources; False if `stop` is set first."""
        deadline = self._clock.monotonic() + self._options.cache_sync_timeout
        while unsynced := [name for source in self._sources for name in source.unsynced()]:
            if stop.is_set():
                return False
            if self._clock.monotonic() >= deadline:
                raise CacheSyncTimeoutError(
                    f"controller {self.name}: not synced after "
                    f"{self._options.cache_sync_timeout:g} s: {', '.join(unsynced)}"
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
            # The next leader lists all objects anyway, and sooner than this process could reconcile
            # the queued items.
            self._queue.discard()
            await self._queue.shut_down_with_drain()
            self._log.info("All workers finished", worker_count=count)

    async def _work(self) -> None:
        # For every log line of this worker; _bind() adds the keys of each reconcile.
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
            # A reconciler that awaits nothing would never yield to the event loop.
            if self._yielder.due():
                await self._yielder.pause()

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
                result = await self.reconciler.reconcile(request)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Not a cancellation of this task: the reconciler raised that of a task of its own.
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
            if result.priority is not None:
                priority = result.priority
            self._queue.add_after(request, result.requeue_after, priority=priority)
            self._metrics.results["requeue_after"].inc()
        else:
            self._metrics.results["success"].inc()

    def _failed(
        self, request: Request, priority: int, error: BaseException, *, timed_out: bool
    ) -> None:
        error_class = classify(error, timed_out=timed_out)
        if error_class is ErrorClass.STALE:
            # A cache that catches up need not have an event for this request, so it must be requeued.
            self._queue.add_rate_limited(request, priority=priority, at_most=STALE_MAX_DELAY)
            self._metrics.results["requeue"].inc()
            logger.debug("Cache is behind own writes", reason=str(error))
            return
        if error_class is not ErrorClass.TERMINAL:
            self._queue.add_rate_limited(request, priority=priority)
        self._metrics.results["error"].inc()
        self._metrics.errors.inc()
        if error_class is ErrorClass.TERMINAL:
            self._metrics.terminal_errors.inc()
        fields: dict[str, Any] = {"error": describe(error)}
        if timed_out:
            fields["error"] = f"cancelled after {self._options.reconcile_timeout:g} s"
        if error_class is ErrorClass.PANIC:
            self._metrics.panics.inc()
            fields["exc_info"] = error
        logger.error("Reconciler error", **fields)

    def _bind(self, request: Request) -> None:
        """Set the log keys of this reconcile; the worker's next reconcile replaces them."""
        keys: dict[str, Any] = {
            "namespace": request.namespace,
            "name": request.name,
            "reconcileID": _new_id(),
        }
        if self._options.kind:
            # As controller-runtime: the object once more under its kind, so that one search finds
            # an object in the logs of several controllers.
            keys[self._options.kind] = {"name": request.name, "namespace": request.namespace}
        structlog.contextvars.bind_contextvars(**keys)


def _new_id() -> str:
    """A UUID of version 4; it is no secret, so random numbers without a system call are enough."""
    digits = f"{random.getrandbits(128):032x}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def describe(error: BaseException) -> str:
    """An error in one line; a group as its members."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(describe(member) for member in error.exceptions)
    return str(error) or type(error).__name__


class ErrorClass(Enum):
    """How a controller treats an exception of its reconciler."""

    STALE = "requeue with a delay, without an error: the cache is behind our own writes"
    TERMINAL = "log, and wait for a change of the object"
    ERROR = "log, and requeue with a growing delay: the API server refused or did not answer"
    PANIC = "as ERROR, with the traceback: the program has a fault"


def classify(error: BaseException, *, timed_out: bool) -> ErrorClass:
    """The class of a reconciler's exception.

    Of a group (parallel calls in a TaskGroup) the worst member counts; a member that is to be repeated goes before a
    terminal one.

    Args:
        error: the exception.
        timed_out: whether the reconcile was cancelled at its time limit, which then caused the exception.
    """
    if timed_out:
        return ErrorClass.ERROR
    classes = {_classify_leaf(leaf) for leaf in _leaves(error)}
    for error_class in (ErrorClass.PANIC, ErrorClass.ERROR, ErrorClass.STALE):
        if error_class in classes:
            return error_class
    return ErrorClass.TERMINAL


def _classify_leaf(error: BaseException) -> ErrorClass:
    if isinstance(error, StaleCacheError):
        return ErrorClass.STALE
    if isinstance(error, TerminalError):
        return ErrorClass.TERMINAL
    return ErrorClass.ERROR if isinstance(error, (ClientError, TimeoutError)) else ErrorClass.PANIC


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _leaves(member)
    else:
        yield error
