"""Long runs in virtual time: what breaks all the time is right in the end, and nothing piles up."""

import asyncio
import gc
import random

import pytest

from support.runtime.flakyserver import COLORS, REFUSALS, FlakyServer, shown
from support.runtime.script import RESET, ReflectorHarness, View

TEN_MINUTES = 600.0


async def trouble(server, chance):
    """Somebody writes, and something breaks, every few seconds."""
    faults = (
        server.heal,
        server.compact,
        server.break_watches,
        lambda: server.break_watches(RESET if chance.random() < 0.5 else None),
        lambda: setattr(server, "refuses", chance.choice(list(REFUSALS.values()))),
        lambda: setattr(server, "mute", True),
        lambda: setattr(server, "streams", chance.random() < 0.5),
        lambda: setattr(server, "lag", chance.randrange(20)),
        lambda: setattr(server, "loses_tokens", chance.random() < 0.5),
        lambda: setattr(server, "refuses", None),
    )
    while True:
        for _ in range(chance.randrange(10)):
            server.write(f"thing-{chance.randrange(40)}", chance.choice((*COLORS, None)))
        if chance.random() < 0.3:
            chance.choice(faults)()
        server.forget_states()
        await asyncio.sleep(chance.random())


def instances(kind):
    gc.collect()
    return sum(type(each) is kind for each in gc.get_objects())


@pytest.mark.parametrize("seed", range(4))
async def test_after_ten_minutes_of_broken_watches_the_cache_equals_the_server(clock, seed):
    chance = random.Random(seed)
    server = FlakyServer(chance)
    async with ReflectorHarness(clock, server, jitter=0.5) as rig:
        troubling = asyncio.create_task(trouble(server, chance))
        for _ in range(int(TEN_MINUTES / 10)):
            await clock.advance(10)
            version = rig.informer.resource_version("default")
            if version and int(version) in server.states:
                assert shown(rig.informer) == server.states[int(version)]
        troubling.cancel()
        await asyncio.gather(troubling, return_exceptions=True)
        assert server.version > 1000, "much has happened"
        assert rig.metrics.ends, "watches have broken"
        server.heal()
        await clock.advance(300)
        assert shown(rig.informer) == server.state
        assert int(rig.informer.resource_version("default")) == server.version
        assert rig.metrics.failures == rig.metrics.dropped == 0


async def test_neither_tasks_nor_objects_pile_up(clock):
    before = instances(View)
    chance = random.Random(7)
    server = FlakyServer(chance)
    async with ReflectorHarness(clock, server, jitter=0.5) as rig:
        troubling = asyncio.create_task(trouble(server, chance))
        await clock.advance(TEN_MINUTES)
        troubling.cancel()
        await asyncio.gather(troubling, return_exceptions=True)
        server.heal()
        await clock.advance(300)
        assert instances(View) - before == len(rig.informer) == len(server.state)
        tasks = {task.get_name() for task in asyncio.all_tasks()}
        assert len(tasks) <= 4, tasks
        assert server.open_watches == 1
    assert server.open_watches == 0
