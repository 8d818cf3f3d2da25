"""Every state of a run that those who wait for runs tell apart."""

from typing import Any, NamedTuple

import pytest

from kubetask_controller.api.constants import Reason
from kubetask_controller.reconcilers.batchrun.snapshot import Missing
from kubetask_controller.reconcilers.batchrun.status import build_status, summarize_missing
from kubetask_controller.reconcilers.taskrun.pending_reasons import PendingReason
from support.reconcilers import runs


class Row(NamedTuple):
    """A state: the object's status, and what it has to look like.

    `true` are the conditions that are True; `kstatus` is Flux's verdict too.
    """

    status: dict[str, Any]
    phase: str
    reason: str
    true: set[str]
    kstatus: str
    argo_cd: str


def _row(*states: Any, spec: dict[str, Any] | None = None, blocked: Any = None) -> dict[str, Any]:
    found = runs.run(tasks=max(len(states), 1), **(spec or {}))
    return runs.whole(found, runs.status(found, *states, blocked=blocked))


def _missing(reason: Reason, *, final: bool = False, **spec: Any) -> dict[str, Any]:
    """A run whose work is not known."""
    found = runs.run(**spec)
    summary = summarize_missing(
        found, Missing(PendingReason(reason, "Batch b does not exist"), final)
    )
    return runs.whole(found, build_status(found, None, None, summary, now=runs.NOW, entries={}))


FRESH = runs.whole(runs.run(), {"observedGeneration": -1})
WAITS, STOPS = ("InProgress", "Progressing"), ("Failed", "Degraded")
TABLE = {
    "just created": Row(FRESH, "", "", set(), *WAITS),
    "waiting for its Batch": Row(
        _missing(Reason.BATCH_NOT_FOUND), "Pending", "BatchNotFound", {"Reconciling"}, *WAITS
    ),
    "waiting for its Batch, and cancelled": Row(
        _missing(Reason.BATCH_NOT_FOUND, cancel=True),
        *("Failed", "Cancelled", {"Failed", "Stalled"}, *STOPS),
    ),
    "waiting for its Batch, and suspended": Row(
        _missing(Reason.BATCH_NOT_FOUND, suspend=True),
        *("Pending", "Suspended", {"Suspended"}, "InProgress", "Suspended"),
    ),
    "a retry of nothing": Row(
        _missing(Reason.INVALID_SPEC, final=True),
        *("Failed", "InvalidSpec", {"Failed", "Stalled"}, *STOPS),
    ),
    "the canary has ended and waits for a person": Row(
        _row(
            *(runs.SUCCEEDED, None),
            spec={"taskLimit": 1},
            blocked=PendingReason(Reason.TASK_LIMIT, "only the first task may start"),
        ),
        *("Running", "TaskLimit", {"Suspended"}, "InProgress", "Suspended"),
    ),
    "the budget is used up": Row(
        _row(runs.SUCCEEDED, runs.failed(Reason.BUDGET_EXCEEDED), spec={"maxCostUSD": "1"}),
        *("Failed", "BudgetExceeded", {"Failed", "Stalled"}, *STOPS),
    ),
    "its snapshot is lost": Row(
        _row(runs.SUCCEEDED, runs.failed(Reason.SNAPSHOT_LOST)),
        *("Failed", "SnapshotLost", {"Failed", "Stalled"}, *STOPS),
    ),
    "queued": Row(_row(runs.QUEUED, runs.QUEUED), "Pending", "Queued", {"Reconciling"}, *WAITS),
    "starting": Row(
        _row(runs.STARTING, runs.QUEUED), "Pending", "Starting", {"Reconciling"}, *WAITS
    ),
    "running": Row(
        _row(runs.RUNNING, runs.QUEUED), "Running", "TasksRunning", {"Reconciling"}, *WAITS
    ),
    "running, with a failure already": Row(
        _row(runs.RUNNING, runs.failed()), "Running", "TasksRunning", {"Reconciling"}, *WAITS
    ),
    "suspended before its start": Row(
        _row(runs.QUEUED, spec={"suspend": True}),
        *("Pending", "Suspended", {"Suspended"}, "InProgress", "Suspended"),
    ),
    "suspended in the middle": Row(
        _row(runs.SUCCEEDED, runs.QUEUED, spec={"suspend": True}),
        *("Running", "Suspended", {"Suspended"}, "InProgress", "Suspended"),
    ),
    "being cancelled": Row(
        _row(runs.RUNNING, runs.failed(Reason.CANCELLED), spec={"cancel": True}),
        *("Running", "Cancelling", {"Reconciling"}, *WAITS),
    ),
    "succeeded": Row(
        _row(runs.SUCCEEDED, runs.SUCCEEDED),
        *("Succeeded", "TasksSucceeded", {"Complete", "Ready"}, "Current", "Healthy"),
    ),
    "succeeded, and suspended afterwards": Row(
        _row(runs.SUCCEEDED, spec={"suspend": True}),
        *("Succeeded", "TasksSucceeded", {"Complete", "Ready"}, "Current", "Healthy"),
    ),
    "failed in part": Row(
        _row(runs.SUCCEEDED, runs.failed()),
        *("Failed", "TasksFailed", {"Failed", "Stalled"}, *STOPS),
    ),
    "failed too often": Row(
        _row(runs.failed(), runs.failed(Reason.MAX_FAILURES_EXCEEDED), spec={"maxFailures": 1}),
        *("Failed", "MaxFailuresExceeded", {"Failed", "Stalled"}, *STOPS),
    ),
    "cancelled": Row(
        _row(runs.SUCCEEDED, runs.failed(Reason.CANCELLED), spec={"cancel": True}),
        *("Failed", "Cancelled", {"Failed", "Stalled"}, *STOPS),
    ),
    "timed out": Row(
        _row(runs.failed(Reason.TIMED_OUT)),
        *("Failed", "TasksFailed", {"Failed", "Stalled"}, *STOPS),
    ),
}
every_state = pytest.mark.parametrize("row", TABLE.values(), ids=TABLE.keys())
