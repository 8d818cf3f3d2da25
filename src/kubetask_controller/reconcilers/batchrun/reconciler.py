"""BatchRun: one Job a task, and a status that is a function of the snapshot, the Jobs and the clock.

One reconcile goes from the run's work (the snapshot) over its actual Jobs to the states of its tasks, does what the plan
says, and writes the status whole if it differs. Every step may be interrupted and repeated: names are deterministic, a
first status is written before the first Job is made, and an end is in the status before its Job is deleted.
"""

import structlog

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Phase
from kubetask_controller.reconcilers import names
from kubetask_controller.reconcilers.batchrun.memory import RunMemory
from kubetask_controller.reconcilers.batchrun.observe import World, observe
from kubetask_controller.reconcilers.batchrun.pace import look_interval, write_interval
from kubetask_controller.reconcilers.batchrun.plan import Plan, make_plan
from kubetask_controller.reconcilers.batchrun.recorded import read_recorded
from kubetask_controller.reconcilers.batchrun.settle import Settler
from kubetask_controller.reconcilers.batchrun.starter import AT_ONCE, Starter
from kubetask_controller.reconcilers.batchrun.status import Summary, build_status, summarize
from kubetask_controller.reconcilers.context import Shared, owner_key
from kubetask_controller.reconcilers.finished import Finisher
from kubetask_controller.reconcilers.patience import explain
from kubetask_controller.reconcilers.projections import JobView, ResourceView
from kubetask_controller.reconcilers.statuswriter import StatusWriter
from kubetask_controller.reconcilers.waiting import Waiting
from kubetask_controller.runtime.reconcile import Request, Result

logger = structlog.get_logger("batchrun")

AGAIN = 0.5
"""Seconds until a run goes on of which some Jobs were made, and others not."""


class BatchRunReconciler:
    """Reconciles BatchRuns. See ``runtime.reconcile.Reconciler``."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._settler = Settler(shared)
        self._starter = Starter(shared)
        self._writer = StatusWriter(shared, c.KIND_BATCH_RUN)
        self._finisher = Finisher(shared, c.KIND_BATCH_RUN)
        self._memories: dict[Request, RunMemory] = {}

    async def reconcile(self, request: Request) -> Result:
        """Bring one run a step further.

        Raises:
            StaleCacheError: the cache does not show our own writes yet; the queue tries again.
            ClientError: the API server could not be asked, or gave no answer.
        """
        run = self._shared.views.runs.get(request.namespace, request.name)
        if run is None or run.deleting:
            self._forget(request, run)
            return Result()
        if run.spec.get("managedBy", c.MANAGED_BY) != c.MANAGED_BY:
            return Result()
        self._shared.consistency.ensure_ready(
            owner_key(c.KIND_BATCH_RUN, request.namespace, request.name), run.uid
        )
        if run.status.get("phase") in (Phase.SUCCEEDED, Phase.FAILED):
            self._forget(request, run)
            return await self._finisher.finished(run, list(self._shared.views.jobs_of(run.uid)))
        memory = self._memories.get(request)
        if memory is None or memory.uid != run.uid:
            memory = self._memories[request] = RunMemory(run.uid)
        wait = self._rest(run, memory)
        return Result(wait) if wait > 0 else await self._drive(run, memory)

    async def _drive(self, run: ResourceView, memory: RunMemory) -> Result:
        blocked = await self._settler.settle(run, memory)
        accepted = "phase" in run.status
        if blocked is None and accepted:
            blocked, wake = await self._advance(run, memory)
        else:
            wake = 0.0
        summary = summarize(run, memory.states, blocked)
        retry = self._writer.due_in(run, summary.phase, interval=write_interval(len(memory.states)))
        if not retry:
            status = build_status(run, memory, summary, self._shared.timestamp())
            await self._writer.write(run, status)
            self._count(run, memory, summary)
        problem, memory.problem = memory.problem, None
        advanced, memory.advanced = memory.advanced, False
        if problem is not None:
            if not advanced:
                raise problem
            # On a bad day some of many requests fail. As long as others do not, nobody need come back later and later.
            logger.info("Some Jobs have to be tried again", error=str(problem))
            retry = min(retry, AGAIN) if retry else AGAIN
        return Result(_earliest(wake, retry))

    async def _advance(self, run: ResourceView, memory: RunMemory) -> tuple[Waiting | None, float]:
        shared = self._shared
        if not memory.looked_back:
            await self._look_back(run, memory)
        silent = self._silent(memory, self._jobs(run))
        told, wake = await explain(shared, silent)
        # Looked up again: from here to the end of observe() nothing else runs, so no mark is cleared of what was not seen.
        jobs = self._jobs(run)
        explained = [x for x in silent if x.uid in told]
        observe(run, memory, World(jobs, shared.views.pods_of, shared.last_seen, told, explained))
        if memory.touched is None:
            memory.touched = shared.touched.follow(run.uid)
        memory.looked_at, memory.generation = shared.clock.monotonic(), run.generation
        plan = make_plan(run, memory.states, jobs, shared.now())
        for index, state in plan.never.items():
            memory.states[index] = state
        await self._end(run, plan, jobs)
        blocked, retry = await self._starter.start(run, memory, plan.start)
        memory.unfinished = retry == AT_ONCE
        return blocked, _earliest(wake, plan.wake_after, retry)

    def _rest(self, run: ResourceView, memory: RunMemory) -> float:
        """Seconds until a run may be looked at again: the larger it is the longer, unless its user has changed something."""
        if memory.unfinished or memory.generation != run.generation:
            return 0.0
        pause = look_interval(len(memory.states))
        return memory.looked_at + pause - self._shared.clock.monotonic()

    async def _look_back(self, run: ResourceView, memory: RunMemory) -> None:
        """After a restart: take over what the status says, and find out which Jobs ran and are gone since.

        A Job that was made and deleted while nobody watched is in no cache. If the status does not know of it either, only
        the Event of its Pod tells that it ran.
        """
        assert memory.snapshot is not None
        recorded = read_recorded(run)
        memory.states = [recorded.state(index) for index in range(memory.snapshot.total)]
        memory.made |= recorded.made
        memory.counted |= recorded.final.keys()
        present = {x.index for x in self._shared.views.jobs_of(run.uid)}
        unknown = {
            names.run_job_name(run.name, run.uid, index): index
            for index, state in enumerate(memory.states)
            if state is None and index not in present and index not in memory.made
        }
        if unknown:
            ran = await self._shared.evidence.jobs_that_had_pods(
                run.namespace, unknown, run.created
            )
            memory.made |= {unknown[name] for name in ran}
        memory.looked_back = True

    def _count(self, run: ResourceView, memory: RunMemory, summary: Summary) -> None:
        """Tell the metrics of what has ended and is in the status now."""
        for index, state in enumerate(memory.states):
            if state is not None and state.final and index not in memory.counted:
                memory.counted.add(index)
                self._shared.recorder.task_ended(run, state)
        if summary.phase.final:
            self._shared.recorder.run_ended(run, summary.phase.value, summary.reason.value)

    def _jobs(self, run: ResourceView) -> dict[int, JobView]:
        return {x.index: x for x in self._shared.views.jobs_of(run.uid) if x.index is not None}

    def _silent(self, memory: RunMemory, jobs: dict[int, JobView]) -> list[JobView]:
        """Jobs whose task is known to be waiting, or not known at all: Events may have to be asked."""
        return [
            job
            for index, job in jobs.items()
            if index < len(memory.states)
            and ((state := memory.states[index]) is None or state.phase is Phase.PENDING)
        ]

    async def _end(self, run: ResourceView, plan: Plan, jobs: dict[int, JobView]) -> None:
        for index in plan.end:
            await self._shared.control.end(
                jobs[index], list(self._shared.views.pods_of(jobs[index].uid))
            )
        if plan.discard:
            recorded = read_recorded(run).final
            for index in plan.discard:
                if index in recorded:
                    await self._shared.control.delete(jobs[index])

    def _forget(self, request: Request, run: ResourceView | None) -> None:
        memory = self._memories.pop(request, None)
        if memory is not None:
            self._shared.last_seen.forget_owner(memory.uid)
            self._shared.touched.forget(memory.uid)
        if run is None:
            self._shared.consistency.clear(
                owner_key(c.KIND_BATCH_RUN, request.namespace, request.name)
            )
        self._shared.slots.forget(request.namespace, (c.KIND_BATCH_RUN, request.name))


def _earliest(*delays: float) -> float:
    return min((x for x in delays if x > 0), default=0.0)
