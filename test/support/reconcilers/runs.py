"""A BatchRun in every state, with the status that the reconciler writes for it."""

from dataclasses import replace
from typing import Any

from pydantic_core import from_json

from kubetask_controller.api.constants import Phase, Reason
from kubetask_controller.reconcilers.batchrun.snapshot import Snapshot
from kubetask_controller.reconcilers.batchrun.status import build_status, summarize
from kubetask_controller.reconcilers.projections import ResourceView
from kubetask_controller.reconcilers.taskrun.pending_reasons import PendingReason
from kubetask_controller.reconcilers.taskrun.recorded import Recorded, UsageTotal
from kubetask_controller.reconcilers.taskrun.state import TaskState
from kubetask_controller.reconcilers.taskrun.tracker import Tracker
from support.reconcilers.views import at, run

__all__ = ["run"]

START, END, NOW = at(0), at(300), at(360)

QUEUED = TaskState(Phase.PENDING, Reason.QUEUED)
STARTING = TaskState(Phase.PENDING, Reason.STARTING, job_name="r-task-0")
RUNNING = TaskState(Phase.RUNNING, Reason.TASK_RUNNING, job_name="r-task-0", start_time=START)
SUCCEEDED = replace(
    RUNNING, phase=Phase.SUCCEEDED, reason=Reason.TASK_SUCCEEDED, completion_time=END
)


def failed(reason: Reason = Reason.AGENT_ERROR, message: str = "exit code 1") -> TaskState:
    return replace(RUNNING, phase=Phase.FAILED, reason=reason, message=message, completion_time=END)


def pending(reason: Reason, message: str = "") -> TaskState:
    return replace(STARTING, reason=reason, message=message)


def tracker(*states: TaskState | None, usage: UsageTotal | None = None) -> Tracker:
    """A run's tasks in these states; those that name a Job have one."""
    names = [f"r-task-{i}" for i in range(len(states))]
    created = frozenset(i for i, x in enumerate(states) if x is not None and x.job_name)
    known = {i: x for i, x in enumerate(states) if x is not None}
    return Tracker("u-r", names, Recorded(created, known, usage or UsageTotal()), 0.0)


def status(
    found: ResourceView,
    *states: TaskState | None,
    blocked: PendingReason | None = None,
    usage: UsageTotal | None = None,
) -> dict[str, Any]:
    """What the reconciler writes for these states; without states the work is not settled yet."""
    tasks = tracker(*states, usage=usage)
    snapshot = Snapshot.of(from_json(found.work)) if states else None
    summary = summarize(found, tasks, blocked)
    return build_status(found, tasks, snapshot, summary, now=NOW, entries={})


def whole(found: ResourceView, written: dict[str, Any]) -> dict[str, Any]:
    """The object as the API server serves it."""
    return {
        "apiVersion": "kubetask.io/v1alpha1",
        "kind": "BatchRun",
        "metadata": {"name": found.name, "generation": found.generation},
        "spec": dict(found.spec),
        "status": written,
    }
