import asyncio
import random

import pytest

from kubetask_controller.runtime.metrics import Metrics
from kubetask_controller.runtime.workqueue import LOW_PRIORITY, ShutDown, WorkQueue


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def queue(clock, metrics):
    return WorkQueue(metrics=metrics.queue("test"))


@pytest.fixture
def sample(metrics):
    def read(name, **labels):
        return metrics.registry.get_sample_value(
            name, {"name": "test", "controller": "test", **labels}
        )

    return read


async def take_all(queue):
    """Everything that can be had at once; each is done before the next."""
    taken = []
    while len(queue):
        item = await queue.get()
        taken.append(item)
        queue.done(item)
    return taken


async def test_what_was_added_first_is_handed_out_first(queue):
    for item in "bac":
        queue.add(item)
    assert await take_all(queue) == ["b", "a", "c"]


async def test_many_adds_of_an_item_that_waits_are_one(queue):
    for item in "abab":
        queue.add(item)
    assert len(queue) == 2
    assert await take_all(queue) == ["a", "b"]


async def test_an_item_added_while_it_is_worked_on_comes_once_more_and_not_before_it_is_done(queue):
    queue.add("a")
    assert await queue.get() == "a"
    for _ in range(3):
        queue.add("a")
    second = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert not second.done()
    queue.done("a")
    assert await second == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_an_item_may_come_back_after_it_is_done(queue):
    for _ in range(2):
        queue.add("a")
        assert await take_all(queue) == ["a"]


async def test_a_getter_waits_for_an_item(queue):
    getter = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    assert await getter == "a"


async def test_an_item_whose_getter_is_cancelled_as_it_comes_goes_to_another(queue):
    first, second = (asyncio.create_task(queue.get()) for _ in range(2))
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await second == "a"
    assert first.cancelled()


async def test_a_getter_that_gave_up_is_not_waited_for(queue):
    getter = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    getter.cancel()
    await asyncio.gather(getter, return_exceptions=True)
    queue.add("a")
    assert await queue.get() == "a"


async def test_a_delayed_item_comes_when_its_time_has_come(queue, clock):
    queue.add_after("a", 5)
    await clock.advance(4.9)
    assert len(queue) == 0
    await clock.advance(0.1)
    assert await take_all(queue) == ["a"]


@pytest.mark.parametrize("delay", [0, -1])
async def test_without_a_delay_an_item_is_ready_at_once(queue, delay):
    queue.add_after("a", delay)
    assert await queue.get() == "a"


@pytest.mark.parametrize(("first", "second"), [(10, 3), (3, 10)])
async def test_of_two_delays_the_earlier_one_counts(queue, clock, first, second):
    queue.add_after("a", first)
    queue.add_after("a", second)
    await clock.advance(3)
    assert await take_all(queue) == ["a"]
    await clock.advance(20)
    assert len(queue) == 0


async def test_delayed_items_come_in_the_order_of_their_times(queue, clock):
    for item, delay in (("c", 3), ("a", 1), ("d", 4), ("b", 2)):
        queue.add_after(item, delay)
    await clock.advance(10)
    assert await take_all(queue) == ["a", "b", "c", "d"]


async def test_an_add_hands_a_delayed_item_out_now_and_only_once(queue, clock):
    queue.add_after("a", 5)
    queue.add("a")
    assert await take_all(queue) == ["a"]
    await clock.advance(10)
    assert len(queue) == 0


async def test_a_delay_does_not_hold_back_what_is_ready(queue):
    queue.add("a")
    queue.add_after("a", 100)
    assert await queue.get() == "a"


async def test_an_item_that_becomes_due_while_it_is_worked_on_waits_until_it_is_done(queue, clock):
    queue.add("a")
    await queue.get()
    queue.add_after("a", 1)
    getter = asyncio.create_task(queue.get())
    await clock.advance(2)
    assert not getter.done()
    queue.done("a")
    assert await getter == "a"


async def test_an_item_added_before_its_time_while_it_is_worked_on_comes_only_once(
    queue, clock, sample
):
    queue.add("a")
    await queue.get()
    queue.add_after("a", 1)
    queue.add("a")
    await clock.advance(2)
    assert sample("workqueue_depth", priority="0") == 1
    queue.done("a")
    assert await take_all(queue) == ["a"]
    assert sample("workqueue_depth", priority="0") == 0


async def test_an_item_delayed_again_and_again_leaves_no_trail(queue):
    for delay in range(10_000, 0, -1):
        queue.add_after("a", delay)
    assert len(queue._waiting._positions) < 200


async def test_higher_priorities_go_first_and_in_their_order_within_one(queue):
    for item, priority in (("x", LOW_PRIORITY), ("a", 0), ("b", 0), ("y", LOW_PRIORITY), ("c", 5)):
        queue.add(item, priority=priority)
    assert await take_all(queue) == ["c", "a", "b", "x", "y"]


async def test_a_priority_is_raised_by_a_later_add_and_never_lowered(queue):
    queue.add("a", priority=LOW_PRIORITY)
    queue.add("b")
    queue.add("a", priority=3)
    queue.add("a", priority=LOW_PRIORITY)
    assert await queue.get_with_priority() == ("a", 3)
    assert await queue.get_with_priority() == ("b", 0)


async def test_an_item_whose_priority_is_raised_goes_to_the_end_of_its_new_level(queue):
    queue.add("a", priority=LOW_PRIORITY)
    queue.add("b")
    queue.add("a")
    assert await take_all(queue) == ["b", "a"]


@pytest.mark.parametrize("priorities", [(7, LOW_PRIORITY), (LOW_PRIORITY, 7)])
@pytest.mark.parametrize("delays", [(5, 1), (1, 5)])
async def test_a_delayed_item_keeps_the_highest_priority_it_was_given(
    queue, clock, priorities, delays
):
    for priority, delay in zip(priorities, delays, strict=True):
        queue.add_after("a", delay, priority=priority)
    await clock.advance(1)
    assert await queue.get_with_priority() == ("a", 7)


async def test_failures_wait_longer_and_longer_until_they_are_forgotten(queue, clock):
    delays = []
    for _ in range(4):
        queue.add_rate_limited("a")
        before = clock.monotonic()
        queue.done(await clock.run(queue.get()))
        delays.append(round(clock.monotonic() - before, 3))
    assert delays == [0.005, 0.010, 0.020, 0.040]
    assert queue.num_requeues("a") == 4
    queue.forget("a")
    assert queue.num_requeues("a") == 0
    queue.add_rate_limited("a")
    await clock.advance(0.005)
    assert len(queue) == 1


async def test_after_the_shutdown_nothing_is_taken_and_what_is_ready_is_handed_out(queue, clock):
    queue.add("a")
    queue.add_after("late", 1)
    queue.shut_down()
    queue.add("b")
    queue.add_after("b", 1)
    await clock.advance(5)
    assert await queue.get() == "a"
    queue.done("a")
    with pytest.raises(ShutDown):
        await queue.get()


async def test_a_shutdown_ends_every_wait_for_an_item(queue):
    getters = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.shut_down()
    for getter in getters:
        with pytest.raises(ShutDown):
            await getter


async def test_the_others_wait_while_the_last_item_may_come_back(queue):
    queue.add("a")
    await queue.get()
    queue.add("a")
    queue.shut_down()
    getters = [asyncio.create_task(queue.get()) for _ in range(2)]
    await asyncio.sleep(0)
    queue.done("a")
    assert await getters[0] == "a"
    queue.done("a")
    with pytest.raises(ShutDown):
        await getters[1]


async def test_a_drain_waits_for_what_is_queued_and_what_is_worked_on(queue):
    queue.add("a")
    queue.add("b")
    assert await queue.get() == "a"
    queue.add("a")
    drain = asyncio.create_task(queue.shut_down_with_drain())
    assert await queue.get() == "b"
    queue.done("a")
    queue.done("b")
    await asyncio.sleep(0)
    assert not drain.done()
    assert await queue.get() == "a"
    await asyncio.sleep(0)
    assert not drain.done()
    queue.done("a")
    await drain


async def test_an_idle_queue_is_drained_at_once(queue):
    await queue.shut_down_with_drain()


async def test_a_second_shutdown_ends_a_drain(queue):
    queue.add("a")
    await queue.get()
    drain = asyncio.create_task(queue.shut_down_with_drain())
    await asyncio.sleep(0)
    queue.shut_down()
    await drain
    queue.done("a")


async def test_what_is_discarded_is_not_handed_out(queue, clock):
    queue.add("a")
    queue.add_after("b", 1)
    queue.discard()
    await clock.advance(2)
    assert len(queue) == 0
    queue.add("a")
    assert await queue.get() == "a"


async def test_what_comes_back_while_it_is_worked_on_can_be_discarded(queue):
    queue.add("a")
    await queue.get()
    queue.add("a")
    queue.discard()
    queue.done("a")
    assert len(queue) == 0


@pytest.mark.parametrize("seed", range(5))
async def test_many_producers_and_impatient_workers_lose_nothing(queue, clock, seed):
    chance = random.Random(seed)
    added, worked, now = {}, {}, set()

    async def produce():
        for _ in range(200):
            item = chance.randrange(20)
            added[item] = clock.monotonic()
            put = chance.choice((queue.add, lambda x: queue.add_after(x, chance.random())))
            put(item)
            await asyncio.sleep(chance.random() / 10)

    async def work():
        while True:
            getter = asyncio.create_task(queue.get())
            await asyncio.sleep(chance.random() / 100)
            if chance.random() < 0.3:
                getter.cancel()
            try:
                item = await getter
            except asyncio.CancelledError:
                continue
            except ShutDown:
                return
            assert item not in now, "an item is never handed out twice at once"
            now.add(item)
            started = clock.monotonic()
            await asyncio.sleep(chance.random() / 10)
            worked[item] = started
            now.remove(item)
            queue.done(item)

    async def everything():
        workers = [asyncio.create_task(work()) for _ in range(6)]
        await asyncio.gather(*(produce() for _ in range(4)))
        await asyncio.sleep(2)
        queue.shut_down()
        await asyncio.gather(*workers)

    await clock.run(everything())
    assert worked.keys() == added.keys()
    assert all(worked[item] >= added[item] for item in added), "the last add was worked off"


async def test_the_depth_is_counted_by_priority(queue, sample):
    assert sample("workqueue_depth", priority="0") == 0
    assert sample("workqueue_depth", priority="-100") == 0
    queue.add("a", priority=LOW_PRIORITY)
    queue.add("b")
    assert sample("workqueue_depth", priority="-100") == 1
    queue.add("a")
    assert sample("workqueue_depth", priority="-100") == 0
    assert sample("workqueue_depth", priority="0") == 2
    await take_all(queue)
    assert sample("workqueue_depth", priority="0") == 0


async def test_many_priorities_share_a_series(queue, sample):
    for number in range(40):
        queue.add(number, priority=number)
    assert sample("workqueue_depth", priority="exceeded_cardinality_limit") > 10
    await take_all(queue)
    assert sample("workqueue_depth", priority="exceeded_cardinality_limit") == 0


async def test_adds_count_items_and_retries_count_delays(queue, clock, sample):
    for _ in range(3):
        queue.add("a")
    queue.add_after("b", 1)
    queue.add_rate_limited("c")
    assert sample("workqueue_adds_total") == 1
    assert sample("workqueue_retries_total") == 2
    await clock.advance(1)
    assert sample("workqueue_adds_total") == 3


async def test_waiting_and_working_are_measured(queue, clock, sample):
    queue.add("a")
    await clock.advance(3)
    await queue.get()
    queue.add("b")
    await queue.get()
    await clock.advance(2)
    assert sample("workqueue_queue_duration_seconds_sum") == 3
    assert sample("workqueue_unfinished_work_seconds") == 4
    assert sample("workqueue_longest_running_processor_seconds") == 2
    queue.done("a")
    queue.done("b")
    assert sample("workqueue_work_duration_seconds_sum") == 4
    assert sample("workqueue_unfinished_work_seconds") == 0
    assert sample("workqueue_longest_running_processor_seconds") == 0
