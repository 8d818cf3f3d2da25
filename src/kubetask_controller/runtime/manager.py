"""Starts and stops the parts of a controller process, in controller-runtime's order.

Start: HTTP servers, caches (until they have synced), other runnables, leader election, then the runnables that need it.
Stop: the other runnables, the controllers (running reconciles end), the caches, the HTTP servers; then the Lease is
released, and the remaining Events are sent. The Lease is renewed all the while.

Guarantees: a runnable that needs leader election runs only on the leader; the first failure of any part stops the process
with that failure; an orderly stop takes at most `graceful_shutdown_timeout` seconds, and none after a lost Lease; the Lease
is released only when nothing still runs that could act.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog
from aiohttp import web

from kubetask_controller.client.resources import LEASES
from kubetask_controller.client.rest import Client
from kubetask_controller.runtime.cache import Cache
from kubetask_controller.runtime.clock import Clock, RealClock
from kubetask_controller.runtime.controller import CACHE_SYNC_TIMEOUT
from kubetask_controller.runtime.eventloop import run_until
from kubetask_controller.runtime.events import EventBroadcaster, EventRecorder
from kubetask_controller.runtime.healthz import Check, HealthChecks
from kubetask_controller.runtime.httpserver import HTTPServer
from kubetask_controller.runtime.leaderelection import (
    Elector,
    LeaderElectionConfig,
    LeaderElectionLostError,
    LeaderElector,
    LeaseLock,
)
from kubetask_controller.runtime.meta import ObjectReference
from kubetask_controller.runtime.metrics import Metrics
from kubetask_controller.runtime.metrics.clients import InformerMetrics
from kubetask_controller.runtime.runnable_group import Runnable, RunnableGroup

ABORT_SECONDS = 2.0
"""Seconds that cancelled runnables may take to end."""
_STOP_ORDER = ("others", "leader election runnables", "caches", "HTTP servers")

logger = structlog.get_logger("manager")


@dataclass(frozen=True, slots=True)
class LeaderElectionOptions:
    """The Lease, and the timings.

    Attributes:
        name: of the Lease.
        namespace: of the Lease.
        config: timings and identity.
    """

    name: str
    namespace: str
    config: LeaderElectionConfig = field(default_factory=LeaderElectionConfig)


@dataclass(frozen=True, slots=True)
class ManagerOptions:
    """How a manager works.

    Attributes:
        namespaces: to watch; empty for all.
        leader_election: None to act without an election.
        health_probe_bind_address: ``host:port``, "0" for none.
        graceful_shutdown_timeout: seconds for an orderly stop; 0 for none, negative for as long as it takes.
        cache_sync_timeout: seconds for the caches' first lists.
    """

    namespaces: tuple[str, ...] = ()
    leader_election: LeaderElectionOptions | None = None
    health_probe_bind_address: str = "0"
    graceful_shutdown_timeout: float = 30.0
    cache_sync_timeout: float = CACHE_SYNC_TIMEOUT


class Manager:
    """The parts of one process; see the module. Create it inside a running event loop."""

    def __init__(
        self,
        client: Client,
        options: ManagerOptions,
        *,
        metrics: Metrics,
        clock: Clock | None = None,
        elector: Elector | None = None,
    ) -> None:
        """`elector` takes the place of the one that the options describe."""
        self.options = options
        self.metrics = metrics
        self.clock = clock or RealClock()
        self.elected = asyncio.Event()
        self._elector: Elector | None = elector or self._make_elector(client)
        self.client = client.guarded(self._elector.check) if self._elector else client
        self.cache = Cache(
            client,
            namespaces=options.namespaces,
            clock=self.clock,
            metrics=InformerMetrics(metrics.registry),
        )
        self._failure: BaseException | None = None
        self._lost = asyncio.Event()
        self._started = False
        self._stopping = asyncio.Event()
        self._healthz, self._readyz = HealthChecks("/healthz"), HealthChecks("/readyz")
        self._broadcaster = EventBroadcaster(client, self.clock)
        self._groups = {
            name: RunnableGroup(name, on_error=self._fail) for name in (*_STOP_ORDER, "events")
        }
        self._groups["caches"].add(_CacheRunnable(self.cache))
        self._groups["events"].add(self._broadcaster)
        self._readyz.add("caches", self._caches_synced)
        if self._elector:
            self._healthz.add("leaderElection", self._elector.healthy)

    def may_act(self) -> bool:
        """Whether this process is the leader, or needs no leader election."""
        return self._elector is None or self._elector.leading

    def event_recorder(self, name: str) -> EventRecorder:
        """A recorder of Events for the component of that name."""
        return self._broadcaster.recorder(name)

    def add(self, runnable: Runnable, *, needs_leader: bool = True) -> None:
        """Add a runnable; by default it runs only on the leader.

        Raises:
            GroupStoppedError: the manager is stopping.
        """
        group = "leader election runnables" if needs_leader else "others"
        self._groups[group].add(runnable)

    def add_server(self, server: HTTPServer) -> None:
        """Add a server; it runs from before the caches fill until after the last reconcile."""
        self._groups["HTTP servers"].add(server)

    def add_healthz_check(self, name: str, check: Check) -> None:
        """Add a check of /healthz. Raises ValueError when one of that name exists."""
        self._healthz.add(name, check)

    async def start(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set.

        Raises:
            LeaderElectionLostError: the Lease was lost; the process must end.
            CacheSyncTimeoutError: the caches did not sync; the message names the informers.
            RuntimeError: it ran before.
            Exception: the first failure of any part.
        """
        if self._started:
            raise RuntimeError("the manager was started before: create a new one")
        self._started = True
        routes: Iterable[web.RouteDef] = [*self._healthz.routes(), *self._readyz.routes()]
        self.add_server(HTTPServer("health", self.options.health_probe_bind_address, routes))
        election: asyncio.Task[None] | None = None
        watcher = asyncio.create_task(self._watch(stop), name="manager/stop")
        try:
            for name in ("events", "HTTP servers", "caches"):
                self._groups[name].start()
            if await self._synced():
                self._groups["others"].start()
                election = asyncio.create_task(self._lead(), name="manager/election")
                await self._stopping.wait()
        finally:
            watcher.cancel()
            await self._stop(election)
        if self._failure is not None:
            raise self._failure

    async def _watch(self, stop: asyncio.Event) -> None:
        await stop.wait()
        logger.info("Stopping and waiting for running reconciles")
        self._stopping.set()

    async def _synced(self) -> bool:
        """Wait for the caches; False if the stop comes first."""
        waiting = asyncio.create_task(self.cache.wait_for_sync(self.options.cache_sync_timeout))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((waiting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
            return not self._stopping.is_set()
        finally:
            for task in (waiting, stopping):
                task.cancel()
            await asyncio.gather(waiting, stopping, return_exceptions=True)

    async def _lead(self) -> None:
        try:
            if self._elector:
                await self._elector.acquire()
                self._report_leadership(leading=True)
            self.elected.set()
            self._groups["leader election runnables"].start()
            if self._elector:
                await self._elector.hold()
        except LeaderElectionLostError as error:
            logger.error("Leader election lost", error=str(error))
            self._report_leadership(leading=False)
            self._lost.set()
            self._fail(error)
        except Exception as error:
            logger.exception("Leader election failed")
            self._fail(error)

    async def _stop(self, election: asyncio.Task[None] | None) -> None:
        if not self.elected.is_set():
            # A candidate that stops must not become the leader.
            await self._end_election(election)
            election = None
        acted = await self._stop_groups()
        await self._end_election(election, release=not acted)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ABORT_SECONDS):
                await self._groups["events"].stop()
        await self._groups["events"].abort(within=ABORT_SECONDS)

    async def _stop_groups(self) -> bool:
        """Stop all but election and Events.

        Returns whether a request of a leader may still be carried out: a runnable had to be cancelled, or still runs.
        """
        acts, grace = False, self.options.graceful_shutdown_timeout
        try:
            async with asyncio.timeout(None if grace < 0 else grace):
                # Once the Lease is lost, another replica may act while reconciles still end here.
                await run_until(self._lost, self._stop_in_order())
        except TimeoutError:
            logger.warning("Runnables did not stop in time; cancelling them", seconds=grace)
            acts = self._groups["leader election runnables"].running
        aborts = (self._groups[name].abort(within=ABORT_SECONDS) for name in _STOP_ORDER)
        running = [name for names in await asyncio.gather(*aborts) for name in names]
        for name in running:
            logger.error("Runnable did not stop after cancellation", runnable=name)
        return acts or bool(running)

    async def _stop_in_order(self) -> None:
        for name in _STOP_ORDER:
            await self._groups[name].stop()

    async def _end_election(
        self, election: asyncio.Task[None] | None, *, release: bool = True
    ) -> None:
        if election is None:
            return
        election.cancel()
        await asyncio.gather(election, return_exceptions=True)
        if self._elector is None:
            return
        if self._elector.leading:
            self._report_leadership(leading=False)
        if release:
            await self._elector.release()

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
        self._stopping.set()

    def _caches_synced(self) -> None:
        unsynced = self.cache.unsynced()
        if unsynced:
            raise RuntimeError(f"not synced: {', '.join(unsynced)}")

    def _report_leadership(self, *, leading: bool) -> None:
        options = self.options.leader_election
        if options is None:
            return
        self.metrics.leader.labels(options.name).set(leading)
        self.event_recorder("leader-election").event(
            ObjectReference(LEASES.api_version, LEASES.kind, options.name, options.namespace),
            type="Normal",
            reason="LeaderElection",
            action="Acquire" if leading else "Release",
            note=f"{options.config.identity} {'became leader' if leading else 'stopped leading'}",
        )

    def _make_elector(self, client: Client) -> Elector | None:
        options = self.options.leader_election
        if options is None:
            return None
        self.metrics.leader.labels(options.name).set(0)
        slow = self.metrics.leader_slowpath.labels(options.name)
        timeout = options.config.request_timeout
        election = client.component("leader-election")
        lock = LeaseLock(election, options.namespace, options.name, timeout=timeout)
        return LeaderElector(lock, options.config, clock=self.clock, on_slow_path=slow.inc)


class _CacheRunnable:
    """Runs a cache, which ends by cancellation, until a group's stop event."""

    name = "cache"

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def run(self, stop: asyncio.Event) -> None:
        """Fill the cache until `stop` is set."""
        await run_until(stop, self._cache.run())
