"""The Job controller of kube-controller-manager 1.36: from Jobs and Pods to Pods, conditions, counters and Events.

Tests compare it with recordings of the real one. A new or changed Job is synced at once; changes of its Pods and of its
status are synced a second later, so that many of them cause one status write. Not implemented: adoption of Pods that merely
match the selector, gang scheduling, metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from devcluster.apiserver.local import JOBS, PODS
from devcluster.controllers.base import (
    Key,
    Machinery,
    QueueController,
    controller_of,
    is_deleting,
    key_of,
)

from . import pods as podlib
from . import policy
from . import status as statuslib
from .accounting import Accounting
from .backoff import Delays, Record
from .manage import Manager, Result
from .podcontrol import PodControl
from .snapshot import COMPLETED, Snapshot, decide, look

Object = dict[str, Any]
API_RETRY_SECONDS = 1.0
API_RETRY_MOST = 60.0
_ORPHAN = "pod"


@dataclass(frozen=True, slots=True)
class JobSettings:
    """Delays of the controller's own, in seconds, divided by the clock's speed. `batch`: from a Pod's change to the sync."""

    batch: float = 1.0
    pod_failure_backoff: float = 10.0
    pod_failure_backoff_max: float = 600.0


class JobController(QueueController):
    """Keys are (namespace, name) of Jobs, and (namespace, name, "pod") of Pods whose finalizer no Job removes."""

    name = "job"

    def __init__(self, machinery: Machinery, settings: JobSettings) -> None:
        scaled = machinery.clock.scaled
        super().__init__(
            machinery, base_delay=scaled(API_RETRY_SECONDS), max_delay=scaled(API_RETRY_MOST)
        )
        self._batch = scaled(settings.batch)
        delays = Delays(
            scaled(settings.pod_failure_backoff), scaled(settings.pod_failure_backoff_max)
        )
        self._control = PodControl(self.client)
        self._manager = Manager(self._control, delays)
        self._accounting = Accounting(self._control, self._write_status, self.clock.stamp)
        self._records: dict[Key, Record] = {}
        self._pods: dict[str, set[tuple[str, str]]] = {}
        machinery.feed.on("jobs.batch", self._job_written)
        machinery.feed.on("pods", self._pod_written)

    # --- events

    def _job_written(self, new: Object | None, old: Object | None) -> None:
        job = new or old
        assert job is not None
        generation = (old or {}).get("metadata", {}).get("generation")
        same_spec = (
            new is not None and old is not None and new["metadata"].get("generation") == generation
        )
        if new is None or statuslib.is_finished(new):
            for namespace, name in sorted(self._pods.get(job["metadata"]["uid"], ())):
                self.queue.add((namespace, name, _ORPHAN))
        self.queue.add_after(key_of(job), self._batch if same_spec else 0)

    def _pod_written(self, new: Object | None, old: Object | None) -> None:
        pod = new or old
        assert pod is not None
        owner = controller_of(pod)
        if owner is None or owner["kind"] != "Job":
            return
        self._index(owner["uid"], pod, there=new is not None)
        namespace = pod["metadata"]["namespace"]
        job = self._job(namespace, owner)
        if job is not None:
            self.queue.add_after((namespace, owner["name"]), self._batch)
        unattended = job is None or statuslib.is_finished(job)
        if new is not None and unattended and podlib.is_tracked(new) and is_deleting(new):
            self.queue.add((*key_of(new), _ORPHAN))

    def _index(self, uid: str, pod: Object, *, there: bool) -> None:
        known = self._pods.setdefault(uid, set())
        if there:
            known.add(key_of(pod))
            return
        known.discard(key_of(pod))
        if not known:
            del self._pods[uid]

    def _job(self, namespace: str, owner: Object) -> Object | None:
        job = self.client.find(JOBS, namespace, owner["name"])
        return job if job is not None and job["metadata"]["uid"] == owner["uid"] else None

    # --- sync

    def sync(self, key: Key) -> None:
        """Sync a Job, or remove the finalizer of a Pod."""
        if len(key) == 3:
            self._free(key[0], key[1])
        else:
            self._sync_job(key)

    def _free(self, namespace: str, name: str) -> None:
        """Remove the finalizer from a Pod whose Job is gone or has ended."""
        pod = self.client.find(PODS, namespace, name)
        if pod is None or not podlib.is_tracked(pod):
            return
        owner = controller_of(pod)
        if owner is not None and owner["kind"] != "Job":
            return
        job = self._job(namespace, owner) if owner is not None else None
        if job is None or (statuslib.is_finished(job) and not policy.managed_elsewhere(job)):
            self._control.release(pod)

    def _sync_job(self, key: Key) -> None:
        job = self.client.find(JOBS, *key)
        if job is None or statuslib.is_finished(job):
            self._records.pop(key, None)
            return
        if policy.managed_elsewhere(job):
            return
        before = self._records.get(key, Record())
        snapshot = look(job, self._pods_of(job), before=before, now=self.clock.stamp())
        snapshot.decision = decide(snapshot, self.clock.now())
        self._watch_deadline(key, snapshot)
        suspension_changed = False
        if snapshot.decision is not None:
            result = self._manager.end(snapshot)
            if result.error is not None:
                snapshot.decision = None
        else:
            result, suspension_changed = self._manage(snapshot)
        if result.again_in is not None:
            self.queue.add_after(key, max(result.again_in, self._batch))
        changed = _write_counts(snapshot) or suspension_changed
        try:
            self._accounting.settle(snapshot, changed=changed)
        finally:
            if snapshot.noted:
                self._records[key] = snapshot.backoff
        if result.error is not None:
            raise result.error

    def _pods_of(self, job: Object) -> list[Object]:
        """The Pods of its own namespace: a reference to an owner in another namespace is ignored."""
        namespace, known = job["metadata"]["namespace"], self._pods.get(job["metadata"]["uid"], ())
        keys = sorted(each for each in known if each[0] == namespace)
        found = (self.client.find(PODS, *key) for key in keys)
        return [pod for pod in found if pod is not None]

    def _watch_deadline(self, key: Key, snapshot: Snapshot) -> None:
        if snapshot.decision is None:
            start = snapshot.status.get("startTime")
            left = policy.deadline_left(snapshot.job, start, self.clock.now())
            if left is not None:
                self.queue.add_after(key, left)

    def _manage(self, snapshot: Snapshot) -> tuple[Result, bool]:
        """Create and delete Pods. Returns whether the Suspended condition changed."""
        job, result, managed = snapshot.job, Result(), not is_deleting(snapshot.job)
        if managed:
            result = self._manager.manage(snapshot, self.clock.now())
        if policy.is_complete(job, snapshot.succeeded, snapshot.active):
            snapshot.decision = COMPLETED
            return result, False
        return result, managed and self._suspend(snapshot)

    def _suspend(self, snapshot: Snapshot) -> bool:
        job, status = snapshot.job, snapshot.status
        suspended = policy.is_suspended(job)
        if not statuslib.set_suspended(status, suspended, self.clock.stamp()):
            return False
        if suspended:
            # A suspended Job has no start; its deadline starts again when it is resumed.
            status.pop("startTime", None)
            self._control.event(job, "Normal", "Suspended", "Job suspended")
        else:
            status["startTime"] = self.clock.stamp()
            self._control.event(job, "Normal", "Resumed", "Job resumed")
        return True

    def _write_status(self, job: Object, status: Object) -> Object:
        namespace, name = key_of(job)
        body = {**job, "status": statuslib.ordered(status)}
        return self.client.update_status(JOBS, namespace, name, body)


def _write_counts(snapshot: Snapshot) -> bool:
    """Write the numbers of Pods into the status. Returns whether they changed."""
    status = snapshot.status
    before = (status.get("active", 0), status.get("ready"), status.get("terminating"))
    statuslib.set_count(status, "active", snapshot.active)
    status["ready"] = snapshot.ready
    status["terminating"] = snapshot.terminating
    return before != (snapshot.active, snapshot.ready, snapshot.terminating)
