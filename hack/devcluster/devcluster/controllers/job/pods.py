"""Pods of a Job: which state one is in, which go first, how a new one looks. Pure functions of JSON objects."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from devcluster.controllers.clock import unix

Object = dict[str, Any]

TRACKING_FINALIZER = "batch.kubernetes.io/job-tracking"
_PHASE_RANK = {"Pending": 0, "Unknown": 1, "Running": 2}


def phase(pod: Object) -> str:
    """status.phase."""
    return str((pod.get("status") or {}).get("phase", ""))


def has_ended(pod: Object) -> bool:
    """Whether the Pod is in a phase that it never leaves."""
    return phase(pod) in ("Succeeded", "Failed")


def is_deleting(pod: Object) -> bool:
    """Whether the Pod is marked for deletion."""
    return "deletionTimestamp" in pod["metadata"]


def is_active(pod: Object) -> bool:
    """Whether the Pod counts as active: it has not ended and is not being deleted."""
    return not has_ended(pod) and not is_deleting(pod)


def is_terminating(pod: Object) -> bool:
    """Whether the Pod counts as terminating: it is being deleted, but has not ended."""
    return not has_ended(pod) and is_deleting(pod)


def is_tracked(pod: Object) -> bool:
    """Whether the Pod still has the finalizer of Jobs."""
    return TRACKING_FINALIZER in (pod["metadata"].get("finalizers") or ())


def is_failed(pod: Object, *, only_terminal: bool) -> bool:
    """Whether the Pod counts as failed; unless `only_terminal`, a Pod that is being deleted does."""
    if phase(pod) == "Failed":
        return True
    return not only_terminal and is_terminating(pod)


def is_ready(pod: Object) -> bool:
    """Whether the Ready condition is True."""
    return ready_since(pod) is not None


def ready_since(pod: Object) -> str | None:
    """Since when the Ready condition is True ('' when it has no time), or None."""
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition["type"] == "Ready" and condition["status"] == "True":
            return condition.get("lastTransitionTime") or ""
    return None


def restarts(pod: Object) -> int:
    """Restarts of all containers."""
    status = pod.get("status") or {}
    every = [
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
    ]
    return sum(each.get("restartCount", 0) for each in every)


def finish_time(pod: Object) -> float:
    """When the Pod ended: end of its last container, or Ready turned False, or deletion began, or creation."""
    status, metadata = pod.get("status") or {}, pod["metadata"]
    ends = [
        ((each.get("state") or {}).get("terminated") or {}).get("finishedAt")
        for each in status.get("containerStatuses") or ()
    ]
    known = [each for each in ends if each]
    if known and len(known) == len(ends):
        return max(unix(each) for each in known)
    for condition in status.get("conditions") or ():
        if (
            condition["type"] == "Ready"
            and condition["status"] == "False"
            and condition.get("lastTransitionTime")
        ):
            return unix(condition["lastTransitionTime"])
    if is_deleting(pod):
        grace = metadata.get("deletionGracePeriodSeconds") or 0
        return unix(metadata["deletionTimestamp"]) - grace
    return unix(metadata["creationTimestamp"])


def first_to_go(pods: Iterable[Object]) -> list[Object]:
    """`pods`, those that lose least first: unscheduled, pending, not ready, ready only lately, restarted often, young."""

    def rank(pod: Object) -> tuple[bool, int, bool, float, int, float]:
        since = ready_since(pod)
        return (
            bool(pod["spec"].get("nodeName")),
            _PHASE_RANK.get(phase(pod), 0),
            since is not None,
            -(unix(since) if since else math.inf) if since is not None else 0.0,
            -restarts(pod),
            -unix(pod["metadata"]["creationTimestamp"]),
        )

    return sorted(pods, key=rank)


def new_pod(job: Object) -> Object:
    """A Pod of the Job's template, owned and tracked by the Job."""
    metadata, template = job["metadata"], job["spec"]["template"]
    meta = template.get("metadata") or {}
    pod_meta: Object = {
        "generateName": metadata["name"] + "-",
        "namespace": metadata["namespace"],
        "labels": dict(meta.get("labels") or {}),
        "finalizers": [*(meta.get("finalizers") or ()), TRACKING_FINALIZER],
        "ownerReferences": [owner_reference(job)],
    }
    if meta.get("annotations"):
        pod_meta["annotations"] = dict(meta["annotations"])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": pod_meta, "spec": template["spec"]}


def owner_reference(job: Object) -> Object:
    """The reference by which a Job owns a Pod."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": job["metadata"]["name"],
        "uid": job["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
