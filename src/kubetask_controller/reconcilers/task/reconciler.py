"""Task: one Job, and a status that follows it.

A Task is an owner with one task. Its reconcile takes the same steps as a BatchRun's, without a snapshot: the spec cannot
change.
"""

from dataclasses import replace

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import EventReason, Phase, Reason
from kubetask_controller.client.errors import ClientError
from kubetask_controller.reconcilers.conditions import build_conditions
from kubetask_controller.reconcilers.context import ReconcilerContext, owner_key
from kubetask_controller.reconcilers.events import contender
from kubetask_controller.reconcilers.listers import is_final
from kubetask_controller.reconcilers.projections import TaskView
from kubetask_controller.reconcilers.status_writer import StatusWriter
from kubetask_controller.reconcilers.taskrun import contexts, names
from kubetask_controller.reconcilers.taskrun.jobs import both
from kubetask_controller.reconcilers.taskrun.pending_reasons import PendingReason
from kubetask_controller.reconcilers.taskrun.plan import Plan, halt, make_plan
from kubetask_controller.reconcilers.taskrun.recorded import read_task, task_fields
from kubetask_controller.reconcilers.taskrun.runner import (
    AT_ONCE,
    Environment,
    OwnerWork,
    Started,
    TaskRunner,
    unanswered,
)
from kubetask_controller.reconcilers.taskrun.state import UNSTARTED, TaskRules, TaskState, earliest
from kubetask_controller.reconcilers.taskrun.tracker import Tracker
from kubetask_controller.reconcilers.ttl import TTLAfterFinished
from kubetask_controller.runtime.reconcile import Request, Result
from kubetask_controller.types import JSON


class TaskReconciler:
    """Reconciles Tasks. See ``runtime.reconcile.Reconciler``."""

    def __init__(self, context: ReconcilerContext) -> None:
        self._context = context
        self._tasks = TaskRunner(context, c.KIND_TASK)
        self._writer = StatusWriter(context, c.KIND_TASK)
        self._ttl = TTLAfterFinished(context, c.KIND_TASK)
        self._known: dict[Request, tuple[Tracker, OwnerWork]] = {}

    async def reconcile(self, request: Request) -> Result:
        """Bring one Task a step further.

        Raises:
            StaleCacheError: the cache does not show our own status yet; the queue tries again.
            ClientError: the API server could not be reached, or refused.
        """
        context = self._context
        key = owner_key(c.KIND_TASK, request.namespace, request.name)

        # A Task that is gone, or belongs to another controller, is forgotten.
        task = context.listers.tasks.get(request.namespace, request.name)
        if task is None or task.deleting:
            self._forget(request)
            context.consistency.clear(key)
            return Result()
        if task.spec.get("managedBy", c.MANAGED_BY) != c.MANAGED_BY:
            return Result()

        # No decision on a status that is older than the last one we wrote.
        context.consistency.ensure_ready(key, task.uid)

        # A final state is never left: what remains is to delete the Job.
        if is_final(task):
            self._forget(request)
            return await self._ttl.finished(task)
        tracker, work = self._track(request, task)

        # What another process has recorded for good holds here too.
        if self._writer.is_foreign(task):
            tracker.adopt(read_task(task.status))

        # The WorkspaceConfig in force, at least as new as the Task.
        ref = task.spec.get("workspaceConfigRef") or ""
        environment, unsure = await self._tasks.environment(task, tracker, ref)

        # Observe.
        try:
            if "phase" in task.status:
                await self._tasks.look_back(task, tracker)
            if isinstance(environment, Environment) and environment.max_concurrent_tasks:
                await self._tasks.count_slots(task.namespace)
        except ClientError as error:
            # Without these facts nothing starts, and nothing ends that has not started. All else continues.
            unsure = error
        rules = TaskRules(
            halt=halt(task.spec, tracker),
            cancel=bool(task.spec.get("cancel")),
            max_disruptions=task.spec.get("maxDisruptions", 0),
            pending_deadline=task.spec.get("pendingDeadlineSeconds"),
            config_digest=environment.digest if isinstance(environment, Environment) else "",
        )
        seen = await self._tasks.observe(task, tracker, rules)

        # Plan.
        stopping = Started()
        if unsure is not None and tracker.unstarted():
            plan = Plan(blocked=unanswered(unsure))
        elif rules.halt is not None:
            stopping = await self._tasks.end_unstarted(task, tracker, rules.halt)
            plan = Plan(blocked=stopping.blocked)
        else:
            plan = make_plan(task.spec, tracker, seen.jobs)

        # Start: create the Job. A Task without a status has created nothing, and creates nothing before it has one.
        started = replace(stopping, blocked=plan.blocked)
        if plan.start and "phase" in task.status:
            if isinstance(environment, Environment):
                started = await self._tasks.start(task, tracker, environment, plan.start, work)
            else:
                started = Started(environment)
        else:
            context.limiter.withdraw(contender(c.KIND_TASK, task))
            if task.spec.get("suspend"):
                tracker.not_refused()

        # Act and record: end or replace the Job, and write the status. Neither waits for the other.
        state = _shown(task, tracker, started.blocked or plan.blocked)
        awaited = tracker.awaits_record()
        _, wait = await both(
            self._tasks.act(task, tracker, seen),
            self._write(task, tracker, state, created=started.created > 0),
        )

        # Requeue.
        if started.error is not None:
            raise started.error
        seen.wake(tracker.next_due(context.clock.monotonic()))
        if (problem := seen.problem or unsure) is not None:
            seen.wake(self._tasks.after_problem(problem))
        go_on = AT_ONCE if awaited and not tracker.awaits_record() else 0.0
        return Result(earliest(wait, seen.wake_after, started.retry_after, go_on))

    def _track(self, request: Request, task: TaskView) -> tuple[Tracker, OwnerWork]:
        known = self._known.get(request)
        if known is not None and known[0].uid == task.uid:
            return known
        self._forget(request)
        name = names.task_job_name(task.name, task.uid)
        recorded = read_task(task.status)
        now = self._context.clock.monotonic()
        tracker = self._context.trackers.add(Tracker(task.uid, [name], recorded, now))
        tracker.looked_back = "phase" not in task.status
        tracker.inherited = not tracker.looked_back
        everything = task.spec.get("contexts") or []
        self._known[request] = (
            tracker,
            OwnerWork(lambda _: list(everything), lambda: everything, {}, single=True),
        )
        return self._known[request]

    async def _write(
        self, task: TaskView, tracker: Tracker, state: TaskState, *, created: bool
    ) -> float:
        """Write the status, when it differs and is due; return the seconds until it is due, 0 once it is written."""
        wait = self._writer.due_in(task, state.phase)
        if wait:
            return wait
        states = list(tracker.states)
        status = build_task_status(task, state, self._context.timestamp())
        await self._writer.write(task, status)
        for ended in tracker.recorded(states):
            self._context.recorder.task_ended(task, ended)
        if created:
            note = f"created Job {state.job_name}"
            self._tasks.event(task, EventReason.JOB_CREATED, note)
        return 0.0

    def _forget(self, request: Request) -> None:
        self._writer.forget(request.namespace, request.name)
        known = self._known.pop(request, None)
        if known is not None:
            self._tasks.forget(request, known[0].uid)


def _shown(task: TaskView, tracker: Tracker, blocked: PendingReason | None) -> TaskState:
    """The state with suspend and cancel of the spec applied."""
    state = tracker.states[0]
    known = state or UNSTARTED
    if known.final:
        return known
    if not tracker.was_created(0):
        # A Job that is being replaced is not the Job of this Task any more.
        known = replace(known, job_name="")
    if task.spec.get("cancel"):
        text = "ending the agent" if known.phase is Phase.RUNNING else "ending the Job"
        return replace(known, reason=Reason.CANCELLING, message=text)
    if task.spec.get("suspend"):
        text = (
            "suspended; the running Job continues" if known.job_name else "suspended, not started"
        )
        return replace(known, reason=Reason.SUSPENDED, message=text)
    if state is None or (blocked is not None and known.phase is Phase.PENDING):
        if blocked is not None:
            return replace(known, reason=blocked.reason, message=blocked.message)
        return replace(known, message="waiting for its Job")
    return known


def build_task_status(task: TaskView, state: TaskState, now: str) -> JSON:
    """The whole status of a Task in this state; ``now`` is RFC 3339."""
    message = state.message[: c.MAX_MESSAGE_LENGTH]
    status: JSON = {
        "observedGeneration": task.generation,
        "phase": state.phase.value,
        "reason": str(state.reason),
        "message": message,
        "target": contexts.target(task.spec.get("contexts") or ()),
        "conditions": build_conditions(
            state.phase,
            state.reason,
            message,
            previous=task.status.get("conditions") or (),
            context={"now": now, "generation": task.generation},
        ),
    }
    status |= task_fields(state)
    if start := task.status.get("startTime"):
        status["startTime"] = start
    if state.phase.final:
        status["completionTime"] = task.status.get("completionTime") or state.completion_time or now
    else:
        status.pop("completionTime", None)
    return status
