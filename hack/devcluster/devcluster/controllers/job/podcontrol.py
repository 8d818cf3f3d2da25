"""Creates, deletes and releases the Pods of Jobs, and records Events about it (pkg/controller/controller_utils.go)."""

from __future__ import annotations

from typing import Any

from devcluster.apiserver.errors import StatusError
from devcluster.apiserver.local import PODS, LocalClient
from devcluster.controllers.base import ignore_missing, without_finalizer

from .pods import TRACKING_FINALIZER

Object = dict[str, Any]
COMPONENT = "job-controller"


class PodControl:
    """Writes Pods. A failure is recorded as an Event, and raised."""

    def __init__(self, client: LocalClient) -> None:
        self._client = client

    def event(self, job: Object, kind: str, reason: str, message: str) -> None:
        """Record an Event about a Job; `kind` is Normal or Warning."""
        self._client.record_event(
            job, type=kind, reason=reason, message=message, component=COMPONENT
        )

    def create(self, job: Object, pod: Object) -> None:
        """Create a Pod. Raises StatusError, except in a terminating namespace, which accepts no new objects."""
        try:
            made = self._client.create(PODS, job["metadata"]["namespace"], pod)
        except StatusError as error:
            if _namespace_is_going(error):
                return
            self.event(job, "Warning", "FailedCreate", f"Error creating: {error.message}")
            raise
        self.event(job, "Normal", "SuccessfulCreate", f"Created pod: {made['metadata']['name']}")

    def delete(self, job: Object, pod: Object) -> None:
        """Delete a Pod; one that is gone is no error. Raises StatusError."""
        metadata = pod["metadata"]
        try:
            self._client.delete(PODS, metadata["namespace"], metadata["name"], propagation=None)
        except StatusError as error:
            if error.code == 404:
                return
            self.event(job, "Warning", "FailedDelete", f"Error deleting: {error.message}")
            raise
        self.event(job, "Normal", "SuccessfulDelete", f"Deleted pod: {metadata['name']}")

    def release(self, pod: Object) -> None:
        """Take the Jobs' finalizer from a Pod; one that is gone is no error. Raises StatusError."""
        metadata = pod["metadata"]
        with ignore_missing():
            self._client.mutate(
                PODS,
                metadata["namespace"],
                metadata["name"],
                lambda current: _released(current, metadata["uid"]),
            )


def _released(pod: Object, uid: str) -> Object | None:
    if pod["metadata"]["uid"] != uid:
        return None
    return without_finalizer(pod, TRACKING_FINALIZER)


def _namespace_is_going(error: StatusError) -> bool:
    causes = (error.details or {}).get("causes") or ()
    return any(each.get("reason") == "NamespaceTerminating" for each in causes)
