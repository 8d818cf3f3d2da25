"""From a change of an object to the owners that are reconciled, and what is kept of objects that are gone."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from kubetask_controller.api import constants as c
from kubetask_controller.reconcilers.events import (
    ChildEventHandler,
    OwnerEventHandler,
    RequestMapper,
    TombstoneStore,
    contender,
    may_wait,
    waits,
)
from kubetask_controller.reconcilers.listers import BATCH_RUNS, WORKSPACE_CONFIGS, is_owned
from kubetask_controller.reconcilers.projections import OwnerRef
from support.reconcilers.cluster import JOBS, NAMESPACE, PODS, Cluster
from support.reconcilers.views import complete, failed, job, owner_ref, pod, resource, run, task


@pytest.fixture
async def cluster() -> Cluster:
    return Cluster()


async def accepted(cluster: Cluster, tasks: int = 1, **spec: Any) -> Cluster:
    cluster.run(tasks=tasks, **spec)
    await cluster.settle()
    cluster.woken()
    return cluster


def mapped(cluster: Cluster, kind: str, source: str, obj: Any) -> list[str]:
    mapper = RequestMapper(kind, cluster.context.listers)
    return [x.name for x in getattr(mapper, source)(obj)]


async def test_a_pod_that_a_list_lacks_has_vanished_and_one_whose_end_was_watched_has_not(
    cluster: Cluster,
) -> None:
    await accepted(cluster)
    cluster.start()
    handler = ChildEventHandler(
        cluster.context.listers,
        cluster.context.trackers,
        cluster.context.tombstones,
        cluster.context.limiter,
    )
    the_job = cluster.context.listers.jobs.get(NAMESPACE, "r-task-0")
    the_pod = cluster.context.listers.pods.get(NAMESPACE, "r-task-0-pod")
    assert the_job is not None
    assert the_job.owner is not None
    assert the_pod is not None
    for unknown in (False, True):
        handler.on_delete(the_pod, unknown)
        [kept] = cluster.context.tombstones.pods(the_job.owner.uid, the_job.uid)
        assert kept.vanished is unknown


# Which owners ------------------------------------------------------------------------------------


async def test_a_job_and_its_pod_concern_the_owner_of_the_job(cluster: Cluster) -> None:
    await accepted(cluster)
    cluster.start()
    the_job = cluster.context.listers.jobs.get(NAMESPACE, "r-task-0")
    the_pod = cluster.context.listers.pods.get(NAMESPACE, "r-task-0-pod")
    for source, obj in (("of_job", the_job), ("of_pod", the_pod)):
        assert mapped(cluster, c.KIND_BATCH_RUN, source, obj) == ["r"]
        assert mapped(cluster, c.KIND_TASK, source, obj) == []


async def test_objects_without_an_owner_concern_nobody(cluster: Cluster) -> None:
    assert mapped(cluster, c.KIND_BATCH_RUN, "of_job", job(owner=None)) == []
    assert mapped(cluster, c.KIND_BATCH_RUN, "of_pod", pod(owner=None)) == []
    assert mapped(cluster, c.KIND_BATCH_RUN, "of_pod", pod()) == []


async def test_a_config_concerns_every_owner_of_its_namespace_that_has_not_ended(
    cluster: Cluster,
) -> None:
    await accepted(cluster)
    cluster.run(name="ended")
    found = cluster.objects[str(BATCH_RUNS), "ended"]
    cluster.store(BATCH_RUNS, found | {"status": {"phase": "Succeeded"}})
    config = resource("default", {})
    assert mapped(cluster, c.KIND_BATCH_RUN, "of_workspace_config", config) == ["r"]
    elsewhere = resource("default", {}, namespace="else")
    assert mapped(cluster, c.KIND_BATCH_RUN, "of_workspace_config", elsewhere) == []


async def test_a_batch_concerns_the_runs_that_name_it(cluster: Cluster) -> None:
    cluster.run(batchRef="b")
    cluster.run(name="s", batchRef="other")
    assert mapped(cluster, c.KIND_BATCH_RUN, "of_batch", resource("b", {})) == ["r"]


async def test_a_run_concerns_those_that_retry_it_once_it_has_ended_or_is_gone(
    cluster: Cluster,
) -> None:
    found = cluster.run()
    cluster.run(name="again", retryOf="r")
    view = cluster.context.listers.runs.get(NAMESPACE, "r")
    assert mapped(cluster, c.KIND_BATCH_RUN, "of_run", view) == []
    cluster.store(BATCH_RUNS, found | {"status": {"phase": "Failed"}})
    view = cluster.context.listers.runs.get(NAMESPACE, "r")
    assert mapped(cluster, c.KIND_BATCH_RUN, "of_run", view) == ["again"]
    cluster.vanish(BATCH_RUNS, "r")
    assert mapped(cluster, c.KIND_BATCH_RUN, "of_run", run()) == ["again"]


async def test_a_retry_that_has_its_snapshot_is_not_looked_up_again(cluster: Cluster) -> None:
    again = cluster.run(name="again", retryOf="r")
    cluster.store(BATCH_RUNS, again | {"status": {"batchSnapshot": "x"}})
    ended = run(status={"phase": "Failed"})
    assert mapped(cluster, c.KIND_BATCH_RUN, "of_run", ended) == []


# Who waits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "may"),
    [
        (run(), True),
        (task(), True),
        (run(suspend=True), False),
        (run(cancel=True), False),
        (run(status={"phase": "Failed"}), False),
        (replace(run(), deleting=True), False),
    ],
)
def test_an_owner_that_cannot_start_tasks_waits_for_nothing(owner: Any, may: bool) -> None:
    assert may_wait(owner) == may


async def test_an_owner_recreated_under_its_name_is_another_one(cluster: Cluster) -> None:
    cluster.run()
    check = waits(cluster.context.listers)
    view = cluster.context.listers.runs.get(NAMESPACE, "r")
    assert view is not None
    assert check(contender(c.KIND_BATCH_RUN, view))
    assert not check(contender(c.KIND_BATCH_RUN, replace(view, uid="u-earlier")))
    assert not check(contender(c.KIND_TASK, view))


async def test_a_slot_that_comes_free_wakes_one_of_those_who_wait(cluster: Cluster) -> None:
    cluster.config(maxConcurrentTasks=1)
    await accepted(cluster, 3)
    cluster.task()
    await cluster.settle("t")
    cluster.woken()
    cluster.finish("r-task-0", "Complete")
    # One slot, one owner: the run was served before the Task was created.
    assert cluster.woken() == {"r"}


async def test_a_higher_limit_wakes_who_waits_and_none_wakes_all(cluster: Cluster) -> None:
    cluster.config(maxConcurrentTasks=1)
    await accepted(cluster, 3)
    cluster.config(maxConcurrentTasks=2)
    assert "r" in cluster.woken()
    cluster.vanish(WORKSPACE_CONFIGS, "default")
    assert "r" in cluster.woken()


@pytest.mark.parametrize("how", ["deleted", "cancelled", "suspended", "recreated"])
async def test_an_owner_that_stops_waiting_wakes_the_next(cluster: Cluster, how: str) -> None:
    cluster.config(maxConcurrentTasks=1)
    for name in ("a", "b", "d"):
        cluster.run(name=name)
        await cluster.settle(name)
    cluster.finish("a-task-0", "Complete")
    cluster.woken()
    if how in ("cancelled", "suspended"):
        cluster.change(c.KIND_BATCH_RUN, "b", **{how.removesuffix("led").removesuffix("ed"): True})
    elif how == "deleted":
        cluster.vanish(BATCH_RUNS, "b")
    else:
        found = cluster.objects[str(BATCH_RUNS), "b"]
        cluster.store(BATCH_RUNS, found | {"metadata": found["metadata"] | {"uid": "u-new"}})
    assert "d" in cluster.woken()


async def test_a_slot_that_no_event_announced_is_found_after_a_while(cluster: Cluster) -> None:
    cluster.config(maxConcurrentTasks=1)
    await accepted(cluster, 2)
    with cluster.lag(JOBS):
        cluster.vanish(JOBS, "r-task-0")
        cluster.context.listers.jobs.not_found(cluster.context.listers.jobs.list()[0])
        waker, stop = cluster.manager.runnables[-1], asyncio.Event()
        work = asyncio.ensure_future(waker.run(stop))
        await asyncio.sleep(0)
        assert cluster.woken() == {"r"}
        stop.set()
        await work


def test_an_owner_that_appears_waits_for_nothing_yet() -> None:
    handler = OwnerEventHandler(c.KIND_TASK, None, None, None)  # type: ignore[arg-type]
    handler.on_add(task(), False)


# What is gone ------------------------------------------------------------------------------------


async def test_the_last_versions_of_a_job_and_its_pods_are_kept_for_their_owner(
    cluster: Cluster,
) -> None:
    await accepted(cluster)
    cluster.start()
    found = cluster.objects[str(BATCH_RUNS), "r"]["metadata"]["uid"]
    cluster.vanish(JOBS, "r-task-0")
    kept = cluster.context.tombstones
    the_job = kept.job(found, "r-task-0")
    assert the_job is not None
    assert [x.name for x in kept.pods(found, the_job.uid)] == ["r-task-0-pod"]
    kept.forget_job(found, the_job.uid)
    assert (kept.job(found, "r-task-0"), kept.pods(found, the_job.uid)) == (None, [])


async def test_nothing_is_kept_for_an_owner_that_has_ended(cluster: Cluster) -> None:
    await accepted(cluster)
    cluster.start()
    cluster.end()
    await cluster.settle()
    cluster.vanish(PODS, "r-task-0-pod")
    cluster.vanish(JOBS, "r-task-0")
    assert list(cluster.context.tombstones.owners()) == []


async def test_a_job_recreated_under_its_name_leaves_the_old_one_behind(cluster: Cluster) -> None:
    await accepted(cluster)
    found = cluster.job()
    old = found["metadata"]["uid"]
    cluster.store(JOBS, found | {"metadata": found["metadata"] | {"uid": "u-new"}})
    kept = cluster.context.tombstones.job(
        found["metadata"]["ownerReferences"][0]["uid"], "r-task-0"
    )
    assert kept is not None
    assert kept.uid == old


async def test_a_job_that_disappears_before_its_end_keeps_its_slot_until_it_is_looked_for(
    cluster: Cluster,
) -> None:
    cluster.config(maxConcurrentTasks=1)
    await accepted(cluster)
    cluster.vanish(JOBS, "r-task-0")
    assert cluster.context.limiter.usage((NAMESPACE, "default")) == 1
    await cluster.settle()
    assert cluster.context.limiter.usage((NAMESPACE, "default")) == 0


def test_a_pod_that_goes_before_its_job_is_known_is_kept_by_its_job() -> None:
    kept = TombstoneStore()
    kept.pod_gone(None, pod())
    kept.pod_gone(None, pod(owner=None))
    assert [x.name for x in kept.pods("u-r", "u-r-task-0")] == ["r-task-0-abcde"]


def test_pods_of_unknown_jobs_do_not_pile_up() -> None:
    kept = TombstoneStore()
    for number in range(400):
        kept.pod_gone(None, pod(name=f"r-task-0-{number}"))
    assert len(kept.pods("u-r", "u-r-task-0")) == 256


def test_a_pod_that_goes_after_its_job_is_kept_for_the_jobs_owner() -> None:
    kept = TombstoneStore()
    kept.job_gone(job())
    kept.job_gone(job(owner=None))
    assert kept.owner_of_job("u-r-task-0") == "u-r"
    assert kept.owner_of_job("u-else") is None
    kept.pod_gone("u-r", pod())
    kept.forget("u-r")
    assert kept.pods("u-r", "u-r-task-0") == []


# What counts as owned ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "forged",
    [
        {"owner": None},
        {"owner": owner_ref(uid="u-else")},
        {"owner": owner_ref(kind="Task")},
        {"owner": OwnerRef("other.io/v1", "BatchRun", "r", "u-r")},
        {"namespace": "else"},
    ],
)
def test_a_job_counts_only_with_its_owners_kind_uid_and_namespace(forged: Any) -> None:
    assert is_owned(job(), c.KIND_BATCH_RUN, NAMESPACE, "u-r")
    assert not is_owned(job(**forged), c.KIND_BATCH_RUN, NAMESPACE, "u-r")


@pytest.mark.parametrize(
    "forged",
    [
        {"owner": None},
        {"owner": OwnerRef("apps/v1", "ReplicaSet", "r-task-0", "u-r-task-0")},
        {"owner": OwnerRef("batch/v1", "Job", "r-task-0", "u-else")},
        {"namespace": "else"},
        {"name": "other"},
    ],
)
async def test_a_pod_counts_only_with_its_jobs_name_uid_and_namespace(
    cluster: Cluster, forged: Any
) -> None:
    listers = cluster.context.listers
    assert listers.is_pod_of(pod(), job(failed=failed(), complete=complete()))
    assert not listers.is_pod_of(replace(pod(), **forged), job())
