"""Pods whose end no kubelet writes: after a while they are failed and deleted, as pkg/controller/podgc does.

These are the Pods of a node that is gone, and those that are deleted before they have a node, which only a finalizer keeps.
A Pod bound to a node that never was is left alone: in tests without nodes a stand-in for kubelets moves such Pods.
"""

from __future__ import annotations

from typing import Any

from devcluster.apiserver.local import NODES, PODS

from .base import Key, Machinery, QueueController, ignore_missing, is_deleting, key_of

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
