"""What a status records of tasks, read after a restart and written at each status.

An unknown reason is kept unchanged: a newer version has written it, and after a downgrade it still
explains the state.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from kubetask_controller.api.constants import Phase, Reason
from kubetask_controller.api.indexes import parse_indexes
from kubetask_controller.api.typed import BatchRunStatusJSON, TaskExecutionStatusJSON
from kubetask_controller.reconcilers.taskrun.state import TaskState
from kubetask_controller.types import JSON


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """What the agents' models used, as far as the agents report it."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = Decimal(0)

    def __add__(self, other: "UsageTotal") -> "UsageTotal":
        return UsageTotal(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost_usd + other.cost_usd,
        )

    def __bool__(self) -> bool:
        return bool(self.input_tokens or self.output_tokens or self.cost_usd)

    @staticmethod
    def read(value: Mapping[str, Any] | None) -> "UsageTotal":
        """The ``usage`` of a result or a status; what does not fit counts as nothing."""
        if not value:
            return UsageTotal()
        try:
            cost = Decimal(str(value.get("costUSD") or 0))
        except InvalidOperation:
            cost = Decimal(0)
        if not cost.is_finite() or cost < 0:
            cost = Decimal(0)
        return UsageTotal(_count(value.get("inputTokens")), _count(value.get("outputTokens")), cost)


@dataclass(frozen=True, slots=True)
class Recorded:
    """The recorded state of the tasks in a status.

    Attributes:
        created: indexes of the tasks whose present Job was created.
        states: the state of each task that has ended, or whose state must outlive the process.
        usage: what the ended tasks used.
    """

    created: frozenset[int] = frozenset()
    states: Mapping[int, TaskState] = field(default_factory=dict)
    usage: UsageTotal = field(default_factory=UsageTotal)


def read_run(status: BatchRunStatusJSON) -> Recorded:
    """The tasks in the status of a run; omitted entries are restored from the index ranges.

    An unknown reason is kept unchanged: a newer version has written it.
    """
    created = parse_indexes(status.get("startedIndexes") or "")
    states = dict.fromkeys(
        parse_indexes(status.get("completedIndexes") or ""),
        TaskState(Phase.SUCCEEDED, Reason.TASK_SUCCEEDED),
    )
    failed = TaskState(Phase.FAILED, Reason.TASKS_FAILED)
    states |= dict.fromkeys(parse_indexes(status.get("failedIndexes") or ""), failed)
    for entry in status.get("tasks") or ():
        state = _read_entry(entry)
        index = entry["index"]
        if state.final or index in created or state.replacements:
            states[index] = state
    return Recorded(frozenset(created), states, UsageTotal.read(status.get("usage")))


def read_task(status: TaskExecutionStatusJSON) -> Recorded:
    """The task in the status of a Task. An unknown reason is kept unchanged."""
    if "phase" not in status:
        return Recorded()
    state = TaskState(
        Phase(status["phase"]),
        status.get("reason", ""),
        status.get("message", ""),
        status.get("jobName", ""),
        status.get("startTime", ""),
        status.get("completionTime", ""),
        attempts=status.get("attempts", 0),
        disruptions=status.get("disruptions", 0),
        replacements=status.get("replacements", 0),
        replaced_time=status.get("replacedTime", ""),
        replaced_uid=status.get("replacedJobUID", ""),
        pending_seconds=status.get("pendingSeconds", 0),
    )
    created = frozenset((0,)) if status.get("jobName") else frozenset[int]()
    return Recorded(created, {0: state} if created or state.replacements or state.final else {})


def task_fields(state: TaskState) -> JSON:
    """The fields of a task that the entry of a run and the status of a Task share; empty ones are left out."""
    fields = {
        "jobName": state.job_name,
        "startTime": state.start_time,
        "completionTime": state.completion_time,
        "result": state.result,
        "attempts": state.attempts,
        "disruptions": state.disruptions,
        "replacements": state.replacements,
        "replacedTime": state.replaced_time,
        "replacedJobUID": state.replaced_uid,
        "pendingSeconds": state.pending_seconds,
    }
    return {key: value for key, value in fields.items() if value}


def usage_json(usage: UsageTotal) -> JSON:
    """The ``usage`` of a status; the cost has at most six decimals."""
    if not usage:
        return {}
    cost = f"{usage.cost_usd:.6f}".rstrip("0").rstrip(".")
    return {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "costUSD": cost or "0",
    }


def _read_entry(entry: Mapping[str, Any]) -> TaskState:
    """The state that an entry of ``status.tasks`` records."""
    return TaskState(
        Phase(entry["status"]),
        entry.get("reason", ""),
        entry.get("message", ""),
        entry.get("jobName", ""),
        entry.get("startTime", ""),
        entry.get("completionTime", ""),
        entry.get("result"),
        entry.get("attempts", 0),
        entry.get("disruptions", 0),
        entry.get("replacements", 0),
        entry.get("replacedTime", ""),
        entry.get("replacedJobUID", ""),
        entry.get("pendingSeconds", 0),
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
