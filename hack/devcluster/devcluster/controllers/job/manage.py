"""Creates missing Pods of a Job and deletes surplus ones, with the limits of the real controller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from devcluster.apiserver.errors import StatusError

from . import pods as podlib
from . import policy
from .backoff import Delays
from .podcontrol import PodControl
from .snapshot import Snapshot

Object = dict[str, Any]
MOST_PER_SYNC = 500


@dataclass(slots=True)
class Result:
    """The first error, and the seconds until the next sync (None: no need)."""

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
        """Bring the number of Pods to the desired one."""
        job, active = snapshot.job, snapshot.active
        if policy.is_suspended(job):
            return self._delete(snapshot, snapshot.active_pods, release=True)
        wanted = policy.wanted_active(job, snapshot.succeeded, active)
        surplus = podlib.first_to_go(snapshot.active_pods)[
            : min(max(0, active - wanted), MOST_PER_SYNC)
        ]
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
        wait = snapshot.backoff.remaining(self._delays, now)
        if wait > 0:
            # The real controller reports no active Pods while it waits, even when some run.
            snapshot.active = 0
            return Result(again_in=wait)
        return self._create_in_batches(snapshot, count)

    def _create_in_batches(self, snapshot: Snapshot, count: int) -> Result:
        """One Pod, then twice as many, and so on: what would fail for all fails once."""
        result = Result()
        size = 1
        while count > 0 and result.error is None:
            batch, size = min(size, count), size * 2
            count -= batch
            for _ in range(batch):
                try:
                    self._control.create(snapshot.job, podlib.new_pod(snapshot.job))
                except StatusError as error:
                    result.error = result.error or error
                else:
                    snapshot.active += 1
        return result
