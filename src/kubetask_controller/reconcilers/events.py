"""From watch events to requests: which BatchRuns and Tasks are enqueued, and which data of deleted objects is kept."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from kubetask_controller.api import constants as c
from kubetask_controller.reconcilers.concurrency import ConcurrencyLimiter, Contender
from kubetask_controller.reconcilers.listers import (
    INDEX_BATCH,
    INDEX_RETRY_OF,
    INDEX_UNFINISHED,
    Listers,
    is_final,
)
from kubetask_controller.reconcilers.projections import (
    BatchView,
    ConfigView,
    JobView,
    OwnerView,
    PodView,
    RunView,
)
from kubetask_controller.reconcilers.taskrun.tracker import Trackers
from kubetask_controller.runtime.reconcile import Request

_MAX_ORPHANS = 256


@dataclass(slots=True)
class _Gone:
    """What an owner has lost: Jobs by name, Pods by the uid of their Job."""

    jobs: dict[str, JobView] = field(default_factory=dict)
    pods: dict[str, dict[str, PodView]] = field(default_factory=dict)


class TombstoneStore:
    """The last versions of Jobs and Pods that are gone, until their owner has ended.

    A Job may be deleted in the second in which it finished, and an evicted Pod is deleted in the second in which its Job
    fails; the cache then shows neither. Everything is kept by the uid of the owner and forgotten with it.
    """

    def __init__(self) -> None:
        self._gone: dict[str, _Gone] = {}
        self._orphans: dict[str, PodView] = {}

    def job_gone(self, job: JobView) -> None:
        """The cache lost a Job that an owner controls."""
        if job.owner:
            self._gone.setdefault(job.owner.uid, _Gone()).jobs[job.name] = job

    def pod_gone(self, owner_uid: str | None, pod: PodView) -> None:
        """The cache lost a Pod; the owner of its Job is None where the cache has not shown that Job yet."""
        if pod.owner is None:
            return
        if owner_uid is None:
            self._orphans[pod.uid] = pod
            if len(self._orphans) > _MAX_ORPHANS:
                del self._orphans[next(iter(self._orphans))]
            return
        pods = self._gone.setdefault(owner_uid, _Gone()).pods
        pods.setdefault(pod.owner.uid, {})[pod.uid] = pod

    def owner_of_job(self, job_uid: str) -> str | None:
        """The uid of the owner of a Job that is gone."""
        for owner_uid, gone in self._gone.items():
            if any(x.uid == job_uid for x in gone.jobs.values()):
                return owner_uid
        return None

    def job(self, owner_uid: str, name: str) -> JobView | None:
        """The last version of a Job that is gone."""
        gone = self._gone.get(owner_uid)
        return gone.jobs.get(name) if gone else None

    def pods(self, owner_uid: str, job_uid: str) -> list[PodView]:
        """The last versions of a Job's Pods that are gone."""
        gone = self._gone.get(owner_uid)
        found = list(gone.pods.get(job_uid, {}).values()) if gone else []
        found += [x for x in self._orphans.values() if x.owner and x.owner.uid == job_uid]
        return found

    def forget_job(self, owner_uid: str, job_uid: str) -> None:
        """A Job was replaced: its end counts no more."""
        gone = self._gone.get(owner_uid)
        if gone is not None:
            gone.pods.pop(job_uid, None)
            gone.jobs = {name: job for name, job in gone.jobs.items() if job.uid != job_uid}

    def forget(self, owner_uid: str) -> None:
        """The owner is gone or has ended."""
        self._gone.pop(owner_uid, None)

    def owners(self) -> Iterable[str]:
        """The owners of which something is kept."""
        return tuple(self._gone)


class ChildEventHandler:
    """Handles changes of Jobs and Pods: marks the task, keeps deleted objects, and enqueues owners that wait for a slot."""

    def __init__(
        self,
        listers: Listers,
        trackers: Trackers,
        tombstones: TombstoneStore,
        limiter: ConcurrencyLimiter,
    ) -> None:
        self._listers = listers
        self._trackers = trackers
        self._tombstones = tombstones
        self._limiter = limiter

    def on_add(self, obj: JobView | PodView, initial: bool) -> None:
        """A Job or Pod appeared."""
        self._mark(obj)
        if isinstance(obj, JobView):
            self._limiter.settled((obj.namespace, obj.workspace_config), obj.name)

    def on_update(self, old: JobView | PodView, new: JobView | PodView) -> None:
        """A Job or Pod changed, or one of its name was deleted and created again."""
        if old.uid != new.uid:
            self.on_delete(old, True)
        self._mark(new)
        if isinstance(new, JobView) and new.finished:
            self._limiter.wake((new.namespace, new.workspace_config))

    def on_delete(self, obj: JobView | PodView, final_state_unknown: bool) -> None:
        """A Job or Pod is gone: keep its last version while its owner may need it."""
        self._mark(obj)
        if isinstance(obj, JobView):
            pool = (obj.namespace, obj.workspace_config)
            if self._is_awaited(obj) and obj.owner is not None:
                self._tombstones.job_gone(obj)
                if not (obj.finished or obj.deleting):
                    # It may have lost the label by which it is watched, and run on: its owner looks.
                    who = Contender(obj.owner.kind, obj.namespace, obj.owner.name, obj.owner.uid)
                    self._limiter.unverified(pool, who, obj.name)
            self._limiter.wake(pool)
            return
        if obj.owner is None:
            return
        last = replace(obj, vanished=final_state_unknown)
        job = self._listers.jobs.get(obj.namespace, obj.owner.name)
        if job is None or job.uid != obj.owner.uid:
            self._tombstones.pod_gone(self._tombstones.owner_of_job(obj.owner.uid), last)
        elif job.owner and self._is_awaited(job):
            self._tombstones.pod_gone(job.owner.uid, last)

    def _mark(self, obj: JobView | PodView) -> None:
        if isinstance(obj, JobView):
            if obj.owner is not None:
                self._trackers.mark(obj.owner.uid, obj.name)
        elif obj.owner is not None:
            # A Pod that appears before its Job is looked at when the Job appears.
            job = self._listers.jobs.get(obj.namespace, obj.owner.name)
            if job is not None and job.owner is not None:
                self._trackers.mark(job.owner.uid, job.name)

    def _is_awaited(self, job: JobView) -> bool:
        if job.owner is None:
            return False
        owner = self._listers.owner(job.owner.kind, job.namespace, job.owner.name)
        return owner is not None and owner.uid == job.owner.uid and not is_final(owner)


class OwnerEventHandler:
    """Handles each change of a BatchRun or Task: one that stops waiting leaves its slot to the next."""

    def __init__(
        self,
        kind: str,
        limiter: ConcurrencyLimiter,
        trackers: Trackers,
        tombstones: TombstoneStore,
    ) -> None:
        self._kind = kind
        self._limiter = limiter
        self._trackers = trackers
        self._tombstones = tombstones

    def on_add(self, obj: OwnerView, initial: bool) -> None:
        """Nothing waits yet."""

    def on_update(self, old: OwnerView, new: OwnerView) -> None:
        """Suspended, cancelled, ended, or created again under the same name."""
        if old.uid != new.uid:
            self.on_delete(old, False)
        elif not may_wait(new):
            self._limiter.withdraw(contender(self._kind, old))

    def on_delete(self, obj: OwnerView, final_state_unknown: bool) -> None:
        """The owner is gone, and everything that is kept for it with it."""
        self._limiter.forget(contender(self._kind, obj))
        self._trackers.forget(obj.uid)
        self._tombstones.forget(obj.uid)


class ConfigEventHandler:
    """Handles each change of a WorkspaceConfig: another maxConcurrentTasks may free slots."""

    def __init__(self, limiter: ConcurrencyLimiter) -> None:
        self._limiter = limiter

    def on_add(self, obj: ConfigView, initial: bool) -> None:
        """The limit counts from now on."""
        self._limiter.limit_changed((obj.namespace, obj.name), obj.spec.get("maxConcurrentTasks"))

    def on_update(self, old: ConfigView, new: ConfigView) -> None:
        """The limit may differ."""
        self.on_add(new, False)

    def on_delete(self, obj: ConfigView, final_state_unknown: bool) -> None:
        """Without the object there is no limit."""
        self._limiter.limit_changed((obj.namespace, obj.name), None)


def contender(kind: str, owner: OwnerView) -> Contender:
    """The owner as the limiter keeps it."""
    return Contender(kind, owner.namespace, owner.name, owner.uid)


def may_wait(owner: OwnerView) -> bool:
    """Whether an owner could start tasks."""
    return not (
        owner.deleting or is_final(owner) or owner.spec.get("suspend") or owner.spec.get("cancel")
    )


def waits(listers: Listers) -> Callable[[Contender], bool]:
    """The check of the limiter against the present state of an owner."""

    def check(who: Contender) -> bool:
        owner = listers.owner(who.kind, who.namespace, who.name)
        return owner is not None and owner.uid == who.uid and may_wait(owner)

    return check


class RequestMapper:
    """Maps changes of other objects to the owners of one kind that they concern."""

    def __init__(self, kind: str, listers: Listers) -> None:
        self._kind = kind
        self._listers = listers
        self._owners = listers.runs if kind == c.KIND_BATCH_RUN else listers.tasks

    def of_job(self, job: JobView) -> Iterable[Request]:
        """The owner of a Job."""
        if job.owner and job.owner.kind == self._kind:
            yield Request(job.namespace, job.owner.name)

    def of_pod(self, pod: PodView) -> Iterable[Request]:
        """The owner of the Job that the Pod belongs to."""
        if pod.owner and pod.owner.kind == "Job":
            job = self._listers.jobs.get(pod.namespace, pod.owner.name)
            if job and job.owner and job.owner.kind == self._kind:
                yield Request(pod.namespace, job.owner.name)

    def of_workspace_config(self, config: ConfigView) -> Iterable[Request]:
        """Every owner of the namespace that has not ended: it may wait for this WorkspaceConfig, or run with it."""
        for owner in self._owners.by_index(INDEX_UNFINISHED, config.namespace):
            yield Request(owner.namespace, owner.name)

    def of_batch(self, batch: BatchView) -> Iterable[Request]:
        """The runs that name a Batch and may wait for it."""
        for run in self._listers.runs.by_index(INDEX_BATCH, f"{batch.namespace}/{batch.name}"):
            yield Request(run.namespace, run.name)

    def of_run(self, run: RunView) -> Iterable[Request]:
        """The runs that retry a run, once it has ended or is gone."""
        if is_final(run) or self._listers.runs.get(run.namespace, run.name) is None:
            for other in self._listers.runs.by_index(INDEX_RETRY_OF, f"{run.namespace}/{run.name}"):
                yield Request(other.namespace, other.name)
