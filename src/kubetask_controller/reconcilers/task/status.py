"""The status of a Task: a pure function of the state of its one task."""

from typing import Any

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Phase, Reason
from kubetask_controller.reconcilers import contexts
from kubetask_controller.reconcilers.conditions import build_conditions
from kubetask_controller.reconcilers.outcome import TaskState
from kubetask_controller.reconcilers.projections import ResourceView


def displayed(task: ResourceView, state: TaskState) -> TaskState:
    """The state as the user's own wishes show in it: a suspended or cancelled Task says so."""
    if state.final:
        return state
    if task.spec.get("cancel"):
        text = "ending the agent" if state.phase is Phase.RUNNING else "cancelled before it began"
        return TaskState(state.phase, Reason.CANCELLING, text, state.job_name, state.start_time)
    if task.spec.get("suspend"):
        text = "suspended; what runs goes on" if state.job_name else "suspended, not started"
        return TaskState(state.phase, Reason.SUSPENDED, text, state.job_name, state.start_time)
    return state


def build_task_status(task: ResourceView, state: TaskState, now: str) -> dict[str, Any]:
    """The whole status of a Task in this state; ``now`` is RFC 3339."""
    shown = displayed(task, state)
    message = shown.message[: c.MAX_MESSAGE_LENGTH]
    status: dict[str, Any] = {
        "observedGeneration": task.generation,
        "phase": shown.phase.value,
        "reason": shown.reason.value,
        "message": message,
        "target": contexts.target(task.spec.get("contexts") or ()),
        "conditions": build_conditions(
            shown.phase,
            shown.reason,
            message,
            previous=task.status.get("conditions") or (),
            context={"now": now, "generation": task.generation},
        ),
    }
    start = task.status.get("startTime") or shown.start_time
    for key, value in (("jobName", shown.job_name), ("startTime", start), ("result", shown.result)):
        if value:
            status[key] = value
    if shown.phase.final:
        status["completionTime"] = task.status.get("completionTime") or shown.completion_time or now
    return status
