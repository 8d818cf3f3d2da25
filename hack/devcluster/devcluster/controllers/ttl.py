"""ttlSecondsAfterFinished: deletes Jobs that have ended, in the foreground, when their time is up."""

from __future__ import annotations

from typing import Any

from devcluster.apiserver.local import JOBS

from .base import Key, Machinery, QueueController, ignore_missing, is_deleting, key_of
from .clock import unix
from .job.status import finished_at

Object = dict[str, Any]


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
