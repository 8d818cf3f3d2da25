"""Decisions stand on facts that are new enough: what is read live, when, and how often."""

import asyncio

import pytest

from kubetask_controller.api import constants as c
from kubetask_controller.client.errors import APIStatusError
from kubetask_controller.reconcilers.freshness import RECOUNT, LivePods
from kubetask_controller.reconcilers.listers import WORKSPACE_CONFIGS
from support.reconcilers.cluster import JOBS, NAMESPACE, PODS, Cluster, server_error
from support.reconcilers.views import complete, job, pod


@pytest.fixture
async def cluster() -> Cluster:
    return Cluster()


async def test_a_config_is_read_after_its_user_was_observed_and_once_for_all(
    cluster: Cluster,
) -> None:
    fresh, since = cluster.context.fresh, cluster.clock.monotonic()
    with cluster.lag(WORKSPACE_CONFIGS):
        cluster.config(agentImage="a")
        cluster.clock.passed += 1
        reads = [fresh.workspace_config(NAMESPACE, "default", since) for _ in range(100)]
        found = await asyncio.gather(*reads)
        assert [x and x.spec for x in found] == [{"agentImage": "a"}] * 100
        assert len(cluster.sent("get", WORKSPACE_CONFIGS)) == 1
        cluster.clock.passed += 1
        await fresh.workspace_config(NAMESPACE, "default", cluster.clock.monotonic() - 0.5)
        assert len(cluster.sent("get", WORKSPACE_CONFIGS)) == 2


async def test_a_config_that_was_deleted_is_not_in_force_though_the_cache_shows_it(
    cluster: Cluster,
) -> None:
    cluster.config()
    with cluster.lag(WORKSPACE_CONFIGS):
        cluster.vanish(WORKSPACE_CONFIGS, "default")
        since = cluster.clock.monotonic()
        assert await cluster.context.fresh.workspace_config(NAMESPACE, "default", since) is None


async def test_a_read_that_fails_proves_nothing_and_is_repeated(cluster: Cluster) -> None:
    cluster.config()
    cluster.refuse("get", WORKSPACE_CONFIGS, server_error())
    since = cluster.clock.monotonic()
    with pytest.raises(APIStatusError):
        await cluster.context.fresh.workspace_config(NAMESPACE, "default", since)
    assert await cluster.context.fresh.workspace_config(NAMESPACE, "default", since) is not None


async def test_reads_of_many_configs_do_not_pile_up(cluster: Cluster) -> None:
    for number in range(1100):
        await cluster.context.fresh.workspace_config(NAMESPACE, f"c{number}", 0.0)
    assert len(cluster.context.fresh._reads) <= 1024


@pytest.mark.parametrize("code", [403, 500])
async def test_a_job_is_gone_only_where_the_api_server_says_so(cluster: Cluster, code: int) -> None:
    cluster.refuse("get", JOBS, APIStatusError(code=code))
    with pytest.raises(APIStatusError):
        await cluster.context.fresh.job(NAMESPACE, "r-task-0")
    assert await cluster.context.fresh.job(NAMESPACE, "r-task-0") is None


async def test_a_batch_read_that_is_refused_is_an_error(cluster: Cluster) -> None:
    cluster.refuse("get", WORKSPACE_CONFIGS, APIStatusError(code=403))
    with pytest.raises(APIStatusError):
        await cluster.context.fresh.workspace_config(NAMESPACE, "x", 0.0)


async def test_jobs_that_hold_slots_are_counted_once_in_the_life_of_a_process(
    cluster: Cluster,
) -> None:
    await asyncio.gather(*(cluster.context.fresh.count_jobs(NAMESPACE) for _ in range(9)))
    await cluster.context.fresh.count_jobs(NAMESPACE)
    assert len(cluster.sent("list", JOBS)) == 1


async def test_a_count_that_failed_is_repeated(cluster: Cluster) -> None:
    cluster.refuse("list", JOBS, server_error())
    with pytest.raises(APIStatusError):
        await cluster.context.fresh.count_jobs(NAMESPACE)
    await cluster.context.fresh.count_jobs(NAMESPACE)
    assert len(cluster.sent("list", JOBS)) == 2


async def test_lists_are_read_to_their_last_page(cluster: Cluster, monkeypatch) -> None:
    cluster.run(tasks=3)
    await cluster.settle()
    plain, asked = cluster.client.list, []

    async def paged(resource, namespace, *, params, timeout):
        asked.append(params.get("continue"))
        page = await plain(resource, namespace, params=params, timeout=timeout)
        items, more = page["items"], not asked[-1]
        page["items"] = items[:2] if more else items[2:]
        page["metadata"] |= {"continue": "2"} if more else {}
        return page

    monkeypatch.setattr(cluster.client, "list", paged)
    cluster.restart(behind=JOBS)
    await cluster.context.fresh.count_jobs(NAMESPACE)
    assert (asked, len(cluster.context.listers.jobs.list())) == ([None, "2"], 3)
    await cluster.context.fresh.pods(job())
    assert asked[2:] == [None, "2"]


# Whether a list of Pods explains the end of a Job ---------------------------------------------------


async def test_pods_of_another_owner_are_not_those_of_a_job(cluster: Cluster) -> None:
    cluster.run()
    await cluster.settle()
    cluster.start()
    found = cluster.objects["pods", "r-task-0-pod"]
    cluster.store(PODS, found | {"metadata": found["metadata"] | {"name": "forged", "uid": "u-f"}})
    the_job = cluster.context.listers.jobs.get(NAMESPACE, "r-task-0")
    assert the_job is not None
    live = await cluster.context.fresh.pods(the_job)
    assert [x.name for x in live.pods] == ["r-task-0-pod"]


async def test_a_list_without_a_terminal_pod_counts_once_the_cache_is_as_new(
    cluster: Cluster,
) -> None:
    fresh, ended = cluster.context.fresh, job(complete=complete())
    has = cluster.context.listers.pods.resource_version(NAMESPACE)
    assert fresh.is_complete(ended, LivePods([], has))
    assert not fresh.is_complete(ended, LivePods([], str(int(has) + 1)))
    assert fresh.is_complete(ended, LivePods([], "not a number"))


async def test_a_terminal_pod_in_the_list_explains_the_end(cluster: Cluster) -> None:
    live = LivePods([pod(phase="Failed")], "999999")
    assert cluster.context.fresh.is_complete(job(complete=complete()), live)


async def test_a_pod_that_the_cache_shows_and_the_list_does_not_is_waited_for(
    cluster: Cluster,
) -> None:
    cluster.run()
    await cluster.settle()
    cluster.start()
    the_job = cluster.context.listers.jobs.get(NAMESPACE, "r-task-0")
    assert the_job is not None
    assert not cluster.context.fresh.is_complete(the_job, LivePods([], "1"))


async def test_the_last_state_of_a_deleted_pod_is_waited_for_until_it_counts_as_gone(
    cluster: Cluster,
) -> None:
    cluster.run()
    await cluster.settle()
    cluster.start()
    await cluster.settle()
    with cluster.lag(PODS):
        cluster.finish("r-task-0", "Failed", failed=1)
        cluster.vanish(PODS, "r-task-0-pod")
        await cluster.reconcile(times=3)
        assert cluster.shown() == "Running/TasksRunning"
        await cluster.reconcile(seconds=90, times=2)
        assert cluster.entries() == ["Failed/JobLost"]


async def test_a_job_whose_label_cannot_be_restored_is_counted_and_holds_up_nobody(
    cluster: Cluster,
) -> None:
    cluster.run(tasks=1)
    await cluster.settle()
    hidden = cluster.objects[str(JOBS), "r-task-0"]
    cluster.store(JOBS, hidden | {"metadata": hidden["metadata"] | {"labels": {}}})
    cluster.restart(behind=JOBS)
    cluster.refuse("patch", JOBS, APIStatusError(code=403, message="a policy refuses the label"))
    found = await cluster.context.fresh.count_jobs(NAMESPACE)
    assert [x.name for x in found] == ["r-task-0"]
    assert [x.name for x in await cluster.context.fresh.count_jobs(NAMESPACE)] == ["r-task-0"]
    cluster.clock.passed += RECOUNT + 1
    assert await cluster.context.fresh.count_jobs(NAMESPACE) == []
    assert cluster.job()["metadata"]["labels"][c.LABEL_MANAGED_BY] == c.LABEL_MANAGED_BY_VALUE
