import asyncio
from contextlib import asynccontextmanager

import pytest
import structlog

from kubetask_controller.client.errors import APIStatusError, TransportError
from kubetask_controller.runtime.cache import CacheSyncTimeoutError
from kubetask_controller.runtime.consistency import StaleCacheError
from kubetask_controller.runtime.controller import Controller, ControllerOptions
from kubetask_controller.runtime.leaderelection import NotLeaderError
from kubetask_controller.runtime.metrics import Metrics
from kubetask_controller.runtime.reconcile import Request, Result, TerminalError
from kubetask_controller.runtime.workqueue import ItemExponentialFailureRateLimiter

A, B = Request("ns", "a"), Request("ns", "b")


class Source:
    """Synced when a test says so; tells of nothing by itself."""

    def __init__(self, *, synced=True, requests=()):
        self.synced = synced
        self.requests = requests
        self.ended = False

    async def start(self, queue):
        for request in self.requests:
            queue.add(request)

        def end():
            self.ended = True

        return end

    def unsynced(self):
        return [] if self.synced else ["things"]


class ControllerHarness:
    """A controller whose reconciler does what a test says."""

    def __init__(self, clock, reconcile, *, sources=(), may_act=lambda: True, **options):
        self.clock = clock
        self.metrics = Metrics()
        self.seen = []
        self.stop = asyncio.Event()
        self._reconcile = reconcile
        options.setdefault("limiter", ItemExponentialFailureRateLimiter(1, 1000))
        self.controller = Controller(
            self,
            sources=sources,
            options=ControllerOptions("test", "example.com", "Thing", **options),
            metrics=self.metrics,
            may_act=may_act,
            clock=clock,
        )
        self.queue = self.controller.queue

    async def reconcile(self, request):
        self.seen.append(request.name)
        result = await self._reconcile(request)
        return result if result is not None else Result()

    @asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self.controller.run(self.stop))
        await self.clock.settle()
        try:
            yield self
        finally:
            self.stop.set()
            await self.clock.settle()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def sample(self, name, **labels):
        return self.metrics.registry.get_sample_value(
            f"controller_runtime_{name}", {"controller": "test", **labels}
        )

    def results(self):
        kinds = ("success", "error", "requeue", "requeue_after")
        counts = {kind: self.sample("reconcile_total", result=kind) for kind in kinds}
        return {kind: count for kind, count in counts.items() if count}


@pytest.fixture
def rig(clock):
    return lambda reconcile, **options: ControllerHarness(clock, reconcile, **options)


async def succeed(request):
    return Result()


def fails_with(*errors):
    """A reconciler that ends with each of these in turn, and then succeeds."""
    left = list(errors)

    async def reconcile(request):
        if left:
            raise left.pop(0)

    return reconcile


async def test_a_request_is_reconciled_once_and_then_forgotten(rig, clock):
    async with rig(succeed).running() as it:
        it.queue.add(A)
        await clock.advance(3600)
        assert it.seen == ["a"]
        assert it.results() == {"success": 1}
        assert it.queue.num_requeues(A) == 0


async def test_nothing_is_reconciled_before_every_source_has_told_of_all_there_is(rig, clock):
    early, late = Source(requests=[A]), Source(synced=False)
    async with rig(succeed, sources=[early, late]).running() as it:
        await clock.advance(5)
        assert it.seen == []
        late.synced = True
        await clock.advance(0.1)
        assert it.seen == ["a"]
    assert early.ended
    assert late.ended


async def test_a_source_that_does_not_come_up_fails_the_controller_and_is_named(rig, clock):
    it = rig(succeed, sources=[Source(), Source(synced=False)], cache_sync_timeout=7)
    with pytest.raises(CacheSyncTimeoutError, match=r"test: not synced after 7 s: things"):
        await clock.run(it.controller.run(it.stop))


async def test_a_stop_while_sources_are_awaited_is_no_error(rig, clock):
    source = Source(synced=False)
    it = rig(succeed, sources=[source])
    running = asyncio.create_task(it.controller.run(it.stop))
    await clock.advance(1)
    it.stop.set()
    await clock.advance(0.1)
    await running
    assert source.ended


async def test_a_controller_runs_only_once(rig, clock):
    it = rig(succeed)
    it.stop.set()
    await clock.run(it.controller.run(it.stop))
    with pytest.raises(RuntimeError, match="started before"):
        await it.controller.run(it.stop)


async def test_two_controllers_of_one_name_are_refused(clock):
    metrics = Metrics()
    options = ControllerOptions("same")
    Controller(succeed, sources=[], options=options, metrics=metrics)
    with pytest.raises(ValueError, match="same"):
        Controller(succeed, sources=[], options=options, metrics=metrics)


async def test_a_failure_is_repeated_with_growing_delays_until_it_succeeds(rig, clock):
    error = APIStatusError(code=500, message="no")
    async with rig(fails_with(error, error, error)).running() as it:
        it.queue.add(A)
        for seconds, attempts in ((0, 1), (0.9, 1), (0.1, 2), (1.9, 2), (0.1, 3), (4, 4), (99, 4)):
            await clock.advance(seconds)
            assert len(it.seen) == attempts
        assert it.queue.num_requeues(A) == 0
        assert it.results() == {"error": 3, "success": 1}
        assert it.sample("reconcile_errors_total") == 3
        assert it.sample("reconcile_panics_total") == 0


async def test_a_terminal_error_waits_for_a_change_and_keeps_the_count_of_failures(rig, clock):
    errors = TransportError("reset"), TerminalError("never")
    async with rig(fails_with(*errors)).running() as it:
        it.queue.add(A)
        await clock.advance(3600)
        assert it.seen == ["a", "a"]
        assert it.queue.num_requeues(A) == 1
        assert it.sample("terminal_reconcile_errors_total") == 1
        assert it.sample("reconcile_errors_total") == 2
        it.queue.add(A)
        await clock.settle()
        assert it.queue.num_requeues(A) == 0


async def test_a_cache_behind_our_own_writes_is_waited_for_quietly(rig, clock):
    stale = StaleCacheError("jobs", has="1", needs="2")
    with structlog.testing.capture_logs() as logs:
        async with rig(fails_with(stale)).running() as it:
            it.queue.add(A)
            await clock.advance(1)
            assert it.results() == {"requeue": 1, "success": 1}
            assert it.sample("reconcile_errors_total") == 0
    assert not [log for log in logs if log["log_level"] == "error"]


async def test_a_cache_that_stays_behind_is_looked_at_every_second(rig, clock):
    stale = StaleCacheError("jobs", has="1", needs="2")
    async with rig(fails_with(*[stale] * 200)).running() as it:
        it.queue.add(A)
        await clock.advance(70)
        before = len(it.seen)
        await clock.advance(10)
        assert len(it.seen) - before == 10, "nobody else need tell it that the cache has caught up"


async def test_what_the_program_did_not_expect_is_counted_as_a_panic_and_repeated(rig, clock):
    with structlog.testing.capture_logs() as logs:
        async with rig(fails_with(KeyError("spec"))).running() as it:
            it.queue.add(A)
            await clock.advance(1)
            assert it.results() == {"error": 1, "success": 1}
            assert it.sample("reconcile_panics_total") == 1
    (failure,) = [log for log in logs if log["log_level"] == "error"]
    assert isinstance(failure["exc_info"], KeyError), "a traceback for whoever repairs it"


async def test_a_write_that_was_fenced_off_is_no_panic(rig, clock):
    async with rig(fails_with(NotLeaderError("not the leader"))).running() as it:
        it.queue.add(A)
        await clock.settle()
        assert it.results() == {"error": 1}
        assert it.sample("reconcile_panics_total") == 0


async def test_of_parallel_failures_one_that_can_be_repeated_counts(rig, clock):
    group = ExceptionGroup("", [TerminalError("never"), TransportError("reset")])
    with structlog.testing.capture_logs() as logs:
        async with rig(fails_with(group)).running() as it:
            it.queue.add(A)
            await clock.advance(1)
            assert it.results() == {"error": 1, "success": 1}
    assert [log["error"] for log in logs if log["log_level"] == "error"] == ["never; reset"]


async def test_a_requeue_comes_after_its_time_and_forgets_failures(rig, clock):
    results = [TransportError("reset"), Result(requeue_after=30), Result()]

    async def reconcile(request):
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    async with rig(reconcile).running() as it:
        it.queue.add(A)
        await clock.advance(1)
        assert it.queue.num_requeues(A) == 0
        await clock.advance(29.9)
        assert len(it.seen) == 2
        await clock.advance(0.1)
        assert len(it.seen) == 3
        assert it.results() == {"error": 1, "requeue_after": 1, "success": 1}


async def test_a_change_comes_before_a_requeue_and_replaces_it(rig, clock):
    results = [Result(requeue_after=30)]

    async def reconcile(request):
        return results.pop() if results else Result()

    async with rig(reconcile).running() as it:
        it.queue.add(A)
        await clock.advance(10)
        it.queue.add(A)
        await clock.advance(3600)
        assert it.seen == ["a", "a"]


@pytest.mark.parametrize(("wanted", "expected"), [(None, -100), (0, 0)])
async def test_a_requeue_keeps_its_priority_unless_told_otherwise(rig, clock, wanted, expected):
    async def reconcile(request):
        return Result(requeue_after=5, priority=wanted)

    async with rig(reconcile).running() as it:
        it.queue.add(A, priority=-100)
        await clock.settle()
        assert it.queue._entries[A].priority == expected


async def test_a_reconcile_that_takes_too_long_is_cancelled_and_repeated(rig, clock):
    ended = []

    async def hang_once(request):
        if not ended:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(request.name)

    async with rig(hang_once, reconcile_timeout=60).running() as it:
        it.queue.add(A)
        await clock.advance(59)
        assert it.sample("active_workers") == 1
        await clock.advance(1)
        assert ended == ["a"]
        assert it.sample("active_workers") == 0
        await clock.advance(1)
        assert it.results() == {"error": 1, "success": 1}
        assert it.sample("reconcile_timeouts_total") == 1
        assert it.sample("reconcile_panics_total") == 0


async def test_a_timeout_of_the_reconcilers_own_is_not_counted_as_ours(rig, clock):
    async def own_timeout(request):
        async with asyncio.timeout(5):
            await asyncio.Event().wait()

    async with rig(own_timeout, reconcile_timeout=60).running() as it:
        it.queue.add(A)
        await clock.advance(5)
        assert it.results() == {"error": 1}
        assert it.sample("reconcile_timeouts_total") == 0
        assert it.sample("reconcile_panics_total") == 0


async def test_what_a_reconciler_raises_at_its_time_limit_is_no_panic(rig, clock):
    async def stumble(request):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise KeyError("in a hurry") from None

    async with rig(stumble, reconcile_timeout=60).running() as it:
        it.queue.add(A)
        await clock.advance(60)
        assert it.sample("reconcile_timeouts_total") == 1
        assert it.sample("reconcile_panics_total") == 0


async def test_a_reconciler_that_ends_at_its_time_limit_has_succeeded(rig, clock):
    async def shrug(request):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return Result()

    async with rig(shrug, reconcile_timeout=60).running() as it:
        it.queue.add(A)
        await clock.advance(60)
        assert it.results() == {"success": 1}
        assert it.sample("reconcile_timeouts_total") == 1


async def test_a_cancellation_that_leaks_from_a_reconciler_does_not_kill_the_worker(rig, clock):
    async with rig(fails_with(asyncio.CancelledError())).running() as it:
        it.queue.add(A)
        await clock.advance(1)
        assert it.results() == {"error": 1, "success": 1}


async def test_workers_work_side_by_side_and_never_on_the_same_request(rig, clock):
    now, most = set(), []

    async def reconcile(request):
        assert request not in now
        now.add(request)
        most.append(len(now))
        await asyncio.sleep(1)
        now.remove(request)

    async with rig(reconcile, max_concurrent_reconciles=3).running() as it:
        for number in range(6):
            it.queue.add(Request("ns", f"r{number % 4}"))
        await clock.advance(0.5)
        for number in range(4):
            it.queue.add(Request("ns", f"r{number}"))
        await clock.advance(10)
        assert max(most) == 3
        assert sorted(set(it.seen)) == ["r0", "r1", "r2", "r3"]
        assert it.sample("max_concurrent_reconciles") == 3


async def test_a_reconciler_that_never_waits_does_not_hold_up_everything_else(rig, clock):
    turns = []

    async def busy(request):
        it.queue.add(A)  # for ever

    async def bystander():
        for _ in range(3):
            turns.append(len(it.seen))
            await asyncio.sleep(0)
        it.stop.set()

    async with asyncio.timeout(30):
        it = rig(busy)
        it.queue.add(A)
        running = asyncio.create_task(it.controller.run(it.stop))
        await bystander()
        await running
    assert turns[-1] > 0


async def test_a_stop_lets_what_is_under_way_end_and_begins_nothing_new(rig, clock):
    async def slow(request):
        await asyncio.sleep(5)
        return Result(requeue_after=1)

    it = rig(slow)
    running = asyncio.create_task(it.controller.run(it.stop))
    it.queue.add(A)
    it.queue.add(B)
    await clock.advance(1)
    it.stop.set()
    await clock.advance(3)
    assert not running.done()
    await clock.advance(1)
    await running
    assert it.seen == ["a"]
    assert it.results() == {"requeue_after": 1}


async def test_a_cancelled_controller_ends_at_once(rig, clock):
    async def hang(request):
        await asyncio.Event().wait()

    it = rig(hang)
    running = asyncio.create_task(it.controller.run(it.stop))
    it.queue.add(A)
    await clock.settle()
    running.cancel()
    await clock.settle()
    assert running.cancelled()


async def test_who_must_not_act_any_more_begins_nothing(rig, clock):
    leading = True

    async def reconcile(request):
        nonlocal leading
        leading = False

    async with rig(reconcile, may_act=lambda: leading, max_concurrent_reconciles=2).running() as it:
        it.queue.add(A)
        it.queue.add(B)
        await clock.settle()
        it.queue.add(A)
        await clock.advance(10)
        assert len(it.seen) <= 2
        seen = len(it.seen)
        it.queue.add(B)
        await clock.advance(10)
        assert len(it.seen) == seen


async def test_logs_of_a_reconcile_say_what_it_was_about(rig, clock):
    async def reconcile(request):
        bound.update(structlog.contextvars.get_contextvars())

    bound = {}
    async with rig(reconcile).running() as it:
        it.queue.add(A)
        await clock.settle()
    assert len(bound.pop("reconcileID")) == 36
    assert bound == {
        "controller": "test",
        "controllerGroup": "example.com",
        "controllerKind": "Thing",
        "namespace": "ns",
        "name": "a",
        "Thing": {"name": "a", "namespace": "ns"},
    }


async def test_every_series_exists_from_the_start(rig):
    it = rig(succeed)
    for name in (
        "reconcile_errors_total",
        "terminal_reconcile_errors_total",
        "reconcile_panics_total",
        "reconcile_timeouts_total",
        "reconcile_time_seconds_count",
        "active_workers",
    ):
        assert it.sample(name) == 0, name
    for result in ("success", "error", "requeue", "requeue_after"):
        assert it.sample("reconcile_total", result=result) == 0
    assert it.sample("max_concurrent_reconciles") == 1


async def test_the_time_of_a_reconcile_is_measured(rig, clock):
    async def slow(request):
        await asyncio.sleep(2)

    async with rig(slow).running() as it:
        it.queue.add(A)
        await clock.advance(2)
        assert it.sample("reconcile_time_seconds_sum") == pytest.approx(2)
        assert it.sample("reconcile_time_seconds_bucket", le="1.75") == 0
        assert it.sample("reconcile_time_seconds_bucket", le="2.0") == 1
