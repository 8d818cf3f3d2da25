"""Task: one Job, and a status that follows it.

The rules are those of a run with one task: a first status before the Job, at most one Job for the life of the object, an
end that is never left.
"""

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Phase, Reason
from kubetask_controller.reconcilers import files, names
from kubetask_controller.reconcilers.batchrun.plan import pending_timeout
from kubetask_controller.reconcilers.context import Shared, owner_key
from kubetask_controller.reconcilers.finished import Finisher
from kubetask_controller.reconcilers.jobcontrol import Made
from kubetask_controller.reconcilers.jobtemplate import Template
from kubetask_controller.reconcilers.launcher import Launcher
from kubetask_controller.reconcilers.outcome import TaskState, task_state
from kubetask_controller.reconcilers.patience import explain
from kubetask_controller.reconcilers.projections import JobView, ResourceView
from kubetask_controller.reconcilers.statuswriter import StatusWriter
from kubetask_controller.reconcilers.task.status import build_task_status
from kubetask_controller.reconcilers.times import seconds_since
from kubetask_controller.reconcilers.waiting import Waiting
from kubetask_controller.reconcilers.workspaceconfig import Environment, resolve
from kubetask_controller.runtime.reconcile import Request, Result

_RETRY = 5.0
"""Seconds until a refused create is tried again."""


class TaskReconciler:
    """Reconciles Tasks. See ``runtime.reconcile.Reconciler``."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._launcher = Launcher(shared)
        self._writer = StatusWriter(shared, c.KIND_TASK)
        self._finisher = Finisher(shared, c.KIND_TASK)
        self._made: dict[Request, tuple[str, bool]] = {}
        """Request → uid, and whether its Job is known to have been made in this process."""

    async def reconcile(self, request: Request) -> Result:
        """Bring one Task a step further.

        Raises:
            StaleCacheError: the cache does not show our own writes yet; the queue tries again.
            ClientError: the API server could not be asked, or gave no answer.
        """
        task = self._shared.views.tasks.get(request.namespace, request.name)
        if task is None or task.deleting:
            self._forget(request, task)
            return Result()
        if task.spec.get("managedBy", c.MANAGED_BY) != c.MANAGED_BY:
            return Result()
        self._shared.consistency.ensure_ready(
            owner_key(c.KIND_TASK, request.namespace, request.name), task.uid
        )
        if task.status.get("phase") in (Phase.SUCCEEDED, Phase.FAILED):
            self._forget(request, task)
            return await self._finisher.finished(task, list(self._shared.views.jobs_of(task.uid)))
        state, wake = await self._advance(request, task)
        retry = self._writer.due_in(task, state.phase)
        if not retry:
            status = build_task_status(task, state, self._shared.timestamp())
            await self._writer.write(task, status)
        if state.final and not retry:
            self._shared.recorder.task_ended(task, state)
        return Result(min((x for x in (wake, retry) if x > 0), default=0.0))

    async def _advance(self, request: Request, task: ResourceView) -> tuple[TaskState, float]:
        cancelled = bool(task.spec.get("cancel"))
        job = next(iter(self._shared.views.jobs_of(task.uid)), None)
        if job is not None:
            return await self._follow(task, job)
        name = names.task_job_name(task.name, task.uid)
        gone = self._shared.last_seen.job(task.uid, name)
        if gone is not None and gone.finished:
            return task_state(
                gone, self._shared.last_seen.pods(task.uid, gone.uid), cancelled=cancelled
            ), 0.0
        if await self._was_made(request, task, name):
            return self._without_job(task, name), 0.0
        if cancelled:
            return TaskState(Phase.FAILED, Reason.CANCELLED, "cancelled before it began"), 0.0
        if "phase" not in task.status or task.spec.get("suspend"):
            return TaskState(Phase.PENDING, Reason.QUEUED, "waiting for a place"), 0.0
        return await self._start(request, task)

    async def _follow(self, task: ResourceView, job: JobView) -> tuple[TaskState, float]:
        shared = self._shared
        told, wake = await explain(shared, [job])
        living = tuple(shared.views.pods_of(job.uid))
        uids = {x.uid for x in living}
        pods = living + tuple(
            x for x in shared.last_seen.pods(task.uid, job.uid) if x.uid not in uids
        )
        cancelled = bool(task.spec.get("cancel"))
        state = task_state(job, pods, cancelled=cancelled, waiting=told.get(job.uid))
        if state.final:
            return state, 0.0
        if cancelled and not job.deleting:
            await shared.control.end(job, living)
            return state, wake
        limit = task.spec.get("pendingDeadlineSeconds")
        if limit is not None and state.phase is Phase.PENDING and not job.suspended:
            left = limit - seconds_since(job.started or job.created, shared.now())
            if left <= 0:
                return pending_timeout(state, limit), 0.0
            wake = min(wake, left) if wake else left
        return state, wake

    async def _was_made(self, request: Request, task: ResourceView, name: str) -> bool:
        """Whether the Job was made at some time; asked of the status, of memory, and once of Events."""
        if task.status.get("jobName"):
            return True
        known = self._made.get(request)
        if known and known[0] == task.uid:
            return known[1]
        made = False
        if "phase" in task.status:
            ran = await self._shared.evidence.jobs_that_had_pods(
                task.namespace, {name}, task.created
            )
            made = bool(ran)
        self._made[request] = (task.uid, made)
        return made

    def _without_job(self, task: ResourceView, name: str) -> TaskState:
        start = task.status.get("startTime", "")
        if task.spec.get("cancel"):
            return TaskState(Phase.FAILED, Reason.CANCELLED, "cancelled before it ran", name, start)
        text = f"Job {name} was deleted before it ended; its agent may have acted already"
        return TaskState(Phase.FAILED, Reason.JOB_LOST, text, name, start)

    async def _start(self, request: Request, task: ResourceView) -> tuple[TaskState, float]:
        environment = resolve(
            self._shared.views.configs, task.namespace, task.spec.get("workspaceConfigRef")
        )
        if isinstance(environment, Waiting):
            return _pending(environment), 0.0
        pool = (task.namespace, environment.name)
        limit = environment.max_concurrent_tasks
        if not self._shared.slots.grant(pool, (c.KIND_TASK, task.name), wanted=1, limit=limit):
            text = f"maxConcurrentTasks {limit} of WorkspaceConfig {environment.name} are in use"
            return TaskState(Phase.PENDING, Reason.QUEUED, text), 0.0
        return await self._create(request, task, environment)

    async def _create(
        self, request: Request, task: ResourceView, environment: Environment
    ) -> tuple[TaskState, float]:
        owner = files.Owner(c.KIND_TASK, task.namespace, task.name, task.uid)
        packed = files.pack(owner, task.spec["contexts"])
        await files.ensure(self._shared.client, packed)
        template = Template(
            owner=owner,
            labels=task.labels,
            spec=task.spec,
            config=environment.spec,
            config_name=environment.name,
            images=self._shared.images,
            inline=packed.places,
        )
        # Should this be cancelled on the way, nobody has told what was made of it.
        self._made.pop(request, None)
        ((_, result),) = await self._launcher.launch(template, [(None, task.spec["contexts"])])
        name = names.task_job_name(task.name, task.uid)
        if result.ours:
            self._made[request] = (task.uid, True)
            return TaskState(
                Phase.PENDING, Reason.STARTING, "waiting for its Pod to run", name
            ), 0.0
        if result.made is Made.FOREIGN:
            text = f"Job {name} exists and belongs to another object; it is left alone"
            return TaskState(Phase.FAILED, Reason.NAME_CONFLICT, text), 0.0
        if result.error is not None:
            raise result.error
        assert result.waiting is not None
        return _pending(result.waiting), _RETRY

    def _forget(self, request: Request, task: ResourceView | None) -> None:
        self._made.pop(request, None)
        self._shared.slots.forget(request.namespace, (c.KIND_TASK, request.name))
        if task is None:
            self._shared.consistency.clear(owner_key(c.KIND_TASK, request.namespace, request.name))
        else:
            self._shared.last_seen.forget_owner(task.uid)


def _pending(waiting: Waiting) -> TaskState:
    return TaskState(Phase.PENDING, waiting.reason, waiting.message)
