"""How often a status is written: what writing costs decides, and what waits for the record comes sooner."""

from typing import Any

import pytest

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Phase
from kubetask_controller.client.resources import JOBS
from kubetask_controller.reconcilers.listers import BATCH_RUNS
from kubetask_controller.reconcilers.status_writer import (
    MAX_INTERVAL,
    MIN_INTERVAL,
    SHARE,
    URGENT_SHARE,
    StatusWriter,
    write_interval,
)
from support.reconcilers.cluster import NAMESPACE, Cluster

WRITE_SECONDS = 0.5


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """An API server that takes half a second to write a status."""
    found = Cluster()
    update = found.client.update

    async def slow(*args: Any, **options: Any) -> Any:
        found.clock.passed += WRITE_SECONDS
        return await update(*args, **options)

    monkeypatch.setattr(found.client, "update", slow)
    return found


@pytest.mark.parametrize(
    ("seconds", "interval"),
    [(0.0, MIN_INTERVAL), (0.01, MIN_INTERVAL), (0.5, 10.0), (2.0, 40.0), (15.0, MAX_INTERVAL)],
)
def test_writing_a_status_takes_a_twentieth_of_the_time_at_most(
    seconds: float, interval: float
) -> None:
    assert write_interval(seconds, SHARE) == pytest.approx(interval)


async def test_what_waits_for_the_record_takes_a_quarter_of_the_time_at_most(
    cluster: Cluster,
) -> None:
    cluster.run()
    writer = StatusWriter(cluster.context, c.KIND_BATCH_RUN)
    view = cluster.context.listers.runs.get(NAMESPACE, "r")
    assert view is not None
    await writer.write(view, {"phase": "Pending", "reason": "Queued", "message": ""})
    view = cluster.context.listers.runs.get(NAMESPACE, "r")
    assert view is not None
    assert writer.due_in(view, Phase.PENDING) == pytest.approx(WRITE_SECONDS / SHARE)
    urgent = writer.due_in(view, Phase.PENDING, urgent=True)
    assert urgent == pytest.approx(WRITE_SECONDS / URGENT_SHARE)
    assert writer.due_in(view, Phase.RUNNING) == 0.0


async def seconds_until(cluster: Cluster, done: Any) -> float:
    """Reconcile ten times a second until something is so; how long it took."""
    started = cluster.clock.passed
    while not done():
        await cluster.reconcile(seconds=0.1)
        assert cluster.clock.passed - started < 60
    return cluster.clock.passed - started


async def test_the_progress_of_a_run_waits_for_its_share_of_the_time(cluster: Cluster) -> None:
    cluster.run(tasks=3)
    await cluster.settle()
    cluster.end("r-task-0")
    await seconds_until(cluster, lambda: cluster.status()["progress"]["completed"] == 1)
    cluster.end("r-task-1")
    waited = await seconds_until(cluster, lambda: cluster.status()["progress"]["completed"] == 2)
    assert WRITE_SECONDS / SHARE <= waited + WRITE_SECONDS <= WRITE_SECONDS / SHARE + 2


async def test_a_job_that_waits_for_the_record_of_its_replacement_is_replaced_sooner(
    cluster: Cluster,
) -> None:
    cluster.config(agentImage="registry/broken:1")
    cluster.run(tasks=2)
    await cluster.settle()
    cluster.wait("r-task-0", "ErrImagePull", "no such image")
    writes = len(cluster.sent("update", BATCH_RUNS))
    await seconds_until(cluster, lambda: len(cluster.sent("update", BATCH_RUNS)) > writes)
    cluster.config(agentImage="registry/good:1")
    waited = await seconds_until(cluster, lambda: cluster.sent("delete", JOBS))
    assert waited <= WRITE_SECONDS / URGENT_SHARE + 2 < WRITE_SECONDS / SHARE


async def test_the_end_of_a_run_does_not_wait(cluster: Cluster) -> None:
    cluster.run(tasks=2)
    await cluster.settle()
    cluster.end("r-task-0")
    await seconds_until(cluster, lambda: cluster.shown() == "Running/TasksRunning")
    cluster.end("r-task-1")
    waited = await seconds_until(cluster, lambda: cluster.shown() == "Succeeded/TasksSucceeded")
    assert waited <= WRITE_SECONDS + 0.5
