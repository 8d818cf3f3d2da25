"""Two and three candidates whose requests hang, whose answers get lost, whose clocks step and who are paused.

Never may two act, and who is able to lead does so within the lease's duration and one retry.
"""

import asyncio
import itertools
import random
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from kubetask_controller.client.errors import TransportError
from kubetask_controller.runtime.leaderelection import (
    LeaderElectionConfig,
    LeaderElectionLostError,
    LeaderElector,
    LeaseLock,
    NotLeaderError,
)
from support.runtime.frozen import Freezer
from support.runtime.memoryapi import MemoryAPI

DOWN = TransportError("unreachable", refused=True)
CONFIG = LeaderElectionConfig(identity="x")
RETRY = CONFIG.retry_period * 2.2
"""Seconds between two looks at the Lease, at most."""


class Process:
    """A candidate that writes something ten times a second while it leads, and starts over when it has lost."""

    def __init__(self, api, clock, name, chance):
        self.name, self.chance, self._clock = name, chance, clock
        self.client = api.client(name)
        self.connection = self.client.connection
        self.freezer = Freezer()
        self.skew = 0.0
        self.acts = []
        self.elector = None

    def now(self):
        return self._clock.now() + timedelta(seconds=self.skew)

    def monotonic(self):
        return self._clock.monotonic()

    async def sleep(self, seconds):
        await self._clock.sleep(seconds)

    @property
    def leading(self):
        return self.elector is not None and self.elector.leading

    async def live(self):
        while True:
            lock = LeaseLock(self.client, "system", "lock", timeout=CONFIG.request_timeout)
            config = LeaderElectionConfig(identity=f"{self.name}-{self.chance.random()}")
            self.elector = LeaderElector(lock, config, clock=self, random=self.chance.random)
            with suppress(LeaderElectionLostError):
                await self.elector.acquire()
                acting = asyncio.create_task(self.freezer.run(self.act()))
                try:
                    await self.elector.hold()
                finally:
                    acting.cancel()
                    await asyncio.gather(acting, return_exceptions=True)

    async def act(self):
        while True:
            with suppress(NotLeaderError):
                self.elector.check()
                self.acts.append(self._clock.monotonic())
            await asyncio.sleep(0.1)

    def heal(self):
        self.connection.latency = 0.05
        self.connection.failure = None
        self.connection.deaf = False
        self.freezer.thaw()

    def ail(self, ailment):
        self.heal()
        match ailment:
            case "hangs":
                self.connection.latency = 3600
            case "slow":
                self.connection.latency = 3
            case "deaf":
                self.connection.deaf = True
            case "down":
                self.connection.failure = DOWN
            case "paused":
                self.freezer.freeze()
            case "clock steps":
                self.skew += self.chance.choice((-3600, 3600))


AILMENTS = ("hangs", "slow", "deaf", "down", "paused", "clock steps")
DEADLY = ("hangs", "deaf", "down", "paused")


class World:
    def __init__(self, clock, count, seed):
        self.clock = clock
        self.api = MemoryAPI()
        self.chance = random.Random(seed)
        self.processes = [Process(self.api, clock, f"p{n}", self.chance) for n in range(count)]
        self.terms = []

    @asynccontextmanager
    async def running(self):
        tasks = [asyncio.create_task(p.freezer.run(p.live())) for p in self.processes]
        for process in self.processes:
            process.heal()
        await self.clock.settle()
        try:
            yield self
        finally:
            for process in self.processes:
                process.heal()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def advance(self, seconds):
        """In steps; at each of them nobody leads beside another."""
        for _ in range(int(seconds / 0.25)):
            await self.clock.advance(0.25)
            leaders = self.leaders
            assert len(leaders) <= 1, [p.name for p in leaders]
            if leaders and self.terms[-1:] != leaders:
                self.terms.append(leaders[0])

    @property
    def leaders(self):
        return [process for process in self.processes if process.leading]

    async def until_led(self, but=None):
        """Seconds until somebody (else) leads and acts."""
        started = self.clock.monotonic()
        while not [p for p in self.leaders if p is not but and not p.freezer.frozen]:
            await self.advance(0.25)
            assert self.clock.monotonic() - started < 120, "nobody leads"
        return self.clock.monotonic() - started

    def acted_together(self):
        """The moments at which one acted between two acts of another's single term."""
        acts = sorted((at, p.name) for p in self.processes for at in p.acts)
        return [(a, b) for a, b in itertools.pairwise(acts) if a[1] != b[1] and b[0] - a[0] < 1]


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("ailment", DEADLY)
async def test_a_leader_that_fails_has_a_successor_within_the_leases_duration_and_a_retry(
    clock, count, ailment
):
    world = World(clock, count, seed=1)
    async with world.running():
        await world.until_led()
        (leader,) = world.leaders
        await world.advance(5)
        leader.ail(ailment)
        if ailment == "deaf":
            # Its renewals arrive, and it does not know; nobody else can before it gives up.
            await world.advance(CONFIG.renew_deadline)
        assert await world.until_led(but=leader) <= CONFIG.lease_duration + RETRY + 0.5
        leader.heal()
        await world.advance(60)
    assert world.acted_together() == []


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("seed", range(4))
async def test_whatever_befalls_them_two_never_act_and_the_able_ones_lead(clock, count, seed):
    world = World(clock, count, seed)
    chance = world.chance
    async with world.running():
        for _ in range(60):
            for process in world.processes:
                if chance.random() < 0.5:
                    process.ail(chance.choice(AILMENTS))
                elif chance.random() < 0.5:
                    process.heal()
            await world.advance(chance.choice((1, 5, 12, 30)))
        for process in world.processes:
            process.heal()
        assert await world.until_led() <= CONFIG.lease_duration + RETRY + 0.5
        await world.advance(30)
        assert len(world.leaders) == 1
    assert len(world.terms) > 1, "the lead has changed hands"
    assert world.acted_together() == []


async def test_a_pause_of_the_whole_machine_leaves_one_leader(clock):
    world = World(clock, 3, seed=3)
    async with world.running():
        await world.until_led()
        for seconds in (5, 12, 40, 3600):
            clock.stall(seconds)
            await world.advance(1)
            assert await world.until_led() <= CONFIG.lease_duration + RETRY + 0.5
    assert world.acted_together() == []
