"""Pods of a Job: which state one is in, which go first, how a new one looks. Pure functions of JSON objects."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from devcluster.controllers.clock import unix

Object = dict[str, Any]

TRACKING_FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX_KEY = "batch.kubernetes.io/job-completion-index"
_PHASE_RANK = {"Pending": 0, "Unknown": 1, "Running": 2}


def phase(pod: Object) -> str:
    """status.phase."""
    return str((pod.get("status") or {}).get("phase", ""))


def is_terminating(pod: Object) -> bool:
    """Whether the Pod is marked for deletion."""
    return "deletionTimestamp" in pod["metadata"]


def is_active(pod: Object) -> bool:
    """Whether the Pod counts as active: neither ended nor going."""
    return phase(pod) not in ("Succeeded", "Failed") and not is_terminating(pod)


def is_tracked(pod: Object) -> bool:
    """Whether the Pod still has the finalizer of Jobs."""
    return TRACKING_FINALIZER in (pod["metadata"].get("finalizers") or ())


def is_failed(pod: Object, *, only_terminal: bool) -> bool:
    """Whether the Pod counts as failed; unless `only_terminal` one that is going does."""
    state = phase(pod)
    if only_terminal:
        return state == "Failed"
    return state == "Failed" or (is_terminating(pod) and state != "Succeeded")


def is_ready(pod: Object) -> bool:
    """Whether the Ready condition is True."""
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition["type"] == "Ready":
            return bool(condition["status"] == "True")
    return False


def restarts(pod: Object) -> int:
    """Restarts of all containers."""
    status = pod.get("status") or {}
    every = [
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
    ]
    return sum(each.get("restartCount", 0) for each in every)


def finish_time(pod: Object) -> float:
    """When the Pod ended: end of its last container, or Ready turned False, or deletion began, or it was made."""
    status, metadata = pod.get("status") or {}, pod["metadata"]
    ends = [
        (each.get("state") or {}).get("terminated", {}).get("finishedAt")
        for each in status.get("containerStatuses") or ()
    ]
    if ends and all(ends):
        return max(unix(each) for each in ends)
    for condition in status.get("conditions") or ():
        if (
            condition["type"] == "Ready"
            and condition["status"] == "False"
            and condition.get("lastTransitionTime")
        ):
            return unix(condition["lastTransitionTime"])
    if is_terminating(pod):
        grace = metadata.get("deletionGracePeriodSeconds") or 0
        return unix(metadata["deletionTimestamp"]) - grace
    return unix(metadata["creationTimestamp"])


def completion_index(pod: Object) -> int | None:
    """The index of a Pod of an Indexed Job."""
    value = (pod["metadata"].get("annotations") or {}).get(INDEX_KEY)
    return int(value) if value is not None and value.isdigit() else None


def first_to_go(pods: Iterable[Object], count: int) -> list[Object]:
    """`count` of `pods`, those that lose least first: unscheduled, pending, not ready, youngest."""

    def rank(pod: Object) -> tuple[bool, int, bool, float]:
        scheduled = bool(pod["spec"].get("nodeName"))
        made = unix(pod["metadata"]["creationTimestamp"])
        return scheduled, _PHASE_RANK.get(phase(pod), 0), is_ready(pod), -made

    return sorted(pods, key=rank)[:count]


def new_pod(job: Object, index: int | None = None) -> Object:
    """A Pod of the Job's template, owned and tracked by the Job."""
    metadata, template = job["metadata"], job["spec"]["template"]
    meta = template.get("metadata") or {}
    labels, annotations = dict(meta.get("labels") or {}), dict(meta.get("annotations") or {})
    spec = template["spec"]
    prefix = metadata["name"] + "-"
    if index is not None:
        labels[INDEX_KEY] = annotations[INDEX_KEY] = str(index)
        prefix = f"{prefix}{index}-"
        spec = _indexed_spec(spec, f"{metadata['name']}-{index}")
    pod_meta: Object = {
        "generateName": prefix,
        "namespace": metadata["namespace"],
        "labels": labels,
        "finalizers": [TRACKING_FINALIZER],
        "ownerReferences": [
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "name": metadata["name"],
                "uid": metadata["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    if annotations:
        pod_meta["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "Pod", "metadata": pod_meta, "spec": spec}


def _indexed_spec(spec: Object, hostname: str) -> Object:
    spec = copy.deepcopy(spec)
    spec["hostname"] = hostname
    field = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX_KEY}']"}}
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        env = container.setdefault("env", [])
        if all(each["name"] != "JOB_COMPLETION_INDEX" for each in env):
            env.append({"name": "JOB_COMPLETION_INDEX", "valueFrom": field})
    return spec
