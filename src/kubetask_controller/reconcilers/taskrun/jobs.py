"""Creating and ending Jobs: every request that starts or stops an agent is here.

A create can end in eight ways, and each means something else for "at most once, and never lost":

- created, or already there and ours: the task has its Job;
- the name belongs to another object's Job: it is never adopted;
- the name belongs to a Job that is about to go (of an earlier owner of this name, or one that is being replaced): wait;
- refused for all tasks (quota, admission, an invalid template): nothing was created, the task is Pending with the reason;
- refused for this task alone (too large): the task fails;
- not sent: the owner changed while the create waited for its turn;
- no answer: it may have been created, so the caller looks before it sends another create.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, TypeVar

import structlog

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Reason
from kubetask_controller.client.errors import (
    APIStatusError,
    ClientError,
    TransportError,
    is_already_exists,
    is_conflict,
    is_not_found,
)
from kubetask_controller.client.resources import JOBS, PODS
from kubetask_controller.client.rest import Client
from kubetask_controller.reconcilers.concurrency import UNANSWERED_LIFE
from kubetask_controller.reconcilers.projections import (
    JobView,
    PodView,
    controller_ref_of,
    project_job,
)
from kubetask_controller.reconcilers.taskrun.pending_reasons import PendingReason, from_event
from kubetask_controller.runtime.clock import Clock
from kubetask_controller.runtime.inflight import InFlightLimit

logger = structlog.get_logger("jobs")

IN_FLIGHT = 32
"""Requests under way at once for one owner that ends Jobs. Creates have a limit that follows the server's latency."""

_BY_POLICY = re.compile(r"denied (the )?request|is forbidden:")
"""In messages of admission webhooks and policies, which may choose the code: 400 and 422 too, as for an invalid object."""

_REFUSALS = frozenset({400, 403, 404, 405, 413, 422})

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
OneT = TypeVar("OneT")
OtherT = TypeVar("OtherT")


class CreatePendingError(ClientError):
    """A Job must not be deleted yet."""


class Created(Enum):
    """How a create ended."""

    CREATED = auto()
    EXISTED = auto()
    FOREIGN = auto()
    PREDECESSOR = auto()
    NOT_SENT = auto()
    REFUSED = auto()
    TOO_LARGE = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class CreateOutcome:
    """The end of one create.

    Attributes:
        how: how it ended.
        job: the Job that bears the name now, where one was read.
        reason: why it was refused.
        error: what the client raised, for UNKNOWN.
    """

    how: Created
    job: JobView | None = None
    reason: PendingReason | None = None
    error: Exception | None = None

    @property
    def ours(self) -> bool:
        """The task has its Job."""
        return self.how in (Created.CREATED, Created.EXISTED)

    @property
    def concerns_all(self) -> bool:
        """Further creates of the same owner would end like this one."""
        return self.how in (Created.REFUSED, Created.UNKNOWN)


class JobControl:
    """Creates Jobs, and ends what they run."""

    def __init__(self, client: Client, creates: InFlightLimit, clock: Clock) -> None:
        self._client = client
        self._creates = creates
        self._clock = clock
        self._unanswered: dict[tuple[str, str], float] = {}
        """Namespace and name of a Job to the time until which a create without an answer may be carried out."""
        self._second: dict[tuple[str, str], float] = {}
        """The same for Jobs of which two creates were sent: one may exist, and the other may come."""

    @property
    def most_creates(self) -> int:
        """Creates that may be under way at once at most."""
        return self._creates.most

    async def create(
        self,
        body: dict[str, Any],
        still_wanted: Callable[[], bool] = lambda: True,
        *,
        another_for: float = 0.0,
    ) -> CreateOutcome:
        """Create one Job, once the limit of creates under way admits it.

        Does not raise for any answer of the API server; cancellation passes through.

        Args:
            body: the Job.
            still_wanted: called when the limit admits the create, which may be long after the call; False sends nothing.
            another_for: seconds for which a create of this name by an earlier leader may still be carried out.
        """
        async with self._creates.attempt() as attempt:
            if not still_wanted():
                return CreateOutcome(Created.NOT_SENT)
            outcome = CreateOutcome(Created.UNKNOWN)
            try:
                outcome = await self._create(body)
            finally:
                # A create that is cancelled in progress has no answer either.
                if outcome.how is Created.UNKNOWN:
                    attempt.overloaded()
                self._sent(body["metadata"], outcome, another_for)
            return outcome

    def _sent(self, metadata: dict[str, Any], outcome: CreateOutcome, another_for: float) -> None:
        key, now = (metadata["namespace"], metadata["name"]), self._clock.monotonic()
        for known in (self._unanswered, self._second):
            for old in [x for x, until in known.items() if until <= now]:
                del known[old]
        if key in self._unanswered and outcome.how in (Created.CREATED, Created.UNKNOWN):
            self._second[key] = self._unanswered[key]
        if outcome.how is Created.CREATED and another_for > 0:
            self._second[key] = max(now + another_for, self._second.get(key, 0.0))
        if outcome.how is Created.UNKNOWN:
            self._unanswered[key] = now + UNANSWERED_LIFE

    async def _create(self, body: dict[str, Any]) -> CreateOutcome:
        metadata = body["metadata"]
        try:
            created = await self._client.create(JOBS, metadata["namespace"], body)
        except APIStatusError as error:
            if is_already_exists(error):
                return await self._existing(body)
            if is_too_large(error):
                return CreateOutcome(Created.TOO_LARGE, reason=_too_large(metadata, error))
            if is_refusal(error):
                return CreateOutcome(Created.REFUSED, reason=_refused_job(metadata, error))
            return CreateOutcome(Created.UNKNOWN, error=error)
        except TransportError as error:
            return CreateOutcome(Created.UNKNOWN, error=error)
        return CreateOutcome(Created.CREATED, project_job(created))

    async def end(self, job: JobView, pods: Sequence[PodView], *, recorded: bool = False) -> None:
        """End what a Job runs, and keep the Pod and its log where there is one on a node.

        A live Pod gets ``activeDeadlineSeconds: 1``: the kubelet sends SIGTERM, then SIGKILL after the grace period, and the
        Pod stays, Failed with reason DeadlineExceeded. Before that, tries that the Job has left are taken from it: it would
        start the agent again. A Job of which no Pod has reached a node is deleted: nothing enforces that Pod's deadline.

        Args:
            job: in its newest known version.
            pods: a live read of its Pods.
            recorded: the status records the end of the task. A Job that does not finish by itself is deleted then, since it
                would use its slot indefinitely: one that is suspended, and one whose Pod is being deleted on a lost node.
        """
        live = [x for x in pods if not x.terminal]
        if recorded and (all(x.deleting for x in live) if live else job.suspended):
            try:
                await self.delete(job)
            except CreatePendingError:
                # A queue may resume it before it can be deleted.
                await self._start_no_more(job)
                raise
            return
        if not any(x.node for x in live):
            if any(x.terminal for x in pods) and not live:
                # Everything has ended and only further tries are left: without them the Job fails by itself.
                await self._limit_tries(job, job.failed_pods - 1)
            else:
                # A Pod may have been created since the read: the Job stays, and shows it, until that Pod is gone.
                await self.delete(job, foreground=True)
            return
        await self._limit_tries(job, job.failed_pods)
        await self.end_pods(live)

    async def end_pods(self, pods: Sequence[PodView]) -> None:
        """End these Pods; their Job may create another one."""
        for pod in pods:
            # A Pod that is being deleted ends by itself.
            if not (pod.terminal or pod.deleting or pod.active_deadline_seconds == 1):
                body = {"spec": {"activeDeadlineSeconds": 1}, "metadata": {"uid": pod.uid}}
                await _gone_is_fine(self._client.patch(PODS, pod.namespace, pod.name, body))

    async def hold_back(self, pods: Sequence[PodView]) -> list[PodView] | None:
        """Make sure that no agent starts in these Pods any more, and return them; None where one may have started.

        The deadline of a second is set on the very version that was read: a Pod that has changed meanwhile answers with a
        conflict. A Pod without a node gets it too, in case that it finds one before its Job is deleted.
        """
        held = []
        for pod in pods:
            if pod.agent_started and not pod.terminal:
                return None
            held.append(replace(pod, active_deadline_seconds=1))
            if pod.terminal or pod.active_deadline_seconds == 1:
                continue
            metadata = {"uid": pod.uid, "resourceVersion": pod.resource_version}
            body = {"spec": {"activeDeadlineSeconds": 1}, "metadata": metadata}
            try:
                await self._client.patch(PODS, pod.namespace, pod.name, body)
            except APIStatusError as error:
                if is_not_found(error):
                    continue
                if is_conflict(error):
                    return None
                raise
        return held

    async def delete(self, job: JobView, *, foreground: bool = False) -> None:
        """Delete a Job with its Pods; one that is gone, or bears another uid, is left alone.

        With ``foreground`` the Job stays until its Pods are gone, so that no Job of its name is created before that.

        Raises:
            CreatePendingError: a create of this name that had no answer may still be carried out. Once the Job is gone, it
                would start the agent a second time.
            ClientError: the request failed.
        """
        until = self._second.get((job.namespace, job.name), 0.0)
        if until > self._clock.monotonic():
            raise CreatePendingError(
                f"Job {job.name} is deleted later: an earlier create of it may still be carried out"
            )
        await _gone_is_fine(
            self._client.delete(
                JOBS,
                job.namespace,
                job.name,
                uid=job.uid,
                propagation="Foreground" if foreground else "Background",
            )
        )

    async def restore_labels(self, job: JobView) -> JobView | None:
        """Give a Job the label back by which it is watched; None where it is gone.

        Raises:
            APIStatusError: the Job exists and keeps its labels, also after a conflict: it holds a slot that no cache shows.
        """
        labels = {c.LABEL_MANAGED_BY: c.LABEL_MANAGED_BY_VALUE}
        body = {"metadata": {"uid": job.uid, "labels": labels}}
        try:
            return project_job(await self._client.patch(JOBS, job.namespace, job.name, body))
        except APIStatusError as error:
            if is_not_found(error):
                return None
            if not is_conflict(error):
                raise
            try:
                found = await self._client.get(JOBS, job.namespace, job.name)
            except APIStatusError as missing:
                if is_not_found(missing):
                    return None
                raise
            if found["metadata"]["uid"] != job.uid:
                return None
            raise

    async def keep(self, job: JobView, replacement: int) -> None:
        """Let a Job that was to be replaced stand as its own replacement: its agent has started meanwhile."""
        annotations = {c.ANNOTATION_REPLACEMENT: str(replacement)}
        body = {"metadata": {"uid": job.uid, "annotations": annotations}}
        await _gone_is_fine(self._client.patch(JOBS, job.namespace, job.name, body))

    async def _limit_tries(self, job: JobView, limit: int) -> None:
        """A Job fails when more Pods have failed than ``backoffLimit``. Less than have failed deletes its live Pod too."""
        limit = max(0, limit)
        if job.backoff_limit > limit:
            body = {"spec": {"backoffLimit": limit}, "metadata": {"uid": job.uid}}
            await _gone_is_fine(self._client.patch(JOBS, job.namespace, job.name, body))

    async def _start_no_more(self, job: JobView) -> None:
        """The Job creates no Pod any more, also where a queue resumes it."""
        if job.parallelism == 0:
            return
        body = {"spec": {"parallelism": 0}, "metadata": {"uid": job.uid}}
        await _gone_is_fine(self._client.patch(JOBS, job.namespace, job.name, body))

    async def _existing(self, body: dict[str, Any]) -> CreateOutcome:
        metadata = body["metadata"]
        try:
            raw = await self._client.get(JOBS, metadata["namespace"], metadata["name"])
        except (APIStatusError, TransportError) as error:
            if is_not_found(error):
                text = f"the earlier Job {metadata['name']} is just gone"
                return CreateOutcome(Created.PREDECESSOR, reason=PendingReason(Reason.QUEUED, text))
            return CreateOutcome(Created.UNKNOWN, error=error)
        job, ours = project_job(raw), controller_ref_of(metadata)
        assert ours is not None
        wanted = int(metadata["annotations"].get(c.ANNOTATION_REPLACEMENT, "0"))
        mine = job.is_controlled_by(ours.uid)
        # Our own Job that is being deleted may have run: it is no predecessor.
        if (job.deleting and not mine) or (mine and job.replacement < wanted):
            text = f"Job {job.name} is being deleted; the next one is created when it is gone"
            return CreateOutcome(Created.PREDECESSOR, job, PendingReason(Reason.QUEUED, text))
        if mine:
            return CreateOutcome(Created.EXISTED, job)
        if job.owner and (job.owner.kind, job.owner.name) == (ours.kind, ours.name):
            text = f"Job {job.name} of an earlier {ours.kind} {ours.name} is not gone yet"
            return CreateOutcome(Created.PREDECESSOR, job, PendingReason(Reason.QUEUED, text))
        return CreateOutcome(Created.FOREIGN, job)


async def ramp_up(
    items: Sequence[ItemT],
    work: Callable[[ItemT], Awaitable[ResultT]],
    *,
    failed: Callable[[ResultT], bool],
    go_on: Callable[[], bool],
    first: int = 1,
    most: int = IN_FLIGHT,
) -> list[ResultT]:
    """Work on items, a few at first and one more at once after each success; nothing new begins after a failure.

    So a template that is refused costs one request and not ten thousand, as the slow start of the Job controller. Unlike
    there, no wave waits for its slowest request.

    Args:
        items: in the order in which they begin.
        work: on one item.
        failed: whether a result implies that the others would fail too.
        go_on: called before each item; after it returns false, no further item starts.
        first: how many at first.
        most: how many at once.

    Returns:
        The results of the tried items, in the order of their ends.
    """
    rest = iter(items)
    results: list[ResultT] = []
    stopped = False
    workers = max(1, min(first, most, len(items)))

    async def worker() -> None:
        nonlocal stopped, workers
        for item in rest:
            result = await work(item)
            results.append(result)
            stopped = stopped or failed(result) or not go_on()
            if stopped:
                return
            if workers < most:
                workers += 1
                group.create_task(worker())

    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(worker())
    return results


async def in_parallel(items: Sequence[ItemT], work: Callable[[ItemT], Awaitable[None]]) -> None:
    """Work on items, at most ``IN_FLIGHT`` at once; after a failure the others continue, and the error is raised at the end.

    Raises:
        ExceptionGroup: of everything that failed.
    """
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one(item: ItemT) -> None:
        async with gate:
            await work(item)

    done = await asyncio.gather(*(one(item) for item in items), return_exceptions=True)
    errors = [x for x in done if isinstance(x, Exception)]
    for stop in done:
        if isinstance(stop, BaseException) and not isinstance(stop, Exception):
            raise stop
    if errors:
        raise ExceptionGroup("requests failed", errors)


async def both(one: Awaitable[OneT], other: Awaitable[OtherT]) -> tuple[OneT, OtherT]:
    """Await two steps that do not wait for each other.

    Raises:
        Exception: the first of the two that failed, once both have ended; a second failure is logged.
    """
    first, second = await asyncio.gather(one, other, return_exceptions=True)
    if isinstance(first, BaseException):
        if isinstance(second, BaseException):
            logger.warning(
                "Two steps of one reconcile failed; this is the second", error=str(second)
            )
        raise first
    if isinstance(second, BaseException):
        raise second
    return first, second


async def _gone_is_fine(request: Awaitable[ResultT]) -> ResultT | None:
    try:
        return await request
    except APIStatusError as error:
        if not (is_not_found(error) or is_conflict(error)):
            raise
    return None


def _too_large(metadata: dict[str, Any], error: APIStatusError) -> PendingReason:
    return PendingReason(Reason.TOO_LARGE, f"Job {metadata['name']} is too large: {error.message}")


def _refused_job(metadata: dict[str, Any], error: APIStatusError) -> PendingReason:
    found = refusal(error)
    if found.reason != Reason.INVALID_SPEC:
        return found
    config = metadata["annotations"].get(c.ANNOTATION_WORKSPACE_CONFIG, "")
    text = f"{found.message}; correct this field in WorkspaceConfig {config}, and the work starts"
    return replace(found, message=text)


def is_too_large(error: APIStatusError) -> bool:
    """The object exceeds what the API server or etcd accepts."""
    return error.code == 413 or "is too large" in error.message


def is_refusal(error: APIStatusError) -> bool:
    """The API server has carried nothing out, and would answer the same request in the same way."""
    return error.code in _REFUSALS


def refusal(error: APIStatusError) -> PendingReason:
    """Why a create was refused, as a reason for which its owner waits."""
    if error.code in (400, 422) and not _BY_POLICY.search(error.message):
        return PendingReason(Reason.INVALID_SPEC, error.message)
    return from_event("FailedCreate", error.message) or PendingReason(
        Reason.ADMISSION_DENIED, error.message
    )
