"""After the end: what still runs is deleted, and what has outlived its time to live.

Jobs carry no TTL of their own, because a Job that vanishes before its end is recorded is lost. The controller deletes
them once the end is in the status; an object of its own that is to go goes last.
"""

from collections.abc import Sequence

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import EventReason
from kubetask_controller.client.errors import APIStatusError, is_conflict, is_not_found
from kubetask_controller.reconcilers.context import Shared
from kubetask_controller.reconcilers.jobcontrol import slow_start
from kubetask_controller.reconcilers.kinds import RESOURCES
from kubetask_controller.reconcilers.projections import JobView, ResourceView
from kubetask_controller.reconcilers.times import seconds_since
from kubetask_controller.runtime.events import ObjectReference
from kubetask_controller.runtime.reconcile import Result


class Finisher:
    """Tidies up after BatchRuns or Tasks."""

    def __init__(self, shared: Shared, kind: str) -> None:
        self._shared = shared
        self._kind = kind

    async def finished(self, view: ResourceView, jobs: Sequence[JobView]) -> Result:
        """What remains to be done for an object whose phase is final."""
        alive = [x for x in jobs if not x.deleting]
        await self._delete([x for x in alive if not x.finished])
        ttl = view.spec.get("ttlSecondsAfterFinished")
        if ttl is None:
            return Result()
        left = ttl - seconds_since(view.status["completionTime"], self._shared.now())
        if left > 0:
            return Result(requeue_after=left)
        done = [x for x in alive if x.finished]
        if done:
            await self._delete(done)
            self._tell(view, len(done))
        if view.spec.get("ttlPolicy") == "All":
            await self._delete_owner(view)
        return Result()

    async def _delete(self, jobs: Sequence[JobView]) -> None:
        await slow_start(jobs, self._shared.control.delete, failed=lambda _: False)

    async def _delete_owner(self, view: ResourceView) -> None:
        try:
            await self._shared.client.delete(
                RESOURCES[self._kind],
                view.namespace,
                view.name,
                uid=view.uid,
                propagation="Background",
            )
        except APIStatusError as error:
            if not (is_not_found(error) or is_conflict(error)):
                raise

    def _tell(self, view: ResourceView, count: int) -> None:
        regarding = ObjectReference(c.API_VERSION, self._kind, view.name, view.namespace, view.uid)
        noun = "Job" if count == 1 else "Jobs"
        self._shared.events.event(
            regarding,
            type="Normal",
            reason=EventReason.JOB_DELETED.value,
            action="Delete",
            note=f"deleted {count} {noun}: ttlSecondsAfterFinished is over",
        )
