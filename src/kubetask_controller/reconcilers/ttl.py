"""After the end: Jobs that still run are ended, and objects that have outlived their time to live are deleted.

Jobs carry no TTL of their own, because a Job that vanishes before its end is recorded is lost. The controller deletes
them once the end is in the status; the BatchRun or Task itself is deleted last.
"""

from collections.abc import Awaitable, Callable, Sequence

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import EventReason
from kubetask_controller.api.times import seconds_since
from kubetask_controller.client.errors import APIStatusError, is_conflict, is_not_found
from kubetask_controller.reconcilers.context import ReconcilerContext
from kubetask_controller.reconcilers.listers import RESOURCES
from kubetask_controller.reconcilers.projections import JobView, OwnerView
from kubetask_controller.reconcilers.taskrun.jobs import CreatePendingError, in_parallel
from kubetask_controller.runtime.events import ObjectReference
from kubetask_controller.runtime.reconcile import Result

RECHECK = 60.0
"""Seconds until a Job is looked at again that runs although its task has ended."""


class TTLAfterFinished:
    """Deletes what BatchRuns or Tasks leave. See the module."""

    def __init__(self, context: ReconcilerContext, kind: str) -> None:
        self._context = context
        self._kind = kind

    async def finished(self, view: OwnerView) -> Result:
        """What remains to be done for an object whose phase is final."""
        jobs = self._context.listers.owned_jobs(view, self._kind)
        alive = [x for x in jobs if not x.deleting]
        running = [x for x in alive if not x.finished]
        await _each(running, self._end)
        # A Pod on a node that does not answer never ends, and no event comes.
        again = RECHECK if running else 0.0
        ttl = view.spec.get("ttlSecondsAfterFinished", self._context.default_ttl)
        if ttl is None:
            return Result(requeue_after=again)
        left = ttl - seconds_since(view.status.get("completionTime", ""), self._context.now())
        if left > 0:
            return Result(requeue_after=min(left, again or left))
        done = [x for x in alive if x.finished]
        if done:
            if not await _each(done, self._context.jobs.delete):
                return Result(requeue_after=RECHECK)
            self._announce(view, len(done))
        if view.spec.get("ttlPolicy") == "All" and "ttlSecondsAfterFinished" in view.spec:
            await self._delete_owner(view)
        return Result(requeue_after=again)

    async def _end(self, job: JobView) -> None:
        """A Job that has not finished, though its task has: a sidecar runs on, or its deletion was not sent."""
        live = await self._context.fresh.pods(job)
        await self._context.jobs.end(job, live.pods, recorded=True)

    async def _delete_owner(self, view: OwnerView) -> None:
        try:
            await self._context.client.delete(
                RESOURCES[self._kind],
                view.namespace,
                view.name,
                uid=view.uid,
                propagation="Background",
            )
        except APIStatusError as error:
            if not (is_not_found(error) or is_conflict(error)):
                raise

    def _announce(self, view: OwnerView, count: int) -> None:
        regarding = ObjectReference(c.API_VERSION, self._kind, view.name, view.namespace, view.uid)
        noun = "Job" if count == 1 else "Jobs"
        self._context.events.event(
            regarding,
            type="Normal",
            reason=EventReason.JOB_DELETED.value,
            action="Delete",
            note=f"deleted {count} {noun}: {_why(view)}",
        )


async def _each(jobs: Sequence[JobView], work: Callable[[JobView], Awaitable[None]]) -> bool:
    """Work on Jobs; whether all were done, False where one may not be deleted yet."""
    complete = True
    try:
        await in_parallel(jobs, work)
    except* CreatePendingError:
        complete = False
    return complete


def _why(view: OwnerView) -> str:
    if "ttlSecondsAfterFinished" in view.spec:
        return "ttlSecondsAfterFinished is over"
    return "the controller's --default-ttl-seconds-after-finished is over"
