"""Objects that are deleted when their time is up: Jobs by ttlSecondsAfterFinished, and Pods whose end no kubelet writes.

The Pods are failed and deleted after a while, as pkg/controller/podgc does. They are the Pods of a node that is gone, and
those that are deleted before they have a node, which only a finalizer keeps. A Pod bound to a node that never existed is
ignored: in tests without nodes the kubelet stand-in updates such Pods.
"""

from __future__ import annotations

from typing import Any

from devcluster.apiserver.local import JOBS, NODES, PODS

from .base import Key, Machinery, QueueController, ignore_missing, is_deleting, key_of
from .clock import unix
from .job.status import finished_at

Object = dict[str, Any]
MESSAGE = "PodGC: node no longer exists"
REASON = "DeletionByPodGC"
ROUND_SECONDS = 20.0
FINAL = ("Succeeded", "Failed")


class OrphanedPods(QueueController):
    """Keys are (node,), and (namespace, name) of Pods without a node."""

    name = "pod-garbage-collector"

    def __init__(self, machinery: Machinery, node_gone: float) -> None:
        super().__init__(machinery)
        self._delay = machinery.clock.scaled(node_gone)
        self._round = machinery.clock.scaled(ROUND_SECONDS)
        machinery.feed.on("nodes", self._node_written)
        machinery.feed.on("pods", self._pod_written)

    def _node_written(self, new: Object | None, old: Object | None) -> None:
        if new is None and old is not None:
            self.queue.add_after((old["metadata"]["name"],), self._delay)

    def _pod_written(self, new: Object | None, old: Object | None) -> None:
        if new is not None and _never_ran(new):
            self.queue.add_after(key_of(new), self._round)

    def sync(self, key: Key) -> None:
        """End the Pods of a node that has not come back, or one Pod that never had a node."""
        if len(key) == 2:
            pod = self.client.find(PODS, *key)
            if pod is not None and _never_ran(pod):
                with ignore_missing():
                    self.client.mutate(PODS, *key, _marked_failed, subresource="status")
            return
        (node,) = key
        if self.client.find(NODES, None, node) is not None:
            return
        for pod in self.client.list(PODS):
            if pod["spec"].get("nodeName") == node:
                self._end(pod)

    def _end(self, pod: Object) -> None:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        with ignore_missing():
            self.client.mutate(PODS, namespace, name, self._failed, subresource="status")
            self.client.delete(
                PODS, namespace, name, uid=pod["metadata"]["uid"], grace_period_seconds=0
            )

    def _failed(self, pod: Object) -> Object | None:
        status = dict(pod.get("status") or {})
        if status.get("phase") in FINAL:
            return None
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "lastTransitionTime": self.clock.stamp(),
            "reason": REASON,
            "message": MESSAGE,
        }
        others = [
            each for each in status.get("conditions") or () if each["type"] != "DisruptionTarget"
        ]
        return {**pod, "status": {**status, "phase": "Failed", "conditions": [*others, condition]}}


def _never_ran(pod: Object) -> bool:
    ended = (pod.get("status") or {}).get("phase") in FINAL
    return is_deleting(pod) and not pod["spec"].get("nodeName") and not ended


def _marked_failed(pod: Object) -> Object | None:
    if not _never_ran(pod):
        return None
    return {**pod, "status": {**(pod.get("status") or {}), "phase": "Failed"}}


class TTLAfterFinished(QueueController):
    """Keys are (namespace, name) of Jobs."""

    name = "ttl-after-finished"

    def __init__(self, machinery: Machinery) -> None:
        super().__init__(machinery)
        machinery.feed.on("jobs.batch", self._job_written)

    def _job_written(self, new: Object | None, old: Object | None) -> None:
        if new is not None and _expiry(new) is not None:
            self.queue.add(key_of(new))

    def sync(self, key: Key) -> None:
        """Delete a Job whose time is up, or come back when it is."""
        job = self.client.find(JOBS, *key)
        expiry = _expiry(job) if job is not None else None
        if job is None or expiry is None:
            return
        left = expiry - self.clock.now()
        if left > 0:
            self.queue.add_after(key, left)
            return
        with ignore_missing():
            self.client.delete(JOBS, *key, uid=job["metadata"]["uid"], propagation="Foreground")


def _expiry(job: Object) -> float | None:
    """When a Job is to go (Unix time), or None when it stays."""
    seconds = job["spec"].get("ttlSecondsAfterFinished")
    finished = finished_at(job)
    if seconds is None or not finished or is_deleting(job):
        return None
    return unix(finished) + float(seconds)
