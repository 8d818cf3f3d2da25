"""A view of a BatchRun with a row for each task.

The status of a large run omits entries (status.omitted); rows for them are built from the index
ranges, which are always complete. No request is sent. Missing or invalid fields count as absent.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kubetask_controller.api.constants import Phase
from kubetask_controller.api.indexes import parse_indexes
from kubetask_controller.types import JSON

STARTED = "Started"
"""The state of a task with a Job that has not ended, if the status omits its entry."""


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task of a run.

    Attributes:
        phase: one of the four phases, or STARTED.
        target: its repositories or files; empty if unknown.
        entry: its entry in the status; empty if it is omitted.
    """

    index: int
    phase: str
    reason: str = ""
    message: str = ""
    target: str = ""
    entry: JSON = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether it has succeeded or failed."""
        return self.phase in (Phase.SUCCEEDED, Phase.FAILED)

    @property
    def result(self) -> JSON:
        """The result of the agent; empty if there is none."""
        result = self.entry.get("result")
        return result if isinstance(result, dict) else {}


@dataclass(frozen=True, slots=True)
class BatchRunView:
    """A BatchRun.

    Attributes:
        phase: empty until a controller has processed the run.
        counts: total, pending, running, completed, failed.
        rows: every task, by index.
    """

    name: str
    uid: str
    spec: JSON
    status: JSON
    phase: str
    reason: str
    message: str
    counts: Mapping[str, int]
    omitted: Sequence[str]
    rows: Sequence[TaskRow]

    @property
    def ended(self) -> bool:
        """Whether it has succeeded or failed."""
        return self.phase in (Phase.SUCCEEDED, Phase.FAILED)

    @property
    def succeeded(self) -> bool:
        """Whether all tasks succeeded."""
        return self.phase == Phase.SUCCEEDED

    @property
    def done(self) -> str:
        """Ended tasks and all tasks, such as 39/40."""
        ended = self.counts["completed"] + self.counts["failed"]
        return f"{ended}/{self.counts['total']}"

    def indexes(self, phase: Phase) -> set[int]:
        """Indexes of the tasks in a phase."""
        return {row.index for row in self.rows if row.phase == phase}


def run_view(run: JSON, targets: Mapping[int, str] | None = None) -> BatchRunView:
    """The view of a BatchRun.

    Args:
        run: the object.
        targets: targets by index, for tasks whose contexts the status omits.
    """
    status = run.get("status") or {}
    progress = status.get("progress") or {}
    metadata = run.get("metadata") or {}
    return BatchRunView(
        name=str(metadata.get("name", "")),
        uid=str(metadata.get("uid", "")),
        spec=run.get("spec") or {},
        status=status,
        phase=str(status.get("phase") or ""),
        reason=str(status.get("reason") or ""),
        message=str(status.get("message") or ""),
        counts={
            key: int(progress.get(key) or 0)
            for key in ("total", "pending", "running", "completed", "failed")
        },
        omitted=tuple(status.get("omitted") or ()),
        rows=_rows(status, int(progress.get("total") or 0), targets or {}),
    )


def task_view(task: JSON) -> BatchRunView:
    """The view of a Task: a run of one task."""
    status = task.get("status") or {}
    metadata = task.get("metadata") or {}
    phase = str(status.get("phase") or "")
    details = {key: str(status.get(key) or "") for key in ("reason", "message")}
    contexts = (task.get("spec") or {}).get("contexts") or ()
    row = TaskRow(
        index=0,
        phase=phase or Phase.PENDING,
        target=str(status.get("target") or "") or target_of(contexts),
        entry=status,
        **details,
    )
    keys = ("pending", "running", "succeeded", "failed")
    counts = {key: int(key == row.phase.lower()) for key in keys}
    return BatchRunView(
        name=str(metadata.get("name", "")),
        uid=str(metadata.get("uid", "")),
        spec=task.get("spec") or {},
        status=status,
        phase=phase,
        counts={"total": 1, "completed": counts.pop("succeeded"), **counts},
        omitted=(),
        rows=[row],
        **details,
    )


def target_of(contexts: Iterable[JSON]) -> str:
    """The target of a task: its repositories, else its files, separated by commas."""
    repositories, files = [], []
    for context in contexts:
        if repository := context.get("repository"):
            branch = repository.get("branch")
            text = f"{repository.get('org', '')}/{repository.get('repo', '')}"
            repositories.append(f"{text}@{branch}" if branch else text)
        elif file := context.get("file"):
            files.append(str(file.get("name", "")))
    return ",".join(dict.fromkeys(repositories or files))


def _rows(status: JSON, total: int, targets: Mapping[int, str]) -> list[TaskRow]:
    entries = {x["index"]: x for x in status.get("tasks") or [] if isinstance(x.get("index"), int)}
    completed, failed, started = (
        _ranges(status.get(f"{key}Indexes")) for key in ("completed", "failed", "started")
    )
    rows = []
    for index in range(max(total, max(entries, default=-1) + 1)):
        entry = entries.get(index, {})
        phase = str(entry.get("status") or "")
        if not phase:
            phase = _phase(index, completed=completed, failed=failed, started=started)
        rows.append(
            TaskRow(
                index=index,
                phase=phase,
                reason=str(entry.get("reason") or ""),
                message=str(entry.get("message") or ""),
                target=target_of(entry.get("contexts") or ()) or targets.get(index, ""),
                entry=entry,
            )
        )
    return rows


def _phase(index: int, *, completed: set[int], failed: set[int], started: set[int]) -> str:
    if index in completed:
        return Phase.SUCCEEDED
    if index in failed:
        return Phase.FAILED
    return STARTED if index in started else Phase.PENDING


def _ranges(text: object) -> set[int]:
    try:
        return parse_indexes(text) if isinstance(text, str) else set()
    except ValueError:
        return set()
