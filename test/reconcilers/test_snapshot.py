"""The work of a run is settled once: whatever happens to the Batch, or to the snapshot, later."""

import copy
from typing import Any

import pytest

from kubetask_controller.api import constants as c
from kubetask_controller.client.errors import APIStatusError
from kubetask_controller.reconcilers.batchrun.snapshot import (
    Missing,
    Snapshot,
    digest_of,
    select_indexes,
)
from kubetask_controller.reconcilers.concurrency import UNANSWERED_LIFE
from kubetask_controller.reconcilers.listers import BATCH_RUNS, BATCHES
from kubetask_controller.runtime.consistency import StaleCacheError
from support.reconcilers import runs
from support.reconcilers.cluster import CONTROLLERREVISIONS, Cluster, repository, server_error
from support.reconcilers.views import resource


@pytest.fixture
async def cluster() -> Cluster:
    return Cluster()


def batch(cluster: Cluster, tasks: int) -> None:
    contexts = [[repository(f"r{i}")] for i in range(tasks)]
    cluster.apply(c.KIND_BATCH, "b", {"variableContexts": contexts})


async def accepted(cluster: Cluster, tasks: int = 3, **spec: Any) -> str:
    """A run of a Batch; the name of its snapshot."""
    batch(cluster, tasks)
    cluster.run(batchRef="b", **spec)
    await cluster.settle()
    return str(cluster.status()["batchSnapshot"])


async def unrecorded(cluster: Cluster) -> None:
    """A run of a Batch with three tasks, whose snapshot exists and whose status was not written."""
    batch(cluster, 3)
    cluster.run(batchRef="b")
    cluster.refuse("update", BATCH_RUNS, server_error())
    with pytest.raises(APIStatusError):
        await cluster.reconcile()


async def test_a_later_change_of_the_batch_does_not_reach_a_run(cluster: Cluster) -> None:
    await accepted(cluster, parallelism=1)
    batch(cluster, 7)
    cluster.restart()
    await cluster.settle()
    assert cluster.status()["progress"]["total"] == 3


async def test_a_run_goes_on_after_its_batch_was_deleted(cluster: Cluster) -> None:
    await accepted(cluster, parallelism=1)
    cluster.vanish(BATCHES, "b")
    cluster.restart()
    cluster.end()
    await cluster.settle()
    assert len(cluster.jobs()) == 2


@pytest.mark.parametrize("how", ["deleted", "changed"])
async def test_a_snapshot_that_is_lost_is_never_taken_again(cluster: Cluster, how: str) -> None:
    name = await accepted(cluster, parallelism=1)
    cluster.start()
    batch(cluster, 7)
    if how == "deleted":
        cluster.vanish(CONTROLLERREVISIONS, name)
    else:
        cluster.objects[str(CONTROLLERREVISIONS), name]["data"]["variableContexts"].pop()
    cluster.restart()
    await cluster.settle()
    # An earlier leader may still create Jobs of it.
    assert cluster.entries() == ["Running/TaskRunning", *["Pending/Queued"] * 2]
    assert name in cluster.status()["message"]
    await cluster.reconcile(seconds=UNANSWERED_LIFE)
    await cluster.settle()
    assert cluster.entries() == ["Running/TaskRunning", *["Failed/SnapshotLost"] * 2]
    cluster.end()
    await cluster.settle()
    assert cluster.shown() == "Failed/SnapshotLost"
    assert cluster.jobs() == ["r-task-0"]
    # What made each task differ is still shown.
    assert cluster.status()["tasks"][2]["contexts"][0]["repository"]["repo"] == "r2"


async def test_a_snapshot_whose_read_fails_is_not_taken_for_lost(cluster: Cluster) -> None:
    await accepted(cluster)
    cluster.restart()
    cluster.refuse("get", CONTROLLERREVISIONS, server_error(503))
    with pytest.raises(APIStatusError):
        await cluster.reconcile()
    await cluster.settle()
    assert cluster.shown() == "Pending/Starting"


async def test_a_snapshot_of_a_try_whose_status_was_lost_is_used_or_replaced(
    cluster: Cluster,
) -> None:
    await unrecorded(cluster)
    batch(cluster, 4)
    cluster.restart()
    await cluster.settle()
    assert cluster.status()["progress"]["total"] == 4
    (name,) = set(cluster.sent("create", CONTROLLERREVISIONS))
    assert len(cluster.objects[str(CONTROLLERREVISIONS), name]["data"]["variableContexts"]) == 4


async def test_a_run_that_waited_starts_once_its_snapshot_is_recorded(cluster: Cluster) -> None:
    cluster.run(batchRef="b")
    await cluster.settle()
    assert cluster.shown() == "Pending/BatchNotFound"
    batch(cluster, 3)
    cluster.refuse("update", BATCH_RUNS, server_error())
    with pytest.raises(APIStatusError):
        await cluster.reconcile()
    assert cluster.jobs() == []
    # So a later leader may follow the user and the Batch of today.
    cluster.restart()
    cluster.change(c.KIND_BATCH_RUN, "r", cancel=True)
    await cluster.settle()
    assert cluster.shown() == "Failed/Cancelled"


async def test_a_snapshot_that_the_cache_does_not_show_as_recorded_is_not_replaced(
    cluster: Cluster,
) -> None:
    batch(cluster, 3)
    with cluster.lag(BATCH_RUNS):
        cluster.run(batchRef="b")
    before = copy.deepcopy(cluster.objects[str(BATCH_RUNS), "r"])
    await cluster.settle()
    recorded = cluster.objects[str(BATCH_RUNS), "r"]
    batch(cluster, 5)
    # Another leader, whose cache has the run without a status.
    cluster.objects[str(BATCH_RUNS), "r"] = before
    cluster.restart()
    cluster.objects[str(BATCH_RUNS), "r"] = recorded
    with pytest.raises(StaleCacheError):
        await cluster.reconcile()
    assert cluster.sent("delete", CONTROLLERREVISIONS) == []


async def test_a_revision_of_another_object_is_left_alone(cluster: Cluster) -> None:
    await unrecorded(cluster)
    (name,) = cluster.sent("create", CONTROLLERREVISIONS)
    revision = cluster.objects[str(CONTROLLERREVISIONS), name]
    revision["metadata"]["ownerReferences"][0]["uid"] = "another"
    cluster.restart()
    await cluster.reconcile(times=2)
    assert cluster.shown() == "Pending/NameConflict"
    assert name in cluster.status()["message"]
    assert cluster.sent("delete", CONTROLLERREVISIONS) == []


async def test_a_snapshot_that_another_leader_recorded_takes_the_place_of_the_own(
    cluster: Cluster,
) -> None:
    await unrecorded(cluster)
    (name,) = cluster.sent("create", CONTROLLERREVISIONS)
    revision = cluster.objects[str(CONTROLLERREVISIONS), name]
    del revision["data"]["variableContexts"][2]
    run = cluster.objects[str(BATCH_RUNS), "r"]
    run["status"] = {
        "phase": "Pending",
        "reason": "Queued",
        "batchSnapshot": name,
        "snapshotDigest": digest_of(revision["data"]),
        "progress": {"total": 2},
    }
    cluster.store(BATCH_RUNS, run)
    await cluster.settle()
    assert cluster.jobs() == ["r-task-0", "r-task-1"]


async def test_the_same_snapshot_is_not_written_twice(cluster: Cluster) -> None:
    await unrecorded(cluster)
    cluster.restart()
    await cluster.settle()
    assert cluster.sent("delete", CONTROLLERREVISIONS) == []


async def test_a_retry_of_a_run_whose_snapshot_is_gone_ends(cluster: Cluster) -> None:
    name = await accepted(cluster, 1)
    cluster.start()
    cluster.end(code=1)
    await cluster.settle()
    cluster.vanish(CONTROLLERREVISIONS, name)
    cluster.run(name="again", retryOf="r")
    await cluster.settle("again")
    assert cluster.shown("again") == "Failed/InvalidSpec"


async def test_a_retry_waits_for_a_run_that_does_not_exist(cluster: Cluster) -> None:
    cluster.run(retryOf="none")
    await cluster.settle()
    assert cluster.shown() == "Pending/RetryOfNotFound"


async def test_a_retry_of_a_retry_keeps_the_first_indexes(cluster: Cluster) -> None:
    await accepted(cluster, 4)
    cluster.start()
    cluster.end("r-task-0", "r-task-2")
    cluster.end("r-task-1", "r-task-3", code=1)
    await cluster.settle()
    cluster.run(name="s", retryOf="r")
    await cluster.settle("s")
    cluster.end("s-task-0", "s-task-1", code=1)
    await cluster.settle("s")
    cluster.run(name="u", retryOf="s", select="1")
    await cluster.settle("u")
    revision = cluster.objects[str(CONTROLLERREVISIONS), cluster.status("u")["batchSnapshot"]]
    assert revision["data"]["origin"] == [3]
    assert revision["metadata"]["annotations"][c.ANNOTATION_SOURCE] == "BatchRun/s select 1"


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("Failed", [1]),
        ("0-1", [0, 1]),
        ("9", "has no task 9, its indexes are 0 to 2"),
        ("", "has no such tasks"),
        ("x", "select: "),
        ("3-1", "ends before it begins"),
    ],
)
def test_a_retry_names_its_tasks_by_their_end_or_index(chosen: str, expected: Any) -> None:
    status = runs.status(runs.run(tasks=3), runs.SUCCEEDED, runs.failed(), runs.SUCCEEDED)
    found = select_indexes(chosen, resource("r", {}, status), 3)
    if isinstance(found, Missing):
        assert found.final
        assert expected in found.reason.message
    else:
        assert found == expected


def test_contexts_of_a_task_are_the_common_ones_and_its_own() -> None:
    common, own = repository("a"), repository("b")
    snapshot = Snapshot.of({"commonContext": [common], "variableContexts": [[own], []]})  # type: ignore[typeddict-item]
    assert snapshot.contexts(0) == [common, own]
    assert snapshot.contexts(1) == [common]
    assert list(snapshot.everything()) == [common, own]
