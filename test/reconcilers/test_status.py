"""The status of a run: its reason, its counters, and what it gives up to stay within the size of an object."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from pydantic_core import to_json

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Omitted, Reason
from kubetask_controller.api.status import StatusContext
from kubetask_controller.reconcilers.taskrun.contexts import distinguishing
from kubetask_controller.reconcilers.taskrun.pending_reasons import PendingReason
from kubetask_controller.reconcilers.taskrun.recorded import UsageTotal
from support.reconcilers import runs

BROKEN = runs.pending(Reason.IMAGE_PULL_BACK_OFF, "no such image")
LIMITED = PendingReason(Reason.TASK_LIMIT, "only the first 1 tasks may start")
QUEUED = PendingReason(Reason.QUEUED, "maxConcurrentTasks 3 are in use")
REFUSED = PendingReason(Reason.QUOTA_EXCEEDED, "exceeded quota")


def told(*states: Any, blocked: PendingReason | None = None, **spec: Any) -> tuple[str, str]:
    status = runs.status(runs.run(tasks=len(states), **spec), *states, blocked=blocked)
    return f"{status['phase']}/{status['reason']}", status["message"]


@pytest.mark.parametrize(
    ("states", "blocked", "spec", "shown", "words"),
    [
        ((None,), None, {}, "Pending/Queued", "waiting for its first Job"),
        ((None,), QUEUED, {}, "Pending/Queued", "maxConcurrentTasks 3"),
        ((runs.STARTING,), None, {}, "Pending/Starting", "the first agent"),
        ((runs.pending(Reason.QUEUED, "held by Kueue"),), None, {}, "Pending/Queued", "Kueue"),
        # What needs a person goes before what passes by itself.
        ((BROKEN, None), QUEUED, {}, "Pending/ImagePullBackOff", "no such image"),
        ((BROKEN, BROKEN, runs.STARTING), None, {}, "Pending/ImagePullBackOff", "(and 1 more"),
        ((runs.STARTING, None), REFUSED, {}, "Pending/QuotaExceeded", "exceeded quota"),
        (
            (runs.RUNNING, BROKEN),
            QUEUED,
            {},
            "Running/TasksRunning",
            "0/2 done, 1 running, 1 pending, 0 failed; ImagePullBackOff: no such image",
        ),
        # A canary.
        ((runs.SUCCEEDED, None), LIMITED, {"taskLimit": 1}, "Running/TaskLimit", "1/2 done"),
        ((runs.RUNNING, None), LIMITED, {"taskLimit": 1}, "Running/TasksRunning", "1 running"),
        ((None, None), LIMITED, {"taskLimit": 1}, "Pending/Queued", "waiting for its first Job"),
        ((None,), LIMITED, {"taskLimit": 0}, "Pending/TaskLimit", "0/1 done"),
        # What the user asked for goes before all of it.
        ((BROKEN,), REFUSED, {"suspend": True}, "Pending/Suspended", "nothing new starts"),
        ((runs.RUNNING,), None, {"suspend": True}, "Running/Suspended", "1 tasks run on"),
        ((runs.RUNNING,), None, {"cancel": True}, "Running/Cancelling", "ending 1 running"),
        # Ends.
        ((runs.SUCCEEDED,), None, {}, "Succeeded/TasksSucceeded", "the task succeeded"),
        (
            (runs.failed(), runs.failed(), runs.failed(Reason.TIMED_OUT)),
            None,
            {"maxFailures": 3},
            "Failed/TasksFailed",
            "3 of 3 tasks failed: 2 AgentError, 1 TimedOut",
        ),
        (
            (runs.failed(), runs.failed()),
            None,
            {"maxFailures": 1},
            "Failed/MaxFailuresExceeded",
            "",
        ),
        ((runs.failed(),), None, {"cancel": True}, "Failed/TasksFailed", ""),
        ((runs.failed(Reason.BUDGET_EXCEEDED),), None, {}, "Failed/BudgetExceeded", ""),
        ((runs.failed(Reason.SNAPSHOT_LOST),), None, {}, "Failed/SnapshotLost", ""),
    ],
)
def test_the_reason_is_the_one_that_its_reader_can_use(
    states: Any, blocked: PendingReason | None, spec: Any, shown: str, words: str
) -> None:
    phase_and_reason, message = told(*states, blocked=blocked, **spec)
    assert phase_and_reason == shown
    assert words in message


def test_a_task_that_ran_once_keeps_the_run_running() -> None:
    again = replace(runs.STARTING, start_time=runs.START)
    assert told(again)[0] == "Running/TasksRunning"


def test_usage_of_all_tasks_stands_in_the_status() -> None:
    status = runs.status(runs.run(), runs.SUCCEEDED, usage=UsageTotal(10, 5, Decimal("1.20")))
    assert status["usage"] == {"inputTokens": 10, "outputTokens": 5, "costUSD": "1.2"}
    assert "usage" not in runs.status(runs.run(), runs.SUCCEEDED)


def test_ranges_say_what_was_created_what_succeeded_and_what_failed() -> None:
    states = (runs.SUCCEEDED, runs.SUCCEEDED, runs.failed(), None, runs.RUNNING)
    status = runs.status(runs.run(tasks=5), *states)
    ranges = [status[f"{x}Indexes"] for x in ("started", "completed", "failed")]
    assert ranges == ["0-2,4", "0-1", "2"]


def test_tasks_without_a_job_say_what_holds_them() -> None:
    found = runs.run(tasks=3, taskLimit=2)
    entries = runs.status(found, runs.RUNNING, None, None)["tasks"]
    assert [x["reason"] for x in entries] == ["TaskRunning", "Queued", "TaskLimit"]
    held = runs.status(runs.run(suspend=True), None)["tasks"]
    assert held[0]["reason"] == "Suspended"


def test_times_are_those_of_the_first_start_and_of_the_end() -> None:
    later = replace(runs.RUNNING, start_time=runs.END)
    first = runs.status(runs.run(tasks=2), later, runs.RUNNING)
    assert (first["startTime"], "completionTime" in first) == (runs.START, False)
    kept = {"startTime": runs.START, "completionTime": runs.END}
    ended = runs.status(runs.run(status=kept), runs.SUCCEEDED)
    assert (ended["startTime"], ended["completionTime"]) == (runs.START, runs.END)
    assert runs.status(runs.run(), runs.SUCCEEDED)["completionTime"] == runs.NOW


# Size --------------------------------------------------------------------------------------------

LONG = replace(runs.SUCCEEDED, message="m" * 400)


def sizes(found: Any, status: Any) -> int:
    whole = [status, dict(found.spec), dict(found.annotations), dict(found.labels)]
    return len(to_json(whole))


def test_a_manifest_that_kubectl_apply_stores_again_counts_into_the_size() -> None:
    states = [replace(LONG, job_name=f"r-task-{i}") for i in range(1000)]
    plain = runs.run(tasks=1000)
    annotation = {"kubectl.kubernetes.io/last-applied-configuration": "x" * 900_000}
    applied = replace(plain, annotations=annotation)
    assert "omitted" not in runs.status(plain, *states)
    status = runs.status(applied, *states)
    assert sizes(applied, status) < c.MAX_OBJECT_BYTES
    assert status["omitted"]


def test_what_is_given_up_follows_the_documented_order() -> None:
    found, given_up = runs.run(tasks=2000), []
    for pad in range(0, 1_400_000, 100_000):
        padded = replace(found, annotations={"a": "x" * pad})
        status = runs.status(padded, *[LONG] * 1000, *[runs.failed()] * 1000)
        given_up.append(tuple(status.get("omitted", ())))
    order = tuple(x.value for x in Omitted)
    assert set(given_up) == {order[:n] for n in range(len(order) + 1)}
    assert given_up == sorted(given_up, key=len)


def test_counters_and_ranges_stay_whatever_is_given_up() -> None:
    crowded = replace(runs.run(tasks=2), annotations={"a": "x" * 1_500_000})
    status = runs.status(crowded, runs.SUCCEEDED, runs.failed())
    assert status["omitted"] == [x.value for x in Omitted]
    assert (status["failedIndexes"], status["progress"]["failed"]) == ("1", 1)
    assert [x["index"] for x in status["tasks"]] == [1]


def test_the_counters_of_a_task_that_gets_another_job_are_not_given_up() -> None:
    again = replace(runs.STARTING, replacements=1, attempts=1)
    crowded = replace(runs.run(tasks=2), annotations={"a": "x" * 1_500_000})
    entries = runs.status(crowded, runs.SUCCEEDED, again)["tasks"]
    assert [(x["index"], x["attempts"]) for x in entries] == [(1, 1)]


@pytest.mark.parametrize(
    "context",
    [
        {"type": "Repository", "repository": {"org": "a", "repo": "b", "branch": "c", "host": "d"}},
        {
            "type": "File",
            "file": {"name": "a", "source": {"secretKeyRef": {"name": "b", "key": "c"}}},
        },
        {
            "type": "File",
            "file": {"name": "a", "source": {"configMapKeyRef": {"name": "b", "key": "c"}}},
        },
    ],
)
def test_the_schema_of_the_status_keeps_what_distinguishes_a_task(context: Any) -> None:
    # The API server prunes unknown fields: a status that differs from the stored one is written again and again.
    [written] = distinguishing([context])
    kept = StatusContext.model_validate(written).model_dump(
        by_alias=True, exclude_none=True, mode="json"
    )
    assert kept == written
