"""Wiring: informers, shared pieces and controllers of the two kinds that act."""

from collections.abc import Iterable
from dataclasses import dataclass

from kubetask_controller.api import constants as c
from kubetask_controller.client.resources import JOBS, PODS
from kubetask_controller.reconcilers import kinds
from kubetask_controller.reconcilers.batchrun.reconciler import BatchRunReconciler
from kubetask_controller.reconcilers.context import (
    INDEX_BATCH,
    INDEX_OWNER,
    INDEX_POOL,
    Shared,
    Views,
)
from kubetask_controller.reconcilers.evidence import Evidence
from kubetask_controller.reconcilers.jobcontrol import JobControl
from kubetask_controller.reconcilers.lastseen import LastSeen
from kubetask_controller.reconcilers.metrics import Metrics, StateCollector
from kubetask_controller.reconcilers.podtemplate import Images
from kubetask_controller.reconcilers.projections import (
    JobView,
    ResourceView,
    by_owner_uid,
    project_job,
    project_pod,
    project_resource,
)
from kubetask_controller.reconcilers.routing import Routes, Witness
from kubetask_controller.reconcilers.shapes import JobShape, PodShape
from kubetask_controller.reconcilers.slots import SlotLedger
from kubetask_controller.reconcilers.task.reconciler import TaskReconciler
from kubetask_controller.reconcilers.touched import Touched
from kubetask_controller.runtime.builder import Builder
from kubetask_controller.runtime.consistency import ConsistencyStore
from kubetask_controller.runtime.manager import Manager

BATCHING = 0.25
"""Seconds for which changes of a run's Jobs and Pods are gathered before it is looked at."""

_OURS = f"{c.LABEL_MANAGED_BY}={c.LABEL_MANAGED_BY_VALUE}"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the flags say about the reconcilers."""

    images: Images
    version: str
    max_concurrent_reconciles: int = 4


def setup_with_manager(manager: Manager, settings: Settings) -> Shared:
    """Register informers and controllers with a manager that has not been started."""
    cache = manager.cache
    batches = cache.informer(kinds.BATCHES, project=project_resource)
    runs = cache.informer(
        kinds.BATCH_RUNS, project=project_resource, indexers={INDEX_BATCH: _by_batch}
    )
    tasks = cache.informer(kinds.TASKS, project=project_resource)
    configs = cache.informer(kinds.WORKSPACE_CONFIGS, project=project_resource)
    jobs = cache.informer(
        JOBS,
        project=project_job,
        shape=JobShape,
        label_selector=_OURS,
        indexers={INDEX_OWNER: by_owner_uid, INDEX_POOL: _by_pool},
    )
    pods = cache.informer(
        PODS,
        project=project_pod,
        shape=PodShape,
        label_selector=_OURS,
        indexers={INDEX_OWNER: by_owner_uid},
    )
    views = Views(batches=batches, runs=runs, tasks=tasks, configs=configs, jobs=jobs, pods=pods)
    slots = SlotLedger(lambda pool: jobs.by_index(INDEX_POOL, "/".join(pool)))
    last_seen, touched = LastSeen(), Touched()
    witness = Witness(views, slots, last_seen, touched)
    jobs.add_event_handler(witness)
    pods.add_event_handler(witness)
    registry = manager.metrics.registry
    registry.register(StateCollector(runs, tasks, configs, slots.usage))
    client = manager.client
    shared = Shared(
        client=client,
        clock=manager.clock,
        views=views,
        control=JobControl(client),
        evidence=Evidence(client, manager.clock),
        consistency=ConsistencyStore(cache.informers),
        slots=slots,
        last_seen=last_seen,
        touched=touched,
        events=manager.event_recorder("kubetask-controller"),
        recorder=Metrics(registry, version=settings.version),
        images=settings.images,
    )
    options = {"max_concurrent_reconciles": settings.max_concurrent_reconciles}
    of_run = Routes(c.KIND_BATCH_RUN, views, slots)
    (
        Builder(manager, name="batchrun")
        .for_(runs)
        .watches(runs, of_run.of_run)
        .watches(batches, of_run.of_batch)
        .watches(configs, of_run.of_workspace_config)
        .watches(jobs, of_run.of_job, delay=BATCHING)
        .watches(pods, of_run.of_pod, delay=BATCHING)
        .with_options(**options)
        .complete(BatchRunReconciler(shared))
    )
    of_task = Routes(c.KIND_TASK, views, slots)
    (
        Builder(manager, name="task")
        .for_(tasks)
        .watches(configs, of_task.of_workspace_config)
        .watches(jobs, of_task.of_job)
        .watches(pods, of_task.of_pod)
        .with_options(**options)
        .complete(TaskReconciler(shared))
    )
    return shared


def _by_batch(run: ResourceView) -> Iterable[str]:
    ref = run.spec.get("batchRef")
    return (f"{run.namespace}/{ref}",) if ref else ()


def _by_pool(job: JobView) -> Iterable[str]:
    """Jobs that hold a place."""
    return () if job.finished else (f"{job.namespace}/{job.workspace_config}",)
