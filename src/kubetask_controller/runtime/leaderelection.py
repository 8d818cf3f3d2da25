"""Leader election through a Lease, with client-go's timings and rules.

Guarantees:
- the Lease's times are never compared with our clock: a foreign record is valid for its own duration from the moment at
  which *we* saw it change;
- who leads may act until `renew_deadline` after the start of its last successful renewal, by the monotonic clock and
  whether or not anything runs in between: a process that was paused finds out at its next write;
- between that moment and the first at which another may take over lie lease_duration - renew_deadline seconds.
Does not fence writes by itself: the manager hands `check` to the client.
"""

import asyncio
import random
import socket
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import structlog

from kubetask_controller.client.errors import ClientError, is_already_exists, is_conflict
from kubetask_controller.runtime.clock import Clock
from kubetask_controller.runtime.leaselock import (
    LeaderElectionRecord,
    LeaseLock,
    Observed,
    new_record,
    released,
)
from kubetask_controller.runtime.leaserelease import LeaseRelease

JITTER_FACTOR = 1.2
WATCHDOG_TOLERANCE = 20.0
"""Seconds beyond the lease's duration after which a leader that does not renew is unhealthy."""

logger = structlog.get_logger("leaderelection")


class LeaderElectionLostError(Exception):
    """The Lease could not be renewed in time; the process must not act any more."""


class NotLeaderError(ClientError):
    """A write was not sent because this process is not, or not any more, the leader."""


def new_identity() -> str:
    """``hostname_uuid``: no two processes ever share it."""
    return f"{socket.gethostname()}_{uuid.uuid4()}"


@dataclass(frozen=True, slots=True)
class LeaderElectionConfig:
    """Timings in seconds, client-go's by default.

    Raises:
        ValueError: they do not leave time for a renewal.
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
        """Seconds for one request: a hung one must not use up the deadline."""
        return max(1.0, self.renew_deadline / 2)


class LeaderElector:
    """One candidate; see the module."""

    def __init__(
        self,
        lock: LeaseLock,
        config: LeaderElectionConfig,
        *,
        clock: Clock,
        on_slow_path: Callable[[], None] = lambda: None,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._lock = lock
        self._config = config
        self._clock = clock
        self._on_slow_path = on_slow_path
        self._random = random
        self._seen: Observed | None = None
        self._seen_at = 0.0
        self._renewed_at = float("-inf")
        self._leading = False
        self._claimed = False  # the Lease may bear our name, whether or not we were told so

    @property
    def leading(self) -> bool:
        """It leads, and may act now."""
        age = self._clock.monotonic() - self._renewed_at
        return self._leading and age < self._config.renew_deadline

    @property
    def leader(self) -> str:
        """Identity of the leader as last seen."""
        return self._seen.record.holder if self._seen else ""

    def check(self) -> None:
        """The fence in front of each write.

        Raises:
            NotLeaderError: this process may not act.
        """
        if not self.leading:
            raise NotLeaderError("not the leader (any more): nothing is written")

    def healthy(self) -> None:
        """A watchdog for a health check.

        Raises:
            LeaderElectionLostError: it believes to lead, and has not renewed for far too long.
        """
        age = self._clock.monotonic() - self._renewed_at
        if self._leading and age > self._config.lease_duration + WATCHDOG_TOLERANCE:
            raise LeaderElectionLostError(f"the Lease was not renewed for {age:.0f} s")

    async def acquire(self) -> None:
        """Return once this candidate leads; cancel it to give up."""
        log = logger.bind(lease=f"{self._lock.namespace}/{self._lock.name}")
        log.info("Attempting to acquire leader lease", identity=self._config.identity)
        reported = ""
        release = LeaseRelease(self._lock)
        try:
            while not await self._attempt(self._try):
                if self.leader and self.leader != reported:
                    reported = self.leader
                    log.info("New leader elected", leader=reported)
                pause = self._config.retry_period * (1 + JITTER_FACTOR * self._random())
                await release.wait(self._clock.sleep(pause))
        finally:
            await release.close()
        self._leading = True
        log.info("Successfully acquired lease", identity=self._config.identity)

    async def hold(self) -> None:
        """Renew until cancelled.

        Raises:
            LeaderElectionLostError: the Lease was not renewed within the deadline, or is another's.
        """
        try:
            while True:
                await self._clock.sleep(self._config.retry_period)
                await self._renew()
        except LeaderElectionLostError:
            self._leading = self._claimed = False
            raise

    async def release(self) -> None:
        """Give the Lease up, so that a successor need not wait; to be called when all work has stopped.

        Does nothing where the Lease was never asked for, or was lost.
        """
        self._leading = False
        if not self._claimed:
            return
        try:
            async with asyncio.timeout(self._config.renew_deadline):
                while not await self._attempt(self._try_release):
                    await self._clock.sleep(self._config.retry_period)
        except TimeoutError:
            logger.warning("The lease was not released in time; it will run out")

    async def _renew(self) -> None:
        limit = self._config.renew_deadline
        late = LeaderElectionLostError(f"the Lease was not renewed within {limit:g} s")
        remaining = self._renewed_at + limit - self._clock.monotonic()
        if remaining <= 0:
            raise late  # the process was paused: not even one more request
        try:
            async with asyncio.timeout(remaining):
                while not await self._attempt(self._try):
                    if self._seen and self._held_by_another(self._seen.record):
                        raise LeaderElectionLostError(f"{self.leader} has taken the Lease")
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
        """Take or renew the Lease, once."""
        if self._seen and self._seen.record.holder == self._config.identity and self._valid():
            try:
                await self._write(self._seen)
            except ClientError as error:
                logger.debug("Renewing takes the slow path", error=str(error))
                self._on_slow_path()
            else:
                return True
        seen = await self._lock.get()
        if seen is not None:
            self._observe(seen)
            if self._held_by_another(seen.record) and (self._leading or self._valid()):
                return False
        self._claimed = True
        await self._write(seen)
        return True

    async def _write(self, seen: Observed | None) -> None:
        started = self._clock.monotonic()
        if seen is None:
            self._observe(await self._lock.create(self._record(None)))
        else:
            self._observe(await self._lock.update(seen, self._record(seen.record)))
        # Whoever else sees this renewal sees it later than this, and waits from then on.
        self._renewed_at = started

    async def _try_release(self) -> bool:
        seen = await self._lock.get()
        if seen is None or seen.record.holder != self._config.identity:
            return True
        await self._lock.update(seen, released(seen.record, self._clock.now()))
        return True

    def _record(self, old: LeaderElectionRecord | None) -> LeaderElectionRecord:
        record = new_record(self._config.identity, self._config.lease_duration, self._clock.now())
        if old is None:
            return record
        if old.holder == record.holder:
            return replace(record, acquire_time=old.acquire_time, transitions=old.transitions)
        return replace(record, transitions=old.transitions + 1)

    def _observe(self, seen: Observed) -> None:
        if self._seen is None or self._seen.record != seen.record:
            self._seen_at = self._clock.monotonic()
        self._seen = seen

    def _valid(self) -> bool:
        assert self._seen is not None
        return self._seen_at + self._seen.record.lease_duration > self._clock.monotonic()

    def _held_by_another(self, record: LeaderElectionRecord) -> bool:
        return bool(record.holder) and record.holder != self._config.identity


def _is_race(error: ClientError) -> bool:
    """Two candidates wrote at once, and the other one was first."""
    return is_conflict(error) or is_already_exists(error)
