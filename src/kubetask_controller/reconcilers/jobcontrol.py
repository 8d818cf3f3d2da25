"""Making and ending Jobs: every write that starts or stops an agent is here.

A create can end in five ways, and each means something else for "never twice, never lost":

- made, or already there and ours: the task has its Job;
- the name is taken by somebody else's Job: never adopted, the task says so;
- the name is taken by a Job of an earlier owner of the same name, which the garbage collector is about to remove: wait;
- refused (quota, admission, an invalid template): nothing was made, the task waits and says why;
- no answer: it may have been made, so the caller looks before it asks again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeVar

from kubetask_controller.api.constants import Reason
from kubetask_controller.client.errors import (
    APIStatusError,
    TransportError,
    is_already_exists,
    is_conflict,
    is_not_found,
)
from kubetask_controller.client.resources import JOBS, PODS, Resource
from kubetask_controller.client.rest import Client
from kubetask_controller.reconcilers.projections import JobView, PodView, controller_of, project_job
from kubetask_controller.reconcilers.waiting import Waiting, from_event

IN_FLIGHT = 32
"""Creates under way at once; more gains nothing on an API server, as the project's benchmark of bare creates shows."""

_REFUSALS = frozenset({400, 403, 404, 413, 422})

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class Made(Enum):
    """How a create ended."""

    CREATED = auto()
    EXISTED = auto()
    FOREIGN = auto()
    PREDECESSOR = auto()
    REFUSED = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class CreateResult:
    """The end of one create.

    Attributes:
        made: how it ended.
        job: the Job that bears the name now, where one was seen.
        waiting: why it was refused.
        error: what the client raised, for UNKNOWN.
    """

    made: Made
    job: JobView | None = None
    waiting: Waiting | None = None
    error: Exception | None = None

    @property
    def ours(self) -> bool:
        """The task has its Job."""
        return self.made in (Made.CREATED, Made.EXISTED)


class JobControl:
    """Creates Jobs, and ends what they run."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def create(self, body: dict[str, Any]) -> CreateResult:
        """Create one Job. Never raises for what the API server may answer; cancellation passes through."""
        metadata = body["metadata"]
        try:
            created = await self._client.create(JOBS, metadata["namespace"], body)
        except APIStatusError as error:
            if is_already_exists(error):
                return await self._existing(metadata)
            if error.code in _REFUSALS:
                return CreateResult(Made.REFUSED, waiting=_refusal(error))
            return CreateResult(Made.UNKNOWN, error=error)
        except TransportError as error:
            return CreateResult(Made.UNKNOWN, error=error)
        return CreateResult(Made.CREATED, project_job(created))

    async def find(self, namespace: str, name: str, owner_uid: str) -> JobView | None:
        """The Job of that name as the API server has it now, if it is ours."""
        try:
            job = project_job(await self._client.get(JOBS, namespace, name))
        except APIStatusError as error:
            if is_not_found(error):
                return None
            raise
        return job if job.owner and job.owner.uid == owner_uid else None

    async def end(self, job: JobView, pods: Sequence[PodView]) -> None:
        """End what a Job runs and keep the Pod and its log where there is one on a node.

        A live Pod gets ``activeDeadlineSeconds: 1``: the kubelet sends SIGTERM, then SIGKILL after the grace period, and the
        Pod stays, Failed with reason DeadlineExceeded. A Job of which no Pod has reached a node is deleted. Retries that the
        Job has left are taken from it once nothing of it runs: earlier, it would delete the Pod that is on its way out.
        """
        if not any(x.node for x in pods):
            await self.delete(job)
            return
        live = [x for x in pods if not x.terminal]
        for pod in live:
            if pod.active_deadline_seconds != 1:
                await self._patch(PODS, pod, {"activeDeadlineSeconds": 1})
        if not live and job.backoff_limit:
            await self._patch(JOBS, job, {"backoffLimit": 0})

    async def delete(self, job: JobView) -> None:
        """Delete a Job with its Pods; one that is gone, or bears another uid, is left alone."""
        try:
            await self._client.delete(
                JOBS, job.namespace, job.name, uid=job.uid, propagation="Background"
            )
        except APIStatusError as error:
            if not (is_not_found(error) or is_conflict(error)):
                raise

    async def _patch(
        self, resource: Resource, view: JobView | PodView, spec: dict[str, Any]
    ) -> None:
        body = {"spec": spec, "metadata": {"uid": view.uid}}
        try:
            await self._client.patch(resource, view.namespace, view.name, body)
        except APIStatusError as error:
            if not (is_not_found(error) or is_conflict(error)):
                raise

    async def _existing(self, metadata: dict[str, Any]) -> CreateResult:
        try:
            raw = await self._client.get(JOBS, metadata["namespace"], metadata["name"])
        except (APIStatusError, TransportError) as error:
            return CreateResult(Made.UNKNOWN, error=error)
        job, ours = project_job(raw), controller_of(metadata)
        if job.owner and ours and job.owner.uid == ours.uid:
            return CreateResult(Made.EXISTED, job)
        same_name = (
            job.owner and ours and (job.owner.kind, job.owner.name) == (ours.kind, ours.name)
        )
        if same_name or job.deleting:
            text = f"Job {job.name} of an earlier {ours.kind if ours else 'owner'} of this name is not gone yet"
            return CreateResult(Made.PREDECESSOR, job, Waiting(Reason.QUEUED, text))
        return CreateResult(Made.FOREIGN, job)


async def slow_start(
    items: Sequence[ItemT],
    work: Callable[[ItemT], Awaitable[ResultT]],
    *,
    failed: Callable[[ResultT], bool],
) -> list[ResultT]:
    """Work on items in waves of 1, 2, 4, 8…, and stop after the first wave with a failure.

    So a template that is refused costs one request and not ten thousand, as in the Job controller. Returns the results of
    what was tried, in order; at most ``IN_FLIGHT`` are under way at once.
    """
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one(item: ItemT) -> ResultT:
        async with gate:
            return await work(item)

    results: list[ResultT] = []
    size = 1
    while len(results) < len(items):
        wave = items[len(results) : len(results) + size]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item)) for item in wave]
        done = [task.result() for task in tasks]
        results += done
        if any(failed(result) for result in done):
            break
        size *= 2
    return results


def _refusal(error: APIStatusError) -> Waiting:
    if error.code in (400, 422):
        return Waiting(Reason.INVALID_SPEC, error.message)
    return from_event("FailedCreate", error.message) or Waiting(
        Reason.ADMISSION_DENIED, error.message
    )
