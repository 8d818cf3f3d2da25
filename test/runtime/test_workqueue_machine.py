import asyncio
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from prometheus_client import CollectorRegistry

from kubetask_controller.runtime.metrics import Metrics
from kubetask_controller.runtime.workqueue import WorkQueue
from support.runtime.virtualtime import FakeClock

items = st.sampled_from("abc")
priorities = st.sampled_from((-100, 0, 1))


@dataclass
class Waits:
    priority: int
    ready_at: float | None
    place: int = 0


class QueueAgainstModel(RuleBasedStateMachine):
    """A queue does what a plain description of it does: who is ready, who is worked on, who is next."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock(self.loop)
        self.registry = CollectorRegistry()
        self.queue = self.run(self.make())
        self.waits = {}
        self.working = set()
        self.places = 0

    async def make(self):
        return WorkQueue(metrics=Metrics(self.registry).queue("q"))

    def run(self, work):
        return self.loop.run_until_complete(work)

    @rule(item=items, priority=priorities)
    def add(self, item, priority):
        self.call(self.queue.add, item, priority=priority)
        self.expect(item, priority, None)

    @rule(item=items, priority=priorities, delay=st.integers(1, 5))
    def add_after(self, item, priority, delay):
        self.call(self.queue.add_after, item, delay, priority=priority)
        self.expect(item, priority, self.clock.monotonic() + delay)

    @rule(seconds=st.integers(1, 3))
    def time_passes(self, seconds):
        self.run(self.clock.advance(seconds))
        now = self.clock.monotonic()
        due = [w for w in self.waits.values() if w.ready_at is not None and w.ready_at <= now]
        for waits in sorted(due, key=lambda w: (w.ready_at, w.place)):
            waits.ready_at = None
            waits.place = self.next_place()

    @precondition(lambda self: self.next_item() is not None)
    @rule()
    def get(self):
        expected = self.next_item()
        got, priority = self.run(self.queue.get_with_priority())
        assert got not in self.working, "an item is never handed out twice at once"
        assert (got, priority) == (expected, self.waits.pop(expected).priority)
        self.working.add(got)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def done(self, data):
        item = data.draw(st.sampled_from(sorted(self.working)))
        self.call(self.queue.done, item)
        self.working.remove(item)
        if item in self.waits and self.waits[item].ready_at is None:
            self.waits[item].place = self.next_place()

    @rule()
    def discard(self):
        self.call(self.queue.discard)
        self.waits.clear()

    @invariant()
    def counts_agree(self):
        ready = [w for w in self.waits.values() if w.ready_at is None]
        assert len(self.queue) == len(ready)
        for priority in (-100, 0, 1):
            labels = {"name": "q", "controller": "q", "priority": str(priority)}
            depth = self.call(self.registry.get_sample_value, "workqueue_depth", labels)
            assert (depth or 0) == sum(w.priority == priority for w in ready)

    def teardown(self):
        for item in sorted(self.working):
            self.call(self.queue.done, item)
        self.working.clear()
        self.run(self.clock.advance(10))
        left = {self.run(self.queue.get()) for _ in range(len(self.queue))}
        assert left == set(self.waits), "nothing that was added is lost"
        self.clock.close()
        self.loop.close()

    def call(self, function, *args, **kwargs):
        async def inside():
            return function(*args, **kwargs)

        return self.run(inside())

    def expect(self, item, priority, ready_at):
        waits = self.waits.get(item)
        if waits is None:
            self.waits[item] = Waits(priority, ready_at, self.next_place())
            return
        if waits.ready_at is None:
            if priority > waits.priority:
                waits.priority, waits.place = priority, self.next_place()
            return
        waits.priority = max(waits.priority, priority)
        if ready_at is None or ready_at < waits.ready_at:
            waits.ready_at, waits.place = ready_at, self.next_place()

    def next_item(self):
        ready = [
            (-w.priority, w.place, item)
            for item, w in self.waits.items()
            if w.ready_at is None and item not in self.working
        ]
        return min(ready)[2] if ready else None

    def next_place(self):
        self.places += 1
        return self.places


QueueAgainstModel.TestCase.settings = settings(
    max_examples=50, stateful_step_count=40, deadline=None
)
TestQueue = QueueAgainstModel.TestCase
