"""The only module that knows how a controller is built: a whole process on a simulated client, and a look into its memory."""

import asyncio
import collections
import contextvars
import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, cast

import structlog

from kubetask_controller.client.errors import ClientError
from kubetask_controller.client.rest import Client
from kubetask_controller.reconcilers.setup import Images, Settings, setup_with_manager
from kubetask_controller.runtime import eventloop
from kubetask_controller.runtime.consistency import StaleCacheError
from kubetask_controller.runtime.controller import Controller
from kubetask_controller.runtime.leaderelection import LeaderElectionLostError
from kubetask_controller.runtime.manager import Manager, ManagerOptions
from kubetask_controller.runtime.metrics import Metrics
from kubetask_controller.runtime.reconcile import Reconciler, Request, Result
from kubetask_controller.runtime.runnable_group import Runnable
from simulation.apiserver import EPOCH
from simulation.virtualloop import VirtualLoop

decided: contextvars.ContextVar[float] = contextvars.ContextVar("decided", default=float("-inf"))
"""When the reconcile began in which something is done."""


class SimClock:
    """Virtual time; the wall clock may be wrong."""

    def __init__(self, loop: VirtualLoop, skew: float) -> None:
        self._loop, self.skew = loop, skew

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._loop.time() + self.skew)

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Lease:
    """Stands for the elector: the schedule says when a process leads, and until when its writes pass."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._won = asyncio.Event()
        self._lost = asyncio.Event()
        self._until = float("inf")
        self.leader = ""

    @property
    def won(self) -> bool:
        """It was won once; it may be lost by now."""
        return self._won.is_set()

    @property
    def leading(self) -> bool:
        return self.won and self._loop.time() < self._until

    def win(self) -> None:
        self._won.set()

    def lose(self, after: float) -> None:
        """The last renewal that succeeded runs out then."""
        self._until = self._loop.time() + after
        self._loop.later(after, self._lost.set)

    def check(self) -> None:
        if not self.leading:
            raise LeaderElectionLostError("the Lease is not held")

    def healthy(self) -> None:
        """Always."""

    async def acquire(self) -> None:
        await self._won.wait()

    async def hold(self) -> None:
        await self._lost.wait()
        raise LeaderElectionLostError("the Lease was not renewed in time")

    async def release(self) -> None:
        self._until = self._loop.time()


class _Watched(Reconciler):
    """Reports what each reconcile did to the world."""

    def __init__(self, inner: Reconciler, kind: str, report: Callable[..., None]) -> None:
        self.inner, self._kind, self._report = inner, kind, report

    async def reconcile(self, request: Request) -> Result:
        loop = asyncio.get_running_loop()
        token = decided.set(loop.time())
        error: BaseException | None = None
        try:
            return await self.inner.reconcile(request)
        except BaseException as caught:
            error = caught
            raise
        finally:
            decided.reset(token)
            self._report(self._kind, request.namespace, request.name, error)


class _Manager(Manager):
    def __init__(self, *args: Any, report: Callable[..., None], **keywords: Any) -> None:
        self._report = report
        self.controllers: list[Controller] = []
        super().__init__(*args, **keywords)

    def add(self, runnable: Runnable, *, needs_leader: bool = True) -> None:
        if isinstance(runnable, Controller):
            self.controllers.append(runnable)
            runnable.reconciler = _Watched(runnable.reconciler, runnable.name, self._report)
        super().add(runnable, needs_leader=needs_leader)


class ControllerProcess:
    """One process of the product: manager, informers, controllers and reconcilers as the app wires them."""

    def __init__(
        self, loop: VirtualLoop, client: Any, *, lease: Lease | None, skew: float, report: Callable[..., None]
    ) -> None:
        self.clock = SimClock(loop, skew)
        self._manager = _Manager(
            cast(Client, client),
            ManagerOptions(graceful_shutdown_timeout=25.0),
            metrics=Metrics(),
            clock=self.clock,
            elector=lease,
            report=report,
        )
        images = Images(workspace="img/workspace", agent="img/builtin")
        self._wired = setup_with_manager(self._manager, Settings(images, version="simulated"))
        self._stop = asyncio.Event()

    async def run(self) -> None:
        await self._manager.start(self._stop)

    def stop(self) -> None:
        self._stop.set()

    @property
    def synced(self) -> bool:
        return not self._manager.cache.unsynced()

    def cached_version(self, resource: str) -> int:
        """How new a cache is."""
        return int(self._manager.cache.informers[resource].resource_version("") or 0)

    def remembers(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Which of these texts (what → why it should be gone) stand anywhere in the memory of reconcilers and queues."""
        roots: list[Any] = [self._wired]
        for controller in self._manager.controllers:
            roots += [cast(_Watched, controller.reconciler).inner, controller.queue]
        found: dict[str, str] = {}
        skip = {id(self._manager), id(self._manager.client), id(self._manager.metrics)}
        skip |= {id(x) for x in self._manager.cache.informers.values()}
        for text, path in _strings(roots, skip):
            if text in texts and text not in found:
                found[text] = path
        return found


def _strings(roots: list[Any], seen: set[int]) -> Iterator[tuple[str, str]]:
    """All strings that can be reached through the project's own objects and through containers, each with its way."""
    open_ends: collections.deque[tuple[Any, str]] = collections.deque((x, type(x).__name__) for x in roots)
    while open_ends:
        value, path = open_ends.popleft()
        if isinstance(value, str):
            yield value, path
            continue
        if value is None or isinstance(value, int | float | bytes | type) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict | collections.abc.Mapping):
            open_ends.extend((x, f"{path}[key]") for x in value)
            open_ends.extend((x, f"{path}[…]") for x in value.values())
        elif isinstance(value, list | tuple | set | frozenset | collections.deque):
            open_ends.extend((x, f"{path}[…]") for x in value)
        elif isinstance(value, functools.partial):
            open_ends.append((value.args, path))
        elif type(value).__module__.startswith("kubetask_controller") and not _is_runtime(value):
            names = [x for kind in type(value).__mro__ for x in getattr(kind, "__slots__", ())]
            for name in [*getattr(value, "__dict__", ()), *names]:
                open_ends.append((getattr(value, name, None), f"{path}.{name}"))


def _is_runtime(value: Any) -> bool:
    module = type(value).__module__
    return module.startswith(("kubetask_controller.client", "kubetask_controller.api")) or module.endswith(
        (".informer", ".manager", ".events", ".store", ".metrics")
    )


def expected_error(error: BaseException) -> bool:
    """What may leave a reconcile on a bad day; anything else is a fault of the program."""
    if isinstance(error, BaseExceptionGroup):
        return all(expected_error(x) for x in error.exceptions)
    known = (ClientError, StaleCacheError, TimeoutError, LeaderElectionLostError, asyncio.CancelledError)
    return isinstance(error, known)


def prepare(log: Callable[[str], None] | None) -> None:
    """Make the product reproducible: no real time, and a log that goes nowhere or, for a history, to ``log``."""
    eventloop.perf_counter = lambda: 0.0
    level = logging.CRITICAL if log is None else logging.INFO

    def write(_: Any, method: str, event: dict[str, Any]) -> str:
        error = event.pop("exc_info", None)
        drop = ("controller", "controllerGroup", "controllerKind", "reconcileID", "BatchRun", "Task")
        text = " ".join(f"{k}={v}" for k, v in sorted(event.items()) if k != "event" and k not in drop)
        if log is not None and method != "info":
            log(f"log {method}: {event['event']} {text}" + (f" {error!r}" if error else ""))
        raise structlog.DropEvent

    structlog.reset_defaults()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, write],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    )
