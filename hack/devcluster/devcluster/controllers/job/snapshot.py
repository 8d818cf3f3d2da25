"""One look at a Job and its Pods: what counts as active, ended or failed, and whether the Job is decided by it.

`look` and `decide` read only; the sync then changes the snapshot's status and counters as it acts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from . import perindex, policy
from . import pods as podlib
from . import status as statuslib
from .backoff import Record
from .status import Decision

Object = dict[str, Any]


@dataclass(slots=True)
class Snapshot:
    """The state that one sync works on.

    `status` is a working copy, `active`, `ready` and `terminating` count Pods; `succeeded` and `failed` count every Pod
    that ended, whether or not the status has it yet. `indexes_before` and `indexes` are an Indexed Job's completed ones
    as stored and with the new; `failed_indexes` is None without backoffLimitPerIndex. `kept` has failed Pods that must
    outlive their successor's creation. `noted`: the Pods that ended newly stand in the stored status, and so does
    `backoff`'s cause.
    """

    job: Object
    status: Object
    pods: list[Object]
    active_pods: list[Object]
    active: int
    ready: int
    terminating: int
    succeeded: int
    failed: int
    backoff: Record
    uncounted_succeeded: frozenset[str]
    uncounted_failed: frozenset[str]
    indexes_before: set[int] = field(default_factory=set)
    indexes: set[int] = field(default_factory=set)
    failed_indexes: set[int] | None = None
    kept: dict[int, Object] = field(default_factory=dict)
    decision: Decision | None = None
    noted: bool = False

    def is_failed(self, pod: Object) -> bool:
        """Whether a Pod counts as failed under this Job's rules."""
        return podlib.is_failed(pod, only_terminal=policy.only_failed_replaced(self.job))


def look(job: Object, pods: list[Object], *, before: Record, now: str) -> Snapshot:
    """Count a Job's Pods. `before` is the back-off record so far."""
    status = dict(job.get("status") or {})
    status.setdefault("uncountedTerminatedPods", {})
    if not status.get("startTime") and not policy.is_suspended(job):
        status["startTime"] = now
    active = [pod for pod in pods if podlib.is_active(pod)]
    succeeded_uids = frozenset(statuslib.uncounted(status, "succeeded"))
    failed_uids = frozenset(statuslib.uncounted(status, "failed"))
    fresh = [pod for pod in pods if _countable(job, pod)]
    terminal = policy.only_failed_replaced(job)
    new_succeeded = [
        pod
        for pod in fresh
        if podlib.phase(pod) == "Succeeded" and pod["metadata"]["uid"] not in succeeded_uids
    ]
    new_failed = [
        pod
        for pod in fresh
        if podlib.is_failed(pod, only_terminal=terminal)
        and pod["metadata"]["uid"] not in failed_uids
    ]
    counted = [pod for pod in new_failed if policy.judge(job, pod).counts]
    snapshot = Snapshot(
        job=job,
        status=status,
        pods=pods,
        active_pods=active,
        active=len(active),
        ready=sum(map(podlib.is_ready, active)),
        terminating=sum(map(podlib.is_terminating, pods)),
        succeeded=status.get("succeeded", 0) + len(new_succeeded) + len(succeeded_uids),
        failed=status.get("failed", 0) + len(counted) + len(failed_uids),
        backoff=before.after(new_succeeded, new_failed),
        uncounted_succeeded=succeeded_uids,
        uncounted_failed=failed_uids,
    )
    if policy.is_indexed(job):
        _look_at_indexes(snapshot)
    return snapshot


def _countable(job: Object, pod: Object) -> bool:
    if not podlib.is_tracked(pod):
        return False
    return not policy.is_indexed(job) or perindex.valid_index(job, pod) is not None


def _look_at_indexes(snapshot: Snapshot) -> None:
    job, status, pods = snapshot.job, snapshot.status, snapshot.pods
    snapshot.indexes_before = perindex.succeeded_before(job, status)
    snapshot.indexes = snapshot.indexes_before | perindex.newly_succeeded(job, pods)
    snapshot.succeeded = len(snapshot.indexes)
    if policy.limit_per_index(job) is None:
        return
    snapshot.failed_indexes = perindex.failed_indexes(job, status, pods)
    running = {podlib.completion_index(pod) for pod in snapshot.active_pods}
    settled = {
        *snapshot.indexes,
        *snapshot.failed_indexes,
        *(index for index in running if index is not None),
    }
    snapshot.kept = perindex.waiting_for_successor(job, pods, settled)


def decide(snapshot: Snapshot, now: float) -> Decision | None:
    """Whether the Job is to end, and why; the order of the rules is fixed."""
    job, status = snapshot.job, snapshot.status
    earlier = statuslib.decided(status)
    if earlier is not None:
        return earlier
    sentence = policy.fail_job_sentence(job, snapshot.pods)
    if sentence:
        return _fails(policy.REASON_POLICY, sentence)
    if policy.over_backoff_limit(job, snapshot.pods, snapshot.failed):
        return _fails(policy.REASON_BACKOFF, policy.MESSAGE_BACKOFF)
    left = policy.deadline_left(job, status.get("startTime"), now)
    if left is not None and left <= 0:
        return _fails(policy.REASON_DEADLINE, policy.MESSAGE_DEADLINE)
    if policy.is_indexed(job):
        return _decide_by_indexes(snapshot)
    return None


def _decide_by_indexes(snapshot: Snapshot) -> Decision | None:
    spec = snapshot.job["spec"]
    failed = snapshot.failed_indexes
    if failed:
        most = spec.get("maxFailedIndexes")
        if most is not None and len(failed) > most:
            return _fails(policy.REASON_MAX_FAILED_INDEXES, policy.MESSAGE_MAX_FAILED_INDEXES)
        if len(failed) + len(snapshot.indexes) >= int(spec["completions"]):
            return _fails(policy.REASON_FAILED_INDEXES, policy.MESSAGE_FAILED_INDEXES)
    sentence = policy.met_success_rule(snapshot.job, snapshot.indexes)
    if sentence:
        return Decision(statuslib.SUCCESS_TARGET, policy.REASON_SUCCESS_POLICY, sentence)
    return None


def _fails(reason: str, message: str) -> Decision:
    return Decision(statuslib.FAILURE_TARGET, reason, message)


COMPLETED = Decision(statuslib.SUCCESS_TARGET, policy.REASON_COMPLETED, policy.MESSAGE_COMPLETED)
