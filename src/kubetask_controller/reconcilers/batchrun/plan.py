"""What is to be done next for a run: a pure function of its spec, the states of its tasks and the clock.

Guarantees: a task is started at most once (only tasks without any state are), nothing starts once the run is suspended,
cancelled or over its ``maxFailures``, and what is to be ended is ended whoever began it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from kubetask_controller.api.constants import Phase, Reason
from kubetask_controller.reconcilers.outcome import TaskState
from kubetask_controller.reconcilers.projections import JobView, ResourceView
from kubetask_controller.reconcilers.times import seconds_since


@dataclass(frozen=True, slots=True)
class Plan:
    """Next steps.

    Attributes:
        start: indexes of tasks that may start, in order; a shared limit may cut this further.
        never: tasks that will not start any more, with the state they end in.
        end: indexes whose Job is to be ended, its log kept.
        discard: indexes whose Job is to be deleted although it has not finished.
        wake_after: seconds until a deadline passes, 0 for none.
    """

    start: Sequence[int]
    never: Mapping[int, TaskState]
    end: Sequence[int]
    discard: Sequence[int]
    wake_after: float = 0.0


def failures(states: Sequence[TaskState | None]) -> int:
    """Tasks that failed."""
    return sum(1 for x in states if x is not None and x.phase is Phase.FAILED)


def over_max_failures(run: ResourceView, states: Sequence[TaskState | None]) -> bool:
    """More tasks failed than ``maxFailures`` allows."""
    limit = run.spec.get("maxFailures")
    return limit is not None and failures(states) > limit


def make_plan(
    run: ResourceView,
    states: Sequence[TaskState | None],
    jobs: Mapping[int, JobView],
    now: datetime,
) -> Plan:
    """The next steps for a run whose tasks are in these states."""
    unstarted = [index for index, state in enumerate(states) if state is None]
    live = [
        index
        for index, job in jobs.items()
        if not job.finished and not job.deleting and index < len(states)
    ]
    discard = [i for i in live if (state := states[i]) is not None and state.final]
    gone = set(discard)
    running = [i for i in live if i not in gone]
    if run.spec.get("cancel"):
        return Plan(
            (), _never(unstarted, Reason.CANCELLED, "cancelled before it began"), running, discard
        )
    if over_max_failures(run, states):
        text = f"not started: more than {run.spec['maxFailures']} tasks had failed"
        return Plan((), _never(unstarted, Reason.MAX_FAILURES_EXCEEDED, text), (), discard)
    late, wake = _pending_too_long(run, states, {i: jobs[i] for i in running}, now)
    if run.spec.get("suspend"):
        return Plan((), late, (), discard, wake)
    parallelism = run.spec.get("parallelism")
    room = len(unstarted) if parallelism is None else max(0, parallelism - len(running))
    return Plan(unstarted[:room], late, (), discard, wake)


def _never(indexes: Sequence[int], reason: Reason, message: str) -> dict[int, TaskState]:
    state = TaskState(Phase.FAILED, reason, message)
    return dict.fromkeys(indexes, state)


def _pending_too_long(
    run: ResourceView,
    states: Sequence[TaskState | None],
    running: Mapping[int, JobView],
    now: datetime,
) -> tuple[dict[int, TaskState], float]:
    limit = run.spec.get("pendingDeadlineSeconds")
    if limit is None:
        return {}, 0.0
    late: dict[int, TaskState] = {}
    wake = 0.0
    for index, job in running.items():
        state = states[index]
        if state is None or state.phase is not Phase.PENDING or job.suspended:
            continue
        left = limit - seconds_since(job.started or job.created, now)
        if left <= 0:
            late[index] = pending_timeout(state, limit)
        else:
            wake = min(wake, left) if wake else left
    return late, wake


def pending_timeout(state: TaskState, limit: int) -> TaskState:
    """The end of a task that waited longer than its deadline for waiting."""
    why = f": {state.reason}: {state.message}" if state.message else f": {state.reason}"
    return TaskState(
        Phase.FAILED, Reason.PENDING_TIMEOUT, f"did not start within {limit} s{why}", state.job_name
    )
