"""A BatchRun from its creation to its end, against an API server in memory: what its user sees, and what is sent."""

import asyncio
from typing import Any

import pytest

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import REASONS_BY_PHASE, Phase, Reason
from kubetask_controller.client.errors import APIStatusError, TransportError
from kubetask_controller.client.resources import CORE_EVENTS, Resource
from kubetask_controller.reconcilers.concurrency import UNANSWERED_LIFE
from kubetask_controller.reconcilers.listers import BATCH_RUNS, BATCHES, WORKSPACE_CONFIGS
from kubetask_controller.reconcilers.taskrun import runner
from kubetask_controller.reconcilers.taskrun.state import Decision, decide
from kubetask_controller.runtime.consistency import StaleCacheError
from kubetask_controller.runtime.reconcile import Request, Result
from support.reconcilers.cluster import (
    CONFIGMAPS,
    CONTROLLERREVISIONS,
    JOBS,
    NAMESPACE,
    PODS,
    Cluster,
    inline,
    repository,
    server_error,
)
from support.reconcilers.views import at


@pytest.fixture
async def cluster() -> Cluster:
    return Cluster()


async def running(cluster: Cluster, tasks: int = 2, **spec: object) -> Cluster:
    """A run whose agents all run."""
    cluster.run(tasks=tasks, **spec)
    await cluster.settle()
    cluster.start()
    await cluster.settle()
    return cluster


# The simple way --------------------------------------------------------------------------------------


async def test_a_run_starts_a_job_for_each_task_and_ends_with_the_last(cluster: Cluster) -> None:
    await running(cluster)
    assert cluster.jobs() == ["r-task-0", "r-task-1"]
    assert cluster.shown() == "Running/TasksRunning"
    cluster.end("r-task-0")
    await cluster.settle()
    assert (cluster.shown(), cluster.status()["done"]) == ("Running/TasksRunning", "1/2")
    cluster.end("r-task-1")
    await cluster.settle()
    assert cluster.shown() == "Succeeded/TasksSucceeded"
    assert cluster.events() == ["Queued", "Started", "Succeeded"]


async def test_a_task_that_cannot_be_decided_holds_up_no_other_and_is_decided_later(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await running(cluster, tasks=3)
    cluster.end("r-task-0", "r-task-1", "r-task-2")

    def broken(name: str, *facts: Any) -> Decision:
        if name == "r-task-1":
            raise ArithmeticError("r-task-1 cannot be decided")
        return decide(name, *facts)

    with monkeypatch.context() as fault:
        fault.setattr(runner, "decide", broken)
        with pytest.raises(ArithmeticError):
            await cluster.reconcile()
    await cluster.settle()
    assert cluster.entries() == ["Succeeded/TaskSucceeded"] * 3


async def test_no_job_is_created_before_the_first_status(cluster: Cluster) -> None:
    cluster.run()
    await cluster.reconcile()
    assert (cluster.shown(), cluster.jobs()) == ("Pending/Queued", [])
    await cluster.reconcile()
    assert cluster.jobs() == ["r-task-0"]


async def test_an_ended_run_writes_and_creates_nothing_more(cluster: Cluster) -> None:
    await running(cluster)
    cluster.end()
    await cluster.settle()
    before = cluster.writes()
    for name in cluster.jobs():
        cluster.vanish(JOBS, name)
    await cluster.reconcile(times=3)
    assert cluster.writes() == before
    assert cluster.context.limiter.statistics() == {"waiting": 0, "served": 0, "creates": 0}


async def test_a_failed_task_shows_its_exit_and_an_event_tells_it(cluster: Cluster) -> None:
    await running(cluster)
    cluster.end("r-task-0", code=7, message="boom")
    cluster.end("r-task-1")
    await cluster.settle()
    assert cluster.shown() == "Failed/TasksFailed"
    assert cluster.status()["tasks"][0]["message"] == "exit code 7: boom"
    assert ("r", "TaskFailed", "r-task-0: AgentError: exit code 7: boom") in cluster.recorded.events


async def test_many_failures_at_once_are_one_event(cluster: Cluster) -> None:
    await running(cluster, 5)
    cluster.end(code=1)
    await cluster.settle()
    told = [note for _, reason, note in cluster.recorded.events if reason == "TaskFailed"]
    assert told == ["5 tasks failed; the first: r-task-0: AgentError"]


async def test_a_deleted_run_is_forgotten(cluster: Cluster) -> None:
    await running(cluster)
    cluster.vanish(BATCH_RUNS, "r")
    assert await cluster.runs.reconcile(Request(NAMESPACE, "r")) == Result()
    assert len(cluster.context.trackers) == 0
    assert list(cluster.context.tombstones.owners()) == []


async def test_a_run_of_another_controller_is_left_alone(cluster: Cluster) -> None:
    cluster.run(managedBy="kueue.x-k8s.io/multikueue")
    await cluster.reconcile()
    assert cluster.writes() == []


async def test_a_large_run_is_not_looked_at_for_every_change(cluster: Cluster) -> None:
    cluster.run(tasks=400, taskLimit=1)
    await cluster.settle()
    reads = len(cluster.requests)
    result = await cluster.reconcile(seconds=0.01)
    assert (round(result.requeue_after, 2), len(cluster.requests)) == (0.09, reads)


async def test_status_writes_of_one_run_are_coalesced(cluster: Cluster) -> None:
    await running(cluster, 4)
    before = len(cluster.sent("update", BATCH_RUNS))
    for name in cluster.jobs()[:3]:
        cluster.end(name)
        await cluster.reconcile(seconds=0.2)
    assert len(cluster.sent("update", BATCH_RUNS)) - before <= 1


# What a run waits for ----------------------------------------------------------------------------


async def test_a_run_waits_for_its_batch_and_starts_when_it_appears(cluster: Cluster) -> None:
    cluster.run(batchRef="b")
    await cluster.settle()
    assert cluster.shown() == "Pending/BatchNotFound"
    cluster.apply(c.KIND_BATCH, "b", {"variableContexts": [[repository("x")], [repository("y")]]})
    await cluster.settle()
    assert cluster.jobs() == ["r-task-0", "r-task-1"]
    assert cluster.status()["batchSnapshot"] in cluster.sent("create", CONTROLLERREVISIONS)


async def test_a_cancelled_run_without_its_batch_ends(cluster: Cluster) -> None:
    cluster.run(batchRef="b")
    await cluster.settle()
    cluster.change(c.KIND_BATCH_RUN, "r", cancel=True)
    await cluster.settle()
    assert cluster.shown() == "Failed/Cancelled"


async def test_a_retry_of_a_run_without_failures_ends(cluster: Cluster) -> None:
    await running(cluster)
    cluster.end()
    await cluster.settle()
    cluster.run(name="again", retryOf="r")
    await cluster.settle("again")
    assert cluster.shown("again") == "Failed/InvalidSpec"


async def test_a_retry_runs_the_failed_tasks_of_the_other_run_alone(cluster: Cluster) -> None:
    await running(cluster, 3)
    cluster.end("r-task-1", code=1)
    cluster.run(name="again", retryOf="r")
    await cluster.settle("again")
    assert cluster.shown("again") == "Pending/RetryOfNotFinished"
    cluster.end("r-task-0", "r-task-2")
    await cluster.settle("r", "again")
    assert cluster.shown("again") == "Pending/Starting"
    contexts = cluster.status("again")["tasks"][0]["contexts"]
    assert [x["repository"]["repo"] for x in contexts] == ["service-1"]


async def test_a_run_waits_for_the_workspaceconfig_that_it_names(cluster: Cluster) -> None:
    cluster.run(workspaceConfigRef="big")
    await cluster.settle()
    assert cluster.shown() == "Pending/WorkspaceConfigNotFound"
    cluster.config("big", agentImage="registry/other:2")
    await cluster.settle()
    image = cluster.job()["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == "registry/other:2"


async def test_a_workspaceconfig_that_the_cache_does_not_show_yet_counts(cluster: Cluster) -> None:
    with cluster.lag(WORKSPACE_CONFIGS):
        cluster.config(agentImage="registry/mine:1", maxConcurrentTasks=1)
        cluster.run(tasks=5)
        await cluster.settle()
        assert cluster.jobs() == ["r-task-0"]
        image = cluster.job()["spec"]["template"]["spec"]["containers"][0]["image"]
        assert image == "registry/mine:1"


async def test_a_batch_that_was_edited_before_the_cache_shows_it_is_taken_as_it_is(
    cluster: Cluster,
) -> None:
    cluster.apply(c.KIND_BATCH, "b", {"variableContexts": [[repository("old")]]})
    with cluster.lag(BATCHES):
        cluster.apply(c.KIND_BATCH, "b", {"variableContexts": [[repository("new")]] * 3})
        cluster.run(batchRef="b")
        await cluster.settle()
        assert cluster.status()["progress"]["total"] == 3


async def test_a_run_that_nothing_is_wrong_with_but_its_pod_says_what_it_waits_for(
    cluster: Cluster,
) -> None:
    cluster.run()
    await cluster.settle()
    cluster.wait("r-task-0", "ImagePullBackOff", "no such image")
    await cluster.settle()
    assert cluster.shown() == "Pending/ImagePullBackOff"
    assert cluster.status().get("startTime") is None


async def test_every_silent_pod_explains_itself_by_its_events(cluster: Cluster) -> None:
    cluster.run(tasks=8)
    await cluster.settle()
    for name in cluster.jobs():
        cluster.wait(name, "ContainerCreating")
        text = 'MountVolume.SetUp failed for volume "files" : configmap "none" not found'
        cluster.tell(f"{name}-pod", "FailedMount", text)
    cluster.requests.clear()
    await cluster.reconcile(seconds=20, times=2)
    assert cluster.entries() == ["Pending/ContextNotFound"] * 8
    # One list serves all of them.
    assert len(cluster.sent("list", CORE_EVENTS)) <= 2


async def test_a_task_that_cannot_start_comes_before_the_queue_in_the_reason(
    cluster: Cluster,
) -> None:
    cluster.config(maxConcurrentTasks=3)
    cluster.run(tasks=9)
    await cluster.settle()
    for name in cluster.jobs():
        cluster.tell(name, "FailedCreate", "Error creating: violates PodSecurity")
    await cluster.reconcile(seconds=20, times=3)
    assert cluster.shown() == "Pending/AdmissionDenied"
    assert "violates PodSecurity" in cluster.status()["message"]


async def test_a_task_whose_pod_a_node_refused_gets_another_job_after_a_while(
    cluster: Cluster,
) -> None:
    cluster.run()
    await cluster.settle()
    refused = cluster.job()["metadata"]["uid"]
    text = "Pod was rejected: Node didn't have enough resource: cpu"
    cluster.pod("r-task-0", phase="Failed", reason="OutOfcpu", message=text)
    cluster.finish("r-task-0", "Failed", failed=1)
    await cluster.reconcile(seconds=2, times=2)
    assert cluster.entries() == ["Pending/Unschedulable"]
    assert cluster.job()["metadata"]["uid"] == refused
    await cluster.reconcile(seconds=20, times=3)
    await cluster.settle()
    assert cluster.job()["metadata"]["uid"] != refused
    cluster.start()
    cluster.end("r-task-0")
    await cluster.settle()
    assert cluster.shown() == "Succeeded/TasksSucceeded"
    assert "Retrying" in cluster.events()


async def test_a_run_goes_on_after_its_workspaceconfig_was_corrected(cluster: Cluster) -> None:
    cluster.config(agentImage="registry/broken:1")
    cluster.run(tasks=2)
    await cluster.settle()
    old = {x: cluster.job(x)["metadata"]["uid"] for x in cluster.jobs()}
    for name in old:
        cluster.wait(name, "ErrImagePull", "no such image")
    await cluster.settle()
    cluster.config(agentImage="registry/good:1")
    await cluster.settle()
    for name, uid in old.items():
        found = cluster.job(name)
        assert found["metadata"]["uid"] != uid
        assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "registry/good:1"
        assert found["metadata"]["annotations"][c.ANNOTATION_REPLACEMENT] == "1"
    assert cluster.events().count("Retrying") == 2


async def test_a_job_whose_agent_starts_meanwhile_is_not_replaced(cluster: Cluster) -> None:
    cluster.config(agentImage="registry/broken:1")
    cluster.run()
    await cluster.settle()
    cluster.wait("r-task-0", "ErrImagePull")
    await cluster.settle()
    with cluster.lag(PODS):
        cluster.start()
        cluster.config(agentImage="registry/good:1")
        await cluster.reconcile(times=3)
    await cluster.settle()
    assert cluster.sent("delete", JOBS) == []
    assert cluster.shown() == "Running/TasksRunning"


async def test_a_replacement_is_not_deleted_for_an_agent_that_started_after_it_was_recorded(
    cluster: Cluster,
) -> None:
    cluster.config(agentImage="registry/broken:1")
    cluster.run()
    await cluster.settle()
    cluster.wait("r-task-0", "ErrImagePull")
    await cluster.settle()
    cluster.config(agentImage="registry/good:1")
    await cluster.reconcile()
    with cluster.lag(PODS):
        cluster.start()
        await cluster.reconcile(times=2)
    await cluster.settle()
    assert cluster.sent("delete", JOBS) == []
    assert cluster.shown() == "Running/TasksRunning"


# Limits ------------------------------------------------------------------------------------------


async def test_parallelism_bounds_the_jobs_and_they_follow_one_another(cluster: Cluster) -> None:
    cluster.run(tasks=4, parallelism=2)
    await cluster.settle()
    assert cluster.jobs() == ["r-task-0", "r-task-1"]
    cluster.end("r-task-0")
    await cluster.settle()
    assert cluster.jobs() == ["r-task-0", "r-task-1", "r-task-2"]


async def test_failures_beyond_the_limit_end_what_has_not_started(cluster: Cluster) -> None:
    cluster.run(tasks=5, maxFailures=1)
    await cluster.settle()
    cluster.start("r-task-0", "r-task-1", "r-task-2")
    await cluster.settle()
    cluster.end("r-task-0", "r-task-1", code=1)
    await cluster.settle()
    assert sorted(cluster.sent("delete", JOBS)) == ["r-task-3", "r-task-4"]
    assert cluster.entries()[2:] == [
        "Running/TaskRunning",
        "Failed/MaxFailuresExceeded",
        "Failed/MaxFailuresExceeded",
    ]
    cluster.end("r-task-2")
    await cluster.settle()
    assert cluster.shown() == "Failed/MaxFailuresExceeded"


async def test_the_failure_that_passes_the_limit_starts_no_further_task(cluster: Cluster) -> None:
    cluster.run(tasks=3, parallelism=1, maxFailures=0)
    await cluster.settle()
    cluster.start()
    cluster.end("r-task-0", code=1)
    await cluster.settle()
    assert cluster.sent("create", JOBS) == ["r-task-0"]
    assert cluster.shown() == "Failed/MaxFailuresExceeded"


async def test_failures_that_exceed_the_limit_all_at_once_give_the_run_its_reason(
    cluster: Cluster,
) -> None:
    await running(cluster, 5, maxFailures=1)
    cluster.end(code=1)
    await cluster.settle()
    assert cluster.shown() == "Failed/MaxFailuresExceeded"


async def test_the_budget_stops_tasks_that_have_not_started(cluster: Cluster) -> None:
    cluster.run(tasks=3, parallelism=1, maxCostUSD="1.5")
    await cluster.settle()
    for index in range(2):
        cluster.start(f"r-task-{index}")
        cluster.end(f"r-task-{index}", message='{"summary": "x", "usage": {"costUSD": "0.8"}}')
        await cluster.settle()
    assert cluster.shown() == "Failed/BudgetExceeded"
    assert cluster.status()["usage"]["costUSD"] == "1.6"
    assert cluster.jobs() == ["r-task-0", "r-task-1"]


async def test_a_canary_waits_for_a_person_and_goes_on_when_the_limit_is_raised(
    cluster: Cluster,
) -> None:
    cluster.run(tasks=3, taskLimit=1)
    await cluster.settle()
    cluster.start()
    cluster.end()
    await cluster.settle()
    assert cluster.shown() == "Running/TaskLimit"
    assert cluster.entries()[1:] == ["Pending/TaskLimit"] * 2
    cluster.change(c.KIND_BATCH_RUN, "r", taskLimit=3)
    await cluster.settle()
    assert cluster.jobs() == ["r-task-0", "r-task-1", "r-task-2"]


async def test_a_task_that_does_not_start_in_time_ends(cluster: Cluster) -> None:
    cluster.run(pendingDeadlineSeconds=60)
    await cluster.settle()
    cluster.wait("r-task-0", "ErrImagePull", "no such image")
    await cluster.settle()
    assert cluster.sent("patch", PODS) == []
    await cluster.reconcile(seconds=60)
    cluster.enforce_deadlines()
    await cluster.settle()
    assert cluster.entries() == ["Failed/PendingTimeout"]
    assert "did not start within 60 s: ImagePullBackOff" in cluster.status()["tasks"][0]["message"]


async def test_the_pending_deadline_holds_after_the_limit_of_failures(cluster: Cluster) -> None:
    cluster.run(tasks=2, maxFailures=0, pendingDeadlineSeconds=30)
    await cluster.settle()
    cluster.start("r-task-0")
    cluster.end("r-task-0", code=1)
    await cluster.reconcile(seconds=40, times=4)
    assert cluster.shown() == "Failed/MaxFailuresExceeded"


# What a user asks for ----------------------------------------------------------------------------


async def test_a_suspended_run_starts_nothing_new_and_resumes(cluster: Cluster) -> None:
    cluster.run(tasks=2, parallelism=1)
    await cluster.settle()
    cluster.start()
    cluster.change(c.KIND_BATCH_RUN, "r", suspend=True)
    await cluster.settle()
    assert cluster.shown() == "Running/Suspended"
    cluster.end("r-task-0")
    await cluster.settle()
    assert cluster.entries() == ["Succeeded/TaskSucceeded", "Pending/Suspended"]
    cluster.change(c.KIND_BATCH_RUN, "r", suspend=False)
    await cluster.settle()
    assert cluster.jobs() == ["r-task-0", "r-task-1"]


async def test_a_cancelled_run_ends_its_pods_and_keeps_them(cluster: Cluster) -> None:
    await running(cluster, 3, parallelism=2)
    cluster.change(c.KIND_BATCH_RUN, "r", cancel=True)
    await cluster.settle()
    assert sorted(cluster.sent("patch", PODS)) == ["r-task-0-pod", "r-task-1-pod"]
    assert cluster.shown() == "Running/Cancelling"
    assert cluster.entries()[2] == "Failed/Cancelled"
    cluster.enforce_deadlines()
    await cluster.settle()
    assert cluster.shown() == "Failed/Cancelled"
    assert cluster.entries() == ["Failed/Cancelled"] * 3


async def test_cancelling_sends_one_request_for_each_pod_on_a_node(cluster: Cluster) -> None:
    await running(cluster, 40)
    cluster.change(c.KIND_BATCH_RUN, "r", cancel=True)
    cluster.requests.clear()
    await cluster.reconcile()
    assert len(cluster.sent("patch", PODS)) == 40
    assert cluster.sent("list", PODS) == []


async def test_a_pod_that_cannot_be_ended_holds_up_no_other(cluster: Cluster) -> None:
    await running(cluster, 3)
    cluster.change(c.KIND_BATCH_RUN, "r", cancel=True)
    cluster.refuse("patch", PODS, server_error())
    await cluster.reconcile()
    ended = [
        x["spec"].get("activeDeadlineSeconds")
        for (r, _), x in cluster.objects.items()
        if r == "pods"
    ]
    assert sorted(ended, key=str) == [1, 1, None]
    await cluster.reconcile()
    assert len(cluster.sent("patch", PODS)) == 4


# Disruptions, and Jobs that vanish -------------------------------------------------------------------


def disrupt(cluster: Cluster, name: str) -> None:
    """The cluster evicts a Pod: the Job fails on its policy and the Pod is gone."""
    gone = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    cluster.pod(name, phase="Failed", conditions=[gone])
    cluster.finish(name, "Failed", failed=1)


async def test_a_disrupted_task_gets_another_job_where_the_user_allows_it(cluster: Cluster) -> None:
    await running(cluster, 1, maxDisruptions=1, backoffLimit=1)
    disrupt(cluster, "r-task-0")
    await cluster.settle()
    annotations = cluster.job()["metadata"]["annotations"]
    assert annotations[c.ANNOTATION_REPLACEMENT] == "1"
    assert annotations[c.ANNOTATION_EARLIER_ATTEMPTS] == "1"
    assert cluster.job()["spec"]["backoffLimit"] == 1
    cluster.start()
    await cluster.settle()
    entry = cluster.status()["tasks"][0]
    assert (entry["attempts"], entry["disruptions"], entry["replacements"]) == (2, 1, 1)
    assert "Retrying" in cluster.events()


async def test_a_disrupted_job_that_is_gone_already_is_replaced_too(cluster: Cluster) -> None:
    await running(cluster, 1, maxDisruptions=1, backoffLimit=1)
    disrupt(cluster, "r-task-0")
    cluster.vanish(JOBS, "r-task-0")
    await cluster.settle()
    [entry] = cluster.status()["tasks"]
    assert (entry["disruptions"], entry["replacements"]) == (1, 1)
    assert cluster.jobs() == ["r-task-0"]


async def test_a_task_on_a_lost_node_ends_and_gives_its_slot_back(cluster: Cluster) -> None:
    cluster.config(maxConcurrentTasks=1)
    await running(cluster, 1)
    cluster.run(name="other")
    gone = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
    pod = cluster.pod("r-task-0", conditions=[gone])
    cluster.store(PODS, pod | {"metadata": pod["metadata"] | {"deletionTimestamp": at(30)}})
    await cluster.reconcile(seconds=1)
    await cluster.reconcile(seconds=80)
    assert cluster.entries() == ["Running/TaskRunning"]
    await cluster.reconcile(seconds=20, times=2)
    assert cluster.entries() == ["Failed/Disrupted"]
    [entry] = cluster.status()["tasks"]
    assert "node node1 did not end Pod r-task-0-pod" in entry["message"]
    await cluster.reconcile(seconds=60, times=3)
    await cluster.reconcile("other", times=3)
    assert cluster.jobs() == ["other-task-0"]


async def test_a_pod_that_ran_out_of_time_on_a_lost_node_gives_its_slot_back(
    cluster: Cluster,
) -> None:
    cluster.run(tasks=2, parallelism=1, activeDeadlineSeconds=10)
    await cluster.settle()
    pod = cluster.pod("r-task-0", phase="Running", startTime=at(0))
    cluster.store(PODS, pod | {"spec": pod["spec"] | {"activeDeadlineSeconds": 10}})
    cluster.start("r-task-0")
    await cluster.reconcile(seconds=1)
    await cluster.reconcile(seconds=100, times=2)
    assert cluster.entries()[0] == "Failed/TimedOut"
    pod = cluster.objects["pods", "r-task-0-pod"]
    cluster.store(PODS, pod | {"metadata": pod["metadata"] | {"deletionTimestamp": at(300)}})
    await cluster.reconcile(times=4)
    assert cluster.jobs() == ["r-task-1"]


async def test_an_agent_goes_on_though_the_cache_shows_an_earlier_suspension(
    cluster: Cluster,
) -> None:
    cluster.run()
    await cluster.settle()
    job = cluster.job()
    cluster.store(JOBS, job | {"spec": job["spec"] | {"suspend": True}})
    await cluster.reconcile()
    with cluster.lag(JOBS):
        cluster.store(JOBS, cluster.job() | {"spec": job["spec"] | {"suspend": False}})
        cluster.start()
        await cluster.reconcile(times=2)
    assert cluster.entries() == ["Running/TaskRunning"]
    assert cluster.sent("patch", PODS) == []


@pytest.mark.parametrize(
    ("had_pod", "entry"), [(True, "Failed/Disrupted"), (False, "Pending/Queued")]
)
async def test_a_new_leader_finds_out_whether_a_suspended_job_had_a_pod(
    cluster: Cluster, had_pod: bool, entry: str
) -> None:
    cluster.run()
    await cluster.settle()
    job = cluster.job()
    if had_pod:
        cluster.tell("r-task-0", "SuccessfulCreate", "Created pod: r-task-0-pod", "Normal")
    cluster.store(JOBS, job | {"spec": job["spec"] | {"suspend": True}})
    cluster.restart()
    await cluster.reconcile(times=3)
    assert cluster.entries() == [entry]


async def test_the_pending_deadline_ends_a_task_whose_predecessor_stays(cluster: Cluster) -> None:
    await running(cluster, 1, maxDisruptions=1, pendingDeadlineSeconds=30)
    gone = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
    pod = cluster.pod("r-task-0", conditions=[gone])
    cluster.store(PODS, pod | {"metadata": pod["metadata"] | {"deletionTimestamp": at(30)}})
    job = cluster.job()
    await cluster.reconcile(seconds=1)
    await cluster.reconcile(seconds=95, times=2)
    # The Pod holds the Job that is deleted in the foreground.
    stays = job | {"metadata": job["metadata"] | {"deletionTimestamp": at(95)}}
    cluster.store(JOBS, stays)
    await cluster.reconcile(seconds=60, times=1)
    assert cluster.entries()[0].startswith("Pending/")
    await cluster.reconcile(seconds=70, times=2)
    assert cluster.entries() == ["Failed/PendingTimeout"]


async def test_a_job_that_is_suspended_while_its_agent_runs_gets_the_try_that_is_allowed(
    cluster: Cluster,
) -> None:
    await running(cluster, 1, maxDisruptions=1)
    job = cluster.job()
    cluster.store(JOBS, job | {"spec": job["spec"] | {"suspend": True}})
    await cluster.reconcile(seconds=6, times=3)
    assert c.ANNOTATION_REPLACEMENT not in cluster.job()["metadata"]["annotations"]
    cluster.vanish(PODS, "r-task-0-pod")
    await cluster.reconcile(seconds=6, times=3)
    await cluster.settle()
    assert cluster.job()["metadata"]["annotations"][c.ANNOTATION_REPLACEMENT] == "1"
    assert cluster.entries() == ["Pending/Starting"]


async def test_a_disruption_that_is_not_allowed_ends_the_task(cluster: Cluster) -> None:
    await running(cluster, 1)
    disrupt(cluster, "r-task-0")
    await cluster.settle()
    assert cluster.entries() == ["Failed/Disrupted"]
    assert len(cluster.sent("create", JOBS)) == 1


async def test_a_job_that_somebody_deletes_while_it_runs_is_lost(cluster: Cluster) -> None:
    await running(cluster, 2)
    cluster.vanish(JOBS, "r-task-0")
    await cluster.settle()
    assert cluster.entries() == ["Failed/JobLost", "Running/TaskRunning"]
    assert len(cluster.sent("create", JOBS)) == 2


async def test_a_job_that_the_cache_does_not_show_after_a_failover_is_not_lost(
    cluster: Cluster,
) -> None:
    await running(cluster, 3, parallelism=3)
    cluster.restart(behind=JOBS)
    await cluster.reconcile(times=3)
    assert cluster.entries() == ["Running/TaskRunning"] * 3
    assert (cluster.sent("delete", JOBS), len(cluster.sent("create", JOBS))) == ([], 3)


async def test_a_cap_holds_after_a_failover_to_a_cache_without_the_last_jobs(
    cluster: Cluster,
) -> None:
    cluster.config(maxConcurrentTasks=2)
    cluster.run(tasks=6)
    await cluster.settle()
    cluster.run(tasks=6, name="s")
    await cluster.reconcile("s")
    cluster.restart(behind=JOBS)
    # The new process looks first at the run that has no Job.
    await cluster.reconcile("s", times=2)
    await cluster.reconcile("r", times=2)
    assert cluster.jobs() == ["r-task-0", "r-task-1"]


async def test_a_result_counts_though_the_pod_cache_is_behind(cluster: Cluster) -> None:
    await running(cluster, 2)
    with cluster.lag(PODS):
        cluster.end("r-task-0", message='{"summary": "3 files", "branch": "fix"}')
        cluster.end("r-task-1", code=7)
        await cluster.settle()
        first, second = cluster.status()["tasks"]
        assert (first["result"], first["status"]) == (
            {"summary": "3 files", "branch": "fix"},
            "Succeeded",
        )
        assert (second["reason"], second["message"]) == ("AgentError", "exit code 7")


async def test_a_job_that_lost_its_label_is_given_it_back(cluster: Cluster) -> None:
    await running(cluster, 1)
    stripped = cluster.job()
    cluster.store(JOBS, stripped | {"metadata": stripped["metadata"] | {"labels": {}}})
    await cluster.reconcile(times=3)
    labels = cluster.job()["metadata"]["labels"]
    assert labels[c.LABEL_MANAGED_BY] == c.LABEL_MANAGED_BY_VALUE
    assert cluster.entries() == ["Running/TaskRunning"]


async def test_a_foreign_job_that_names_the_run_is_ignored_and_told_once(cluster: Cluster) -> None:
    await running(cluster, 1)
    ours = cluster.job()["metadata"]
    foreign = {k: ours[k] for k in ("labels", "ownerReferences")} | {"name": "r-task-9"}
    cluster.store(JOBS, {"metadata": foreign, "spec": {}})
    await cluster.reconcile(times=3)
    assert cluster.events().count("Ignored") == 1
    assert cluster.status()["progress"]["total"] == 1


# Creates -----------------------------------------------------------------------------------------


async def test_a_name_that_another_objects_job_bears_fails_that_task_alone(
    cluster: Cluster,
) -> None:
    cluster.store(JOBS, {"metadata": {"name": "r-task-0"}, "spec": {}})
    cluster.run(tasks=2)
    await cluster.settle()
    assert cluster.entries() == ["Failed/NameConflict", "Pending/Starting"]


async def test_a_create_whose_answer_is_lost_is_not_sent_again(cluster: Cluster) -> None:
    cluster.run()
    await cluster.reconcile()
    with cluster.lag(JOBS):
        cluster.lose_answer("create", JOBS)
        with pytest.raises(TransportError):
            await cluster.reconcile()
        await cluster.reconcile(times=2)
    assert cluster.sent("create", JOBS) == ["r-task-0"]
    assert cluster.entries() == ["Pending/Starting"]


async def test_a_cancelled_run_does_not_send_a_create_again_that_had_no_answer(
    cluster: Cluster,
) -> None:
    cluster.run(tasks=2, parallelism=1)
    await cluster.reconcile()
    cluster.refuse("create", JOBS, TransportError("reset"))
    with pytest.raises(TransportError):
        await cluster.reconcile()
    cluster.change(c.KIND_BATCH_RUN, "r", cancel=True)
    before = cluster.sent("create", JOBS)
    await cluster.settle()
    # The API server may still carry the create out.
    assert cluster.entries() == ["Pending/Queued", "Failed/Cancelled"]
    await cluster.reconcile(seconds=75)
    assert cluster.sent("create", JOBS) == before
    assert cluster.entries() == ["Failed/Cancelled"] * 2
    assert cluster.shown() == "Failed/Cancelled"


async def test_an_end_that_met_a_conflict_is_sent_again_without_an_event(cluster: Cluster) -> None:
    await running(cluster, tasks=1)
    cluster.change(c.KIND_BATCH_RUN, "r", cancel=True)
    cluster.refuse("patch", PODS, server_error(409, "the object has been modified"))
    result = await cluster.reconcile()
    name = (str(PODS), "r-task-0-pod")
    assert "activeDeadlineSeconds" not in cluster.objects[name]["spec"]
    assert 0 < result.requeue_after <= 5
    await cluster.reconcile(seconds=5)
    assert cluster.objects[name]["spec"]["activeDeadlineSeconds"] == 1


async def test_a_create_that_arrives_late_at_a_cancelled_run_is_ended(cluster: Cluster) -> None:
    cluster.run()
    await cluster.reconcile()
    with cluster.lag(JOBS):
        cluster.lose_answer("create", JOBS)
        with pytest.raises(TransportError):
            await cluster.reconcile()
        cluster.change(c.KIND_BATCH_RUN, "r", cancel=True)
        await cluster.reconcile()
    await cluster.settle()
    assert cluster.jobs() == []
    assert cluster.shown() == "Failed/Cancelled"


async def test_a_create_that_never_arrived_is_sent_again(cluster: Cluster) -> None:
    cluster.run()
    await cluster.reconcile()
    cluster.refuse("create", JOBS, TransportError("reset"))
    with pytest.raises(TransportError):
        await cluster.reconcile()
    await cluster.settle()
    assert cluster.sent("create", JOBS) == ["r-task-0"] * 2


async def test_a_job_that_ran_and_went_while_its_create_had_no_answer_is_not_created_again(
    cluster: Cluster,
) -> None:
    cluster.run()
    await cluster.reconcile()
    with cluster.lag(JOBS):
        cluster.lose_answer("create", JOBS)
        with pytest.raises(TransportError):
            await cluster.reconcile()
        cluster.tell("r-task-0", "SuccessfulCreate", "Created pod: r-task-0-x", type="Normal")
        del cluster.objects[str(JOBS), "r-task-0"]
        await cluster.reconcile(times=3)
        # The Event may be that of an earlier owner's Job, and the create may still be carried out.
        assert cluster.entries() == ["Pending/Queued"]
        await cluster.reconcile(seconds=UNANSWERED_LIFE)
        await cluster.reconcile(times=3)
    assert cluster.sent("create", JOBS) == ["r-task-0"]
    assert cluster.entries() == ["Failed/JobLost"]


async def test_a_job_that_an_earlier_process_created_and_lost_is_known_by_its_event(
    cluster: Cluster,
) -> None:
    cluster.run()
    await cluster.reconcile(times=2)
    cluster.tell("r-task-0", "SuccessfulCreate", "Created pod: r-task-0-x", type="Normal")
    cluster.vanish(JOBS, "r-task-0")
    cluster.objects[str(BATCH_RUNS), "r"]["status"] |= {"startedIndexes": "", "tasks": []}
    cluster.restart()
    await cluster.settle()
    assert (cluster.entries(), len(cluster.sent("create", JOBS))) == (["Failed/JobLost"], 1)


async def test_a_refusal_costs_one_request_and_is_tried_less_and_less_often(
    cluster: Cluster,
) -> None:
    cluster.run(tasks=30)
    text = "jobs.batch is forbidden: exceeded quota: q"
    cluster.refuse("create", JOBS, APIStatusError(code=403, message=text), times=99)
    await cluster.reconcile(seconds=1, times=120)
    assert cluster.shown() == "Pending/QuotaExceeded"
    assert "exceeded quota" in cluster.status()["message"]
    assert 4 <= len(cluster.sent("create", JOBS)) <= 9


@pytest.mark.parametrize("resource", [CONTROLLERREVISIONS, CONFIGMAPS, JOBS])
@pytest.mark.parametrize("code", [403, 422])
async def test_a_run_whose_snapshot_files_or_jobs_a_policy_refuses_says_so(
    cluster: Cluster, resource: Resource, code: int
) -> None:
    text = (
        "jobs.batch is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"
    )
    refused = APIStatusError(code=code, message=text)
    cluster.apply(c.KIND_BATCH, "b", {"variableContexts": [[inline("p.md", "do it")]]})
    cluster.refuse("create", resource, refused, times=99)
    cluster.run(batchRef="b")
    await cluster.reconcile(seconds=1, times=60)
    assert cluster.shown() == "Pending/AdmissionDenied"
    assert "ValidatingAdmissionPolicy" in cluster.status()["message"]


async def test_files_that_could_not_be_created_at_once_are_created_later(cluster: Cluster) -> None:
    cluster.refuse("create", CONFIGMAPS, server_error())
    cluster.run(batchSpec={"variableContexts": [[inline("p.md", "do it")]]})
    await cluster.reconcile()
    with pytest.raises(APIStatusError):
        await cluster.reconcile()
    await cluster.settle()
    assert cluster.entries() == ["Pending/Starting"]


async def test_a_job_that_is_too_large_fails_its_task_alone(cluster: Cluster) -> None:
    cluster.run(tasks=2)
    cluster.refuse("create", JOBS, APIStatusError(code=413, message="request is too large"))
    await cluster.settle()
    assert cluster.entries() == ["Failed/TooLarge", "Pending/Starting"]


async def test_an_inline_file_beyond_a_configmap_in_bytes_fails_its_task_alone(
    cluster: Cluster,
) -> None:
    contexts = [[inline("prompt.md", "ж" * 600_000)], [inline("prompt.md", "short")]]
    cluster.run(batchSpec={"variableContexts": contexts})
    await cluster.settle()
    assert cluster.entries() == ["Failed/TooLarge", "Pending/Starting"]
    assert "1200000 bytes" in cluster.status()["tasks"][0]["message"]


async def test_folders_that_collide_fail_their_task_alone(cluster: Cluster) -> None:
    colliding = [repository("Billing"), repository("billing")]
    cluster.run(batchSpec={"variableContexts": [[repository("a")], colliding, [repository("b")]]})
    await cluster.settle()
    assert cluster.entries() == ["Pending/Starting", "Failed/InvalidSpec", "Pending/Starting"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("docs/guide.md", "file docs is the folder of file docs/guide.md"),
        ("ж" * 130, "has more than 255 bytes"),
    ],
)
async def test_files_that_no_file_system_holds_fail_their_task_alone(
    cluster: Cluster, name: str, words: str
) -> None:
    common, tasks = [inline("docs", "x")], [[inline(name, "y")], [repository("b")]]
    cluster.run(batchSpec={"commonContext": common, "variableContexts": tasks})
    await cluster.settle()
    assert cluster.entries() == ["Failed/InvalidSpec", "Pending/Starting"]
    assert words in cluster.status()["tasks"][0]["message"]


async def test_a_job_that_is_invalid_waits_for_its_workspaceconfig(cluster: Cluster) -> None:
    text = "spec.template.spec.containers[0].volumeMounts[6].mountPath: must be unique"
    cluster.refuse("create", JOBS, APIStatusError(code=422, message=text), times=9)
    cluster.config(agentImage="a")
    cluster.run()
    await cluster.reconcile(times=3)
    status = cluster.status()
    assert (status["phase"], status["reason"]) == ("Pending", "InvalidSpec")
    assert Reason(status["reason"]) in REASONS_BY_PHASE[Phase(status["phase"])]
    assert f"{text}; correct this field in WorkspaceConfig default" in status["message"]


async def test_a_secret_that_the_workspaceconfig_does_not_allow_fails_its_task(
    cluster: Cluster,
) -> None:
    secret = {"secretKeyRef": {"name": "prod-db", "key": "password"}}
    context = {"type": "File", "file": {"name": "x", "source": secret}}
    cluster.config(allowedSecrets=["tokens"])
    cluster.run(batchSpec={"variableContexts": [[context], [repository("a")]]})
    await cluster.settle()
    assert cluster.entries() == ["Failed/SecretNotAllowed", "Pending/Starting"]


async def test_one_prompt_for_many_tasks_is_stored_once(cluster: Cluster) -> None:
    contexts = [[repository(f"r{i}")] for i in range(3)]
    spec = {"commonContext": [inline("p.md", "do it")], "variableContexts": contexts}
    cluster.run(batchSpec=spec)
    await cluster.settle()
    assert len(cluster.sent("create", CONFIGMAPS)) == 1


async def test_a_create_that_fails_under_load_holds_up_none_of_the_others(
    cluster: Cluster,
) -> None:
    cluster.run(tasks=8)
    await cluster.reconcile()
    cluster.refuse("create", JOBS, server_error(503), name="r-task-1")
    result = await cluster.reconcile()
    assert (result.requeue_after, len(cluster.jobs())) == (0.5, 2)
    await cluster.settle()
    assert len(cluster.jobs()) == 8


async def test_a_read_that_fails_for_one_task_does_not_hold_up_the_end_of_the_others(
    cluster: Cluster,
) -> None:
    cluster.run(tasks=4, pendingDeadlineSeconds=30)
    await cluster.settle()
    for index in range(4):
        cluster.wait(f"r-task-{index}", "ImagePullBackOff")
    await cluster.settle()
    cluster.refuse("list", PODS, server_error())
    await cluster.reconcile(seconds=31)
    assert len(cluster.sent("patch", PODS)) == 3
    await cluster.reconcile()
    assert len(cluster.sent("patch", PODS)) == 4


async def test_events_that_cannot_be_read_do_not_hold_up_ends(cluster: Cluster) -> None:
    cluster.run(tasks=2)
    await cluster.settle()
    cluster.start("r-task-0")
    cluster.pod("r-task-1")
    await cluster.settle()
    cluster.end("r-task-0")
    cluster.refuse("list", CORE_EVENTS, server_error())
    await cluster.reconcile(seconds=20)
    assert cluster.entries()[0] == "Succeeded/TaskSucceeded"


async def test_what_is_ended_is_looked_at_again_though_its_reconcile_is_cancelled(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(*_: object, **__: object) -> None:
        raise asyncio.CancelledError

    await running(cluster, 3)
    cluster.change(c.KIND_BATCH_RUN, "r", cancel=True)
    with monkeypatch.context() as patch:
        patch.setattr(cluster.context.jobs, "end", hangs)
        with pytest.raises(asyncio.CancelledError):
            await cluster.reconcile()
    await cluster.reconcile(seconds=runner.RECHECK)
    assert len(cluster.sent("patch", PODS)) == 3


async def test_a_webhook_that_is_down_is_named_while_the_run_waits(cluster: Cluster) -> None:
    cluster.run(tasks=2)
    await cluster.reconcile()
    for _ in range(6):
        cluster.refuse("create", JOBS, server_error(500, "failed calling webhook jobs.kueue"))
    for _ in range(2):
        with pytest.raises(APIStatusError):
            await cluster.reconcile()
    assert "failed calling webhook jobs.kueue" in cluster.status()["message"]
    assert cluster.entries() == ["Pending/Queued"] * 2


async def test_a_refused_job_shows_its_reason_on_the_task_and_ends_at_the_deadline(
    cluster: Cluster,
) -> None:
    text = "jobs.batch is forbidden: exceeded quota: q"
    cluster.run(tasks=2, pendingDeadlineSeconds=60)
    await cluster.reconcile()
    for _ in range(9):
        cluster.refuse("create", JOBS, APIStatusError(code=403, reason="Forbidden", message=text))
    await cluster.reconcile(times=2)
    assert cluster.entries() == ["Pending/QuotaExceeded"] * 2
    await cluster.reconcile(seconds=5, times=15)
    assert cluster.entries() == ["Failed/PendingTimeout"] * 2
    assert "exceeded quota" in cluster.status()["tasks"][0]["message"]


async def test_the_deadline_of_refused_jobs_ends_only_what_was_tried_for_so_long(
    cluster: Cluster,
) -> None:
    text = "jobs.batch is forbidden: exceeded quota: q"
    cluster.run(tasks=3, parallelism=1, pendingDeadlineSeconds=60)
    await cluster.reconcile()
    for _ in range(40):
        cluster.refuse("create", JOBS, APIStatusError(code=403, reason="Forbidden", message=text))
    await cluster.reconcile(seconds=5, times=14)
    assert cluster.entries() == ["Failed/PendingTimeout", *["Pending/QuotaExceeded"] * 2]
    # A user who suspends the run stops the clock of the others.
    cluster.change(c.KIND_BATCH_RUN, "r", suspend=True)
    await cluster.reconcile(seconds=300, times=2)
    cluster.change(c.KIND_BATCH_RUN, "r", suspend=None)
    await cluster.reconcile(seconds=5, times=4)
    assert cluster.entries()[1:] == ["Pending/QuotaExceeded"] * 2


async def test_a_create_that_is_refused_after_one_without_an_answer_ends_at_the_deadline(
    cluster: Cluster,
) -> None:
    cluster.run(pendingDeadlineSeconds=200)
    await cluster.reconcile()
    cluster.refuse("create", JOBS, server_error(500, "failed calling webhook jobs.kueue"))
    with pytest.raises(APIStatusError):
        await cluster.reconcile()
    for _ in range(40):
        cluster.refuse("create", JOBS, APIStatusError(code=403, reason="Forbidden", message="no"))
    await cluster.reconcile(seconds=10, times=15)
    assert cluster.entries() == ["Pending/AdmissionDenied"]
    await cluster.reconcile(seconds=10, times=8)
    assert cluster.entries() == ["Failed/PendingTimeout"]


async def test_a_task_that_had_a_job_is_not_among_the_refused_ones(cluster: Cluster) -> None:
    refused = APIStatusError(code=403, reason="Forbidden", message="exceeded quota: q")
    cluster.run(tasks=2, parallelism=2, pendingDeadlineSeconds=60, maxDisruptions=1)
    await cluster.reconcile()
    for _ in range(60):
        cluster.refuse("create", JOBS, refused, name="r-task-1")
    await cluster.reconcile()
    cluster.start("r-task-0")
    await cluster.reconcile(seconds=55)
    disrupt(cluster, "r-task-0")
    cluster.refuse("create", JOBS, refused, name="r-task-0")
    await cluster.reconcile(seconds=3, times=4)
    assert cluster.status()["tasks"][0]["replacements"] == 1
    assert cluster.entries()[0] in ("Pending/Starting", "Pending/QuotaExceeded")


async def test_owners_whose_creates_fail_do_not_wake_each_other(cluster: Cluster) -> None:
    cluster.config(maxConcurrentTasks=2)
    for name in ("r", "s"):
        cluster.run(tasks=4, name=name)
        await cluster.reconcile(name)
    for _ in range(40):
        cluster.refuse("create", JOBS, server_error(500, "failed calling webhook jobs.kueue"))
    cluster.woken()
    for name in ("r", "s"):
        with pytest.raises(APIStatusError):
            await cluster.reconcile(name)
    woken = cluster.woken()
    with pytest.raises(APIStatusError):
        await cluster.reconcile("r")
    assert (woken, cluster.woken()) == (set(), set())


async def test_a_job_whose_label_cannot_be_restored_ends_with_its_run(cluster: Cluster) -> None:
    await running(cluster, 1)
    stripped = cluster.objects[str(JOBS), "r-task-0"]
    cluster.store(JOBS, stripped | {"metadata": stripped["metadata"] | {"labels": {}}})
    for _ in range(40):
        cluster.refuse("patch", JOBS, APIStatusError(code=403, message="a policy refuses it"))
    await cluster.reconcile(times=3)
    assert cluster.entries() == ["Running/TaskRunning"]
    cluster.change(c.KIND_BATCH_RUN, "r", cancel=True)
    await cluster.reconcile(times=2)
    assert cluster.sent("patch", PODS)


async def test_a_request_that_fails_while_a_run_ends_does_not_hold_up_its_status(
    cluster: Cluster,
) -> None:
    cluster.run(tasks=2)
    await cluster.settle()
    cluster.start("r-task-0")
    await cluster.settle()
    cluster.refuse("patch", PODS, server_error())
    cluster.change(c.KIND_BATCH_RUN, "r", cancel=True)
    result = await cluster.reconcile()
    assert 0 < result.requeue_after <= runner.RECHECK
    assert cluster.shown() == "Running/Cancelling"


async def test_a_status_that_cannot_be_written_does_not_hold_up_the_end_of_its_agents(
    cluster: Cluster,
) -> None:
    cluster.run(tasks=2)
    await cluster.settle()
    cluster.start("r-task-0", "r-task-1")
    await cluster.settle()
    cluster.change(c.KIND_BATCH_RUN, "r", cancel=True)
    cluster.refuse("update", BATCH_RUNS, server_error())
    with pytest.raises(APIStatusError):
        await cluster.reconcile()
    assert len(cluster.sent("patch", PODS)) == 2


# Two processes -----------------------------------------------------------------------------------


async def test_a_new_leader_ends_no_unstarted_task_while_a_create_of_the_last_one_may_come(
    cluster: Cluster,
) -> None:
    cluster.run(tasks=2, parallelism=1)
    await cluster.settle()
    cluster.restart()
    cluster.change(c.KIND_BATCH_RUN, "r", cancel=True)
    await cluster.settle()
    assert cluster.entries()[1] == "Pending/Queued"
    assert cluster.shown() == "Pending/Cancelling"
    await cluster.reconcile(seconds=UNANSWERED_LIFE)
    await cluster.settle()
    assert cluster.entries()[1] == "Failed/Cancelled"


async def test_a_status_that_the_cache_does_not_show_yet_holds_up_the_next_decision(
    cluster: Cluster,
) -> None:
    cluster.run()
    with cluster.lag(BATCH_RUNS):
        await cluster.reconcile()
        with pytest.raises(StaleCacheError):
            await cluster.reconcile()
    await cluster.settle()
    assert cluster.jobs() == ["r-task-0"]


async def test_a_status_that_somebody_else_has_written_is_not_overwritten(cluster: Cluster) -> None:
    cluster.run()
    with cluster.lag(BATCH_RUNS):
        found = cluster.objects[str(BATCH_RUNS), "r"]
        cluster.store(BATCH_RUNS, found)
        with pytest.raises(StaleCacheError):
            await cluster.reconcile()


async def test_an_end_that_another_process_recorded_is_not_taken_back(cluster: Cluster) -> None:
    await running(cluster, 2)
    found = cluster.objects[str(BATCH_RUNS), "r"]
    entry = found["status"]["tasks"][0] | {"status": "Failed", "reason": "JobLost"}
    status = found["status"] | {"failedIndexes": "0", "tasks": [entry, found["status"]["tasks"][1]]}
    cluster.store(BATCH_RUNS, found | {"status": status})
    await cluster.settle()
    assert cluster.entries() == ["Failed/JobLost", "Running/TaskRunning"]
    # What still runs for it is ended.
    assert cluster.sent("patch", PODS) == ["r-task-0-pod"]
