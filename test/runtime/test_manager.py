import asyncio
from contextlib import asynccontextmanager

import pytest

from kubetask_controller.client.errors import TransportError
from kubetask_controller.client.resources import EVENTS, JOBS, LEASES
from kubetask_controller.runtime.builder import Builder
from kubetask_controller.runtime.cache import CacheSyncTimeoutError
from kubetask_controller.runtime.eventloop import run_until
from kubetask_controller.runtime.events import ObjectReference
from kubetask_controller.runtime.handler import Predicate, enqueue_self
from kubetask_controller.runtime.leaderelection import (
    LeaderElectionConfig,
    LeaderElectionLostError,
    LeaderElector,
    NotLeaderError,
)
from kubetask_controller.runtime.manager import LeaderElectionOptions, Manager, ManagerOptions
from kubetask_controller.runtime.metrics import Metrics
from kubetask_controller.runtime.reconcile import Result
from kubetask_controller.runtime.runnable_group import GroupStoppedError, RunnableGroup
from support.runtime.memoryapi import MemoryAPI
from support.runtime.script import RUNS, obj, view

DOWN = TransportError("unreachable", refused=True)
ELECTION = LeaderElectionOptions("lock", "system", LeaderElectionConfig(identity="me"))


class Part:
    """A runnable that writes down when it runs, and takes `linger` seconds to end."""

    def __init__(self, name, log, *, linger=0.0, stubborn=False):
        self.name = name
        self.log = log
        self.linger = linger
        self.stubborn = stubborn
        self.failure = asyncio.Event()

    async def run(self, stop):
        self.log.append(f"{self.name} up")
        try:
            await run_until(stop, self.failure.wait())
            if self.failure.is_set():
                raise RuntimeError(f"{self.name} broke")
            await asyncio.sleep(self.linger)
            self.log.append(f"{self.name} down")
        except asyncio.CancelledError:
            self.log.append(f"{self.name} cut off")
            if not self.stubborn:
                raise
            await asyncio.sleep(60)


class ManagerHarness:
    """A manager on an API in memory."""

    def __init__(self, clock, **options):
        self.clock = clock
        self.api = MemoryAPI()
        self.connection = (client := self.api.client("me")).connection
        self.metrics = Metrics()
        self.log = []
        self.stop = asyncio.Event()
        self.manager = Manager(client, ManagerOptions(**options), metrics=self.metrics, clock=clock)

    def part(self, name, *, needs_leader=True, **more):
        part = Part(name, self.log, **more)
        self.manager.add(part, needs_leader=needs_leader)
        return part

    @asynccontextmanager
    async def running(self):
        self.task = asyncio.create_task(self.manager.start(self.stop))
        await self.clock.settle()
        try:
            yield self
        finally:
            self.stop.set()
            await self.clock.advance(120)
            assert self.task.done()

    async def ended(self):
        """Seconds from now until the manager ends."""
        started = self.clock.monotonic()
        await self.clock.run(asyncio.wait([self.task]))
        return self.clock.monotonic() - started

    @property
    def lease(self):
        return self.api.read(LEASES, "system", "lock")["spec"]

    def take_lease(self, holder="other"):
        """Somebody else holds the Lease, for an hour."""
        spec = {"holderIdentity": holder, "leaseDurationSeconds": 3600, "leaseTransitions": 0}
        metadata = {"name": "lock", "namespace": "system"}
        self.api.put(LEASES, {"metadata": metadata, "spec": spec})

    def leader_status(self):
        return self.metrics.registry.get_sample_value(
            "leader_election_master_status", {"name": "lock"}
        )


@pytest.fixture
def rig(clock):
    return lambda **options: ManagerHarness(clock, **options)


async def test_without_an_election_everything_runs_at_once(rig):
    it = rig()
    it.part("controller")
    async with it.running():
        assert it.log == ["controller up"]
        assert it.manager.elected.is_set()
        assert it.manager.may_act()
        it.stop.set()
        assert await it.ended() == 0
        it.task.result()
    assert it.log == ["controller up", "controller down"]
    assert it.api.calls == []


async def test_parts_start_in_order_and_stop_in_order(rig, clock):
    it = rig(leader_election=ELECTION)
    it.manager.cache.informer(RUNS, project=view)
    it.part("other", needs_leader=False, linger=2)
    it.part("controller", linger=2)
    server = Part("server", it.log, linger=2)
    it.manager.add_server(server)
    it.connection.heard.clear()
    async with it.running():
        assert it.log == ["server up"], "nothing else before the caches are filled"
        it.connection.heard.set()
        await clock.advance(2)
        assert it.log == ["server up", "other up", "controller up"]
        it.stop.set()
        for seconds, gone in ((2, "other"), (2, "controller"), (2, "server")):
            assert not any(line.startswith(gone) and "down" in line for line in it.log)
            assert it.lease["holderIdentity"] == "me"
            await clock.advance(seconds)
            assert it.log[-1] == f"{gone} down"
        await it.ended()
        assert it.lease["holderIdentity"] == ""


async def test_the_lease_is_renewed_while_work_ends(rig, clock):
    it = rig(leader_election=ELECTION)
    it.part("controller", linger=20)
    async with it.running():
        it.stop.set()
        await clock.advance(19)
        assert it.manager.may_act()
        await it.ended()
        it.task.result()
    assert it.log == ["controller up", "controller down"]


async def test_a_standby_runs_what_needs_no_leader_and_is_ready(rig, clock):
    it = rig(leader_election=ELECTION)
    it.manager.cache.informer(RUNS, project=view)
    it.take_lease()
    it.part("other", needs_leader=False)
    it.part("controller")
    async with it.running():
        await clock.advance(60)
        assert it.log == ["other up"]
        assert not it.manager.may_act()
        assert not it.manager.elected.is_set()
        assert it.leader_status() == 0
        it.manager._caches_synced()


async def test_a_standby_leaves_at_once_and_lets_the_lease_alone(rig, clock):
    it = rig(leader_election=ELECTION)
    it.take_lease()
    it.part("other", needs_leader=False, linger=20)
    it.part("controller")
    async with it.running():
        it.stop.set()
        await clock.advance(1)
        # The leader leaves too; whoever is leaving must not take over.
        it.take_lease("")
        await it.ended()
        it.task.result()
    assert "controller up" not in it.log
    assert it.lease["holderIdentity"] == ""


async def test_who_leads_says_so(rig, clock):
    it = rig(leader_election=ELECTION)
    async with it.running():
        assert it.leader_status() == 1
        it.stop.set()
        await it.ended()
        assert it.leader_status() == 0
    notes = [event["note"] for event in it.api.all(EVENTS)]
    assert notes == ["me became leader", "me stopped leading"]
    assert it.api.all(EVENTS)[0]["regarding"]["kind"] == "Lease"


async def test_a_lost_lease_ends_everything_without_grace(rig, clock):
    it = rig(leader_election=ELECTION)
    it.part("controller", linger=5)
    async with it.running():
        await clock.advance(1)
        it.connection.failure = DOWN
        assert await it.ended() < 15
        with pytest.raises(LeaderElectionLostError):
            it.task.result()
        assert not it.manager.may_act()
        assert it.leader_status() == 0
    assert it.log == ["controller up", "controller cut off"]


@pytest.mark.parametrize("failing", [False, True])
async def test_a_lease_that_is_lost_while_work_ends_cuts_it_off(rig, clock, failing):
    it = rig(leader_election=ELECTION, graceful_shutdown_timeout=-1)
    it.part("controller", linger=1000)
    broken = it.part("broken")
    async with it.running():
        await clock.advance(1)
        broken.failure.set() if failing else it.stop.set()
        await clock.advance(1)
        it.connection.failure = DOWN
        assert await it.ended() < 15
        with pytest.raises(RuntimeError if failing else LeaderElectionLostError):
            it.task.result()
    assert it.log[-1] == "controller cut off"


async def test_nothing_is_written_after_a_pause_longer_than_the_lease(rig, clock):
    it = rig(leader_election=ELECTION)
    async with it.running():
        clock.stall(60)
        with pytest.raises(NotLeaderError):
            await it.manager.client.create(JOBS, "ns", {"metadata": {"name": "j"}})
        await it.ended()
        with pytest.raises(LeaderElectionLostError):
            it.task.result()
    assert it.api.all(JOBS) == []


async def test_the_lease_is_not_released_while_something_may_still_act(rig, clock):
    it = rig(leader_election=ELECTION, graceful_shutdown_timeout=5)
    it.part("controller", linger=1000, stubborn=True)
    async with it.running():
        it.stop.set()
        assert await it.ended() == pytest.approx(7)
        assert it.lease["holderIdentity"] == "me"


@pytest.mark.parametrize(
    ("grace", "linger", "takes"), [(5, 3, 3), (5, 1000, 5), (0, 3, 0), (-1, 90, 90)]
)
async def test_an_orderly_stop_takes_as_long_as_it_may(rig, clock, grace, linger, takes):
    it = rig(graceful_shutdown_timeout=grace)
    it.part("controller", linger=linger)
    async with it.running():
        it.stop.set()
        assert await it.ended() == pytest.approx(takes)
        it.task.result()
    assert it.log[-1] == ("controller down" if takes == linger else "controller cut off")


@pytest.mark.parametrize("needs_leader", [True, False])
async def test_the_failure_of_a_part_ends_the_whole_in_order(rig, clock, needs_leader):
    it = rig(leader_election=ELECTION)
    broken = it.part("broken", needs_leader=needs_leader)
    it.part("controller", linger=3)
    async with it.running():
        broken.failure.set()
        assert await it.ended() == pytest.approx(3)
        with pytest.raises(RuntimeError, match="broken broke"):
            it.task.result()
        assert it.lease["holderIdentity"] == ""
    assert it.log[-1] == "controller down"


async def test_a_port_that_is_taken_fails_the_start(rig):
    async def nobody(reader, writer):
        writer.close()

    taken = await asyncio.start_server(nobody, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    it = rig(health_probe_bind_address=f"127.0.0.1:{port}")
    it.part("controller")
    async with asyncio.timeout(30):
        with pytest.raises(OSError, match="address already in use"):
            await it.manager.start(it.stop)
    taken.close()
    await taken.wait_closed()


async def test_caches_that_do_not_fill_fail_the_start_and_are_named(rig, clock):
    it = rig(cache_sync_timeout=30)
    it.manager.cache.informer(RUNS, project=view)
    it.connection.heard.clear()
    it.part("controller")
    async with it.running():
        with pytest.raises(RuntimeError, match=r"not synced: runs\.sample\.example\.com"):
            it.manager._caches_synced()
        assert await it.ended() == pytest.approx(30, abs=0.2)
        with pytest.raises(CacheSyncTimeoutError, match=r"runs\.sample\.example\.com"):
            it.task.result()
    assert it.log == []


async def test_a_stop_while_caches_fill_is_no_error(rig, clock):
    it = rig(leader_election=ELECTION)
    it.manager.cache.informer(RUNS, project=view)
    it.connection.heard.clear()
    it.part("controller")
    async with it.running():
        await clock.advance(5)
        it.stop.set()
        assert await it.ended() < 1
        it.task.result()
    assert it.log == []
    assert it.api.all(LEASES) == []


async def test_an_election_that_breaks_is_a_failure_and_not_a_silent_standby(rig, monkeypatch):
    it = rig(leader_election=ELECTION)

    async def broken(self):
        raise KeyError("bug")

    monkeypatch.setattr(LeaderElector, "acquire", broken)
    async with it.running():
        await it.ended()
        with pytest.raises(KeyError):
            it.task.result()


async def test_parts_may_be_added_while_it_runs_and_not_when_it_stops(rig, clock):
    it = rig()
    it.part("slow", linger=5)
    async with it.running():
        it.part("late")
        await clock.settle()
        assert it.log == ["slow up", "late up"]
        it.stop.set()
        await clock.settle()
        with pytest.raises(GroupStoppedError):
            it.part("too late")


async def test_a_manager_runs_only_once(rig):
    it = rig()
    it.stop.set()
    await it.clock.run(it.manager.start(it.stop))
    with pytest.raises(RuntimeError, match="started before"):
        await it.manager.start(it.stop)


async def test_a_cancelled_manager_stops_its_parts(rig):
    it = rig(leader_election=ELECTION)
    it.part("controller")
    async with it.running():
        it.task.cancel()
        await it.ended()
        assert it.task.cancelled()
        assert it.lease["holderIdentity"] == ""
    assert it.log == ["controller up", "controller down"]


async def test_events_recorded_at_the_very_end_are_still_sent(rig):
    it = rig()
    recorder = it.manager.event_recorder("test")

    class Last:
        async def run(self, stop):
            await stop.wait()
            recorder.event(
                ObjectReference("v1", "Pod", "p", "ns"),
                type="Normal",
                reason="Stopped",
                action="Stop",
                note="the end",
            )

    it.manager.add(Last())
    async with it.running():
        it.connection.latency = 1.0
        it.stop.set()
        await it.ended()
    assert [event["note"] for event in it.api.all(EVENTS)] == ["the end"]


async def test_what_waits_in_a_group_that_was_stopped_is_never_started():
    log = []
    group = RunnableGroup("group", on_error=log.append)
    group.add(Part("part", log))
    await group.stop()
    group.start()
    await asyncio.sleep(0)
    assert log == []


class Painter:
    """Writes a Job for every run that it is asked about."""

    def __init__(self, manager, informer):
        self.manager = manager
        self.informer = informer
        self.seen = []

    async def reconcile(self, request):
        run = self.informer.get(request.namespace, request.name)
        self.seen.append((request.name, run.color if run else None))
        return Result()


async def test_a_controller_hears_of_what_is_there_and_of_what_changes(rig, clock):
    it = rig(leader_election=ELECTION)
    it.api.put(RUNS, obj("old", 1))
    runs = it.manager.cache.informer(RUNS, project=view)
    painter = Painter(it.manager, runs)
    Builder(it.manager, name="run").for_(runs).with_options(
        max_concurrent_reconciles=2, reconcile_timeout=5
    ).complete(painter)
    async with it.running():
        await clock.advance(1)
        assert painter.seen == [("old", "")]
        it.api.put(RUNS, obj("new", 1, color="red"))
        await clock.settle()
        it.api.put(RUNS, obj("old", 2, color="blue"))
        await clock.settle()
        it.api.remove(RUNS, "default", "new")
        await clock.settle()
        assert painter.seen[1:] == [("new", "red"), ("old", "blue"), ("new", None)]
        sample = it.metrics.registry.get_sample_value
        assert (
            sample("controller_runtime_reconcile_total", {"controller": "run", "result": "success"})
            == 4
        )
        assert sample("controller_runtime_max_concurrent_reconciles", {"controller": "run"}) == 2
        assert sample("informer_objects", {"resource": "runs.sample.example.com"}) == 1


async def test_changes_that_are_gathered_make_one_reconcile(rig, clock):
    it = rig()
    runs = it.manager.cache.informer(RUNS, project=view)
    painter = Painter(it.manager, runs)
    Builder(it.manager, name="run").watches(runs, enqueue_self, delay=0.25).complete(painter)
    async with it.running():
        await clock.advance(1)
        for version in range(1, 5):
            it.api.put(RUNS, obj("a", version, color=str(version)))
            await clock.advance(0.05)
        assert painter.seen == []
        await clock.advance(0.1)
        assert painter.seen == [("a", "4")]


async def test_an_existing_object_of_a_watched_kind_is_left_to_the_reconcile_of_its_owner(
    rig, clock
):
    def job(version):
        kind = {"apiVersion": JOBS.api_version, "kind": JOBS.kind}
        return obj("job", version) | kind

    it = rig()
    it.api.put(RUNS, obj("run", 1))
    it.api.put(JOBS, job(1))
    runs = it.manager.cache.informer(RUNS, project=view)
    jobs = it.manager.cache.informer(JOBS, project=view)
    painter = Painter(it.manager, runs)
    build = Builder(it.manager, name="run").for_(runs).watches(jobs, enqueue_self)
    build.complete(painter)
    async with it.running():
        await clock.advance(1)
        assert painter.seen == [("run", "")]
        it.api.put(JOBS, job(2))
        await clock.settle()
        assert painter.seen == [("run", ""), ("job", None)]


async def test_a_predicate_given_to_the_builder_turns_changes_away(rig, clock):
    it = rig()
    runs = it.manager.cache.informer(RUNS, project=view)
    painter = Painter(it.manager, runs)
    red = Predicate(create=lambda run: run.color == "red")
    Builder(it.manager, name="run").for_(runs, predicate=red).complete(painter)
    async with it.running():
        await clock.advance(1)
        it.api.put(RUNS, obj("a", 1, color="green"))
        it.api.put(RUNS, obj("b", 1, color="red"))
        await clock.settle()
        assert painter.seen == [("b", "red")]


async def test_a_successor_reconciles_everything_when_it_takes_over(rig, clock):
    it = rig(leader_election=ELECTION)
    it.take_lease()
    runs = it.manager.cache.informer(RUNS, project=view)
    painter = Painter(it.manager, runs)
    Builder(it.manager, name="run").for_(runs).complete(painter)
    async with it.running():
        for name in "abc":
            it.api.put(RUNS, obj(name, 1))
        await clock.advance(30)
        assert painter.seen == []
        it.take_lease("")
        await clock.advance(5)
        assert sorted(name for name, _ in painter.seen) == ["a", "b", "c"]


async def test_two_controllers_of_one_name_are_refused(rig):
    it = rig()
    runs = it.manager.cache.informer(RUNS, project=view)
    Builder(it.manager, name="run").for_(runs).complete(Painter(it.manager, runs))
    with pytest.raises(ValueError, match="run"):
        Builder(it.manager, name="run").for_(runs).complete(Painter(it.manager, runs))
