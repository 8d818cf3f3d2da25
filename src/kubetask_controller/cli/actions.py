"""The changes that a user can make to a run or Task: their effects, and the requests.

Pure functions of the object. The caller sends the request, which contains the uid, so that a new object of
the same name is not changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Phase
from kubetask_controller.api.indexes import format_indexes
from kubetask_controller.cli.costs import costs, dollars
from kubetask_controller.cli.exits import CliError, UsageError
from kubetask_controller.cli.runview import STARTED, BatchRunView
from kubetask_controller.cli.session import BATCH_RUN_RESOURCE, Target
from kubetask_controller.cli.settings import retry_run
from kubetask_controller.types import JSON

MAX_SELECT = 1024
"""Maximum length of spec.select."""


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """A planned change.

    Attributes:
        effects: its effects as sentences, the most important first.
        command: the equivalent command line.
        patch: patch of the object, or empty.
        body: body of a new BatchRun, or empty.
        nothing: whether the object already has the new values.
    """

    effects: Sequence[str]
    command: str
    patch: JSON = field(default_factory=dict)
    body: JSON = field(default_factory=dict)
    nothing: bool = False


def suspend(target: Target, found: JSON, view: BatchRunView) -> PlannedChange:
    """Start no further tasks."""
    _open(target, view)
    going, waiting = _going(view), view.counts["pending"]
    effects = [
        f"{_tasks(waiting)} will not start until the run is resumed.",
        f"{_tasks(going, 'running')} {'continues' if going == 1 else 'continue'}."
        if going
        else "No task runs now.",
    ]
    return _change(target, found, effects, "suspend", {"suspend": True})


def resume(target: Target, found: JSON, view: BatchRunView) -> PlannedChange:
    """Resume a suspended run or Task."""
    _open(target, view)
    effects = [f"{_tasks(view.counts['pending'])} may start, within the limits of the run."]
    return _change(target, found, [*effects, *_money(view)], "resume", {"suspend": False})


def cancel(target: Target, found: JSON, view: BatchRunView) -> PlannedChange:
    """Cancel a run or Task."""
    _open(target, view)
    going, waiting = _going(view), view.counts["pending"]
    ended = view.counts["completed"] + view.counts["failed"]
    effects = [
        f"Stops {_tasks(going, 'running')}, which {'counts' if going == 1 else 'count'} as failed. Logs remain."
        if going
        else "No task runs now.",
        f"{_tasks(waiting, 'pending')} will never start.",
        *(
            [f"{_tasks(ended, 'ended')} {'does' if ended == 1 else 'do'} not change."]
            if ended
            else []
        ),
        "This cannot be undone.",
    ]
    return _change(target, found, effects, "cancel", {"cancel": True})


def promote(target: Target, found: JSON, view: BatchRunView, more: int | None) -> PlannedChange:
    """Raise taskLimit by `more` tasks; None removes it.

    Raises:
        CliError: the run has ended, has no taskLimit, or is not a BatchRun.
    """
    if target.resource is not BATCH_RUN_RESOURCE:
        raise UsageError(f"{target}: only a BatchRun has a taskLimit")
    _open(target, view)
    limit = view.spec.get("taskLimit")
    if not isinstance(limit, int):
        raise CliError(f"{target} has no taskLimit: all of its tasks can start already")
    total = view.counts["total"]
    wanted = None if more is None or (total and limit + more >= total) else limit + more
    named = f"--all {target.name}" if more is None else f"{target.name} {more}"
    allowed = max(total - limit, 0) if wanted is None else wanted - limit
    if total:
        effects = [
            f"{_tasks(allowed, 'more')} may start"
            + (
                f": all {total:,} of the run."
                if wanted is None
                else f": {wanted:,} of {total:,} in all."
            )
        ]
    else:
        effects = [
            "All tasks may start." if wanted is None else f"The first {_tasks(wanted)} may start."
        ]
    bill = costs(view)
    ended = view.counts["completed"] + view.counts["failed"]
    if bill.spent and ended and allowed:
        mean = bill.spent / ended
        effects.append(
            f"At the mean cost so far ({dollars(mean)} a task) they cost about "
            f"{dollars(mean * allowed)}; {dollars(bill.spent)} is spent."
        )
    if bill.limit is not None:
        effects.append(f"maxCostUSD stays at {dollars(bill.limit)}.")
    if view.counts["failed"]:
        effects.append(f"Failed so far: {_tasks(view.counts['failed'])}.")
    return _change(target, found, effects, f"promote {named}", {"taskLimit": wanted}, named=True)


def retry(
    target: Target, found: JSON, view: BatchRunView, indexes: set[int] | None
) -> PlannedChange:
    """A new run of the tasks in `indexes`; None means the failed tasks.

    Raises:
        CliError: there is no such task, or the list of indexes is too long.
    """
    if target.resource is not BATCH_RUN_RESOURCE:
        raise UsageError(f"{target}: only a BatchRun can be retried; create a new Task instead")
    failed = view.indexes(Phase.FAILED)
    if indexes is None and view.ended and not failed:
        raise CliError(f"{target} has no failed task: select tasks with --indexes")
    select = selection(view, indexes)
    count = len(failed) if indexes is None else len(indexes)
    again = view.indexes(Phase.SUCCEEDED) & (indexes or set())
    effects = [
        f"A new run of {_tasks(count)} is created with the settings of {view.name}. "
        "The old run does not change.",
    ]
    if again:
        effects.append(
            f"{_tasks(len(again))} of them succeeded before: their agents run again and may open a "
            "second pull request."
        )
    if not view.ended:
        effects.append(f"{view.name} has not ended: the new run waits for its end.")
    bill = costs(view)
    ended = view.counts["completed"] + view.counts["failed"]
    if bill.spent and ended:
        effects.append(
            f"At the mean cost so far it costs about {dollars(bill.spent / ended * count)}."
        )
    named = f" --indexes {select}" if select else ""
    return PlannedChange(
        effects,
        f"kubectl kubetask {_where(found)}retry {target.name}{named}",
        body=retry_run(found, select=select),
    )


def selection(view: BatchRunView, indexes: set[int] | None) -> str | None:
    """``spec.select`` for these tasks; None for the failed tasks.

    Raises:
        UsageError: there is no index, or the list of indexes is too long.
    """
    if indexes is None:
        return None
    select = format_indexes(indexes)
    if not select:
        raise UsageError("no task is selected")
    if len(select) > MAX_SELECT:
        raise UsageError("too many separate indexes: select fewer tasks, or use ranges")
    return None if view.ended and indexes == view.indexes(Phase.FAILED) else select


def _change(
    target: Target,
    found: JSON,
    effects: Sequence[str],
    verb: str,
    fields: JSON,
    *,
    named: bool = False,
) -> PlannedChange:
    spec = found.get("spec") or {}
    same = all(
        spec.get(key) == value if key == "taskLimit" else bool(spec.get(key)) == value
        for key, value in fields.items()
    )
    name = target.name if target.resource is BATCH_RUN_RESOURCE else str(target)
    command = f"kubectl kubetask {_where(found)}{verb}" + ("" if named else f" {name}")
    patch = {"metadata": {"uid": found["metadata"]["uid"]}, "spec": fields}
    return PlannedChange(effects, command, patch=patch, nothing=same)


def _where(found: JSON) -> str:
    namespace = (found.get("metadata") or {}).get("namespace")
    return f"-n {namespace} " if namespace else ""


def _open(target: Target, view: BatchRunView) -> None:
    if view.ended:
        raise CliError(f"{target} has already ended: {view.phase}")
    if view.spec.get("managedBy") not in (None, c.MANAGED_BY):
        raise CliError(f"{target} is managed by {view.spec['managedBy']}: change it there")


def _going(view: BatchRunView) -> int:
    return sum(x.phase in (Phase.RUNNING, STARTED) for x in view.rows)


def _money(view: BatchRunView) -> list[str]:
    text = costs(view).text()
    return [f"So far: {text}."] if text else []


def _tasks(count: int, kind: str = "") -> str:
    """``1 task``, ``2 running tasks``."""
    return " ".join(filter(None, (f"{count:,}", kind, "task" if count == 1 else "tasks")))
