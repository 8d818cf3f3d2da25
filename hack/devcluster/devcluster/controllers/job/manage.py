"""How many Pods a Job has: makes those that lack, deletes those too many. The numbers are those of the real controller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from devcluster.apiserver.errors import StatusError

from . import perindex, policy
from . import pods as podlib
from .backoff import Delays
from .podcontrol import PodControl
from .snapshot import Snapshot

Object = dict[str, Any]
MOST_PER_SYNC = 500


@dataclass(slots=True)
class Result:
    """What came of it: the first error, and in how many seconds to look again (None: no need)."""

    error: StatusError | None = None
    again_in: float | None = None


class Manager:
    """Acts on a snapshot and counts what it did there."""

    def __init__(self, control: PodControl, delays: Delays) -> None:
        self._control = control
        self._delays = delays

    def end(self, snapshot: Snapshot) -> Result:
        """Delete every active Pod of a Job that is decided; their finalizers stay until they are counted."""
        return self._delete(snapshot, snapshot.active_pods, release=False)

    def manage(self, snapshot: Snapshot, now: float) -> Result:
        """Bring the number of Pods to what the Job wants."""
        job, active = snapshot.job, snapshot.active
        if policy.is_suspended(job):
            return self._delete(snapshot, snapshot.active_pods, release=True)
        wanted = policy.wanted_active(job, snapshot.succeeded, active)
        surplus = _surplus(job, snapshot.active_pods, max(0, active - wanted))[:MOST_PER_SYNC]
        if surplus:
            return self._delete(snapshot, surplus, release=True)
        blocked = snapshot.terminating if policy.only_failed_replaced(job) else 0
        lacking = min(wanted - blocked - active, MOST_PER_SYNC)
        return self._create(snapshot, lacking, now) if lacking > 0 else Result()

    def _delete(self, snapshot: Snapshot, pods: list[Object], *, release: bool) -> Result:
        result = Result()
        for pod in pods:
            try:
                if release:
                    self._control.release(pod)
                self._control.delete(snapshot.job, pod)
            except StatusError as error:
                result.error = result.error or error
                continue
            snapshot.active -= 1
            snapshot.terminating += 1
            snapshot.ready -= podlib.is_ready(pod)
        return result

    def _create(self, snapshot: Snapshot, count: int, now: float) -> Result:
        job = snapshot.job
        per_index = policy.limit_per_index(job) is not None
        wait = 0.0 if per_index else snapshot.backoff.remaining(self._delays, now)
        indexes: list[int | None] = [None] * count
        if wait <= 0 and policy.is_indexed(job):
            pending = perindex.first_pending(job, _taken(snapshot), count)
            if per_index:
                pending, wait = perindex.due(pending, snapshot.kept, self._delays, now)
            indexes = list(pending)
        if wait > 0:
            # The real controller reports no active Pods while it waits, even when some run.
            snapshot.active = 0
            return Result(again_in=wait)
        return self._create_in_batches(snapshot, indexes)

    def _create_in_batches(self, snapshot: Snapshot, indexes: list[int | None]) -> Result:
        """One Pod, then twice as many, and so on: what would fail for all fails once."""
        result = Result()
        size = 1
        while indexes and result.error is None:
            batch, indexes = indexes[:size], indexes[size:]
            size *= 2
            for index in batch:
                try:
                    self._control.create(snapshot.job, _pod(snapshot, index))
                except StatusError as error:
                    result.error = result.error or error
                else:
                    snapshot.active += 1
        return result


def _surplus(job: Object, active: list[Object], at_least: int) -> list[Object]:
    go: list[Object] = []
    if policy.is_indexed(job):
        go, active = perindex.superfluous(job, active)
    return go + podlib.first_to_go(active)[: max(0, at_least - len(go))]


def _taken(snapshot: Snapshot) -> set[int]:
    """Indexes for which no Pod is to be made."""
    busy = list(snapshot.active_pods)
    if policy.only_failed_replaced(snapshot.job):
        busy += [pod for pod in snapshot.pods if podlib.is_terminating(pod)]
    present = (podlib.completion_index(pod) for pod in busy)
    failed = snapshot.failed_indexes or set()
    return {*snapshot.indexes, *failed, *(index for index in present if index is not None)}


def _pod(snapshot: Snapshot, index: int | None) -> Object:
    job = snapshot.job
    if index is None or policy.limit_per_index(job) is None:
        return podlib.new_pod(job, index)
    counts = perindex.successor_annotations(job, snapshot.kept.get(index))
    return podlib.new_pod(job, index, counts)
