"""Reading the cache: every object in its newest known version, and which Jobs and Pods belong to which owner.

A Job counts for a BatchRun or Task only in its owner's namespace, under its derived name, and with a controlling owner
reference with the owner's uid; a Pod counts for a Job by the same rule. A user who can write objects elsewhere, or
patch an owner reference onto an object, forges nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from kubetask_controller.api import constants as c
from kubetask_controller.client.resources import Resource
from kubetask_controller.reconcilers.projections import (
    FINAL_PHASES,
    AnyView,
    BatchView,
    ConfigView,
    JobView,
    OwnerView,
    PodView,
    RunView,
    TaskView,
)
from kubetask_controller.reconcilers.taskrun.names import is_run_job_name, task_job_name
from kubetask_controller.runtime.mutationcache import MutationCache

BATCHES = Resource(c.GROUP, c.VERSION, c.PLURAL_BATCH, c.KIND_BATCH)
BATCH_RUNS = Resource(c.GROUP, c.VERSION, c.PLURAL_BATCH_RUN, c.KIND_BATCH_RUN)
TASKS = Resource(c.GROUP, c.VERSION, c.PLURAL_TASK, c.KIND_TASK)
WORKSPACE_CONFIGS = Resource(c.GROUP, c.VERSION, c.PLURAL_WORKSPACE_CONFIG, c.KIND_WORKSPACE_CONFIG)

RESOURCES = {x.kind: x for x in (BATCHES, BATCH_RUNS, TASKS, WORKSPACE_CONFIGS)}

INDEX_OWNER = "owner"
"""Jobs and Pods by the uid of their controlling owner."""
INDEX_BATCH = "batch"
"""BatchRuns that have not ended, by the Batch they name: ``namespace/name``."""
INDEX_RETRY_OF = "retryOf"
"""BatchRuns without a snapshot, by the BatchRun they retry: ``namespace/name``."""
INDEX_UNFINISHED = "unfinished"
"""BatchRuns and Tasks that have not ended, by namespace."""
INDEX_POOL = "pool"
"""Jobs that hold a slot, by the WorkspaceConfig in force: ``namespace/name``."""


def is_final(owner: AnyView) -> bool:
    """The BatchRun or Task has ended."""
    return owner.status.get("phase") in FINAL_PHASES


def by_owner_uid(view: JobView | PodView) -> Iterable[str]:
    """Index function of ``INDEX_OWNER``."""
    return (view.owner.uid,) if view.owner else ()


def by_batch(run: RunView) -> Iterable[str]:
    """Index function of ``INDEX_BATCH``."""
    ref = run.spec.get("batchRef")
    return (f"{run.namespace}/{ref}",) if ref and not is_final(run) else ()


def by_retry_of(run: RunView) -> Iterable[str]:
    """Index function of ``INDEX_RETRY_OF``."""
    ref = run.spec.get("retryOf")
    waits = ref and not is_final(run) and "batchSnapshot" not in run.status
    return (f"{run.namespace}/{ref}",) if waits else ()


def by_unfinished(owner: OwnerView) -> Iterable[str]:
    """Index function of ``INDEX_UNFINISHED``."""
    return () if is_final(owner) else (owner.namespace,)


def by_pool(job: JobView) -> Iterable[str]:
    """Index function of ``INDEX_POOL``."""
    return () if job.finished else (f"{job.namespace}/{job.workspace_config}",)


@dataclass(frozen=True, slots=True)
class Listers:
    """The caches of the process."""

    batches: MutationCache[BatchView]
    runs: MutationCache[RunView]
    tasks: MutationCache[TaskView]
    configs: MutationCache[ConfigView]
    jobs: MutationCache[JobView]
    pods: MutationCache[PodView]

    def owner(self, kind: str, namespace: str, name: str) -> OwnerView | None:
        """A BatchRun or Task by name."""
        return (self.runs if kind == c.KIND_BATCH_RUN else self.tasks).get(namespace, name)

    def expire(self) -> None:
        """Drop versions that the informers show by now."""
        for cache in (self.batches, self.runs, self.tasks, self.configs, self.jobs, self.pods):
            cache.expire()

    def owned_jobs(self, owner: AnyView, kind: str) -> list[JobView]:
        """The Jobs of an owner: in its namespace, under a name that is derived from it, and with its uid."""
        if kind == c.KIND_BATCH_RUN:
            return [
                job
                for job in self.claimed_jobs(owner, kind)
                if is_run_job_name(job.name, owner.name, owner.uid, job.index_label)
            ]
        name = task_job_name(owner.name, owner.uid)
        return [job for job in self.claimed_jobs(owner, kind) if job.name == name]

    def claimed_jobs(self, owner: AnyView, kind: str) -> list[JobView]:
        """The Jobs in the owner's namespace that name it as their controller, whatever their own names are."""
        return [
            job
            for job in self.jobs.by_index(INDEX_OWNER, owner.uid)
            if is_owned(job, kind, owner.namespace, owner.uid)
        ]

    def pods_of(self, job: JobView) -> list[PodView]:
        """The Pods of a Job."""
        return [x for x in self.pods.by_index(INDEX_OWNER, job.uid) if self.is_pod_of(x, job)]

    @staticmethod
    def is_pod_of(pod: PodView, job: JobView) -> bool:
        """Whether the Pod counts for the Job. The Job controller names Pods after their Job, cut to fit."""
        return (
            pod.owner is not None
            and pod.owner.kind == "Job"
            and pod.owner.api_version.startswith("batch/")
            and pod.owner.uid == job.uid
            and pod.namespace == job.namespace
            and pod.name.startswith(job.name[:57])
        )


def is_ours(job: JobView) -> bool:
    """Whether a BatchRun or Task controls a Job, according to its owner reference."""
    owner = job.owner
    return (
        owner is not None
        and owner.kind in (c.KIND_BATCH_RUN, c.KIND_TASK)
        and owner.api_version.rpartition("/")[0] == c.GROUP
    )


def is_owned(job: JobView, kind: str, namespace: str, uid: str) -> bool:
    """Whether the controlling owner reference of a Job is that object."""
    owner = job.owner
    return (
        owner is not None
        and owner.uid == uid
        and owner.kind == kind
        and owner.api_version.rpartition("/")[0] == c.GROUP
        and job.namespace == namespace
    )
