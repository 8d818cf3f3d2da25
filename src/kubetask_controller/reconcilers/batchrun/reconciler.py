"""BatchRun: one Job for each task, and a status that is a function of the snapshot, the Jobs and the clock.

Every step may be interrupted and repeated: names are deterministic, the first status is written before the first Job is
created, and what ends a task for good is in the status before its Job is deleted.
"""

from dataclasses import replace
from typing import Any

import structlog

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import EventReason
from kubetask_controller.client.errors import ClientError
from kubetask_controller.reconcilers.batchrun.snapshot import Missing, Snapshot, SnapshotResolver
from kubetask_controller.reconcilers.batchrun.status import (
    Summary,
    build_status,
    summarize,
    summarize_missing,
    unshown_replacements,
)
from kubetask_controller.reconcilers.context import ReconcilerContext, owner_key
from kubetask_controller.reconcilers.events import contender
from kubetask_controller.reconcilers.listers import is_final
from kubetask_controller.reconcilers.projections import RunView
from kubetask_controller.reconcilers.status_writer import StatusWriter
from kubetask_controller.reconcilers.taskrun import names
from kubetask_controller.reconcilers.taskrun.jobs import both
from kubetask_controller.reconcilers.taskrun.pending_reasons import PendingReason
from kubetask_controller.reconcilers.taskrun.plan import Plan, halt, make_plan
from kubetask_controller.reconcilers.taskrun.recorded import Recorded, read_run
from kubetask_controller.reconcilers.taskrun.runner import (
    AT_ONCE,
    RECHECK,
    Environment,
    OwnerWork,
    Started,
    TaskRunner,
    unanswered,
)
from kubetask_controller.reconcilers.taskrun.state import TaskRules, TaskState, earliest
from kubetask_controller.reconcilers.taskrun.tracker import Tracker
from kubetask_controller.reconcilers.ttl import TTLAfterFinished
from kubetask_controller.runtime.reconcile import Request, Result

logger = structlog.get_logger("batchrun")

TASKS_A_SECOND = 4000
"""A run is looked at at most so often that 4,000 of its tasks pass a second: ten times for 400 tasks, once for 4,000."""

AGAIN = 0.5
"""Seconds until the next reconcile of a run if some of its requests failed and others did not."""


class _Run:
    """What the process remembers of a run beside its tasks."""

    def __init__(self, snapshot: Snapshot, tracker: Tracker) -> None:
        self.snapshot = snapshot
        self.tracker = tracker
        self.work = OwnerWork(snapshot.contexts, snapshot.everything, snapshot.batch)
        self.entries: dict[int, Any] = {}
        self.looked_at = float("-inf")
        self.generation = -1
        self.unfinished = False
        """Whether the last reconcile left Jobs uncreated that may be created now."""
        self.blocked: PendingReason | None = None
        """Why the last reconcile could not create all Jobs."""


class BatchRunReconciler:
    """Reconciles BatchRuns. See ``runtime.reconcile.Reconciler``."""

    def __init__(self, context: ReconcilerContext) -> None:
        self._context = context
        self._snapshots = SnapshotResolver(context)
        self._tasks = TaskRunner(context, c.KIND_BATCH_RUN)
        self._writer = StatusWriter(context, c.KIND_BATCH_RUN)
        self._ttl = TTLAfterFinished(context, c.KIND_BATCH_RUN)
        self._runs: dict[Request, _Run] = {}

    async def reconcile(self, request: Request) -> Result:
        """Bring one run a step further.

        Raises:
            StaleCacheError: the cache does not show our own status yet; the queue tries again.
            ClientError: the API server could not be reached, or refused.
        """
        context = self._context
        key = owner_key(c.KIND_BATCH_RUN, request.namespace, request.name)

        # A run that is gone, or belongs to another controller, is forgotten.
        run = context.listers.runs.get(request.namespace, request.name)
        if run is None or run.deleting:
            self._forget(request)
            context.consistency.clear(key)
            return Result()
        if run.spec.get("managedBy", c.MANAGED_BY) != c.MANAGED_BY:
            return Result()

        # No decision on a status that is older than the last one we wrote.
        context.consistency.ensure_ready(key, run.uid)

        # A final state is never left: what remains is to delete Jobs.
        if is_final(run):
            self._forget(request)
            return await self._ttl.finished(run)

        # The work: settled once, before anything is created.
        known = self._runs.get(request)
        if known is None or known.tracker.uid != run.uid or not known.snapshot.is_of(run):
            self._forget(request)
            settled = await self._accept(request, run)
            if isinstance(settled, Missing):
                written = await self._write(run, None, summarize_missing(run, settled))
                return Result(earliest(written.requeue_after, settled.retry_after))
            known = settled
        tracker = known.tracker

        # What another process has recorded for good holds here too.
        if self._writer.is_foreign(run):
            tracker.adopt(read_run(run.status))

        # A large run is not looked at more often than it is worth, unless its user has changed something.
        pause = known.looked_at + tracker.total / TASKS_A_SECOND - context.clock.monotonic()
        if pause > 0 and known.generation == run.generation and not known.unfinished:
            return Result(min(pause, 1.0))

        # The WorkspaceConfig in force, at least as new as the run.
        ref = run.spec.get("workspaceConfigRef") or known.snapshot.workspace_config_ref
        environment, unsure = await self._tasks.environment(run, tracker, ref)

        # Observe: the state of each task. What one end brings about for the others is decided in the same reconcile.
        try:
            if "phase" in run.status:
                await self._tasks.look_back(run, tracker)
            await self._count_slots(run, environment)
        except ClientError as error:
            # Without these facts nothing starts, and nothing ends that has not started. All else continues.
            unsure = error
        rules = _rules(run, tracker, environment)
        seen = await self._tasks.observe(run, tracker, rules)
        if (after := halt(run.spec, tracker)) != rules.halt:
            rules = replace(rules, halt=after)
            seen = await self._tasks.observe(run, tracker, rules)
        known.looked_at, known.generation = context.clock.monotonic(), run.generation

        # Plan: tasks that never start, and tasks that may start now.
        stopping = Started()
        if unsure is not None and tracker.unstarted():
            plan = Plan(blocked=unanswered(unsure))
        elif (stopped := rules.halt or known.snapshot.lost) is not None:
            stopping = await self._tasks.end_unstarted(run, tracker, stopped)
            plan = Plan(blocked=stopping.blocked)
        else:
            plan = make_plan(run.spec, tracker, seen.jobs)
            if plan.start and not isinstance(environment, Environment):
                plan = Plan(blocked=environment)

        # Act, start and record: end and replace Jobs, create Jobs, write the status. None of the three waits for another,
        # since one slow request would hold up all of them: what this reconcile starts is recorded by the next one.
        shown = (known.blocked if plan.start else None) or plan.blocked
        summary = summarize(run, tracker, shown)
        awaited = tracker.awaits_record()
        _, (started, result) = await both(
            self._tasks.act(run, tracker, seen),
            both(
                self._start(run, known, environment, plan),
                self._write(run, known, summary),
            ),
        )
        go_on = AT_ONCE if awaited and not tracker.awaits_record() else 0.0
        known.unfinished = 0 < started.retry_after < AGAIN
        known.blocked = started.blocked

        # Requeue.
        seen.wake(tracker.next_due(context.clock.monotonic()))
        if (problem := seen.problem or unsure) is not None:
            seen.wake(self._tasks.after_problem(problem))
        retry = earliest(started.retry_after, stopping.retry_after)
        failed = started.error or stopping.error
        others = earliest(result.requeue_after, seen.wake_after, go_on)
        if failed is not None:
            if not started.created and not others:
                raise failed
            # Under load some requests fail. As long as others do not, the delay does not grow.
            logger.info("Some Jobs are tried again", error=str(failed))
            retry = earliest(retry, AGAIN if started.created else RECHECK)
        elif plan.start:
            present = summarize(run, tracker, started.blocked or plan.blocked)
            if present != summary and (present.reason != summary.reason or not retry):
                retry = AT_ONCE
        return Result(earliest(others, retry))

    async def _accept(self, request: Request, run: RunView) -> _Run | Missing:
        """Find or take the snapshot, or return why it cannot be taken."""
        context = self._context
        observed_at = context.clock.monotonic()
        snapshot = await self._snapshots.resolve(run)
        if isinstance(snapshot, Missing):
            return snapshot
        recorded = read_run(run.status) if "phase" in run.status else Recorded()
        jobs = [names.run_job_name(run.name, run.uid, i) for i in range(snapshot.total)]
        tracker = context.trackers.add(Tracker(run.uid, jobs, recorded, observed_at))
        tracker.looked_back = "phase" not in run.status
        tracker.inherited = not tracker.looked_back
        self._runs[request] = _Run(snapshot, tracker)
        return self._runs[request]

    async def _count_slots(self, run: RunView, environment: Environment | PendingReason) -> None:
        """Where a limit counts Jobs, the count is not older than this process's lead."""
        capped = isinstance(environment, Environment) and environment.max_concurrent_tasks
        if capped or run.spec.get("parallelism") is not None:
            await self._tasks.count_slots(run.namespace)

    async def _start(
        self, run: RunView, known: _Run, environment: Environment | PendingReason, plan: Plan
    ) -> Started:
        """Create Jobs. A run creates nothing before its status shows that it may have, and of which snapshot."""
        shown = "phase" in run.status
        if known.snapshot.name:
            shown = shown and "batchSnapshot" in run.status
        if plan.start and shown and isinstance(environment, Environment):
            tracker = known.tracker
            return await self._tasks.start(run, tracker, environment, plan.start, known.work)
        self._context.limiter.withdraw(contender(c.KIND_BATCH_RUN, run))
        if run.spec.get("suspend"):
            known.tracker.not_refused()
        return Started()

    async def _write(self, run: RunView, known: "_Run | None", summary: Summary) -> Result:
        """Write the status, and count and announce what has ended once it is written."""
        tracker = known.tracker if known else None
        urgent = tracker is not None and tracker.awaits_record()
        wait = self._writer.due_in(run, summary.phase, urgent=urgent)
        if wait > 0:
            return Result(wait)
        states = list(tracker.states) if tracker else []
        status = build_status(
            run,
            tracker,
            known.snapshot if known else None,
            summary,
            now=self._context.timestamp(),
            entries=known.entries if known else {},
        )
        await self._writer.write(run, status)
        if tracker is not None:
            ended = tracker.recorded(states, unshown_replacements(tracker, status))
            for state in ended:
                self._context.recorder.task_ended(run, state)
            self._announce(run, tracker, [x for x in ended if x.phase is c.Phase.FAILED])
        if summary.phase.final:
            self._context.recorder.run_ended(run, summary.phase.value, summary.reason)
        return Result()

    def _announce(self, run: RunView, tracker: Tracker, failed: list[TaskState]) -> None:
        """An Event for each of the first failures, one for all that fail at once."""
        if len(failed) > 3:
            note = (
                f"{len(failed)} tasks failed; the first: {failed[0].job_name}: {failed[0].reason}"
            )
            self._tasks.event(run, EventReason.TASK_FAILED, note, warning=True)
            return
        for state in failed:
            note = f"{state.job_name or 'a task'}: {state.reason}: {state.message}"
            self._tasks.event(run, EventReason.TASK_FAILED, note, warning=True)

    def _forget(self, request: Request) -> None:
        self._writer.forget(request.namespace, request.name)
        known = self._runs.pop(request, None)
        if known is not None:
            self._tasks.forget(request, known.tracker.uid)


def _rules(run: RunView, tracker: Tracker, environment: Environment | PendingReason) -> TaskRules:
    return TaskRules(
        halt=halt(run.spec, tracker),
        cancel=bool(run.spec.get("cancel")),
        max_disruptions=run.spec.get("maxDisruptions", 0),
        pending_deadline=run.spec.get("pendingDeadlineSeconds"),
        config_digest=environment.digest if isinstance(environment, Environment) else "",
    )
