"""After the end: what still runs is ended, and what has outlived its time is deleted, last the object itself."""

from typing import Any

import pytest

from kubetask_controller.client.errors import APIStatusError
from kubetask_controller.reconcilers.listers import BATCH_RUNS
from kubetask_controller.runtime.reconcile import Request
from support.reconcilers.cluster import JOBS, NAMESPACE, PODS, Cluster, server_error


@pytest.fixture
async def cluster() -> Cluster:
    return Cluster()


async def ended(cluster: Cluster, **spec: Any) -> Cluster:
    cluster.run(tasks=2, **spec)
    await cluster.settle()
    cluster.start()
    cluster.end()
    await cluster.reconcile()
    assert cluster.shown() == "Succeeded/TasksSucceeded"
    cluster.requests.clear()
    return cluster


async def test_jobs_stay_where_no_time_to_live_is_set(cluster: Cluster) -> None:
    await ended(cluster)
    result = await cluster.reconcile(seconds=1e6)
    assert (len(cluster.jobs()), result.requeue_after) == (2, 0.0)


async def test_jobs_are_deleted_when_their_time_is_over_and_an_event_tells_it(
    cluster: Cluster,
) -> None:
    await ended(cluster, ttlSecondsAfterFinished=60)
    result = await cluster.reconcile(seconds=0)
    assert 0 < result.requeue_after <= 60
    assert cluster.jobs() == ["r-task-0", "r-task-1"]
    await cluster.reconcile(seconds=60)
    assert (cluster.jobs(), cluster.events()[-1]) == ([], "JobDeleted")
    assert ("r", "JobDeleted", "deleted 2 Jobs: ttlSecondsAfterFinished is over") in (
        cluster.recorded.events
    )
    await cluster.reconcile()
    assert cluster.events().count("JobDeleted") == 1


async def test_the_run_itself_goes_last_where_its_user_wants_that(cluster: Cluster) -> None:
    await ended(cluster, ttlSecondsAfterFinished=0, ttlPolicy="All")
    await cluster.reconcile()
    assert [x[:2] for x in cluster.writes()] == [("delete", str(JOBS))] * 2 + [
        ("delete", str(BATCH_RUNS))
    ]
    assert (str(BATCH_RUNS), "r") not in cluster.objects


@pytest.mark.parametrize("code", [404, 409])
async def test_a_run_that_is_gone_already_needs_no_deletion(cluster: Cluster, code: int) -> None:
    await ended(cluster, ttlSecondsAfterFinished=0, ttlPolicy="All")
    cluster.refuse("delete", BATCH_RUNS, APIStatusError(code=code))
    await cluster.reconcile()


async def test_a_deletion_that_is_refused_is_tried_again(cluster: Cluster) -> None:
    await ended(cluster, ttlSecondsAfterFinished=0, ttlPolicy="All")
    cluster.refuse("delete", BATCH_RUNS, server_error())
    with pytest.raises(APIStatusError):
        await cluster.reconcile()
    await cluster.reconcile()
    assert (str(BATCH_RUNS), "r") not in cluster.objects


async def test_a_job_that_runs_on_after_its_task_has_ended_is_ended(cluster: Cluster) -> None:
    cluster.run()
    await cluster.settle()
    cluster.start()
    found = cluster.objects[str(BATCH_RUNS), "r"]
    cluster.store(BATCH_RUNS, found | {"status": found["status"] | {"phase": "Failed"}})
    await cluster.runs.reconcile(Request(NAMESPACE, "r"))
    assert cluster.sent("patch", PODS) == ["r-task-0-pod"]
    assert cluster.jobs() == ["r-task-0"]


async def test_a_job_is_kept_while_a_create_of_an_earlier_leader_may_be_carried_out(
    cluster: Cluster,
) -> None:
    cluster.run(ttlSecondsAfterFinished=5)
    await cluster.reconcile()
    cluster.restart()
    await cluster.settle()
    cluster.end()
    await cluster.settle()
    await cluster.reconcile(seconds=6, times=2)
    assert cluster.jobs() == ["r-task-0"]
    await cluster.reconcile(seconds=80)
    assert cluster.jobs() == []
