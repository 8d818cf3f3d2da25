"""From Jobs and Pods to the state of each task of a run.

Guarantees: a task that has ended stays as it ended; a task whose Job was made and is gone is JobLost (or Cancelled), and
never made again; a task of which nothing was heard since the last look is not looked at again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kubetask_controller.api.constants import Phase, Reason
from kubetask_controller.reconcilers import names
from kubetask_controller.reconcilers.batchrun.memory import RunMemory
from kubetask_controller.reconcilers.lastseen import LastSeen
from kubetask_controller.reconcilers.outcome import TaskState, task_state
from kubetask_controller.reconcilers.projections import JobView, PodView, ResourceView
from kubetask_controller.reconcilers.waiting import Waiting


@dataclass(frozen=True, slots=True)
class World:
    """The actual state, as the cache has it.

    Attributes:
        jobs: the run's Jobs by index.
        pods: the Pods of a Job, by the Job's uid.
        last_seen: what is gone and not yet recorded.
        waiting: what Events said of a Job, by its uid.
        explained: the Jobs of ``waiting``.
    """

    jobs: Mapping[int, JobView]
    pods: Callable[[str], Iterable[PodView]]
    last_seen: LastSeen
    waiting: Mapping[str, Waiting]
    explained: Sequence[JobView] = ()


def observe(run: ResourceView, memory: RunMemory, world: World) -> None:
    """Bring ``memory.states`` up to date; an entry stays None where the task has no Job yet."""
    cancelled = bool(run.spec.get("cancel"))
    for index in _to_look_at(memory, world, cancelled):
        known = memory.states[index]
        if known is not None and known.final:
            continue
        job = world.jobs.get(index)
        if job is None:
            memory.states[index] = _without_job(run, memory, index, world.last_seen)
            continue
        memory.made.add(index)
        memory.unsure.discard(index)
        told = world.waiting.get(job.uid)
        state = task_state(job, _pods(run.uid, job, world), cancelled=cancelled, waiting=told)
        memory.states[index] = _with_start(state, known)
    memory.cancelled = cancelled
    if memory.touched is not None:
        memory.touched.clear()


def _to_look_at(memory: RunMemory, world: World, cancelled: bool) -> Iterable[int]:
    total = len(memory.states)
    if memory.touched is None or cancelled != memory.cancelled:
        return range(total)
    explained = {job.index for job in world.explained if job.index is not None}
    return [index for index in memory.touched | explained if index < total]


def lost(run: ResourceView, index: int, known: TaskState | None) -> TaskState:
    """The state of a task whose Job was made and is not there any more."""
    job_name = names.run_job_name(run.name, run.uid, index)
    start = known.start_time if known else ""
    if run.spec.get("cancel"):
        return TaskState(Phase.FAILED, Reason.CANCELLED, "cancelled before it ran", job_name, start)
    return TaskState(
        Phase.FAILED,
        Reason.JOB_LOST,
        f"Job {job_name} was deleted before it ended; its agent may have acted already",
        job_name,
        start,
    )


def _without_job(
    run: ResourceView, memory: RunMemory, index: int, last_seen: LastSeen
) -> TaskState | None:
    if index not in memory.made:
        return None
    known = memory.states[index]
    gone = last_seen.job(run.uid, names.run_job_name(run.name, run.uid, index))
    if gone is None:
        return lost(run, index, known)
    pods = last_seen.pods(run.uid, gone.uid)
    if gone.finished:
        state = task_state(gone, pods, cancelled=bool(run.spec.get("cancel")))
        return _with_start(state, known)
    return lost(run, index, known)


def _pods(owner_uid: str, job: JobView, world: World) -> tuple[PodView, ...]:
    living = tuple(world.pods(job.uid))
    gone = world.last_seen.pods(owner_uid, job.uid)
    if not gone:
        return living
    uids = {x.uid for x in living}
    return living + tuple(x for x in gone if x.uid not in uids)


def _with_start(state: TaskState, known: TaskState | None) -> TaskState:
    """Keep the first start that was seen: the Pod that told it may be gone since."""
    if known is None or not known.start_time or known.start_time == state.start_time:
        return state
    return TaskState(
        state.phase,
        state.reason,
        state.message,
        state.job_name,
        known.start_time,
        state.completion_time,
        state.result,
    )
