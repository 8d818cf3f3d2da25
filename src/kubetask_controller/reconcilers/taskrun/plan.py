"""What may be done next for a BatchRun or Task: pure functions of its spec, the states of its tasks and their Jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Protocol

from kubetask_controller.api.constants import Phase, Reason
from kubetask_controller.api.typed import BatchRunSpecJSON, TaskSpecJSON
from kubetask_controller.reconcilers.projections import JobView
from kubetask_controller.reconcilers.taskrun.pending_reasons import PendingReason
from kubetask_controller.reconcilers.taskrun.recorded import UsageTotal
from kubetask_controller.reconcilers.taskrun.state import TaskState

Spec = BatchRunSpecJSON | TaskSpecJSON


class _Tasks(Protocol):
    """What a plan reads of a Tracker."""

    @property
    def states(self) -> Sequence[TaskState | None]: ...
    @property
    def usage(self) -> UsageTotal: ...
    @property
    def created(self) -> frozenset[int]: ...
    def unstarted(self) -> list[int]: ...
    def pending_creates(self) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """Which tasks may start.

    Attributes:
        start: their indexes, in order; the WorkspaceConfig's limit may cut this further.
        blocked: why others do not start; None where nothing but parallelism holds them.
    """

    start: Sequence[int] = ()
    blocked: PendingReason | None = None


def failures(states: Sequence[TaskState | None]) -> int:
    """Tasks that failed."""
    return sum(1 for x in states if x is not None and x.phase is Phase.FAILED)


def halt(spec: Spec, tasks: _Tasks) -> PendingReason | None:
    """Why no further agent may start, for good; None while agents may start. The reason is that of tasks that never do."""
    if spec.get("cancel"):
        return PendingReason(Reason.CANCELLED, "cancelled before the agent started")
    limit = spec.get("maxFailures")
    if isinstance(limit, int) and failures(tasks.states) > limit:
        text = f"not started: more than {limit} tasks failed (maxFailures)"
        return PendingReason(Reason.MAX_FAILURES_EXCEEDED, text)
    budget = read_cost(spec.get("maxCostUSD"))
    if budget is not None and tasks.usage.cost_usd >= budget:
        text = f"not started: the tasks cost {tasks.usage.cost_usd.normalize():f} USD, maxCostUSD is {budget:f}"
        return PendingReason(Reason.BUDGET_EXCEEDED, text)
    return None


def read_cost(value: object) -> Decimal | None:
    """A ``maxCostUSD``, None for none."""
    if value is None:
        return None
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return None


def make_plan(spec: Spec, tasks: _Tasks, jobs: Mapping[int, JobView]) -> Plan:
    """Which tasks may start now.

    Args:
        spec: of the owner.
        tasks: its tasks.
        jobs: its Jobs by index; a task whose Job is being replaced waits until that one is gone.
    """
    waiting = [index for index in tasks.unstarted() if index not in jobs]
    if not waiting:
        return Plan()
    if spec.get("suspend"):
        return Plan(blocked=PendingReason(Reason.SUSPENDED, "suspended, not started"))
    blocked = None
    first = spec.get("taskLimit")
    if isinstance(first, int):
        allowed = [x for x in waiting if x < first]
        if len(allowed) < len(waiting):
            text = f"only the first {first} tasks may start: raise or remove taskLimit"
            blocked = PendingReason(Reason.TASK_LIMIT, text)
        waiting = allowed
    parallelism = spec.get("parallelism")
    if isinstance(parallelism, int):
        live_jobs = sum(not x.finished for x in jobs.values())
        # A Job that was created and that no cache shows may run: it may have lost the label by which it is watched.
        unseen = (tasks.states[index] for index in tasks.created if index not in jobs)
        live_jobs += sum(x is None or not x.final for x in unseen)
        # A create without an answer may have created a Job: it comes first, and no other task gets its slot.
        unanswered = set(tasks.pending_creates())
        waiting.sort(key=lambda index: (index not in unanswered, index))
        waiting = waiting[: max(0, parallelism - live_jobs)]
    return Plan(waiting, blocked)
