"""A BatchRun in every state, with the status that the reconciler writes for it."""

from dataclasses import replace
from typing import Any

from kubetask_controller.api.constants import Phase, Reason
from kubetask_controller.reconcilers.batchrun.memory import RunMemory
from kubetask_controller.reconcilers.batchrun.snapshot import Snapshot
from kubetask_controller.reconcilers.batchrun.status import build_status, summarize
from kubetask_controller.reconcilers.outcome import TaskState
from kubetask_controller.reconcilers.projections import ResourceView
from kubetask_controller.reconcilers.waiting import Waiting

START, END, NOW = "2026-01-02T10:00:00Z", "2026-01-02T10:05:00Z", "2026-01-02T10:06:00Z"

QUEUED = TaskState(Phase.PENDING, Reason.QUEUED)
STARTING = TaskState(Phase.PENDING, Reason.STARTING, job_name="r-task-0")
RUNNING = TaskState(Phase.RUNNING, Reason.TASK_RUNNING, job_name="r-task-0", start_time=START)
SUCCEEDED = replace(
    RUNNING, phase=Phase.SUCCEEDED, reason=Reason.TASK_SUCCEEDED, completion_time=END
)


def failed(reason: Reason = Reason.AGENT_ERROR, message: str = "exit code 1") -> TaskState:
    return replace(RUNNING, phase=Phase.FAILED, reason=reason, message=message, completion_time=END)


def run(*, tasks: int = 1, **spec: Any) -> ResourceView:
    repository = {"type": "Repository", "repository": {"org": "acme", "repo": "service"}}
    inline = {"commonContext": [], "variableContexts": [[repository]] * tasks}
    return ResourceView(
        namespace="team",
        name="r",
        uid="0d9a5c1e-0000-4000-8000-000000000000",
        resource_version="7",
        generation=3,
        created="2026-01-02T09:59:00Z",
        deleting=False,
        labels={},
        annotations={},
        spec={"batchSpec": inline, **spec},
        status={},
    )


def status(
    found: ResourceView, *states: TaskState | None, blocked: Waiting | None = None
) -> dict[str, Any]:
    """What the reconciler writes for these states; without states the work is not settled yet."""
    inline = found.spec["batchSpec"]
    snapshot = Snapshot(inline["commonContext"], inline["variableContexts"]) if states else None
    memory = RunMemory(uid=found.uid, snapshot=snapshot, states=list(states))
    memory.made = {i for i, x in enumerate(states) if x is not None and x.job_name}
    return build_status(found, memory, summarize(found, memory.states, blocked), NOW)


def whole(found: ResourceView, written: dict[str, Any]) -> dict[str, Any]:
    """The object as the API server serves it."""
    return {
        "apiVersion": "kubetask.io/v1alpha1",
        "kind": "BatchRun",
        "metadata": {"name": found.name, "generation": found.generation},
        "spec": dict(found.spec),
        "status": written,
    }
