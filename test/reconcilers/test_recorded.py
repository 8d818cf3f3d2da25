"""What a status records of tasks: read after a restart as it was written."""

from dataclasses import replace
from decimal import Decimal

import pytest

from kubetask_controller.api.constants import Phase, Reason
from kubetask_controller.reconcilers.taskrun.recorded import (
    Recorded,
    UsageTotal,
    read_run,
    read_task,
    task_fields,
    usage_json,
)
from kubetask_controller.reconcilers.taskrun.state import TaskState
from support.reconcilers import runs
from support.reconcilers.views import at

EVERYTHING = TaskState(
    Phase.FAILED,
    Reason.DISRUPTED,
    "gone",
    "r-task-0",
    at(0),
    at(9),
    {"summary": "x"},
    attempts=3,
    disruptions=2,
    replacements=2,
    replaced_time=at(5),
    replaced_uid="u-1",
)


def test_the_entry_of_a_task_is_read_as_it_was_written() -> None:
    entry = {"index": 0, "status": "Failed", "reason": "Disrupted", "message": "gone"}
    status = {
        "startedIndexes": "0",
        "failedIndexes": "0",
        "tasks": [entry | task_fields(EVERYTHING)],
    }
    assert read_run(status).states == {0: EVERYTHING}


def test_the_status_of_a_task_is_read_as_it_was_written_but_for_its_result() -> None:
    status = {"phase": "Failed", "reason": "Disrupted", "message": "gone"}
    found = read_task(status | task_fields(EVERYTHING))
    assert found == Recorded(frozenset({0}), {0: replace(EVERYTHING, result=None)})


def test_empty_fields_are_left_out() -> None:
    assert task_fields(TaskState(Phase.PENDING, Reason.QUEUED)) == {}


def test_entries_that_were_given_up_are_restored_from_the_ranges() -> None:
    found = read_run({"startedIndexes": "0-3", "completedIndexes": "0-1", "failedIndexes": "2"})
    assert found.created == {0, 1, 2, 3}
    assert [found.states[i].phase for i in range(3)] == ["Succeeded", "Succeeded", "Failed"]
    assert 3 not in found.states


def test_a_task_without_a_job_starts_from_nothing() -> None:
    entry = {"index": 0, "status": "Pending", "reason": "Queued"}
    assert read_run({"tasks": [entry]}).states == {}
    assert read_task({}) == Recorded()
    assert read_task({"phase": "Pending", "reason": "Queued"}).states == {}


def test_a_task_that_waits_for_its_next_job_keeps_its_counters() -> None:
    entry = {"index": 0, "status": "Pending", "replacements": 1, "attempts": 1, "disruptions": 1}
    found = read_run({"tasks": [entry], "startedIndexes": ""})
    assert found.created == frozenset()
    assert (found.states[0].replacements, found.states[0].attempts) == (1, 1)


def test_a_reason_of_a_newer_version_survives_a_downgrade() -> None:
    entry = {"index": 0, "status": "Failed", "reason": "SolarFlare", "message": "new"}
    found = read_run({"startedIndexes": "0", "failedIndexes": "0", "tasks": [entry]})
    assert found.states[0].reason == "SolarFlare"
    again = runs.status(runs.run(tasks=1), found.states[0])
    assert again["tasks"][0]["reason"] == "SolarFlare"
    assert again["message"] == "1 of 1 tasks failed: 1 SolarFlare"
    single = read_task({"phase": "Running", "reason": "Levitating", "jobName": "t-x"})
    assert single.states[0].reason == "Levitating"


@pytest.mark.parametrize(
    ("value", "usage"),
    [
        (None, UsageTotal()),
        (
            {"inputTokens": 5, "outputTokens": 2, "costUSD": "0.25"},
            UsageTotal(5, 2, Decimal("0.25")),
        ),
        ({"inputTokens": -1, "outputTokens": True, "costUSD": "much"}, UsageTotal()),
        ({"costUSD": "NaN"}, UsageTotal()),
        ({"costUSD": "Infinity"}, UsageTotal()),
        ({"costUSD": -3}, UsageTotal()),
    ],
)
def test_usage_that_does_not_fit_counts_as_nothing(value: object, usage: UsageTotal) -> None:
    assert UsageTotal.read(value) == usage  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (UsageTotal(1, 2, Decimal("1.50")), "1.5"),
        (UsageTotal(1, 2, Decimal("0.0000004")), "0"),
        (UsageTotal(1, 2, Decimal(3)) + UsageTotal(0, 0, Decimal("0.123456")), "3.123456"),
    ],
)
def test_a_cost_is_written_with_at_most_six_decimals(usage: UsageTotal, cost: str) -> None:
    assert usage_json(usage) == {"inputTokens": 1, "outputTokens": 2, "costUSD": cost}


def test_a_run_whose_agents_report_nothing_has_no_usage() -> None:
    assert usage_json(UsageTotal()) == {}
