"""Leader election through a Lease, with client-go's timings and rules.

Guarantees:
- the times in the Lease are never compared with our clock: another candidate's record is valid for its own duration from
  the moment at which *this process* observed its change;
- the leader may act until `renew_deadline` after the start of its last successful renewal, by the monotonic clock and
  whether or not anything runs in between: a process that was paused finds out at its next write;
- between that moment and the first at which another candidate may take the Lease lie lease_duration - renew_deadline
  seconds.

The elector does not fence writes: the manager passes `check` to the client.
"""

import asyncio
import math
import random
import socket
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

import structlog

from kubetask_controller.client.errors import (
    APIStatusError,
    ClientError,
    TransportError,
    is_already_exists,
    is_conflict,
    is_forbidden,
    is_not_found,
)
from kubetask_controller.client.resources import LEASES
from kubetask_controller.client.rest import Client
from kubetask_controller.runtime.clock import Clock, Random
from kubetask_controller.runtime.meta import MalformedResourceVersionError, compare, micro_time
from kubetask_controller.types import JSON

JITTER_FACTOR = 1.2
SHORTEST_PAUSE = 0.05
"""Seconds between two reads of the Lease at least."""
WATCHDOG_TOLERANCE = 20.0
"""Seconds beyond the Lease's duration after which a leader that does not renew is unhealthy."""
WATCH_SECONDS = 600.0

logger = structlog.get_logger("leaderelection")


@dataclass(frozen=True, slots=True)
class LeaderElectionRecord:
    """The content of the Lease.

    Attributes:
        holder: identity of the leader; empty after a release.
        lease_duration: seconds for which each renewal is valid.
        acquire_time: when the holder acquired the Lease; MicroTime.
        renew_time: its last renewal; MicroTime of the holder's clock, so it is never compared with ours.
        transitions: number of changes of the holder.
    """

    holder: str
    lease_duration: int
    acquire_time: str
    renew_time: str
    transitions: int = 0


@dataclass(frozen=True, slots=True)
class Observed:
    """A Lease as it was read or written.

    Attributes:
        record: its content.
        raw: the object, for the next update.
    """

    record: LeaderElectionRecord
    raw: JSON

    def is_newer(self, other: "Observed") -> bool:
        """Whether this version came after the other one; False where that cannot be determined."""
        versions = [x.raw.get("metadata", {}).get("resourceVersion", "") for x in (self, other)]
        try:
            return compare(*versions) > 0
        except MalformedResourceVersionError:
            return False


class LeaseLock:
    """Reads and writes one Lease with optimistic concurrency."""

    def __init__(self, client: Client, namespace: str, name: str, *, timeout: float) -> None:
        """`timeout` in seconds for each request, so that one without an answer does not use up the renewal's time."""
        self._client = client
        self.namespace = namespace
        self.name = name
        self._timeout = timeout

    async def get(self) -> Observed | None:
        """The Lease, or None where it does not exist.

        Raises:
            ClientError: the request failed.
        """
        try:
            raw = await self._client.get(LEASES, self.namespace, self.name, timeout=self._timeout)
        except APIStatusError as error:
            if is_not_found(error):
                return None
            raise
        return _from_json(raw)

    async def create(self, record: LeaderElectionRecord) -> Observed:
        """Create the Lease.

        Raises:
            ClientError: it exists already, or there was no answer.
        """
        body = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": _spec(record),
        }
        raw = await self._client.create(LEASES, self.namespace, body, timeout=self._timeout)
        return _from_json(raw)

    async def update(self, observed: Observed, record: LeaderElectionRecord) -> Observed:
        """Replace the record of the Lease that was observed.

        Raises:
            ClientError: it has changed since (a conflict), or there was no answer.
        """
        body = {**observed.raw, "spec": {**observed.raw.get("spec", {}), **_spec(record)}}
        raw = await self._client.update(
            LEASES, self.namespace, self.name, body, timeout=self._timeout
        )
        return _from_json(raw)

    async def wait_released(self, observe: Callable[[Observed], None]) -> None:
        """Return once the Lease exists and has no holder; ``observe`` is called with each version that the watch shows.

        Raises:
            ClientError: the watch failed, or ended.
        """
        params = {"fieldSelector": f"metadata.name={self.name}"}
        watch = self._client.watch(
            LEASES, self.namespace, params=params, timeout_seconds=WATCH_SECONDS
        )
        async with watch as events:
            async for event in events:
                if event["type"] in ("ADDED", "MODIFIED"):
                    observed = _from_json(event["object"])
                    observe(observed)
                    if not observed.record.holder:
                        return
        raise TransportError("the watch of the Lease has ended")


def new_record(holder: str, lease_duration: float, now: datetime) -> LeaderElectionRecord:
    """The record of a candidate that acquires the Lease now; the API has whole seconds only."""
    moment = micro_time(now)
    return LeaderElectionRecord(holder, max(1, math.ceil(lease_duration)), moment, moment)


def released(record: LeaderElectionRecord, now: datetime) -> LeaderElectionRecord:
    """The record of a release: every candidate may acquire the Lease at once."""
    moment = micro_time(now)
    return replace(record, holder="", lease_duration=1, acquire_time=moment, renew_time=moment)


def _spec(record: LeaderElectionRecord) -> JSON:
    return {
        "holderIdentity": record.holder,
        "leaseDurationSeconds": record.lease_duration,
        "acquireTime": record.acquire_time,
        "renewTime": record.renew_time,
        "leaseTransitions": record.transitions,
    }


def _from_json(raw: JSON) -> Observed:
    spec = raw.get("spec") or {}
    record = LeaderElectionRecord(
        holder=spec.get("holderIdentity") or "",
        lease_duration=spec.get("leaseDurationSeconds") or 0,
        acquire_time=spec.get("acquireTime") or "",
        renew_time=spec.get("renewTime") or "",
        transitions=spec.get("leaseTransitions") or 0,
    )
    return Observed(record, raw)


class ReleaseWatcher:
    """Wakes a waiting candidate when the Lease is released, and observes each renewal when it happens.

    So the Lease of a dead leader expires a lease duration after its last renewal, and not after the read that came next.
    client-go's candidates poll, and leave the Lease vacant for up to 4.4 s. Where RBAC forbids the watch, this one polls too.
    """

    def __init__(self, lock: LeaseLock, observe: Callable[[Observed], None]) -> None:
        """``observe`` is called with each version that the watch shows."""
        self._lock = lock
        self._observe = observe
        self._watching: asyncio.Task[None] | None = None
        self._woken = self._forbidden = False

    async def wait(self, pause: Coroutine[Any, Any, None]) -> None:
        """Return when `pause` ends, or when the Lease is released."""
        pausing = asyncio.ensure_future(pause)
        try:
            # Not twice in a row: a Lease that has no holder and cannot be acquired would cause
            # requests without a pause.
            if self._woken or self._forbidden:
                await asyncio.wait({pausing})
            else:
                await self._either(pausing, self._watch())
            self._woken = not pausing.done()
        finally:
            pausing.cancel()
            await asyncio.gather(pausing, return_exceptions=True)

    async def close(self) -> None:
        """Stop watching."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    async def _either(self, pausing: asyncio.Future[None], watching: asyncio.Task[None]) -> None:
        await asyncio.wait({pausing, watching}, return_when=asyncio.FIRST_COMPLETED)
        error = watching.exception() if watching.done() else None
        if error is None:
            return
        if not isinstance(error, ClientError):
            raise error
        self._forbidden = is_forbidden(error)
        logger.debug("Lease cannot be watched", error=str(error))
        await asyncio.wait({pausing})

    def _watch(self) -> asyncio.Task[None]:
        if self._watching is None or self._watching.done():
            work = self._lock.wait_released(self._observe)
            self._watching = asyncio.create_task(work, name="leader-election/watch")
            # It may fail while nothing awaits it, and asyncio logs exceptions that nothing retrieves.
            self._watching.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._watching


class LeaderElectionLostError(Exception):
    """The Lease could not be renewed in time; the process must not act as the leader any more."""


class NotLeaderError(ClientError):
    """A write was not sent because this process is not, or no longer, the leader."""


def new_identity() -> str:
    """``hostname_uuid``, which is unique to a process."""
    return f"{socket.gethostname()}_{uuid.uuid4()}"


@dataclass(frozen=True, slots=True)
class LeaderElectionConfig:
    """Timings in seconds, client-go's by default.

    Raises:
        ValueError: they leave no time for a renewal.
    """

    identity: str = field(default_factory=new_identity)
    lease_duration: float = 15.0
    renew_deadline: float = 10.0
    retry_period: float = 2.0

    def __post_init__(self) -> None:
        if not self.lease_duration > self.renew_deadline > JITTER_FACTOR * self.retry_period > 0:
            raise ValueError(
                "leader election: lease_duration must be greater than renew_deadline,"
                f" and that greater than {JITTER_FACTOR:g} times retry_period"
            )
        if not self.identity:
            raise ValueError("leader election: identity must not be empty")

    @property
    def request_timeout(self) -> float:
        """Seconds for one request: one without an answer must not use up the deadline."""
        return max(1.0, self.renew_deadline / 2)


class Elector(Protocol):
    """What a manager needs of a leader election."""

    @property
    def leading(self) -> bool:
        """Whether this process is the leader and may act now."""

    @property
    def leader(self) -> str:
        """Identity of the leader as last observed."""

    def check(self) -> None:
        """The fence that each write passes; raises NotLeaderError where this process is not the leader."""

    def healthy(self) -> None:
        """Raise where the election does not work; for the liveness probe."""

    async def acquire(self) -> None:
        """Return once this process is the leader."""

    async def hold(self) -> None:
        """Renew the lead; raises LeaderElectionLostError at its end."""

    async def release(self) -> None:
        """Give up the lead."""


class LeaderElector:
    """One candidate; see the module."""

    def __init__(
        self,
        lock: LeaseLock,
        config: LeaderElectionConfig,
        *,
        clock: Clock,
        on_slow_path: Callable[[], None] = lambda: None,
        random: Random = random.random,
    ) -> None:
        self._lock = lock
        self._config = config
        self._clock = clock
        self._on_slow_path = on_slow_path
        self._random = random
        self._last: Observed | None = None
        self._observed_at = 0.0
        self._renewed_at = float("-inf")
        self._leading = False
        self._claimed = False  # the Lease may name us, even where the answer was lost

    @property
    def leading(self) -> bool:
        """Whether this candidate is the leader and may act now."""
        age = self._clock.monotonic() - self._renewed_at
        return self._leading and age < self._config.renew_deadline

    @property
    def leader(self) -> str:
        """Identity of the leader as last observed."""
        return self._last.record.holder if self._last else ""

    def check(self) -> None:
        """The fence that each write passes.

        Raises:
            NotLeaderError: this process is not the leader.
        """
        if not self.leading:
            raise NotLeaderError(
                "this process is not the leader (any more): the write was not sent"
            )

    def healthy(self) -> None:
        """A watchdog for a health check.

        Raises:
            LeaderElectionLostError: it counts as the leader, and the last renewal is far too long ago.
        """
        age = self._clock.monotonic() - self._renewed_at
        if self._leading and age > self._config.lease_duration + WATCHDOG_TOLERANCE:
            raise LeaderElectionLostError(f"the Lease was not renewed for {age:.0f} s")

    async def acquire(self) -> None:
        """Return once this candidate is the leader; cancellation ends the attempts."""
        log = logger.bind(lease=f"{self._lock.namespace}/{self._lock.name}")
        log.info("Attempting to acquire leader lease", identity=self._config.identity)
        reported = ""
        watcher = ReleaseWatcher(self._lock, self._observe_watched)
        try:
            while not await self._attempt(self._try):
                if self.leader and self.leader != reported:
                    reported = self.leader
                    log.info("New leader elected", leader=reported)
                await watcher.wait(self._clock.sleep(self._pause()))
        finally:
            await watcher.close()
        self._leading = True
        log.info("Successfully acquired lease", identity=self._config.identity)

    async def hold(self) -> None:
        """Renew until cancelled.

        Raises:
            LeaderElectionLostError: the Lease was not renewed within the deadline, or has another holder.
        """
        try:
            while True:
                await self._clock.sleep(self._config.retry_period)
                await self._renew()
        except LeaderElectionLostError:
            self._leading = self._claimed = False
            raise

    async def release(self) -> None:
        """Release the Lease, so that the next leader need not wait; call it when all work has stopped.

        Does nothing where this candidate never tried to acquire the Lease, or lost it.
        """
        self._leading = False
        if not self._claimed:
            return
        try:
            async with asyncio.timeout(self._config.renew_deadline):
                while not await self._attempt(self._try_release):
                    await self._clock.sleep(self._config.retry_period)
        except TimeoutError:
            logger.warning("The Lease was not released in time; it expires")

    async def _renew(self) -> None:
        limit = self._config.renew_deadline
        late = LeaderElectionLostError(f"the Lease was not renewed within {limit:g} s")
        remaining = self._renewed_at + limit - self._clock.monotonic()
        if remaining <= 0:
            raise late  # the process was paused: no further request
        try:
            async with asyncio.timeout(remaining):
                while not await self._attempt(self._try):
                    if self._last and self._held_by_another(self._last.record):
                        raise LeaderElectionLostError(f"{self.leader} acquired the Lease")
                    await self._clock.sleep(self._config.retry_period)
        except TimeoutError:
            raise late from None

    async def _attempt(self, step: Callable[[], Awaitable[bool]]) -> bool:
        try:
            return await step()
        except ClientError as error:
            level = logger.debug if _is_race(error) else logger.warning
            level("Lease could not be read or written", error=str(error))
            return False

    async def _try(self) -> bool:
        """Acquire or renew the Lease, in one attempt."""
        if self._last and self._last.record.holder == self._config.identity and self._valid():
            try:
                await self._write(self._last)
            except ClientError as error:
                logger.debug("Renewing takes the slow path", error=str(error))
                self._on_slow_path()
            else:
                return True
        observed = await self._lock.get()
        if observed is not None:
            self._observe(observed)
            if self._held_by_another(observed.record) and (self._leading or self._valid()):
                return False
        self._claimed = True
        await self._write(observed)
        return True

    async def _write(self, observed: Observed | None) -> None:
        started = self._clock.monotonic()
        if observed is None:
            self._observe(await self._lock.create(self._record(None)))
        else:
            self._observe(await self._lock.update(observed, self._record(observed.record)))
        # Other candidates observe this renewal later than this, and wait from then on.
        self._renewed_at = started

    async def _try_release(self) -> bool:
        observed = await self._lock.get()
        if observed is None or observed.record.holder != self._config.identity:
            return True
        await self._lock.update(observed, released(observed.record, self._clock.now()))
        return True

    def _record(self, old: LeaderElectionRecord | None) -> LeaderElectionRecord:
        record = new_record(self._config.identity, self._config.lease_duration, self._clock.now())
        if old is None:
            return record
        if old.holder == record.holder:
            return replace(record, acquire_time=old.acquire_time, transitions=old.transitions)
        return replace(record, transitions=old.transitions + 1)

    def _observe(self, observed: Observed) -> None:
        if self._last is None or self._last.record != observed.record:
            self._observed_at = self._clock.monotonic()
        self._last = observed

    def _observe_watched(self, observed: Observed) -> None:
        """The watch shows a version of the Lease; one that is older than the last observed version is ignored."""
        if self._last is None or observed.is_newer(self._last):
            self._observe(observed)

    def _pause(self) -> float:
        """Seconds until a candidate's next read: random, and not after the moment from which it may acquire the Lease."""
        pause = self._config.retry_period * (1 + JITTER_FACTOR * self._random())
        if self._last is None or not self._held_by_another(self._last.record):
            return pause
        left = self._valid_until() - self._clock.monotonic()
        # An expired Lease that cannot be acquired is tried again at the usual pace: the API server may be in trouble.
        return min(pause, max(left, SHORTEST_PAUSE)) if left > 0 else pause

    def _valid(self) -> bool:
        return self._valid_until() > self._clock.monotonic()

    def _valid_until(self) -> float:
        """Monotonic time until which the Lease as last observed belongs to its holder."""
        assert self._last is not None
        return self._observed_at + self._last.record.lease_duration

    def _held_by_another(self, record: LeaderElectionRecord) -> bool:
        return bool(record.holder) and record.holder != self._config.identity


def _is_race(error: ClientError) -> bool:
    """Two candidates wrote at once, and the other one was first."""
    return is_conflict(error) or is_already_exists(error)
