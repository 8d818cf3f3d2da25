"""Settling what a run does: its snapshot, taken once when the run is accepted."""

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Phase, Reason
from kubetask_controller.reconcilers.batchrun.memory import RunMemory
from kubetask_controller.reconcilers.batchrun.recorded import read_recorded
from kubetask_controller.reconcilers.batchrun.snapshot import (
    Snapshot,
    SnapshotStore,
    from_batch_spec,
)
from kubetask_controller.reconcilers.context import Shared
from kubetask_controller.reconcilers.indexes import parse_indexes
from kubetask_controller.reconcilers.projections import ResourceView
from kubetask_controller.reconcilers.waiting import Waiting

SELECT_FAILED = "Failed"


class Settler:
    """Finds or takes the snapshot of a run."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._store = SnapshotStore(shared.client)

    async def settle(self, run: ResourceView, memory: RunMemory) -> Waiting | None:
        """Put the snapshot into the memory; why it cannot be taken yet, or None."""
        if memory.snapshot is None:
            found = await self._store.load(run) or await self._take(run)
            if isinstance(found, Waiting):
                return found
            memory.snapshot = found
            memory.states = [None] * found.total
        return None

    async def _take(self, run: ResourceView) -> Snapshot | Waiting:
        if run.spec.get("retryOf"):
            return await self._take_retry(run, run.spec["retryOf"])
        name = run.spec["batchRef"]
        batch = self._shared.views.batches.get(run.namespace, name)
        if batch is None:
            return Waiting(
                Reason.BATCH_NOT_FOUND, f"Batch {name} does not exist in namespace {run.namespace}"
            )
        source = f"{c.KIND_BATCH}/{name} uid {batch.uid} generation {batch.generation}"
        return await self._store.save(run, from_batch_spec(batch.spec), source)

    async def _take_retry(self, run: ResourceView, name: str) -> Snapshot | Waiting:
        other = self._shared.views.runs.get(run.namespace, name)
        if other is None:
            return Waiting(
                Reason.RETRY_OF_NOT_FOUND,
                f"BatchRun {name} does not exist in namespace {run.namespace}",
            )
        if other.status.get("phase") not in (Phase.SUCCEEDED, Phase.FAILED):
            return Waiting(Reason.RETRY_OF_NOT_FINISHED, f"BatchRun {name} has not ended yet")
        snapshot = await self._store.load(other)
        if snapshot is None:
            return Waiting(
                Reason.RETRY_OF_NOT_FOUND,
                f"BatchRun {name} never began, so nothing of it can be retried",
            )
        indexes = _selected(run, other, snapshot.total)
        if isinstance(indexes, Waiting):
            return indexes
        source = f"{c.KIND_BATCH_RUN}/{name} uid {other.uid} select {run.spec.get('select', SELECT_FAILED)}"
        return await self._store.save(run, snapshot.cut(indexes), source)


def _selected(run: ResourceView, other: ResourceView, total: int) -> list[int] | Waiting:
    select = run.spec.get("select") or SELECT_FAILED
    if select == SELECT_FAILED:
        failed = sorted(i for i, x in read_recorded(other).final.items() if x.phase is Phase.FAILED)
        if failed:
            return failed
        return Waiting(Reason.INVALID_SPEC, f"BatchRun {other.name} has no failed tasks to retry")
    try:
        wanted = sorted(parse_indexes(select))
    except ValueError as error:
        return Waiting(Reason.INVALID_SPEC, f"select: {error}")
    beyond = [i for i in wanted if i >= total]
    if beyond:
        return Waiting(
            Reason.INVALID_SPEC,
            f"select: BatchRun {other.name} has no task {beyond[0]}, its indexes are 0 to {total - 1}",
        )
    return wanted
