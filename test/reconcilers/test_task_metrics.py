"""The project's own metrics: what is there is counted from the cache, what has ended is counted once."""

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from kubetask_controller.reconcilers.metrics import NoRecorder, ReconcilerMetrics
from support.reconcilers import runs
from support.reconcilers.cluster import JOBS, Cluster
from support.reconcilers.views import at, run


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> ReconcilerMetrics:
    return ReconcilerMetrics(registry, version="1.2.3")


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"kubetask_{name}", {"namespace": "team", **labels})


def test_an_end_is_counted_with_its_wait_and_its_work(
    metrics: ReconcilerMetrics, registry: CollectorRegistry
) -> None:
    metrics.task_ended(replace(run(), created=at(-60)), runs.SUCCEEDED)
    labels = {"phase": "Succeeded", "reason": "TaskSucceeded"}
    assert value(registry, "tasks_finished_total", **labels) == 1
    assert value(registry, "task_queue_duration_seconds_sum") == 60
    assert value(registry, "task_duration_seconds_sum", phase="Succeeded") == 300


def test_a_task_that_never_ran_took_no_time(
    metrics: ReconcilerMetrics, registry: CollectorRegistry
) -> None:
    metrics.task_ended(run(), replace(runs.failed(), start_time="", completion_time=""))
    assert value(registry, "task_queue_duration_seconds_count") is None
    assert value(registry, "task_duration_seconds_count", phase="Failed") is None


def test_clocks_that_differ_count_nothing_below_zero(
    metrics: ReconcilerMetrics, registry: CollectorRegistry
) -> None:
    early = replace(runs.SUCCEEDED, start_time=at(0), completion_time=at(-5))
    metrics.task_ended(replace(run(), created=at(9)), early)
    assert value(registry, "task_queue_duration_seconds_sum") == 0
    assert value(registry, "task_duration_seconds_sum", phase="Succeeded") == 0


@pytest.mark.parametrize(
    ("usage", "tokens", "cost"),
    [
        ({"inputTokens": 10, "outputTokens": 4, "costUSD": "0.5"}, 10, 0.5),
        ({"inputTokens": -3, "costUSD": "-1"}, 0, 0),
        ({"costUSD": "much"}, 0, None),
        ({}, 0, 0),
    ],
)
def test_what_agents_say_they_used_is_added_up(
    metrics: ReconcilerMetrics,
    registry: CollectorRegistry,
    usage: Any,
    tokens: int,
    cost: float | None,
) -> None:
    metrics.task_ended(run(), replace(runs.SUCCEEDED, result={"usage": usage}))
    assert value(registry, "task_tokens_total", direction="input") == tokens
    assert value(registry, "task_cost_usd_total") == cost


def test_an_end_of_a_run_is_counted_by_its_reason(
    metrics: ReconcilerMetrics, registry: CollectorRegistry
) -> None:
    metrics.run_ended(run(), "Failed", "TasksFailed")
    labels = {"phase": "Failed", "reason": "TasksFailed"}
    assert value(registry, "batchruns_finished_total", **labels) == 1
    assert registry.get_sample_value("kubetask_build_info", {"version": "1.2.3"}) == 1


def test_a_recorder_may_count_nothing() -> None:
    NoRecorder().task_ended(run(), runs.SUCCEEDED)
    NoRecorder().run_ended(run(), "Failed", "x")


async def test_gauges_count_what_the_cache_holds() -> None:
    cluster = Cluster()
    registry = cluster.manager.metrics.registry
    cluster.config(maxConcurrentTasks=2)
    cluster.config("free")
    cluster.run(tasks=4)
    cluster.task(workspaceConfigRef="free")
    await cluster.settle("r", "t")
    cluster.start("r-task-0")
    await cluster.settle("r", "t")
    assert value(registry, "batchruns", phase="Running") == 1
    assert value(registry, "batchruns", phase="Failed") == 0
    assert value(registry, "tasks", phase="Running") == 1
    # Three of the run's, and the single one.
    assert value(registry, "tasks", phase="Pending") == 4
    assert value(registry, "concurrency_limit", workspace_config="default") == 2
    assert value(registry, "concurrency_used", workspace_config="default") == 2
    assert value(registry, "concurrency_used", workspace_config="free") is None


async def test_each_end_is_counted_once_over_many_reconciles() -> None:
    cluster = Cluster()
    registry = cluster.manager.metrics.registry
    cluster.run(tasks=2)
    await cluster.settle()
    cluster.start()
    cluster.end("r-task-0")
    await cluster.reconcile(times=3)
    cluster.vanish(JOBS, "r-task-1")
    await cluster.settle()
    labels = {"phase": "Succeeded", "reason": "TaskSucceeded"}
    assert value(registry, "tasks_finished_total", **labels) == 1
    assert value(registry, "tasks_finished_total", phase="Failed", reason="JobLost") == 1
    assert value(registry, "batchruns_finished_total", phase="Failed", reason="TasksFailed") == 1
