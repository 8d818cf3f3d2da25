"""Who gets a slot of a WorkspaceConfig, who waits, and who is woken."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from kubetask_controller.reconcilers.concurrency import (
    UNANSWERED_LIFE,
    ConcurrencyLimiter,
    Contender,
)
from kubetask_controller.reconcilers.projections import JobView
from support.reconcilers.views import NOW, complete, job

POOL = ("team", "default")


@dataclass
class Pool:
    """A limiter over Jobs that the test creates and ends."""

    limit: int | None = 1
    jobs: dict[str, JobView] = field(default_factory=dict)
    absent: set[Contender] = field(default_factory=set)
    woken: list[str] = field(default_factory=list)
    looks: int = 0
    time: float = 0.0

    def __post_init__(self) -> None:
        self.limiter = ConcurrencyLimiter(
            jobs_of=self._jobs_of,
            waits=self._waits,
            wake=lambda x: self.woken.append(x.name),
            clock=self,
        )

    def now(self):
        return NOW.fromtimestamp(NOW.timestamp() + self.time, NOW.tzinfo)

    def monotonic(self) -> float:
        return self.time

    def _jobs_of(self, pool: tuple[str, str]) -> Iterable[JobView]:
        return [x for x in self.jobs.values() if not x.finished]

    def _waits(self, who: Contender) -> bool:
        self.looks += 1
        return who not in self.absent

    def wants(self, who: Contender, *names: str, since: float = 0.0, most: int = 500) -> int:
        """Slots for these Jobs; what is granted is created at once."""
        self.time += 1
        granted = self.limiter.acquire(
            POOL,
            who,
            names,
            most=most,
            limit=self.limit,
            since=lambda: NOW.timestamp() + since - 1e6,
        )
        for name in names[:granted]:
            self.jobs[name] = job(name)
            self.limiter.settled(POOL, name)
        return granted

    def ends(self, name: str) -> list[str]:
        """A Job ends; the names of those who are woken."""
        del self.jobs[name]
        self.woken.clear()
        self.limiter.wake(POOL)
        return list(self.woken)


def owner(name: str, kind: str = "Task") -> Contender:
    return Contender(kind, "team", name, f"u-{name}")


A, B, C = owner("a"), owner("b"), owner("c")
RUN = owner("z", "BatchRun")


def test_no_limit_grants_all_that_one_reconcile_may_take() -> None:
    pool = Pool(limit=None)
    assert pool.wants(A, "a-1", "a-2", "a-3", most=2) == 2
    assert not pool.limiter.waits_in(A)


def test_no_more_jobs_than_the_limit_hold_a_slot() -> None:
    pool = Pool(limit=2)
    assert pool.wants(A, "a-1", "a-2", "a-3") == 2
    assert pool.limiter.waits_in(A)
    assert pool.wants(B, "b-1") == 0


def test_a_job_that_has_finished_holds_no_slot() -> None:
    pool = Pool()
    pool.wants(A, "a-1")
    pool.jobs["a-1"] = job("a-1", complete=complete())
    assert pool.wants(B, "b-1") == 1


@pytest.mark.parametrize("waiting", [(RUN, A), (A, RUN)])
def test_batchruns_and_tasks_stand_in_one_queue(waiting: tuple[Contender, Contender]) -> None:
    pool = Pool()
    pool.wants(B, "b-1")
    first, second = waiting
    pool.wants(first, "1", since=1.0)
    pool.wants(second, "2", since=2.0)
    assert pool.ends("b-1") == [first.name]
    assert pool.wants(second, "2") == 0
    assert pool.wants(first, "1") == 1


def test_the_owner_that_was_served_least_recently_goes_first() -> None:
    pool = Pool()
    assert pool.wants(A, "a-1", "a-2") == 1
    pool.wants(B, "b-1")
    assert pool.ends("a-1") == ["b"]
    assert pool.wants(A, "a-2") == 0
    assert pool.wants(B, "b-1") == 1
    assert pool.ends("b-1") == ["a"]


def test_nobody_starves_where_contenders_exceed_the_slots() -> None:
    pool, owners = Pool(limit=2), {f"o{i}": owner(f"o{i}") for i in range(7)}
    served = dict.fromkeys(owners, 0)
    pool.wants(C, "c-1", "c-2")
    for name, who in owners.items():
        pool.wants(who, *(f"{name}-{n}" for n in range(9)))
    for _ in range(42):
        for name in pool.ends(next(iter(pool.jobs))):
            left = [f"{name}-{served[name] + n}" for n in range(9)]
            served[name] += pool.wants(owners[name], *left)
    assert set(served.values()) == {6}


def test_slots_are_dealt_out_in_turns_to_those_who_wait() -> None:
    pool = Pool(limit=4)
    for n in range(4):
        pool.wants(C, f"c-{n}")
    pool.wants(A, *(f"a-{n}" for n in range(9)), since=1)
    pool.wants(B, "b-1", since=2)
    pool.jobs.clear()
    assert pool.wants(A, *(f"a-{n}" for n in range(9))) == 3
    assert pool.wants(B, "b-1") == 1


@pytest.mark.parametrize("free", [1, 3])
def test_as_many_waiters_are_woken_as_slots_come_free(free: int) -> None:
    pool = Pool(limit=4)
    for n in range(4):
        pool.wants(C, f"c-{n}")
    for n in range(10):
        pool.wants(owner(f"w{n}"), f"w{n}-1", since=n)
    for n in range(free - 1):
        del pool.jobs[f"c-{n + 1}"]
    assert pool.ends("c-0") == [f"w{n}" for n in range(free)]


def test_an_owner_that_leaves_slots_free_wakes_the_next() -> None:
    pool = Pool(limit=2)
    pool.wants(C, "c-1", "c-2")
    pool.wants(A, "a-1", since=1)
    pool.wants(B, "b-1", since=2)
    pool.jobs.clear()
    assert pool.wants(A, "a-1") == 1
    assert pool.woken == ["b"]


def test_a_freed_slot_costs_no_look_at_all_the_others_that_wait() -> None:
    pool = Pool()
    pool.wants(C, "c-1")
    tasks = [owner(f"t{i:04}") for i in range(2000)]
    for i, x in enumerate(tasks):
        pool.wants(x, f"{x.name}-1", since=i)
    holder = "c-1"
    for i in range(20):
        pool.looks = 0
        assert pool.ends(holder) == [tasks[i].name]
        assert pool.wants(tasks[i], f"{tasks[i].name}-1") == 1
        holder = f"{tasks[i].name}-1"
        assert pool.looks <= 4


# Who does not wait any more ----------------------------------------------------------------------


def test_an_owner_that_was_suspended_leaves_its_slot_to_the_next() -> None:
    pool = Pool()
    pool.wants(C, "c-1")
    pool.wants(A, "a-1", since=1)
    pool.wants(B, "b-1", since=2)
    pool.absent.add(A)
    assert pool.ends("c-1") == ["b"]
    assert pool.wants(B, "b-1") == 1


@pytest.mark.parametrize("how", ["withdraw", "forget"])
def test_an_owner_that_leaves_wakes_the_next(how: str) -> None:
    pool = Pool()
    pool.wants(C, "c-1")
    pool.wants(A, "a-1", since=1)
    pool.wants(B, "b-1", since=2)
    pool.jobs.clear()
    getattr(pool.limiter, how)(A)
    assert pool.woken == ["b"]
    assert not pool.limiter.waits_in(A)


def test_a_higher_limit_wakes_those_who_fit() -> None:
    pool = Pool()
    pool.wants(C, "c-1")
    for n in range(5):
        pool.wants(owner(f"w{n}"), f"w{n}-1", since=n)
    pool.woken.clear()
    pool.limiter.limit_changed(POOL, 3)
    assert pool.woken == ["w0", "w1"]
    pool.limiter.limit_changed(POOL, None)
    assert pool.woken[2:] == [f"w{n}" for n in range(5)]


def test_nothing_is_remembered_of_owners_that_are_gone() -> None:
    pool = Pool()
    pool.wants(C, "c-1")
    pool.wants(A, "a-1")
    for who in (A, C):
        pool.limiter.forget(who)
    assert pool.limiter.statistics() == {"waiting": 0, "served": 0, "creates": 0}


# Creates under way -------------------------------------------------------------------------------


def acquire(pool: Pool, who: Contender, *names: str, most: int = 500) -> int:
    """Take slots; the creates have no answer yet."""
    return pool.limiter.acquire(
        POOL, who, names, most=most, limit=pool.limit, since=lambda: NOW.timestamp()
    )


def test_a_create_in_flight_holds_a_slot() -> None:
    pool = Pool()
    assert acquire(pool, A, "a-1") == 1
    assert acquire(pool, B, "b-1") == 0


def test_a_create_that_failed_gives_its_slot_back_to_its_own_owner_too() -> None:
    pool = Pool()
    acquire(pool, A, "a-1")
    pool.limiter.settled(POOL, "a-1")
    assert acquire(pool, A, "a-1") == 1


def test_a_create_without_an_answer_keeps_its_slot_and_is_not_refused_by_it() -> None:
    pool = Pool()
    acquire(pool, A, "a-1")
    pool.limiter.unanswered(POOL, "a-1")
    assert acquire(pool, B, "b-1") == 0
    assert acquire(pool, A, "a-1") == 1


def test_the_slot_of_a_create_without_an_answer_comes_free_when_no_job_can_come_of_it() -> None:
    pool = Pool()
    acquire(pool, A, "a-1")
    acquire(pool, B, "b-1")
    pool.limiter.unanswered(POOL, "a-1")
    pool.limiter.forget(A)
    pool.time = UNANSWERED_LIFE - 1
    pool.limiter.wake_all()
    assert pool.woken == []
    pool.time = UNANSWERED_LIFE
    pool.limiter.wake_all()
    assert pool.woken == ["b"]


def test_a_late_answer_does_not_extend_the_slot_of_an_owner_that_is_gone() -> None:
    pool = Pool()
    acquire(pool, A, "a-1")
    pool.limiter.forget(A)
    pool.time = UNANSWERED_LIFE - 1
    pool.limiter.unanswered(POOL, "a-1")
    assert pool.limiter.usage(POOL) == 1
    pool.time = UNANSWERED_LIFE
    assert pool.limiter.usage(POOL) == 0


def test_a_held_slot_is_no_slot_beyond_the_limit() -> None:
    pool = Pool()
    acquire(pool, A, "a-1")
    pool.limiter.unanswered(POOL, "a-1")
    pool.jobs["x"] = job("x")  # another process created it meanwhile
    assert acquire(pool, A, "a-1") == 0


def test_a_job_that_disappeared_holds_its_slot_until_a_live_read() -> None:
    pool = Pool()
    pool.limiter.unverified(POOL, A, "a-1")
    assert acquire(pool, B, "b-1") == 0
    pool.limiter.settled(POOL, "a-1")
    assert acquire(pool, B, "b-1") == 1


def test_a_job_that_disappeared_with_its_owner_holds_nothing() -> None:
    pool = Pool()
    pool.limiter.unverified(POOL, A, "a-1")
    pool.limiter.forget(A)
    assert pool.limiter.usage(POOL) == 0


def test_pools_do_not_share_their_slots() -> None:
    pool = Pool()
    pool.wants(A, "a-1")
    other = pool.limiter.acquire(("team", "other"), B, ["b-1"], most=9, limit=2, since=lambda: 0.0)
    assert other == 1
