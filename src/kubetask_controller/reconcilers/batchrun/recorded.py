"""What a run's status already says of its tasks: the ends that are never left, and the Jobs that were made."""

from dataclasses import dataclass, field

from kubetask_controller.api.constants import Phase, Reason
from kubetask_controller.reconcilers.indexes import parse_indexes
from kubetask_controller.reconcilers.outcome import TaskState
from kubetask_controller.reconcilers.projections import ResourceView


@dataclass(frozen=True, slots=True)
class Recorded:
    """The recorded part of a run.

    Attributes:
        made: indexes whose Job was made.
        final: the state of each task that has ended.
        entries: states of tasks that have an entry and have not ended.
    """

    made: frozenset[int] = frozenset()
    final: dict[int, TaskState] = field(default_factory=dict)
    entries: dict[int, TaskState] = field(default_factory=dict)

    def state(self, index: int) -> TaskState | None:
        """What is recorded of a task; None where nothing was made of it yet."""
        return self.final.get(index) or self.entries.get(index)


def read_recorded(run: ResourceView) -> Recorded:
    """What the status of a run says; entries that were given up are restored from the index ranges."""
    status = run.status
    made = parse_indexes(status.get("startedIndexes") or "")
    final = dict.fromkeys(
        parse_indexes(status.get("completedIndexes") or ""),
        TaskState(Phase.SUCCEEDED, Reason.TASK_SUCCEEDED),
    )
    failed = TaskState(Phase.FAILED, Reason.TASKS_FAILED)
    final |= dict.fromkeys(parse_indexes(status.get("failedIndexes") or ""), failed)
    entries: dict[int, TaskState] = {}
    for entry in status.get("tasks") or ():
        state = TaskState(
            Phase(entry["status"]),
            Reason(entry["reason"]),
            entry.get("message", ""),
            entry.get("jobName", ""),
            entry.get("startTime", ""),
            entry.get("completionTime", ""),
            entry.get("result"),
        )
        if state.final:
            final[entry["index"]] = state
        elif entry["index"] in made:
            entries[entry["index"]] = state
    return Recorded(frozenset(made), final, entries)
