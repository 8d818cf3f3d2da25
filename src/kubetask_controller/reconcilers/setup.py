"""Wiring: informers, what the reconcilers share, and the controllers of the two kinds that act."""

import asyncio
from dataclasses import dataclass

from kubetask_controller.api import constants as c
from kubetask_controller.client.resources import JOBS, PODS
from kubetask_controller.reconcilers import listers as of
from kubetask_controller.reconcilers.batchrun.reconciler import BatchRunReconciler
from kubetask_controller.reconcilers.concurrency import ConcurrencyLimiter, Contender
from kubetask_controller.reconcilers.context import ReconcilerContext
from kubetask_controller.reconcilers.events import (
    ChildEventHandler,
    ConfigEventHandler,
    OwnerEventHandler,
    RequestMapper,
    TombstoneStore,
    waits,
)
from kubetask_controller.reconcilers.freshness import FreshReader
from kubetask_controller.reconcilers.listers import Listers
from kubetask_controller.reconcilers.metrics import ReconcilerMetrics, StateCollector
from kubetask_controller.reconcilers.projections import (
    PartialBatch,
    PartialJob,
    PartialPod,
    project_job,
    project_owner,
    project_pod,
    project_resource,
)
from kubetask_controller.reconcilers.task.reconciler import TaskReconciler
from kubetask_controller.reconcilers.taskrun.jobs import JobControl
from kubetask_controller.reconcilers.taskrun.pending_reasons import EventLookup
from kubetask_controller.reconcilers.taskrun.pod_template import Images
from kubetask_controller.reconcilers.taskrun.tracker import Trackers
from kubetask_controller.runtime.builder import Builder
from kubetask_controller.runtime.clock import Clock
from kubetask_controller.runtime.consistency import ConsistencyStore
from kubetask_controller.runtime.controller import Controller
from kubetask_controller.runtime.inflight import InFlightLimit
from kubetask_controller.runtime.manager import Manager
from kubetask_controller.runtime.mutationcache import MutationCache
from kubetask_controller.runtime.reconcile import Request

MAX_RETRY_DELAY = 60.0
"""Seconds between two reconciles that fail at most: when a webhook or the API server works again, work continues soon."""

BATCHING = 0.25
"""Seconds for which changes of a run's Jobs and Pods are gathered before it is looked at."""

WAKE_INTERVAL = 10.0
"""Seconds between two looks for free slots that no event announced."""

_OURS = f"{c.LABEL_MANAGED_BY}={c.LABEL_MANAGED_BY_VALUE}"


@dataclass(frozen=True, slots=True)
class Settings:
    """The flags of the reconcilers."""

    images: Images
    version: str
    max_concurrent_reconciles: int = 4
    default_ttl: int | None = None


def setup_with_manager(manager: Manager, settings: Settings) -> ReconcilerContext:
    """Register informers and controllers with a manager that has not been started."""
    listers = _listers(manager)
    trackers, tombstones = Trackers(), TombstoneStore()
    controllers: dict[str, Controller] = {}

    def wake(who: Contender) -> None:
        controllers[who.kind].queue.add(Request(who.namespace, who.name))

    limiter = ConcurrencyLimiter(
        jobs_of=lambda pool: listers.jobs.by_index(of.INDEX_POOL, "/".join(pool)),
        waits=waits(listers),
        wake=wake,
        clock=manager.clock,
    )
    children = ChildEventHandler(listers, trackers, tombstones, limiter)
    listers.jobs.informer.add_event_handler(children)
    listers.pods.informer.add_event_handler(children)
    for kind, cache in ((c.KIND_BATCH_RUN, listers.runs), (c.KIND_TASK, listers.tasks)):
        handler = OwnerEventHandler(kind, limiter, trackers, tombstones)
        cache.informer.add_event_handler(handler)
    listers.configs.informer.add_event_handler(ConfigEventHandler(limiter))
    registry = manager.metrics.registry
    registry.register(StateCollector(listers.runs, listers.tasks, listers.configs, limiter.usage))
    client = manager.client
    control = JobControl(client, InFlightLimit(manager.clock), manager.clock)
    context = ReconcilerContext(
        client=client,
        clock=manager.clock,
        listers=listers,
        fresh=FreshReader(client, manager.clock, listers, control),
        jobs=control,
        lookup=EventLookup(client, manager.clock),
        consistency=ConsistencyStore(manager.cache.informers),
        limiter=limiter,
        tombstones=tombstones,
        trackers=trackers,
        events=manager.event_recorder("kubetask-controller"),
        recorder=ReconcilerMetrics(registry, version=settings.version),
        images=settings.images,
        default_ttl=settings.default_ttl,
    )
    workers = settings.max_concurrent_reconciles
    runs = RequestMapper(c.KIND_BATCH_RUN, listers)
    controllers[c.KIND_BATCH_RUN] = (
        Builder(manager, name="batchrun")
        .for_(listers.runs.informer)
        .watches(listers.runs.informer, runs.of_run)
        .watches(listers.batches.informer, runs.of_batch)
        .watches(listers.configs.informer, runs.of_workspace_config)
        .watches(listers.jobs.informer, runs.of_job, delay=BATCHING)
        .watches(listers.pods.informer, runs.of_pod, delay=BATCHING)
        .with_options(max_concurrent_reconciles=workers, max_retry_delay=MAX_RETRY_DELAY)
        .complete(BatchRunReconciler(context))
    )
    tasks = RequestMapper(c.KIND_TASK, listers)
    controllers[c.KIND_TASK] = (
        Builder(manager, name="task")
        .for_(listers.tasks.informer)
        .watches(listers.configs.informer, tasks.of_workspace_config)
        .watches(listers.jobs.informer, tasks.of_job)
        .watches(listers.pods.informer, tasks.of_pod)
        .with_options(max_concurrent_reconciles=workers, max_retry_delay=MAX_RETRY_DELAY)
        .complete(TaskReconciler(context))
    )
    manager.add(_Housekeeper(limiter, listers, manager.clock))
    return context


def _listers(manager: Manager) -> Listers:
    """The informers, each below a MutationCache with the same indexes."""
    cache = manager.cache
    run_indexes = {
        of.INDEX_BATCH: of.by_batch,
        of.INDEX_RETRY_OF: of.by_retry_of,
        of.INDEX_UNFINISHED: of.by_unfinished,
    }
    task_indexes = {of.INDEX_UNFINISHED: of.by_unfinished}
    job_indexes = {of.INDEX_OWNER: of.by_owner_uid, of.INDEX_POOL: of.by_pool}
    pod_indexes = {of.INDEX_OWNER: of.by_owner_uid}
    batches = cache.informer(of.BATCHES, project=project_resource, partial=PartialBatch)
    runs = cache.informer(of.BATCH_RUNS, project=project_owner, indexers=run_indexes)
    tasks = cache.informer(of.TASKS, project=project_owner, indexers=task_indexes)
    configs = cache.informer(of.WORKSPACE_CONFIGS, project=project_resource)
    jobs = cache.informer(
        JOBS, project=project_job, partial=PartialJob, label_selector=_OURS, indexers=job_indexes
    )
    pods = cache.informer(
        PODS, project=project_pod, partial=PartialPod, label_selector=_OURS, indexers=pod_indexes
    )
    return Listers(
        batches=MutationCache(batches),
        runs=MutationCache(runs, run_indexes),
        tasks=MutationCache(tasks, task_indexes),
        configs=MutationCache(configs),
        jobs=MutationCache(jobs, job_indexes),
        pods=MutationCache(pods, pod_indexes),
    )


class _Housekeeper:
    """A runnable for what no event announces: slots of creates that have expired, and versions that the cache shows now."""

    def __init__(self, limiter: ConcurrencyLimiter, listers: Listers, clock: Clock) -> None:
        self._limiter = limiter
        self._listers = listers
        self._clock = clock

    async def run(self, stop: asyncio.Event) -> None:
        """Run until the stop event."""
        while not stop.is_set():
            self._limiter.wake_all()
            self._listers.expire()
            waiting = asyncio.ensure_future(stop.wait())
            try:
                await asyncio.wait((waiting,), timeout=WAKE_INTERVAL)
            finally:
                waiting.cancel()
