"""A Job and its Pods at one time: the active, ended and failed Pods, and whether they decide the Job.

`look` and `decide` read only; the sync then changes the snapshot's status and counters as it acts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import pods as podlib
from . import policy
from . import status as statuslib
from .backoff import Record
from .status import Decision

Object = dict[str, Any]


@dataclass(slots=True)
class Snapshot:
    """The state that one sync works on.

    `status` is a working copy, `active`, `ready` and `terminating` count Pods; `succeeded` and `failed` count every Pod
    that ended, whether or not the status has it yet. `noted`: the stored status records the Pods that ended since, and
    the cause of `backoff`.
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
    fresh = [pod for pod in pods if podlib.is_tracked(pod)]
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
    return Snapshot(
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
    return None


def _fails(reason: str, message: str) -> Decision:
    return Decision(statuslib.FAILURE_TARGET, reason, message)


COMPLETED = Decision(statuslib.SUCCESS_TARGET, policy.REASON_COMPLETED, policy.MESSAGE_COMPLETED)
