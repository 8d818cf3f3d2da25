"""The cap of a WorkspaceConfig, ``maxConcurrentTasks``, over all owners that use it.

A cache lags behind our own creates, so counting Jobs alone overshoots. The ledger counts a Job from the moment it is about
to be created until the cache shows it finished or gone. It lives in the leader's memory alone: after a restart the
cache is synced before the first reconcile, and every Job that exists is in it.

Free places are divided by max-min fairness between those who have asked. One who was refused is remembered, and woken
when a Job of that WorkspaceConfig ends.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from kubetask_controller.reconcilers.fairness import max_min_shares
from kubetask_controller.reconcilers.projections import JobView

Pool = tuple[str, str]
"""Namespace and name of a WorkspaceConfig."""

Owner = tuple[str, str]
"""Kind and name of a BatchRun or Task of the pool's namespace."""


@dataclass(slots=True)
class _Reservations:
    jobs: dict[str, Owner] = field(default_factory=dict)
    """Job name → owner, for Jobs that the cache does not show yet."""
    waiting: dict[Owner, int] = field(default_factory=dict)
    """Owner → how many more tasks it could start."""


class SlotLedger:
    """Who holds the places of each WorkspaceConfig, and who waits for one.

    Args:
        active_jobs: the Jobs in the cache that belong to a pool (finished ones included).
    """

    def __init__(self, active_jobs: Callable[[Pool], Iterable[JobView]]) -> None:
        self._jobs_of = active_jobs
        self._pools: dict[Pool, _Reservations] = defaultdict(_Reservations)

    def grant(self, pool: Pool, owner: Owner, *, wanted: int, limit: int | None) -> int:
        """How many of the ``wanted`` tasks the owner may start now; the rest is remembered as waiting."""
        if limit is None:
            self._pools[pool].waiting.pop(owner, None)
            return wanted
        entry = self._pools[pool]
        held = self._held(pool)
        demands: dict[Owner, int] = dict(held)
        for other, more in entry.waiting.items():
            if other != owner:
                demands[other] = demands.get(other, 0) + more
        demands[owner] = held.get(owner, 0) + wanted
        keys = {"/".join(who): who for who in demands}
        shares = max_min_shares(limit, {key: demands[who] for key, who in keys.items()})
        mine = shares["/".join(owner)] - held.get(owner, 0)
        free = limit - sum(held.values())
        granted = max(0, min(wanted, mine, free))
        if wanted > granted:
            entry.waiting[owner] = wanted - granted
        else:
            entry.waiting.pop(owner, None)
        return granted

    def reserve(self, pool: Pool, owner: Owner, job_name: str) -> None:
        """Count a Job that is about to be created."""
        self._pools[pool].jobs[job_name] = owner

    def release(self, pool: Pool, job_name: str) -> None:
        """The create failed: the place is free."""
        self._pools[pool].jobs.pop(job_name, None)

    def observed(self, pool: Pool, job_name: str) -> None:
        """The cache shows the Job, or showed its end: from now on the cache counts it."""
        entry = self._pools.get(pool)
        if entry:
            entry.jobs.pop(job_name, None)

    def forget(self, namespace: str, owner: Owner) -> None:
        """The owner is gone or has ended: it waits nowhere."""
        for (place, _), entry in self._pools.items():
            if place == namespace:
                entry.waiting.pop(owner, None)

    def waiting(self, pool: Pool) -> list[Owner]:
        """Those to wake when a place is free."""
        entry = self._pools.get(pool)
        return list(entry.waiting) if entry else []

    def usage(self, pool: Pool) -> int:
        """Places held now."""
        return sum(self._held(pool).values())

    def _held(self, pool: Pool) -> dict[Owner, int]:
        held: dict[Owner, int] = defaultdict(int)
        entry = self._pools.get(pool)
        seen = set()
        for job in self._jobs_of(pool):
            seen.add(job.name)
            if not job.finished and job.owner:
                held[(job.owner.kind, job.owner.name)] += 1
        for name, owner in (entry.jobs if entry else {}).items():
            if name not in seen:
                held[owner] += 1
        return held
