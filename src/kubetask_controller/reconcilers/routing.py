"""Which objects need a look when another one changes: maps from events to requests."""

from collections.abc import Iterable

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Phase
from kubetask_controller.reconcilers.context import INDEX_BATCH, Views
from kubetask_controller.reconcilers.lastseen import LastSeen
from kubetask_controller.reconcilers.projections import JobView, PodView, ResourceView
from kubetask_controller.reconcilers.slots import SlotLedger
from kubetask_controller.reconcilers.touched import Touched
from kubetask_controller.runtime.reconcile import Request

_FINAL = (Phase.SUCCEEDED, Phase.FAILED)


class Routes:
    """Maps for one kind of owner, BatchRun or Task."""

    def __init__(self, kind: str, views: Views, slots: SlotLedger) -> None:
        self._kind = kind
        self._views = views
        self._slots = slots
        self._owners = views.runs if kind == c.KIND_BATCH_RUN else views.tasks

    def of_job(self, job: JobView) -> Iterable[Request]:
        """The owner of a Job; when the Job has ended or is gone, those who wait for its place too."""
        if job.owner and job.owner.kind == self._kind:
            yield Request(job.namespace, job.owner.name)
        if job.finished or job.deleting or self._views.jobs.get(job.namespace, job.name) is None:
            for kind, name in self._slots.waiting((job.namespace, job.workspace_config)):
                if kind == self._kind:
                    yield Request(job.namespace, name)

    def of_pod(self, pod: PodView) -> Iterable[Request]:
        """The owner of the Job that the Pod belongs to."""
        if pod.owner and pod.owner.kind == "Job":
            job = self._views.jobs.get(pod.namespace, pod.owner.name)
            if job and job.owner and job.owner.kind == self._kind:
                yield Request(pod.namespace, job.owner.name)

    def of_workspace_config(self, config: ResourceView) -> Iterable[Request]:
        """Whatever in the namespace has not ended: it may have waited for this WorkspaceConfig."""
        return self._unfinished(self._owners.list(config.namespace))

    def of_batch(self, batch: ResourceView) -> Iterable[Request]:
        """The runs that refer to a Batch and may wait for it."""
        value = f"{batch.namespace}/{batch.name}"
        return self._unfinished(self._views.runs.by_index(INDEX_BATCH, value))

    def of_run(self, run: ResourceView) -> Iterable[Request]:
        """The runs that retry an ended run, and may wait for its end."""
        if run.status.get("phase") in _FINAL:
            for other in self._views.runs.list(run.namespace):
                if other.spec.get("retryOf") == run.name and "batchSnapshot" not in other.status:
                    yield Request(other.namespace, other.name)

    @staticmethod
    def _unfinished(owners: Iterable[ResourceView]) -> Iterable[Request]:
        for owner in owners:
            if owner.status.get("phase") not in _FINAL:
                yield Request(owner.namespace, owner.name)


class Witness:
    """Takes note of Jobs and Pods as the cache sees them come and go; an event handler of both informers.

    What is gone is kept only while an owner that has not ended may still ask for it.
    """

    def __init__(
        self, views: Views, slots: SlotLedger, last_seen: LastSeen, touched: Touched
    ) -> None:
        self._views = views
        self._slots = slots
        self._last_seen = last_seen
        self._touched = touched

    def on_add(self, obj: JobView | PodView, initial: bool) -> None:
        """A Job is in the cache: its place is counted there from now on."""
        if isinstance(obj, JobView):
            self._slots.observed((obj.namespace, obj.workspace_config), obj.name)
        self._touch(obj)

    def on_update(self, old: JobView | PodView, new: JobView | PodView) -> None:
        """The task needs a look."""
        self._touch(new)

    def on_delete(self, obj: JobView | PodView, final_state_unknown: bool) -> None:
        """Keep the last view."""
        self._touch(obj)
        if isinstance(obj, JobView):
            self._slots.observed((obj.namespace, obj.workspace_config), obj.name)
            if self._awaited(obj):
                self._last_seen.job_gone(obj)
            return
        if obj.owner is None:
            return
        job = self._views.jobs.get(obj.namespace, obj.owner.name)
        if job is not None and job.uid == obj.owner.uid:
            if job.owner and self._awaited(job):
                self._last_seen.pod_gone(job.owner.uid, obj)
        elif owner_uid := self._last_seen.owner_of_job(obj.owner.uid):
            self._last_seen.pod_gone(owner_uid, obj)

    def _touch(self, obj: JobView | PodView) -> None:
        if isinstance(obj, JobView):
            self._touched.mark(obj)
        elif obj.owner is not None:
            # A Pod that is heard of before its Job is seen when the Job comes.
            job = self._views.jobs.get(obj.namespace, obj.owner.name)
            if job is not None:
                self._touched.mark(job)

    def _awaited(self, job: JobView) -> bool:
        if job.owner is None:
            return False
        owners = self._views.runs if job.owner.kind == c.KIND_BATCH_RUN else self._views.tasks
        owner = owners.get(job.namespace, job.owner.name)
        return (
            owner is not None
            and owner.uid == job.owner.uid
            and owner.status.get("phase") not in _FINAL
        )
