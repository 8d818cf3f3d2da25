"""Counts each Pod that ended exactly once, and then writes the Job's terminal condition.

A Pod's uid is written to status.uncountedTerminatedPods, then the Pod loses its finalizer, then the counter is incremented.
The next sync continues after an interruption. The status is written at most twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from devcluster.apiserver.errors import StatusError

from . import pods as podlib
from . import policy
from . import status as statuslib
from .podcontrol import PodControl
from .snapshot import Snapshot

Object = dict[str, Any]
MOST_UNCOUNTED = 500
WriteStatus = Callable[[Object, Object], Object]


class Accounting:
    """Writes what a sync found. `write(job, status)` stores a status and returns the Job; `now` is the time of conditions."""

    def __init__(self, control: PodControl, write: WriteStatus, now: Callable[[], str]) -> None:
        self._control = control
        self._write = write
        self._now = now

    def settle(self, snapshot: Snapshot, *, changed: bool) -> None:
        """Count, release and conclude; `changed`: the status differs already.

        Raises StatusError if a write fails; the next sync retries. `snapshot.noted` records whether the Pods that ended
        are noted.
        """
        status = snapshot.status
        held = {pod["metadata"]["uid"] for pod in snapshot.pods if podlib.is_tracked(pod)}
        changed |= statuslib.count_released(status, held)
        to_release, counted, full = self._count(snapshot)
        changed |= counted
        decision = snapshot.decision
        if decision is not None and statuslib.condition(status, decision.target) is None:
            self._add(status, decision.target, decision)
            changed = True
        if changed:
            self._store(snapshot)
            snapshot.noted = True
        error = self._release(to_release, held)
        changed = statuslib.count_released(snapshot.status, held)
        if error is not None:
            if changed:
                self._store(snapshot)
            raise error
        self._conclude(snapshot, changed=changed, full=full)

    def _count(self, snapshot: Snapshot) -> tuple[list[Object], bool, bool]:
        """(Pods to release, whether any was newly noted, whether there are too many for one sync)."""
        succeeded = statuslib.uncounted(snapshot.status, "succeeded")
        failed = statuslib.uncounted(snapshot.status, "failed")
        before = len(succeeded) + len(failed)
        release: list[Object] = []
        full = False
        for pod in snapshot.pods:
            if not podlib.is_tracked(pod) or not _may_release(snapshot, pod):
                continue
            release.append(pod)
            uid = pod["metadata"]["uid"]
            if podlib.phase(pod) == "Succeeded" and uid not in snapshot.uncounted_failed:
                if uid not in snapshot.uncounted_succeeded:
                    succeeded.append(uid)
            elif _newly_failed(snapshot, pod):
                failed.append(uid)
            full = len(succeeded) + len(failed) >= MOST_UNCOUNTED
            if full:
                break
        statuslib.set_uncounted(snapshot.status, succeeded, failed)
        return release, len(succeeded) + len(failed) != before, full

    def _release(self, pods: list[Object], held: set[str]) -> StatusError | None:
        first: StatusError | None = None
        for pod in pods:
            try:
                self._control.release(pod)
            except StatusError as error:
                first = first or error
            else:
                held.discard(pod["metadata"]["uid"])
        return first

    def _conclude(self, snapshot: Snapshot, *, changed: bool, full: bool) -> None:
        """Write the terminal condition once every Pod is counted and removed; until then write the counters only."""
        status, decision = snapshot.status, snapshot.decision
        left = any(statuslib.uncounted(status, kind) for kind in ("succeeded", "failed"))
        if decision is None or full or left or snapshot.terminating > 0:
            if changed:
                self._store(snapshot)
            return
        self._add(status, decision.terminal, decision)
        if decision.succeeds:
            status["completionTime"] = self._now()
        job = snapshot.job
        self._store(snapshot)
        self._tell(job, status, decision)

    def _tell(self, job: Object, status: Object, decision: statuslib.Decision) -> None:
        if not decision.succeeds:
            self._control.event(job, "Warning", decision.reason, decision.message)
            return
        completions = job["spec"].get("completions")
        if completions is not None and status.get("succeeded", 0) > completions:
            message = "Too many succeeded pods running after completion count reached"
            self._control.event(job, "Warning", "TooManySucceededPods", message)
        self._control.event(job, "Normal", "Completed", "Job completed")

    def _add(self, status: Object, kind: str, decision: statuslib.Decision) -> None:
        statuslib.add_condition(
            status, kind, reason=decision.reason, message=decision.message, now=self._now()
        )

    def _store(self, snapshot: Snapshot) -> None:
        snapshot.job = self._write(snapshot.job, snapshot.status)
        snapshot.status = dict(snapshot.job["status"])


def _may_release(snapshot: Snapshot, pod: Object) -> bool:
    """Whether a Pod may lose its finalizer."""
    going = "deletionTimestamp" in snapshot.job["metadata"]
    if going or snapshot.decision is not None or podlib.phase(pod) == "Succeeded":
        return True
    return snapshot.is_failed(pod)


def _newly_failed(snapshot: Snapshot, pod: Object) -> bool:
    """Whether a Pod that is released adds to the failed ones; of a Job that fails every Pod does."""
    decision = snapshot.decision
    job_fails = decision is not None and not decision.succeeds
    if not (snapshot.is_failed(pod) or job_fails):
        return False
    if pod["metadata"]["uid"] in snapshot.uncounted_failed:
        return False
    return policy.judge(snapshot.job, pod).counts
