"""A Task from its creation to its end, against an API server in memory."""

import pytest

from kubetask_controller.api import constants as c
from kubetask_controller.client.errors import APIStatusError, TransportError
from kubetask_controller.reconcilers.concurrency import UNANSWERED_LIFE
from kubetask_controller.reconcilers.listers import TASKS
from kubetask_controller.runtime.reconcile import Request, Result
from support.reconcilers import views
from support.reconcilers.cluster import (
    CONFIGMAPS,
    JOBS,
    NAMESPACE,
    PODS,
    Cluster,
    inline,
    server_error,
)


@pytest.fixture
async def cluster() -> Cluster:
    return Cluster()


async def running(cluster: Cluster, **spec: object) -> str:
    """A Task whose agent runs; the name of its Job."""
    cluster.task(**spec)
    await cluster.settle("t")
    cluster.start()
    await cluster.settle("t")
    return cluster.jobs()[0]


async def test_a_task_runs_its_one_job_and_ends_with_it(cluster: Cluster) -> None:
    name = await running(cluster)
    assert cluster.shown("t") == "Running/TaskRunning"
    assert name.startswith("t-")
    cluster.end(message='{"summary": "done", "branch": "fix"}')
    await cluster.settle("t")
    status = cluster.status("t")
    assert cluster.shown("t") == "Succeeded/TaskSucceeded"
    assert (status["message"], status["result"]["branch"], status["target"]) == (
        "done",
        "fix",
        "acme/service",
    )
    assert cluster.events() == ["Queued", "JobCreated", "Started", "Succeeded"]


async def test_no_job_is_created_before_the_first_status(cluster: Cluster) -> None:
    cluster.task()
    await cluster.reconcile("t")
    assert (cluster.shown("t"), cluster.jobs()) == ("Pending/Queued", [])


async def test_an_ended_task_is_never_run_again(cluster: Cluster) -> None:
    name = await running(cluster)
    cluster.end(code=3)
    await cluster.settle("t")
    cluster.vanish(JOBS, name)
    before = cluster.writes()
    await cluster.reconcile("t", times=3)
    assert (cluster.writes(), cluster.shown("t")) == (before, "Failed/AgentError")


async def test_a_deleted_task_is_forgotten(cluster: Cluster) -> None:
    await running(cluster)
    cluster.vanish(TASKS, "t")
    assert await cluster.tasks.reconcile(Request(NAMESPACE, "t")) == Result()
    assert len(cluster.context.trackers) == 0


async def test_a_task_of_another_controller_is_left_alone(cluster: Cluster) -> None:
    cluster.task(managedBy="somebody.example/else")
    await cluster.reconcile("t")
    assert cluster.writes() == []


async def test_a_task_recreated_under_its_name_gets_a_job_of_its_own(cluster: Cluster) -> None:
    first = await running(cluster)
    cluster.vanish(TASKS, "t")
    cluster.task()
    await cluster.settle("t")
    second = next(x for x in cluster.jobs() if x != first)
    assert cluster.status("t")["jobName"] == second


async def test_a_task_waits_for_the_workspaceconfig_that_it_names(cluster: Cluster) -> None:
    cluster.task(workspaceConfigRef="big")
    await cluster.settle("t")
    assert cluster.shown("t") == "Pending/WorkspaceConfigNotFound"
    cluster.config("big")
    await cluster.settle("t")
    assert cluster.shown("t") == "Pending/Starting"


async def test_a_suspended_task_is_not_started_and_resumes(cluster: Cluster) -> None:
    cluster.task(suspend=True)
    await cluster.settle("t")
    assert (cluster.shown("t"), cluster.jobs()) == ("Pending/Suspended", [])
    cluster.change(c.KIND_TASK, "t", suspend=False)
    await cluster.settle("t")
    assert len(cluster.jobs()) == 1
    assert "Resumed" in cluster.events()


async def test_a_suspended_task_lets_its_agent_go_on(cluster: Cluster) -> None:
    await running(cluster)
    cluster.change(c.KIND_TASK, "t", suspend=True)
    await cluster.settle("t")
    assert (cluster.shown("t"), cluster.sent("patch", PODS)) == ("Running/Suspended", [])


async def test_a_task_that_is_cancelled_before_its_start_has_no_job(cluster: Cluster) -> None:
    cluster.task(cancel=True)
    await cluster.settle("t")
    assert (cluster.shown("t"), cluster.jobs()) == ("Failed/Cancelled", [])


async def test_a_cancelled_task_ends_its_pod_and_then_itself(cluster: Cluster) -> None:
    await running(cluster)
    cluster.change(c.KIND_TASK, "t", cancel=True)
    await cluster.settle("t")
    assert cluster.shown("t") == "Running/Cancelling"
    cluster.enforce_deadlines()
    await cluster.settle("t")
    assert cluster.shown("t") == "Failed/Cancelled"


async def test_a_cancelled_task_without_a_node_loses_its_job(cluster: Cluster) -> None:
    cluster.task()
    await cluster.settle("t")
    cluster.change(c.KIND_TASK, "t", cancel=True)
    await cluster.settle("t")
    assert (cluster.shown("t"), cluster.jobs()) == ("Failed/Cancelled", [])


async def test_a_cap_over_tasks_is_held_and_a_freed_slot_wakes_the_next(cluster: Cluster) -> None:
    cluster.config(maxConcurrentTasks=1)
    for name in ("a", "b"):
        cluster.task(name=name)
        await cluster.settle(name)
    assert (cluster.shown("b"), len(cluster.jobs())) == ("Pending/Queued", 1)
    assert "maxConcurrentTasks 1 of WorkspaceConfig default" in cluster.status("b")["message"]
    cluster.woken()
    cluster.start()
    cluster.end()
    assert "b" in cluster.woken()
    await cluster.settle("a", "b")
    assert len(cluster.jobs()) == 2


async def test_a_queued_task_that_is_suspended_leaves_the_slot_to_the_next(
    cluster: Cluster,
) -> None:
    cluster.config(maxConcurrentTasks=1)
    for name in ("a", "b", "d"):
        cluster.task(name=name)
        await cluster.settle(name)
    cluster.change(c.KIND_TASK, "b", suspend=True)
    cluster.woken()
    cluster.end()
    assert "d" in cluster.woken()
    await cluster.settle("d")
    assert cluster.shown("d") == "Pending/Starting"


@pytest.mark.parametrize("error", [server_error(500), TransportError("cut")])
async def test_a_create_that_failed_does_not_block_its_own_task(
    cluster: Cluster, error: Exception
) -> None:
    cluster.config(maxConcurrentTasks=1)
    cluster.task()
    await cluster.reconcile("t")
    cluster.refuse("create", JOBS, error)
    with pytest.raises(type(error)):
        await cluster.reconcile("t")
    await cluster.settle("t")
    assert cluster.shown("t") == "Pending/Starting"
    cluster.start()
    cluster.end()
    cluster.task(name="next")
    await cluster.settle("t", "next")
    assert cluster.shown("next") == "Pending/Starting"


async def test_a_refused_task_says_why_and_is_tried_less_and_less_often(cluster: Cluster) -> None:
    cluster.task(contexts=[inline("p.md", "do it")])
    text = "pods is forbidden: exceeded quota: q"
    cluster.refuse("create", JOBS, APIStatusError(code=403, message=text), times=99)
    await cluster.reconcile("t", seconds=1, times=120)
    assert cluster.shown("t") == "Pending/QuotaExceeded"
    assert len(cluster.sent("create", JOBS)) <= 9
    assert len(cluster.sent("create", CONFIGMAPS)) == 1


async def test_a_refused_task_leaves_its_slot_to_the_next(cluster: Cluster) -> None:
    cluster.config(maxConcurrentTasks=1)
    for name in ("a", "b"):
        cluster.task(name=name)
        await cluster.reconcile(name)
    text = "pods is forbidden: exceeded quota: q"
    cluster.refuse("create", JOBS, APIStatusError(code=403, message=text))
    await cluster.reconcile("a")
    await cluster.reconcile("b")
    assert cluster.status("b")["jobName"] in cluster.jobs()


async def test_a_create_that_never_had_an_answer_gives_its_slot_back_in_time(
    cluster: Cluster,
) -> None:
    cluster.config(maxConcurrentTasks=1)
    for name in ("a", "b"):
        cluster.task(name=name)
        await cluster.reconcile(name)
    cluster.refuse("create", JOBS, TransportError("cut"))
    with pytest.raises(TransportError):
        await cluster.reconcile("a")
    cluster.change(c.KIND_TASK, "a", suspend=True)
    await cluster.reconcile("a")
    await cluster.reconcile("b")
    assert cluster.jobs() == []
    await cluster.reconcile("b", seconds=UNANSWERED_LIFE)
    assert cluster.status("b")["jobName"] in cluster.jobs()


async def test_an_inline_file_beyond_a_configmap_in_bytes_ends_the_task(cluster: Cluster) -> None:
    cluster.task(contexts=[inline("p.md", "ж" * 600_000)])
    await cluster.settle("t")
    assert cluster.shown("t") == "Failed/TooLarge"
    assert "1200000 bytes" in cluster.status("t")["message"]


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"repo": "Billing"}, {"repo": "billing"}, "acme/Billing and acme/billing"),
        ({"branch": "a/b"}, {"branch": "a-b"}, "acme/service@a/b and acme/service@a-b"),
    ],
)
async def test_repositories_whose_folders_collide_end_the_task_and_are_named(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], first: dict, second: dict, words: str
) -> None:
    cluster.task(contexts=[views.repository(**first), views.repository(**second)])
    await cluster.settle("t")
    assert cluster.shown("t") == "Failed/InvalidSpec"
    assert f"{words} have the same folder" in cluster.status("t")["message"]
    # It is the user's to correct, and no fault of the program.
    assert "Traceback" not in capsys.readouterr().out


async def test_a_configmap_that_is_there_already_is_used_unread(cluster: Cluster) -> None:
    cluster.task(contexts=[inline("p.md", "do it")])
    await cluster.settle("t")
    cluster.vanish(JOBS, cluster.jobs()[0])
    cluster.objects[str(TASKS), "t"]["status"] = {"phase": "Pending", "reason": "Queued"}
    cluster.restart()
    await cluster.settle("t")
    assert cluster.shown("t") == "Pending/Starting"
    assert cluster.sent("get", CONFIGMAPS) == []


async def test_a_job_that_vanished_while_nobody_watched_is_known_by_its_event(
    cluster: Cluster,
) -> None:
    cluster.task()
    await cluster.reconcile("t", times=2)
    (name,) = cluster.jobs()
    cluster.tell(name, "SuccessfulCreate", "Created pod", type="Normal")
    cluster.vanish(JOBS, name)
    cluster.objects[str(TASKS), "t"]["status"].pop("jobName")
    cluster.restart()
    await cluster.settle("t")
    assert (cluster.shown("t"), cluster.jobs()) == ("Failed/JobLost", [])


async def test_a_task_keeps_its_counters_over_a_restart(cluster: Cluster) -> None:
    name = await running(cluster, maxDisruptions=1)
    gone = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    cluster.pod(name, phase="Failed", conditions=[gone])
    cluster.finish(name, "Failed", failed=1)
    await cluster.settle("t")
    cluster.restart()
    cluster.start()
    await cluster.settle("t")
    status = cluster.status("t")
    assert (status["attempts"], status["disruptions"], status["replacements"]) == (2, 1, 1)
    cluster.pod(name, phase="Failed", conditions=[gone])
    cluster.finish(name, "Failed", failed=1)
    await cluster.settle("t")
    assert cluster.shown("t") == "Failed/Disrupted"
    assert len(cluster.sent("create", JOBS)) == 2


async def test_a_pod_that_a_sidecar_keeps_is_ended_and_the_task_with_it(cluster: Cluster) -> None:
    name = await running(cluster)
    ended = {"terminated": {"exitCode": 0, "startedAt": "2026-01-02T10:00:00Z", "message": "done"}}
    agent = {"name": "agent", "state": ended}
    proxy = {"name": "istio-proxy", "state": {"running": {}}}
    cluster.pod(name, {"containerStatuses": [agent, proxy]})
    await cluster.reconcile("t")
    assert cluster.shown("t") == "Running/TaskRunning"
    await cluster.reconcile("t", seconds=11)
    await cluster.settle("t")
    assert cluster.shown("t") == "Succeeded/TaskSucceeded"
    assert cluster.sent("patch", PODS) == [f"{name}-pod"]


async def test_a_job_whose_replacement_another_process_recorded_stands_while_its_agent_runs(
    cluster: Cluster,
) -> None:
    name = await running(cluster)
    found = cluster.objects[str(TASKS), "t"]
    cluster.store(TASKS, found | {"status": found["status"] | {"replacements": 1}})
    await cluster.settle("t")
    assert (cluster.sent("delete", JOBS), cluster.jobs()) == ([], [name])
    assert cluster.job(name)["metadata"]["annotations"][c.ANNOTATION_REPLACEMENT] == "1"
    assert cluster.shown("t") == "Running/TaskRunning"
