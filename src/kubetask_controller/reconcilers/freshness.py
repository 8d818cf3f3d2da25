"""The only module that provides facts that are fresh enough for a decision.

The rule: no final state, no snapshot and no destructive request is decided on a cache that is older than the object that
it is decided for. A watch may lag behind another one by any time, so a cache alone never proves that an object does not
exist, or that it has not changed since. What needs such a proof is read here, live, and only then:

| decision | read |
|---|---|
| a run or Task accepts a Batch or a WorkspaceConfig | GET, begun after the owner was observed |
| a Job is lost | GET of its name |
| a Job has ended, and the cache shows no Pod that explains it | LIST of its Pods |
| an agent that has not started is ended, or its Job replaced | LIST of its Pods |
| slots are counted for the first time | LIST of the namespace's Jobs that have not succeeded |

What a read returns goes into the MutationCaches, so the rest of the reconcile sees it, and so does the next one. A read
serves every owner that was observed before the read began: a thousand Tasks that appear together cost one GET of their
WorkspaceConfig.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import structlog

from kubetask_controller.client.errors import APIStatusError, is_not_found
from kubetask_controller.client.resources import JOBS, PODS, Resource
from kubetask_controller.client.rest import Client
from kubetask_controller.reconcilers.listers import (
    BATCH_RUNS,
    BATCHES,
    WORKSPACE_CONFIGS,
    Listers,
    is_ours,
)
from kubetask_controller.reconcilers.projections import (
    BatchView,
    ConfigView,
    JobView,
    PodView,
    RunView,
    project_job,
    project_pod,
    project_resource,
)
from kubetask_controller.reconcilers.taskrun.jobs import JobControl
from kubetask_controller.reconcilers.taskrun.pending_reasons import READ_TIMEOUT
from kubetask_controller.runtime.clock import Clock
from kubetask_controller.runtime.meta import MalformedResourceVersionError, compare
from kubetask_controller.runtime.mutationcache import MutationCache
from kubetask_controller.runtime.store import T

LABEL_CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
"""Set by the Job controller on the Pods of a Job."""

GIVE_UP = 90.0
"""Seconds after which a Pod that neither a live read nor the cache shows counts as gone. A watch gets a bookmark a minute."""

logger = structlog.get_logger("fresh")

RECOUNT = 30.0
"""Seconds between two counts of the Jobs of a namespace, while one of them keeps no label."""

_PAGE = "500"
_KEPT_READS = 1024


@dataclass(slots=True)
class _LastRead:
    """The last live read of one object."""

    began: float = float("-inf")
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class LivePods:
    """The Pods of a Job as the API server had them.

    Attributes:
        pods: in no order.
        resource_version: how new the list is.
    """

    pods: Sequence[PodView]
    resource_version: str


class FreshReader:
    """Live reads. All methods raise ClientError where the API server refuses, or gives no answer."""

    def __init__(self, client: Client, clock: Clock, listers: Listers, jobs: JobControl) -> None:
        self._jobs = jobs
        self._client = client
        self._clock = clock
        self._listers = listers
        self._reads: dict[tuple[str, str, str], _LastRead] = {}
        self._counted: dict[str, _LastRead] = {}
        self._hidden: dict[str, list[JobView]] = {}

    async def workspace_config(self, namespace: str, name: str, since: float) -> ConfigView | None:
        """The WorkspaceConfig, at least as new as at the monotonic time ``since``."""
        return await self._get(WORKSPACE_CONFIGS, self._listers.configs, namespace, name, since)

    async def batch(self, namespace: str, name: str) -> BatchView | None:
        """The Batch as it is now: the cache has its metadata alone."""
        try:
            return cast(
                BatchView, project_resource(await self._client.get(BATCHES, namespace, name))
            )
        except APIStatusError as error:
            if is_not_found(error):
                return None
            raise

    async def run(self, namespace: str, name: str) -> RunView | None:
        """The BatchRun as it is now, and whole: the cache keeps less of one that has ended."""
        return await self._read(BATCH_RUNS, self._listers.runs, namespace, name)

    async def job(self, namespace: str, name: str) -> JobView | None:
        """The Job of that name as it is now, whatever its labels are."""
        cached = self._listers.jobs.get(namespace, name)
        try:
            job = project_job(await self._client.get(JOBS, namespace, name))
        except APIStatusError as error:
            if not is_not_found(error):
                raise
            if cached is not None:
                self._listers.jobs.not_found(cached)
            return None
        if job.managed:
            # No watch event ever replaces a Job that lacks the label by which Jobs are watched.
            self._listers.jobs.mutated(job)
        return job

    async def pods(self, job: JobView) -> LivePods:
        """The Pods of a Job as they are now."""
        found: list[PodView] = []
        params = {"labelSelector": f"{LABEL_CONTROLLER_UID}={job.uid}", "limit": _PAGE}
        version = ""
        while True:
            page = await self._client.list(PODS, job.namespace, params=params, timeout=READ_TIMEOUT)
            metadata = page.get("metadata") or {}
            version = version or metadata.get("resourceVersion", "")
            for item in page.get("items") or ():
                pod = project_pod(item)
                if self._listers.is_pod_of(pod, job):
                    self._listers.pods.mutated(pod)
                    found.append(pod)
            token = metadata.get("continue")
            if not token:
                return LivePods(found, version)
            params["continue"] = token

    def is_complete(self, job: JobView, live: LivePods) -> bool:
        """Whether every Pod of the Job that existed before the live read is in it, or was seen to be deleted.

        A Pod that the cache shows and the read does not was deleted: its last state arrives with that event. A Pod that
        neither shows was deleted before; once the cache is as new as the read, its last state has arrived, or never will.
        """
        uids = {x.uid for x in live.pods}
        if any(x.uid not in uids for x in self._listers.pods_of(job)):
            return False
        if any(x.terminal for x in live.pods):
            return True
        has = self._listers.pods.resource_version(job.namespace)
        try:
            return compare(has, live.resource_version) >= 0
        except MalformedResourceVersionError:
            return True

    async def count_jobs(self, namespace: str) -> Sequence[JobView]:
        """Read the Jobs of a namespace that hold slots, once in the life of the process.

        Returns the Jobs whose label cannot be restored: no cache shows them. While there are such, the Jobs are read again
        after ``RECOUNT``.

        A process that takes the lead may have a cache that lacks the last Jobs of its predecessor. From then on this
        process creates all Jobs itself, and what it creates is in the MutationCache at once. The list has no label
        selector: a Job whose label was removed continues to run, and its label is restored.
        """
        entry = self._counted.setdefault(namespace, _LastRead())
        async with entry.lock:
            began = self._clock.monotonic()
            hidden = self._hidden.get(namespace, [])
            if entry.began >= 0 and not (hidden and began - entry.began > RECOUNT):
                return hidden
            hidden = []
            params = {"fieldSelector": "status.successful=0", "limit": _PAGE}
            while True:
                page = await self._client.list(JOBS, namespace, params=params, timeout=READ_TIMEOUT)
                for item in page.get("items") or ():
                    job = project_job(item)
                    if not is_ours(job):
                        continue
                    if job.managed:
                        self._listers.jobs.mutated(job)
                    elif not job.finished:
                        job = await self.relabelled(job) or job
                        if not job.managed:
                            hidden.append(job)
                token = (page.get("metadata") or {}).get("continue")
                if not token:
                    break
                params["continue"] = token
            entry.began = max(began, 0.0)
            self._hidden[namespace] = hidden
            return hidden

    async def relabelled(self, job: JobView) -> JobView | None:
        """A Job after its label was restored; None where it is gone. Where that fails, it is not ``managed``."""
        try:
            restored = await self._jobs.restore_labels(job)
        except APIStatusError as error:
            logger.warning(
                "The label of a Job cannot be restored",
                job=job.name,
                namespace=job.namespace,
                error=error.message,
            )
            return job
        if restored is not None and restored.managed:
            self._listers.jobs.mutated(restored)
        return restored

    async def _get(
        self, resource: Resource, cache: MutationCache[T], namespace: str, name: str, since: float
    ) -> T | None:
        key = (resource.plural, namespace, name)
        entry = self._reads.get(key)
        if entry is None:
            if len(self._reads) >= _KEPT_READS:
                self._reads = {k: v for k, v in self._reads.items() if v.lock.locked()}
            entry = self._reads[key] = _LastRead()
        async with entry.lock:
            if entry.began < since:
                began = self._clock.monotonic()
                await self._read(resource, cache, namespace, name)
                entry.began = began
        return cache.get(namespace, name)

    async def _read(
        self, resource: Resource, cache: MutationCache[T], namespace: str, name: str
    ) -> T | None:
        cached = cache.get(namespace, name)
        try:
            found = await self._client.get(resource, namespace, name)
        except APIStatusError as error:
            if not is_not_found(error):
                raise
            if cached is not None:
                cache.not_found(cached)
            return None
        view = cast(T, project_resource(found))
        cache.mutated(view)
        return view
