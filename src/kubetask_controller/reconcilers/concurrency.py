"""``maxConcurrentTasks`` of a WorkspaceConfig, over all BatchRuns and Tasks that use it.

The slots in use are counted from the Jobs that exist, each time, together with the creates that are in flight or had no
answer. Who waits is checked against the present state of the owner, each time: an owner that was suspended, cancelled,
deleted or has ended does not wait.

Free slots go to the owner that was served least recently, BatchRuns and Tasks alike; its creation counts as its first
service. A waiting owner keeps its position while others arrive behind it, so every owner is served.
"""

import bisect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kubetask_controller.reconcilers.projections import JobView
from kubetask_controller.runtime.clock import Clock

Pool = tuple[str, str]
"""Namespace and name of a WorkspaceConfig."""

UNANSWERED_LIFE = 75.0
"""Seconds for which a create without an answer holds its slot: an API server ends each request after 60 s."""


class Contender(NamedTuple):
    """A BatchRun or Task."""

    kind: str
    namespace: str
    name: str
    uid: str


class _Held(NamedTuple):
    """A slot in use by a Job that the cache does not show.

    Attributes:
        contender: the owner.
        until: monotonic time after which no Job can come of it any more.
        sent: a create was sent; else the Job has disappeared from the cache.
    """

    contender: Contender
    until: float
    sent: bool = True


class _Position(NamedTuple):
    served: float
    name: str
    contender: Contender


@dataclass(slots=True)
class _Queue:
    """Who waits for slots of one pool, least recently served first."""

    order: list[_Position] = field(default_factory=list)
    demand: dict[Contender, tuple[_Position, int]] = field(default_factory=dict)
    limit: int | None = None

    def put(self, position: _Position, wanted: int) -> None:
        self.drop(position.contender)
        bisect.insort(self.order, position)
        self.demand[position.contender] = (position, wanted)

    def drop(self, contender: Contender) -> bool:
        entry = self.demand.pop(contender, None)
        if entry is None:
            return False
        del self.order[bisect.bisect_left(self.order, entry[0])]
        return True


class ConcurrencyLimiter:
    """Grants slots, and wakes as many waiting owners as there are slots free.

    Args:
        jobs_of: the Jobs of a pool that have not finished.
        waits: whether an owner exists and may start tasks.
        wake: enqueues an owner.
        clock: for the order of service.
    """

    def __init__(
        self,
        *,
        jobs_of: Callable[[Pool], Iterable[JobView]],
        waits: Callable[[Contender], bool],
        wake: Callable[[Contender], None],
        clock: Clock,
    ) -> None:
        self._jobs_of = jobs_of
        self._waits = waits
        self._wake = wake
        self._clock = clock
        self._queues: dict[Pool, _Queue] = {}
        self._served: dict[str, float] = {}
        self._creates: dict[Pool, dict[str, _Held]] = {}

    def acquire(
        self,
        pool: Pool,
        contender: Contender,
        wanted: Sequence[str],
        *,
        most: int,
        limit: int | None,
        since: Callable[[], float],
    ) -> int:
        """Take slots for the first of the wanted Jobs, and return for how many.

        Each slot that was taken is in use until ``settled`` is called for the Job's name. The rest waits, and its owner is
        woken when slots are free.

        Args:
            pool: the WorkspaceConfig.
            contender: the owner.
            wanted: names of Jobs that could be created; those first whose earlier create had no answer: they have a slot.
            most: take no more slots than this, whatever is free.
            limit: maxConcurrentTasks, None for no limit.
            since: returns the wall time in seconds of the owner's last service, as far as its objects show it.
        """
        creates = self._creates.get(pool, {})
        held = next((i for i, name in enumerate(wanted) if name not in creates), len(wanted))
        if limit is not None:
            # Another process may have created Jobs meanwhile: a slot that is held is no slot beyond the limit.
            held = min(held, max(0, limit - (self.usage(pool) - held)))
        held = min(held, most)
        granted = held + self._grant(pool, contender, len(wanted) - held, most - held, limit, since)
        if granted:
            creates = self._creates.setdefault(pool, {})
            creates.update(dict.fromkeys(wanted[:granted], _Held(contender, float("inf"))))
        return granted

    def _grant(
        self,
        pool: Pool,
        contender: Contender,
        wanted: int,
        most: int,
        limit: int | None,
        since: Callable[[], float],
    ) -> int:
        queue = self._queues.setdefault(pool, _Queue())
        queue.limit = limit
        if limit is None:
            queue.drop(contender)
            return min(wanted, most)
        free = max(0, limit - self.usage(pool))
        if wanted <= 0:
            queue.drop(contender)
            self._wake_first(queue, free, but=contender)
            return 0
        served = self._served.get(contender.uid)
        if served is None:
            served = self._served[contender.uid] = since()
        queue.put(_Position(served, contender.name, contender), wanted)
        granted = min(wanted, most, self._share(queue, contender, free))
        if granted:
            # Behind everybody who waits now, also where this process's clock and the API server's differ.
            last = queue.order[-1].served
            self._served[contender.uid] = max(self._clock.now().timestamp(), last + 0.001)
            if granted < wanted:
                position = _Position(self._served[contender.uid], contender.name, contender)
                queue.put(position, wanted - granted)
            else:
                queue.drop(contender)
        if granted < free:
            self._wake_first(queue, free - granted, but=contender)
        return granted

    def unverified(self, pool: Pool, contender: Contender, job_name: str) -> None:
        """A Job has disappeared from the cache before it finished: a live read decides whether it is deleted."""
        expiry = self._clock.monotonic() + UNANSWERED_LIFE
        creates = self._creates.setdefault(pool, {})
        if job_name not in creates or not creates[job_name].sent:
            creates[job_name] = _Held(contender, expiry, sent=False)

    def unanswered(self, pool: Pool, job_name: str, left: float = UNANSWERED_LIFE) -> None:
        """The create had no answer. For the seconds that are left to the API server for it, it may create a Job."""
        creates = self._creates.get(pool, {})
        if job_name in creates:
            # Nothing is sent for an owner that is gone, so a life that has begun is not extended.
            held = creates[job_name]
            expiry = self._clock.monotonic() + left
            creates[job_name] = held._replace(until=min(held.until, expiry), sent=True)

    def settled(self, pool: Pool, job_name: str) -> None:
        """The create has an answer, or was not sent: the Jobs that exist show whether the slot is in use."""
        creates = self._creates.get(pool)
        if creates is not None:
            creates.pop(job_name, None)
            if not creates:
                del self._creates[pool]

    def gone(self, namespace: str, job_name: str) -> None:
        """A live read shows that there is no such Job."""
        for pool in [x for x in self._creates if x[0] == namespace]:
            held = self._creates[pool].get(job_name)
            if held is not None and not held.sent:
                self.settled(pool, job_name)
                self.wake(pool)

    def withdraw(self, contender: Contender) -> None:
        """The owner no longer waits for a slot; the next owner may acquire it."""
        for pool, queue in self._queues.items():
            if pool[0] == contender.namespace and queue.drop(contender):
                self.wake(pool)

    def forget(self, contender: Contender) -> None:
        """The owner is gone or has ended."""
        self.withdraw(contender)
        self._served.pop(contender.uid, None)
        expiry = self._clock.monotonic() + UNANSWERED_LIFE
        for pool in [pool for pool in self._creates if pool[0] == contender.namespace]:
            for name, held in list(self._creates[pool].items()):
                if held.contender == contender and held.sent:
                    self._creates[pool][name] = held._replace(until=min(held.until, expiry))
                elif held.contender == contender:
                    self.settled(pool, name)

    def wake(self, pool: Pool, but: Contender | None = None) -> None:
        """Slots may have come free: wake as many owners as there are, except one that has just given them back."""
        queue = self._queues.get(pool)
        if queue is None or not queue.order:
            return
        limit = queue.limit
        free = len(queue.order) if limit is None else limit - self.usage(pool)
        self._wake_first(queue, free, but)

    def wake_all(self) -> None:
        """As ``wake`` for every pool; a safety net for a change that no event announced."""
        for pool in list(self._creates):
            self._expire(pool)
        for pool in list(self._queues):
            self.wake(pool)

    def limit_changed(self, pool: Pool, limit: int | None) -> None:
        """The WorkspaceConfig has another maxConcurrentTasks, or none."""
        queue = self._queues.get(pool)
        if queue is not None:
            queue.limit = limit
            self.wake(pool)

    def waits_in(self, contender: Contender) -> bool:
        """Whether the owner waits for a slot."""
        return any(
            contender in queue.demand
            for pool, queue in self._queues.items()
            if pool[0] == contender.namespace
        )

    def usage(self, pool: Pool) -> int:
        """Slots in use: Jobs that have not finished, and creates that may have made one."""
        names = {job.name for job in self._jobs_of(pool)}
        self._expire(pool)
        names.update(self._creates.get(pool, ()))
        return len(names)

    def _expire(self, pool: Pool) -> None:
        creates, now = self._creates.get(pool, {}), self._clock.monotonic()
        for name in [name for name, held in creates.items() if held.until <= now]:
            self.settled(pool, name)

    def statistics(self) -> Mapping[str, int]:
        """How much is remembered, for tests of leaks."""
        return {
            "waiting": sum(len(x.demand) for x in self._queues.values()),
            "served": len(self._served),
            "creates": sum(len(x) for x in self._creates.values()),
        }

    def _share(self, queue: _Queue, contender: Contender, free: int) -> int:
        """The slots of one owner when free slots are dealt out one by one in the order of service, in turns."""
        if free <= 0:
            return 0
        turn = self._first(queue, free)
        if contender not in (x for x, _ in turn):
            return 0
        left = dict(turn)
        mine = 0
        while free > 0 and left:
            for who in list(left):
                if free == 0:
                    break
                free -= 1
                left[who] -= 1
                mine += who == contender
                if left[who] == 0:
                    del left[who]
            if contender not in left:
                break
        return mine

    def _first(self, queue: _Queue, count: int) -> list[tuple[Contender, int]]:
        """The first owners that still wait, with the number of slots that they request. Others are dropped."""
        found: list[tuple[Contender, int]] = []
        gone: list[Contender] = []
        for position in queue.order:
            if len(found) == count:
                break
            if self._waits(position.contender):
                found.append((position.contender, queue.demand[position.contender][1]))
            else:
                gone.append(position.contender)
        for contender in gone:
            queue.drop(contender)
        return found

    def _wake_first(self, queue: _Queue, count: int, but: Contender | None = None) -> None:
        if count > 0:
            for contender, _ in self._first(queue, count + (but is not None)):
                if contender != but:
                    self._wake(contender)
