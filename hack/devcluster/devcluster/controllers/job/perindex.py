"""Indexed Jobs: which indexes are done, failed or still wanted, and the failures that each index has had of its own.

Pure functions; rules of pkg/controller/job/indexed_job_utils.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import indexes as indexlib
from . import pods as podlib
from . import policy
from .backoff import Delays, remaining

Object = dict[str, Any]
FAILURES_KEY = "batch.kubernetes.io/job-index-failure-count"
IGNORED_KEY = "batch.kubernetes.io/job-index-ignored-failure-count"


def valid_index(job: Object, pod: Object) -> int | None:
    """The Pod's index when it is one of the Job's."""
    index = podlib.completion_index(pod)
    return index if index is not None and index < int(job["spec"]["completions"]) else None


def _known(job: Object, text: str) -> set[int]:
    completions = int(job["spec"]["completions"])
    return {index for index in indexlib.parse(text) if index < completions}


def succeeded_before(job: Object, status: Object) -> set[int]:
    """Indexes that status.completedIndexes has."""
    return _known(job, status.get("completedIndexes") or "")


def newly_succeeded(job: Object, pods: Iterable[Object]) -> set[int]:
    """Indexes of Pods that succeeded and are not counted yet."""
    found = (
        valid_index(job, pod)
        for pod in pods
        if podlib.phase(pod) == "Succeeded" and podlib.is_tracked(pod)
    )
    return {index for index in found if index is not None}


def failed_indexes(job: Object, status: Object, pods: Iterable[Object]) -> set[int]:
    """Indexes that have no tries left, of old and newly."""
    failed = _known(job, status.get("failedIndexes") or "")
    for pod in pods:
        index = valid_index(job, pod)
        if index is not None and podlib.is_tracked(pod) and _fails_index(job, pod):
            failed.add(index)
    return failed


def _fails_index(job: Object, pod: Object) -> bool:
    if not podlib.is_failed(pod, only_terminal=policy.only_failed_replaced(job)):
        return False
    verdict = policy.judge(job, pod)
    if verdict.action == "FailIndex":
        return True
    return verdict.counts and _annotated(pod, FAILURES_KEY) >= int(
        job["spec"]["backoffLimitPerIndex"]
    )


def _annotated(pod: Object, key: str) -> int:
    value = (pod["metadata"].get("annotations") or {}).get(key, "")
    return int(value) if value.isdigit() else 0


def failures_of(pod: Object) -> int:
    """Failures of an index before this Pod, ignored ones too."""
    return _annotated(pod, FAILURES_KEY) + _annotated(pod, IGNORED_KEY)


def waiting_for_successor(job: Object, pods: list[Object], settled: set[int]) -> dict[int, Object]:
    """By index the last failed Pod, which stays until its successor has taken over its count. `settled` indexes need none."""
    last: dict[int, Object] = {}
    for pod in pods:
        index = valid_index(job, pod)
        if index is None or index in settled or not podlib.is_tracked(pod):
            continue
        if not podlib.is_failed(pod, only_terminal=policy.only_failed_replaced(job)):
            continue
        other = last.get(index)
        if other is None or (
            failures_of(other) <= failures_of(pod)
            and podlib.finish_time(pod) >= podlib.finish_time(other)
        ):
            last[index] = pod
    return last


def successor_annotations(job: Object, replaced: Object | None) -> dict[str, str]:
    """What the Pod that replaces `replaced` (None: the first of its index) says of earlier failures."""
    failures = ignored = 0
    if replaced is not None:
        failures, ignored = _annotated(replaced, FAILURES_KEY), _annotated(replaced, IGNORED_KEY)
        if policy.judge(job, replaced).counts:
            failures += 1
        else:
            ignored += 1
    counts = {FAILURES_KEY: str(failures)}
    if ignored:
        counts[IGNORED_KEY] = str(ignored)
    return counts


def first_pending(job: Object, taken: set[int], count: int) -> list[int]:
    """The first `count` indexes that are not `taken`."""
    found: list[int] = []
    for index in range(int(job["spec"]["completions"])):
        if len(found) >= count:
            break
        if index not in taken:
            found.append(index)
    return found


def due(
    wanted: list[int], replaced: dict[int, Object], delays: Delays, now: float
) -> tuple[list[int], float]:
    """Of `wanted` those whose back-off is over; when there are none, the seconds until the first one's is."""
    left = {
        index: remaining(delays, failures_of(pod) + 1, podlib.finish_time(pod), now)
        for index in wanted
        if (pod := replaced.get(index)) is not None
    }
    ready = [index for index in wanted if left.get(index, 0.0) <= 0]
    return (ready, 0.0) if ready or not left else ([], min(left.values()))


def superfluous(job: Object, active: list[Object]) -> tuple[list[Object], list[Object]]:
    """Active Pods that must go because their index is not the Job's or has a better Pod, and those that may stay."""
    go: list[Object] = []
    stay: list[Object] = []
    by_index: dict[int, list[Object]] = {}
    for pod in active:
        index = valid_index(job, pod)
        if index is None:
            go.append(pod)
        else:
            by_index.setdefault(index, []).append(pod)
    for index in sorted(by_index):
        *extra, best = podlib.first_to_go(by_index[index])
        go.extend(extra)
        stay.append(best)
    return go, stay
