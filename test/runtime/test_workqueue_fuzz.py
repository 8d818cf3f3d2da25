"""Ten producers and a hundred consumers hammer one queue; what is promised is checked at each hand-out."""

import asyncio
import random

import pytest
from prometheus_client import CollectorRegistry

from kubetask_controller.runtime.metrics import Metrics
from kubetask_controller.runtime.workqueue import ShutDown, WorkQueue

PRODUCERS, ADDS, CONSUMERS, ITEMS = 10, 1000, 100, 300
PRIORITIES = (-100, 0, 10)


class Ledger:
    """What must be true of a queue, kept beside it."""

    def __init__(self, queue, registry, clock):
        self.queue, self.registry, self.clock = queue, registry, clock
        self.wanted = {}
        self.working = set()
        self.handed_out = 0
        self._calm = asyncio.Event()

    def add(self, item, priority, delay):
        self.queue.add_after(item, delay, priority=priority)
        due = self.clock.monotonic() + delay
        highest, earliest = self.wanted.get(item, (priority, due))
        self.wanted[item] = (max(highest, priority), min(earliest, due))

    def take(self, item, priority):
        assert item not in self.working, "an item is never handed out twice at once"
        assert item in self.wanted, "nothing is handed out that nobody wants"
        highest, earliest = self.wanted.pop(item)
        assert priority == highest, "the highest priority that was asked for"
        assert self.clock.monotonic() >= earliest, "not before its earliest time"
        self.working.add(item)
        self.handed_out += 1
        for each in PRIORITIES:
            assert self.depth(each) >= 0

    def done(self, item):
        self.working.remove(item)
        self.queue.done(item)
        self._calm.set()

    async def settled(self):
        """Return once nothing is wanted and nothing worked on."""
        while self.wanted or self.working:
            self._calm.clear()
            await self._calm.wait()

    def depth(self, priority):
        labels = {"name": "q", "controller": "q", "priority": str(priority)}
        return self.registry.get_sample_value("workqueue_depth", labels) or 0


@pytest.mark.parametrize("seed", range(3))
async def test_ten_producers_and_a_hundred_consumers(clock, seed):
    chance = random.Random(seed)
    registry = CollectorRegistry()
    queue = WorkQueue(metrics=Metrics(registry).queue("q"))
    ledger = Ledger(queue, registry, clock)

    async def produce():
        for _ in range(ADDS):
            delay = chance.choice((0, 0, chance.random()))
            ledger.add(chance.randrange(ITEMS), chance.choice(PRIORITIES), delay)
            if chance.random() < 0.3:
                await asyncio.sleep(chance.random() / 100)

    async def consume():
        while True:
            try:
                item, priority = await queue.get_with_priority()
            except ShutDown:
                return
            ledger.take(item, priority)
            await asyncio.sleep(chance.choice((0, chance.random() / 10)))
            if chance.random() < 0.1:
                ledger.add(item, priority, chance.random())
            ledger.done(item)

    async def everything():
        consumers = [asyncio.create_task(consume()) for _ in range(CONSUMERS)]
        await asyncio.gather(*(produce() for _ in range(PRODUCERS)))
        await ledger.settled()
        await queue.shut_down_with_drain()
        await asyncio.gather(*consumers)

    await clock.run(everything())
    assert ledger.handed_out > ITEMS
    assert len(queue) == 0
    assert all(ledger.depth(priority) == 0 for priority in PRIORITIES)
