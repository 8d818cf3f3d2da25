"""Which tasks may start, and why others do not."""

from dataclasses import replace

import pytest

from kubetask_controller.api.constants import Reason
from kubetask_controller.reconcilers.taskrun.plan import halt, make_plan, read_cost
from kubetask_controller.reconcilers.taskrun.recorded import UsageTotal
from support.reconcilers import runs
from support.reconcilers.views import complete, failed, job


def test_without_limits_every_task_that_has_no_job_may_start() -> None:
    plan = make_plan({}, runs.tracker(None, runs.STARTING, None, runs.SUCCEEDED), {})
    assert (list(plan.start), plan.blocked) == ([0, 2], None)


def test_a_suspended_run_starts_nothing() -> None:
    plan = make_plan({"suspend": True}, runs.tracker(None), {})
    assert plan.blocked is not None
    assert (list(plan.start), plan.blocked.reason) == ([], Reason.SUSPENDED)


def test_parallelism_counts_the_jobs_that_have_not_finished() -> None:
    jobs = {0: job(complete=complete()), 1: job("r-task-1"), 2: job("r-task-2", failed=failed())}
    tasks = runs.tracker(runs.SUCCEEDED, runs.RUNNING, runs.failed(), *[None] * 5)
    assert list(make_plan({"parallelism": 3}, tasks, jobs).start) == [3, 4]


def test_more_jobs_than_parallelism_start_nothing() -> None:
    tasks = runs.tracker(runs.RUNNING, runs.RUNNING, None)
    plan = make_plan({"parallelism": 1}, tasks, {0: job(), 1: job("r-task-1")})
    assert list(plan.start) == []


def test_a_create_without_an_answer_keeps_its_slot_of_the_parallelism() -> None:
    tasks = runs.tracker(None, None, None)
    tasks.creating(2)
    tasks.unanswered(2, 0.0)
    assert list(make_plan({"parallelism": 1}, tasks, {}).start) == [2]


def test_a_job_that_no_cache_shows_keeps_its_slot_of_the_parallelism() -> None:
    tasks = runs.tracker(runs.RUNNING, runs.RUNNING, runs.SUCCEEDED, None)
    assert list(make_plan({"parallelism": 2}, tasks, {0: job()}).start) == []
    assert list(make_plan({"parallelism": 3}, tasks, {0: job()}).start) == [3]


def test_a_task_whose_old_job_is_not_gone_waits() -> None:
    replaced = replace(runs.STARTING, replacements=1)
    tasks = runs.tracker(runs.STARTING, None)
    tasks.replaced(0, replaced)
    assert list(make_plan({}, tasks, {0: job()}).start) == [1]
    assert list(make_plan({}, tasks, {}).start) == [0, 1]


def test_only_the_first_tasks_start_below_a_task_limit() -> None:
    plan = make_plan({"taskLimit": 2}, runs.tracker(*[None] * 4), {})
    assert plan.blocked is not None
    assert (list(plan.start), plan.blocked.reason) == ([0, 1], Reason.TASK_LIMIT)
    assert "raise or remove taskLimit" in plan.blocked.message


def test_a_task_limit_beyond_the_last_task_blocks_nothing() -> None:
    assert make_plan({"taskLimit": 9}, runs.tracker(None, None), {}).blocked is None


@pytest.mark.parametrize(("failures", "stops"), [(1, False), (2, True)])
def test_more_failures_than_allowed_stop_the_rest(failures: int, stops: bool) -> None:
    found = halt({"maxFailures": 1}, runs.tracker(*[runs.failed()] * failures, None))
    assert (found is not None) == stops
    assert found is None or found.reason == Reason.MAX_FAILURES_EXCEEDED


def test_no_failure_is_allowed_where_the_limit_is_zero() -> None:
    assert halt({"maxFailures": 0}, runs.tracker(runs.failed(), None)) is not None
    assert halt({"maxFailures": 0}, runs.tracker(runs.SUCCEEDED, None)) is None


@pytest.mark.parametrize(("cost", "stops"), [("0.99", False), ("1.00", True), ("1.5", True)])
def test_a_budget_that_is_used_up_stops_the_rest(cost: str, stops: bool) -> None:
    used = UsageTotal.read({"costUSD": cost})
    found = halt({"maxCostUSD": "1"}, runs.tracker(runs.SUCCEEDED, None, usage=used))
    assert (found is not None) == stops
    assert found is None or found.reason == Reason.BUDGET_EXCEEDED
    assert found is None or "maxCostUSD is 1" in found.message


def test_the_user_who_cancels_goes_before_every_limit() -> None:
    found = halt({"cancel": True, "maxFailures": 0}, runs.tracker(runs.failed()))
    assert found is not None
    assert found.reason == Reason.CANCELLED


@pytest.mark.parametrize(("value", "cost"), [(None, None), ("x", None), (2, 2), ("0.5", 0.5)])
def test_a_budget_is_read_whatever_form_it_has(value: object, cost: float | None) -> None:
    found = read_cost(value)
    assert (None if found is None else float(found)) == cost
