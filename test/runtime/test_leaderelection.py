import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from kubetask_controller.client.errors import APIStatusError, TransportError
from kubetask_controller.client.resources import JOBS, LEASES
from kubetask_controller.runtime.leaderelection import (
    LeaderElectionConfig,
    LeaderElectionLostError,
    LeaderElector,
    LeaseLock,
    NotLeaderError,
    new_identity,
)
from support.runtime.memoryapi import MemoryAPI

DOWN = TransportError("unreachable", refused=True)


@pytest.fixture
def api():
    return MemoryAPI()


class SkewedClock:
    """A machine whose wall clock is off."""

    def __init__(self, clock, seconds):
        self._clock = clock
        self._skew = seconds

    def __getattr__(self, name):
        return getattr(self._clock, name)

    def now(self):
        return self._clock.now() + timedelta(seconds=self._skew)


class Candidate:
    """An elector with the connection it uses and the task it runs in."""

    def __init__(self, api, clock, name, *, jitter=0.0, **timings):
        self.name = name
        self.clock = clock
        self.client = api.client(name)
        self.connection = self.client.connection
        self.slow_paths = 0
        config = LeaderElectionConfig(identity=name, **timings)
        self.elector = LeaderElector(
            LeaseLock(self.client, "system", "lock", timeout=config.request_timeout),
            config,
            clock=clock,
            on_slow_path=self._count,
            random=lambda: jitter,
        )
        self.guarded = self.client.guarded(self.elector.check)
        self.task = None

    def _count(self):
        self.slow_paths += 1

    @property
    def leading(self):
        return self.elector.leading

    async def run(self):
        await self.elector.acquire()
        await self.elector.hold()

    @asynccontextmanager
    async def running(self):
        self.task = asyncio.create_task(self.run())
        await self.clock.settle()
        try:
            yield self
        finally:
            self.task.cancel()
            with suppress(asyncio.CancelledError, LeaderElectionLostError):
                await self.task

    async def leave(self):
        """Stop, as a manager does: the loop first, then the release."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.elector.release()

    def lost(self):
        error = self.task.exception()
        assert isinstance(error, LeaderElectionLostError)
        return str(error)


@pytest.fixture
def candidate(api, clock):
    return lambda name, **more: Candidate(api, more.pop("clock", clock), name, **more)


def spec(api):
    return api.read(LEASES, "system", "lock")["spec"]


def put_lease(api, holder, *, duration=15, transitions=0, renew_time="2020-01-01T00:00:00.000000Z"):
    api.put(
        LEASES,
        {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": "lock", "namespace": "system", "labels": {"kept": "yes"}},
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": duration,
                "acquireTime": renew_time,
                "renewTime": renew_time,
                "leaseTransitions": transitions,
                "strategy": "kept",
            },
        },
    )


async def test_the_first_candidate_makes_the_lease_and_leads(api, clock, candidate):
    async with candidate("a").running() as a:
        assert a.leading
        assert spec(api) == {
            "holderIdentity": "a",
            "leaseDurationSeconds": 15,
            "acquireTime": "2026-01-01T00:00:00.000000Z",
            "renewTime": "2026-01-01T00:00:00.000000Z",
            "leaseTransitions": 0,
        }


async def test_a_renewal_is_one_request_every_two_seconds_and_keeps_the_history(
    api, clock, candidate
):
    async with candidate("a").running() as a:
        api.calls.clear()
        await clock.advance(20)
        assert api.calls == [("a", "update", "leases")] * 10
        assert spec(api)["acquireTime"] == "2026-01-01T00:00:00.000000Z"
        assert spec(api)["renewTime"] == "2026-01-01T00:00:20.000000Z"
        assert spec(api)["leaseTransitions"] == 0
        assert a.leading


async def test_of_two_candidates_one_leads_and_the_other_waits(clock, candidate):
    async with candidate("a").running() as a, candidate("b").running() as b:
        for _ in range(60):
            await clock.advance(1)
            assert a.leading
            assert not b.leading
        assert b.elector.leader == "a"


async def test_two_candidates_that_come_at_once_do_not_both_lead(api, clock, candidate):
    a, b = candidate("a"), candidate("b")
    a.connection.latency = b.connection.latency = 0.1
    async with a.running(), b.running():
        await clock.advance(5)
        assert [a.leading, b.leading].count(True) == 1


async def test_a_lease_that_was_released_is_taken_at_once(api, clock, candidate):
    put_lease(api, "", duration=1, transitions=4)
    async with candidate("a").running() as a:
        assert a.leading
        assert spec(api)["leaseTransitions"] == 5
        assert api.read(LEASES, "system", "lock")["metadata"]["labels"] == {"kept": "yes"}
        assert spec(api)["strategy"] == "kept"


async def test_a_dead_leaders_lease_is_taken_when_it_has_run_out_since_it_was_seen(
    api, clock, candidate
):
    put_lease(api, "dead", duration=15, transitions=2)
    async with candidate("a").running() as a:
        await clock.advance(14.9)
        assert not a.leading
        await clock.advance(2.1)
        assert a.leading
        assert spec(api)["leaseTransitions"] == 3
        assert spec(api)["holderIdentity"] == "a"


async def test_the_duration_that_the_holder_claimed_counts_and_not_our_own(api, clock, candidate):
    put_lease(api, "dead", duration=60)
    async with candidate("a").running() as a:
        await clock.advance(59)
        assert not a.leading
        await clock.advance(4)
        assert a.leading


@pytest.mark.parametrize(
    "renew_time", ["2020-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z"]
)
async def test_times_in_the_lease_mean_nothing(api, clock, candidate, renew_time):
    put_lease(api, "dead", renew_time=renew_time)
    async with candidate("a").running() as a:
        await clock.advance(14)
        assert not a.leading
        await clock.advance(3)
        assert a.leading


@pytest.mark.parametrize("skew", [-3600, 3600])
async def test_machines_whose_clocks_differ_agree(api, clock, candidate, skew):
    a, b = candidate("a"), candidate("b", clock=SkewedClock(clock, skew))
    async with a.running(), b.running():
        await clock.advance(120)
        assert a.leading
        assert not b.leading


@pytest.mark.parametrize("step", [-3600, 3600])
async def test_a_step_of_the_wall_clock_changes_nothing(clock, candidate, step):
    async with candidate("a").running() as a, candidate("b").running() as b:
        await clock.advance(5)
        clock.step_wall(step)
        await clock.advance(60)
        assert a.leading
        assert not b.leading


@pytest.mark.parametrize(("jitter", "second_look"), [(0.0, 2.0), (0.999, 4.4)])
async def test_candidates_look_every_two_to_four_and_a_half_seconds(
    api, clock, candidate, jitter, second_look
):
    put_lease(api, "other")
    async with candidate("a", jitter=jitter).running():
        assert len(api.calls) == 1
        await clock.advance(second_look - 0.01)
        assert len(api.calls) == 1
        await clock.advance(0.02)
        assert len(api.calls) == 2


async def test_a_candidate_that_cannot_acquire_an_expired_lease_keeps_its_pace(
    api, clock, candidate
):
    class Down:
        requests = 0
        latency = 0.0

        @property
        def failure(self):
            self.requests += 1
            return DOWN

    put_lease(api, "other")
    one = candidate("a", jitter=0.5)
    async with one.running():
        await clock.advance(5)
        one.client.connection = down = Down()
        await clock.advance(20)
        down.requests = 0
        await clock.advance(60)
        assert 0 < down.requests <= 80


async def test_an_outage_shorter_than_the_deadline_costs_nothing(clock, candidate):
    async with candidate("a").running() as a:
        await clock.advance(2)
        a.connection.failure = DOWN
        await clock.advance(7.9)
        assert a.leading
        a.connection.failure = None
        await clock.advance(30)
        assert a.leading
        assert a.slow_paths > 0


async def test_a_leader_that_cannot_renew_stops_before_another_can_begin(clock, candidate):
    async with candidate("a").running() as a, candidate("b").running() as b:
        await clock.advance(2)
        a.connection.failure = DOWN
        lost_at = taken_at = None
        for tenth in range(300):
            assert not (a.leading and b.leading)
            lost_at = tenth / 10 if lost_at is None and not a.leading else lost_at
            taken_at = tenth / 10 if taken_at is None and b.leading else taken_at
            await clock.advance(0.1)
        assert lost_at == pytest.approx(10, abs=0.2)
        assert taken_at >= 15 - 0.1
        assert a.lost() == "the Lease was not renewed within 10 s"
        with pytest.raises(NotLeaderError):
            await a.guarded.create(JOBS, "ns", {"metadata": {"name": "j"}})


async def test_requests_that_hang_do_not_keep_a_leader_in_office(clock, candidate):
    async with candidate("a").running() as a:
        a.connection.latency = 1000
        await clock.advance(9.9)
        assert a.leading
        await clock.advance(0.2)
        assert not a.leading
        assert "10 s" in a.lost()


async def test_one_hung_request_does_not_cost_the_lead(clock, candidate):
    async with candidate("a").running() as a:
        await clock.advance(1.9)
        a.connection.latency = 1000
        await clock.advance(0.2)
        a.connection.latency = 0
        await clock.advance(60)
        assert a.leading
        assert a.slow_paths == 1


async def test_a_slow_api_is_good_enough(clock, candidate):
    a, b = candidate("a"), candidate("b")
    a.connection.latency = b.connection.latency = 2.0
    async with a.running(), b.running():
        await clock.advance(3)
        await clock.advance(2)
        for _ in range(100):
            assert [a.leading, b.leading].count(True) == 1
            await clock.advance(1)


async def test_the_time_a_renewal_took_counts_from_its_start(clock, candidate):
    async with candidate("a").running() as a:
        a.connection.latency = 4.0
        await clock.advance(6)  # renewed, with a request sent at 2
        a.connection.failure = DOWN
        await clock.advance(5.9)
        assert a.leading
        await clock.advance(0.2)
        assert not a.leading


async def test_the_time_an_election_took_counts_from_its_write(clock, candidate):
    a = candidate("a")
    a.connection.latency = 4.0
    async with a.running():
        await clock.advance(8)
        assert a.leading
        a.connection.failure = DOWN
        await clock.advance(5.9)
        assert a.leading
        await clock.advance(0.2)
        assert not a.leading


async def test_a_renewal_whose_answer_was_lost_is_found_out_by_reading(api, clock, candidate):
    async with candidate("a").running() as a, candidate("b").running() as b:
        a.connection.deaf = True
        await clock.advance(1.9)
        a.connection.deaf = False
        await clock.advance(30)
        assert a.leading
        assert not b.leading


async def test_a_stale_copy_of_the_lease_is_read_anew(api, clock, candidate):
    async with candidate("a").running() as a:
        lease = api.read(LEASES, "system", "lock")
        api.put(LEASES, lease | {"metadata": lease["metadata"] | {"labels": {"by": "kubectl"}}})
        await clock.advance(2)
        assert a.leading
        assert a.slow_paths == 1
        assert api.read(LEASES, "system", "lock")["metadata"]["labels"] == {"by": "kubectl"}


@pytest.mark.parametrize("duration", [15, 0])
async def test_a_leader_whose_lease_is_anothers_stops_at_once(api, clock, candidate, duration):
    async with candidate("a").running() as a:
        put_lease(api, "usurper", duration=duration)
        await clock.advance(2)
        assert not a.leading
        assert a.lost() == "usurper acquired the Lease"
        assert spec(api)["holderIdentity"] == "usurper"


async def test_a_lease_that_was_deleted_is_made_anew(api, clock, candidate):
    async with candidate("a").running() as a:
        api.remove(LEASES, "system", "lock")
        await clock.advance(2)
        assert a.leading
        assert spec(api)["holderIdentity"] == "a"


async def test_a_paused_process_writes_nothing_when_it_wakes_up(api, clock, candidate):
    async with candidate("a").running() as a:
        await a.guarded.create(JOBS, "ns", {"metadata": {"name": "before"}})
        clock.stall(10)
        # Nothing has run since, and the first thing that does is a write.
        with pytest.raises(NotLeaderError):
            await a.guarded.create(JOBS, "ns", {"metadata": {"name": "after"}})
        await a.guarded.get(JOBS, "ns", "before")
        assert [job["metadata"]["name"] for job in api.all(JOBS)] == ["before"]


async def test_a_paused_process_gives_up_without_another_request(api, clock, candidate):
    async with candidate("a").running() as a:
        await clock.advance(1)
        put_lease(api, "successor", transitions=1)
        api.calls.clear()
        clock.stall(60)
        await clock.settle()
        await clock.advance(2)
        assert "10 s" in a.lost()
        assert api.calls == []


async def test_a_short_pause_costs_nothing(clock, candidate):
    async with candidate("a").running() as a:
        clock.stall(9)
        await clock.advance(2)
        assert a.leading


async def test_who_leaves_in_order_hands_over_at_once(api, clock, candidate):
    async with candidate("a").running() as a:
        await clock.advance(5)
        await clock.run(a.leave())
        assert not a.leading
        assert spec(api)["holderIdentity"] == ""
        assert spec(api)["leaseDurationSeconds"] == 1
        assert spec(api)["leaseTransitions"] == 0
    async with candidate("b").running() as b:
        await clock.advance(2)
        assert b.leading
        assert spec(api)["leaseTransitions"] == 1


async def test_a_standby_that_may_watch_the_lease_takes_over_the_moment_it_is_given_up(
    clock, candidate
):
    async with candidate("a").running() as a, candidate("b", jitter=0.99).running() as b:
        await clock.advance(5)
        await clock.run(a.leave())
        await clock.settle()
        assert b.leading


async def test_a_standby_that_may_not_watch_the_lease_looks_as_often_as_ever(
    api, clock, candidate, monkeypatch
):
    one, two = candidate("a"), candidate("b", jitter=0.99)
    refused = []

    def watch(*args, **kwargs):
        refused.append(1)
        raise APIStatusError(code=403, reason="Forbidden")

    monkeypatch.setattr(two.client, "watch", watch)
    async with one.running(), two.running():
        await clock.advance(30)
        assert not two.leading
        await clock.run(one.leave())
        await clock.settle()
        assert not two.leading
        await clock.advance(4.4)
        assert two.leading
    assert len(refused) == 1, "it does not ask again for what it may not have"


async def test_a_dead_leaders_lease_is_taken_when_it_runs_out_and_not_at_some_later_look(
    clock, candidate
):
    one, two = candidate("a"), candidate("b", jitter=1.0)
    async with one.running(), two.running():
        await clock.advance(21.1)  # the last renewal was at 20 s, the last look at 17.6 s
        one.task.cancel()
        await clock.advance(13.8)
        assert not two.leading
        await clock.advance(0.2)
        assert two.leading


async def test_without_a_watch_a_dead_leaders_lease_runs_out_from_the_last_look_on(
    clock, candidate, monkeypatch
):
    one, two = candidate("a"), candidate("b", jitter=1.0)

    def watch(*args, **kwargs):
        raise APIStatusError(code=403, reason="Forbidden")

    monkeypatch.setattr(two.client, "watch", watch)
    async with one.running(), two.running():
        await clock.advance(21.1)
        one.task.cancel()
        await clock.advance(15.8)  # the look at 22 s was the first to show the last renewal
        assert not two.leading
        await clock.advance(0.2)
        assert two.leading


async def test_a_version_of_the_lease_that_the_watch_shows_late_counts_for_nothing(
    api, clock, candidate
):
    one, two = candidate("a"), candidate("b", jitter=1.0)
    async with one.running(), two.running():
        await clock.advance(20)
        old = two.elector._last
        await clock.advance(2)
        seen_at = two.elector._observed_at
        await clock.advance(1)
        two.elector._observe_watched(old)
        assert two.elector._observed_at == seen_at


async def test_a_release_that_meets_a_conflict_is_tried_again(api, clock, candidate):
    async with candidate("a").running() as a:
        conflicts = [APIStatusError(code=409, reason="Conflict")] * 2
        update = api.update

        def contended(*arguments):
            if conflicts:
                raise conflicts.pop()
            return update(*arguments)

        api.update = contended
        await clock.run(a.leave())
        assert spec(api)["holderIdentity"] == ""


async def test_a_release_gives_up_when_the_api_server_does_not_answer(api, clock, candidate):
    async with candidate("a").running() as a:
        a.connection.failure = DOWN
        started = clock.monotonic()
        await clock.run(a.leave())
        assert clock.monotonic() - started == pytest.approx(10)
        assert spec(api)["holderIdentity"] == "a"


async def test_nobody_releases_anothers_lease(api, clock, candidate):
    async with candidate("a").running() as a:
        put_lease(api, "usurper")
        await clock.run(a.leave())
        assert spec(api)["holderIdentity"] == "usurper"


async def test_a_candidate_that_never_asked_for_the_lease_releases_nothing(api, clock, candidate):
    put_lease(api, "other")
    async with candidate("a").running() as a:
        api.calls.clear()
        await clock.run(a.leave())
        assert api.calls == []


async def test_a_candidate_that_leaves_while_it_is_being_elected_does_not_keep_the_lease(
    api, clock, candidate
):
    a = candidate("a")
    a.connection.deaf = True
    async with a.running():
        assert spec(api)["holderIdentity"] == "a"
        assert not a.leading
        a.connection.deaf = False
        await clock.run(a.leave())
        assert spec(api)["holderIdentity"] == ""


async def test_the_watchdog_barks_when_a_leader_has_not_renewed_for_far_too_long(clock, candidate):
    a = candidate("a")
    a.elector.healthy()
    async with a.running():
        clock.stall(34)
        a.elector.healthy()
        clock.stall(2)
        with pytest.raises(LeaderElectionLostError, match="36 s"):
            a.elector.healthy()


async def test_a_standby_is_healthy(api, clock, candidate):
    put_lease(api, "other", duration=3600)
    async with candidate("a").running() as a:
        await clock.advance(600)
        a.elector.healthy()


@pytest.mark.parametrize(
    "timings",
    [
        {"lease_duration": 10.0},
        {"renew_deadline": 2.4},
        {"retry_period": 0.0},
        {"identity": ""},
    ],
)
def test_timings_that_leave_no_time_for_a_renewal_are_refused(timings):
    with pytest.raises(ValueError, match="leader election"):
        LeaderElectionConfig(**timings)


def test_a_request_may_take_half_of_the_deadline_and_at_least_a_second():
    assert LeaderElectionConfig().request_timeout == 5
    short = LeaderElectionConfig(lease_duration=2, renew_deadline=1.5, retry_period=0.5)
    assert short.request_timeout == 1


def test_identities_are_unique():
    assert new_identity() != new_identity()


async def test_five_candidates_with_failing_connections_never_lead_two_at_a_time(
    api, clock, candidate
):
    candidates = [candidate(name, jitter=n / 5) for n, name in enumerate("abcde")]
    terms = []

    async def career(one):
        while True:
            with suppress(LeaderElectionLostError):
                await one.run()

    tasks = [asyncio.create_task(career(one)) for one in candidates]
    for second in range(600):
        unlucky = candidates[second // 30 % 5]
        for one in candidates:
            one.connection.failure = DOWN if one is unlucky else None
            one.connection.latency = 0.3
        await clock.advance(1)
        leaders = [one.name for one in candidates if one.leading]
        assert len(leaders) <= 1
        terms += [name for name in leaders if terms[-1:] != [name]]
    assert len(terms) > 2, "the lead has changed hands"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
