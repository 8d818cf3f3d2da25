import asyncio
import gc
import weakref

import pytest

from kubetask_controller.runtime.eventloop import GarbageFreeze
from kubetask_controller.runtime.manager import Manager, ManagerOptions
from kubetask_controller.runtime.metrics import Metrics
from support.runtime.memoryapi import MemoryAPI
from support.runtime.script import RUNS, view


@pytest.fixture
def collector():
    """The collector as a process starts with it; left as it was."""
    gc.collect()
    gc.disable()
    yield
    gc.unfreeze()
    gc.enable()


class Cached:
    """An object that refers to itself: only the collector finds out that nobody needs it."""

    def __init__(self):
        self.itself = self


async def test_what_is_there_when_the_caches_are_full_is_not_looked_at_again(collector):
    cached = Cached()
    is_there = weakref.ref(cached)
    await GarbageFreeze().run(asyncio.Event())
    del cached
    gc.collect()
    assert is_there() is not None


async def test_garbage_that_comes_later_is_collected(collector):
    await GarbageFreeze().run(asyncio.Event())
    assert gc.isenabled()
    later = Cached()
    is_there = weakref.ref(later)
    del later
    gc.collect()
    assert is_there() is None


async def test_the_collector_rests_until_the_caches_are_full_and_does_not_wait_for_the_lead(
    collector, clock
):
    client = MemoryAPI().client("me")
    manager = Manager(client, ManagerOptions(), metrics=Metrics(), clock=clock)
    manager.cache.informer(RUNS, project=view)
    manager.add(GarbageFreeze(), needs_leader=False)
    client.connection.heard.clear()
    stop = asyncio.Event()
    running = asyncio.create_task(manager.start(stop))
    await clock.advance(5)
    assert not gc.isenabled()
    client.connection.heard.set()
    await clock.advance(2)
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
    stop.set()
    await clock.run(running)
