"""Writing a status: when, against whom, what is told of it, and what happens where the API server refuses it."""

from typing import Any

import pytest

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Phase
from kubetask_controller.client.errors import APIStatusError
from kubetask_controller.reconcilers.listers import BATCH_RUNS
from kubetask_controller.reconcilers.projections import RunView
from kubetask_controller.reconcilers.status_writer import StatusWriter, reduced, write_interval
from kubetask_controller.runtime.consistency import StaleCacheError
from support.reconcilers.cluster import NAMESPACE, Cluster, server_error
from support.reconcilers.views import at

STATUS: dict[str, Any] = {
    "phase": "Pending",
    "reason": "Queued",
    "message": "",
    "tasks": [{"index": 0, "status": "Failed", "message": "m", "result": {"summary": "x"}}],
}


@pytest.fixture
async def cluster() -> Cluster:
    found = Cluster()
    found.run()
    return found


@pytest.fixture
def writer(cluster: Cluster) -> StatusWriter:
    return StatusWriter(cluster.context, c.KIND_BATCH_RUN)


def view(cluster: Cluster) -> RunView:
    found = cluster.context.listers.runs.get(NAMESPACE, "r")
    assert found is not None
    return found


async def test_a_status_that_does_not_differ_is_not_written(
    cluster: Cluster, writer: StatusWriter
) -> None:
    await writer.write(view(cluster), STATUS)
    await writer.write(view(cluster), STATUS)
    assert len(cluster.sent("update", BATCH_RUNS)) == 1


async def test_a_status_is_written_about_once_a_second_and_a_change_of_phase_at_once(
    cluster: Cluster, writer: StatusWriter
) -> None:
    await writer.write(view(cluster), STATUS)
    assert writer.due_in(view(cluster), Phase.PENDING) == 1.0
    assert writer.due_in(view(cluster), Phase.RUNNING) == 0.0
    cluster.clock.passed += 1
    assert writer.due_in(view(cluster), Phase.PENDING) == 0.0


@pytest.mark.parametrize(
    ("seconds", "share", "interval"),
    [(0.0, 0.05, 1.0), (0.5, 0.05, 10.0), (0.5, 0.25, 2.0), (30.0, 0.05, 60.0)],
)
def test_writes_take_a_share_of_the_time(seconds: float, share: float, interval: float) -> None:
    assert write_interval(seconds, share) == interval


async def test_two_processes_that_write_one_object_do_not_outrun_each_other(
    cluster: Cluster, writer: StatusWriter
) -> None:
    assert not writer.is_foreign(view(cluster))
    await writer.write(view(cluster), STATUS)
    assert not writer.is_foreign(view(cluster))
    cluster.store(BATCH_RUNS, cluster.objects[str(BATCH_RUNS), "r"])
    assert writer.is_foreign(view(cluster))
    assert writer.due_in(view(cluster), Phase.RUNNING) == 1.0
    assert not writer.is_foreign(view(cluster))


async def test_an_owner_recreated_under_its_name_begins_anew(
    cluster: Cluster, writer: StatusWriter
) -> None:
    await writer.write(view(cluster), STATUS)
    cluster.vanish(BATCH_RUNS, "r")
    cluster.run()
    assert writer.due_in(view(cluster), Phase.PENDING) == 0.0
    writer.forget(NAMESPACE, "r")
    assert not writer.is_foreign(view(cluster))


async def test_a_conflict_means_that_the_decision_was_taken_on_something_old(
    cluster: Cluster, writer: StatusWriter
) -> None:
    old = view(cluster)
    cluster.store(BATCH_RUNS, cluster.objects[str(BATCH_RUNS), "r"])
    with pytest.raises(StaleCacheError):
        await writer.write(old, STATUS)
    assert cluster.events() == []


async def test_an_object_that_is_gone_needs_no_status(
    cluster: Cluster, writer: StatusWriter
) -> None:
    old = view(cluster)
    cluster.vanish(BATCH_RUNS, "r")
    await writer.write(old, STATUS)
    assert cluster.events() == []


async def test_a_write_that_failed_announces_nothing(
    cluster: Cluster, writer: StatusWriter
) -> None:
    cluster.refuse("update", BATCH_RUNS, server_error(500))
    with pytest.raises(APIStatusError):
        await writer.write(view(cluster), STATUS)
    assert cluster.events() == []


@pytest.mark.parametrize(
    "error",
    [
        APIStatusError(code=422, message="status.tasks[0].result: Invalid value"),
        APIStatusError(code=400, message="invalid JSON"),
        APIStatusError(code=413),
        APIStatusError(code=500, message="etcdserver: request is too large"),
    ],
)
@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_status_that_is_refused_is_written_with_less_in_it(
    cluster: Cluster, writer: StatusWriter, error: Exception, times: int
) -> None:
    cluster.refuse("update", BATCH_RUNS, error, times=times)
    await writer.write(view(cluster), STATUS)
    left = {
        1: [{"index": 0, "status": "Failed", "message": "m"}],
        2: [{"index": 0, "status": "Failed"}],
        3: None,
    }
    assert cluster.status().get("tasks") == left[times]
    assert cluster.status()["phase"] == "Pending"
    # The next one is not tried whole again.
    cluster.requests.clear()
    await writer.write(view(cluster), STATUS | {"phase": "Running"})
    assert len(cluster.sent("update", BATCH_RUNS)) == 1


async def test_a_status_that_is_refused_whatever_is_left_out_is_an_error(
    cluster: Cluster, writer: StatusWriter
) -> None:
    cluster.refuse("update", BATCH_RUNS, APIStatusError(code=422), times=4)
    with pytest.raises(APIStatusError):
        await writer.write(view(cluster), STATUS)


def test_the_result_of_a_single_task_is_given_up_first() -> None:
    status = {"phase": "Failed", "message": "m", "result": {}, "usage": {"costUSD": "1"}}
    assert reduced(status, 0) == status
    # The budget of a run is counted from its usage after a restart.
    assert reduced(status, 1) == {"phase": "Failed", "message": "m", "usage": {"costUSD": "1"}}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ((None, None), ("Pending", "Queued"), ["Queued"]),
        ((None, None), ("Pending", "BatchNotFound"), ["Waiting"]),
        (("Pending", "Queued"), ("Pending", "Starting"), []),
        (("Pending", "Queued"), ("Pending", "ImagePullBackOff"), ["Waiting"]),
        (("Pending", "Starting"), ("Running", "TasksRunning"), ["Started"]),
        (("Running", "TasksRunning"), ("Running", "Suspended"), ["Suspended"]),
        (("Running", "Suspended"), ("Running", "TasksRunning"), ["Resumed"]),
        (("Running", "TasksRunning"), ("Running", "TaskLimit"), ["TaskLimit"]),
        (("Running", "TaskLimit"), ("Running", "TasksRunning"), []),
        (("Running", "TasksRunning"), ("Running", "Cancelling"), ["Cancelling"]),
        (("Running", "Cancelling"), ("Failed", "Cancelled"), ["Failed"]),
        (("Running", "TasksRunning"), ("Succeeded", "TasksSucceeded"), ["Succeeded"]),
        (("Running", "TasksRunning"), ("Running", "TasksRunning"), []),
    ],
)
async def test_each_change_is_told_once(
    cluster: Cluster, writer: StatusWriter, before: Any, after: Any, told: list[str]
) -> None:
    phase, reason = before
    if phase:
        known = cluster.objects[str(BATCH_RUNS), "r"]
        cluster.store(BATCH_RUNS, known | {"status": {"phase": phase, "reason": reason}})
    status = {"phase": after[0], "reason": after[1], "message": at(0)}
    await writer.write(view(cluster), status)
    await writer.write(view(cluster), status | {"done": "1/2"})
    assert cluster.events() == told
