"""Nothing runs twice and nothing is lost, whatever becomes of the controller."""

from collections import Counter

import pytest
from devcluster.base import Cluster

from support.integration.controller import SYSTEM, ControllerProcess
from support.integration.kubectl import Kubectl
from support.integration.objects import run, scripted, task

pytestmark = pytest.mark.slow


def test_a_controller_that_is_killed_in_the_middle_goes_on_where_it_was(
    cluster: Cluster, kubectl: Kubectl, controller: ControllerProcess
) -> None:
    kubectl.apply(scripted(outcome={"runSeconds": 0.5}, maxConcurrentTasks=4), run("r", tasks=20))
    kubectl.wait("batchrun/r", "jsonpath={.status.progress.running}=4")
    for _ in range(3):
        controller.kill()
        controller.start()
        controller.wait_ready()
    status = kubectl.wait_phase("batchrun/r", "Succeeded", timeout=60)["status"]
    assert status["progress"]["completed"] == 20
    jobs = kubectl.items("jobs")
    assert len(jobs) == 20
    assert _pods_a_job(kubectl) == Counter({f"r-task-{i}": 1 for i in range(20)})


def test_what_ends_while_no_controller_runs_is_recorded(
    cluster: Cluster, kubectl: Kubectl, controller: ControllerProcess
) -> None:
    kubectl.apply(scripted(outcome={"runSeconds": 1, "message": '{"summary": "3 files"}'}))
    kubectl.apply(run("r", tasks=2), task("t"))
    kubectl.wait("batchrun/r", "jsonpath={.status.progress.running}=2")
    kubectl.wait_phase("task/t", "Running")
    _crash(cluster, controller)
    kubectl("wait", "--for=condition=Complete", "jobs", "--all", "--timeout=30s")
    controller.start()
    controller.wait_ready()
    status = kubectl.wait_phase("batchrun/r", "Succeeded")["status"]
    assert [x["result"]["summary"] for x in status["tasks"]] == ["3 files", "3 files"]
    assert kubectl.wait_phase("task/t", "Succeeded")["status"]["result"]["summary"] == "3 files"


def test_a_job_deleted_while_no_controller_runs_is_lost_and_not_made_again(
    cluster: Cluster, kubectl: Kubectl, controller: ControllerProcess
) -> None:
    kubectl.apply(scripted(outcome={"runSeconds": None}), run("r", tasks=2), task("t"))
    kubectl.wait("batchrun/r", "jsonpath={.status.progress.running}=2")
    name = kubectl.wait_phase("task/t", "Running")["status"]["jobName"]
    _crash(cluster, controller)
    kubectl("delete", "job", "r-task-1", name)
    controller.start()
    controller.wait_ready()
    kubectl.wait("batchrun/r", "jsonpath={.status.progress.failed}=1")
    entries = kubectl.get("batchrun", "r")["status"]["tasks"]
    assert [x["reason"] for x in entries] == ["TaskRunning", "JobLost"]
    assert kubectl.wait_phase("task/t", "Failed")["status"]["reason"] == "JobLost"
    assert [x["metadata"]["name"] for x in kubectl.items("jobs")] == ["r-task-0"]


def test_a_run_made_anew_under_its_old_name_starts_clean(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome={"exitCode": 1}), run("r", tasks=2))
    kubectl.wait_phase("batchrun/r", "Failed")
    old = {x["metadata"]["uid"] for x in kubectl.items("jobs")}
    kubectl("delete", "batchrun", "r")
    kubectl("delete", "workspaceconfig", "default")
    kubectl.apply(scripted(outcome={}), run("r", tasks=2))
    status = kubectl.wait_phase("batchrun/r", "Succeeded")["status"]
    assert status["progress"]["completed"] == 2
    assert not old & {x["metadata"]["uid"] for x in kubectl.items("jobs")}


def test_an_ended_run_stays_as_it_ended_whoever_deletes_its_jobs(
    cluster: Cluster, kubectl: Kubectl, controller: ControllerProcess
) -> None:
    kubectl.apply(scripted(outcome={}), run("r", tasks=2))
    before = kubectl.wait_phase("batchrun/r", "Succeeded")["status"]
    kubectl("delete", "jobs", "--all")
    _crash(cluster, controller)
    controller.start()
    controller.wait_ready()
    # A run that comes later and ends shows that the earlier one was looked at.
    kubectl.apply(run("later"))
    kubectl.wait_phase("batchrun/later", "Succeeded")
    assert kubectl.get("batchrun", "r")["status"] == before
    assert [x["metadata"]["name"] for x in kubectl.items("jobs")] == ["later-task-0"]


def test_a_batch_that_changes_does_not_reach_a_run_that_has_begun(
    cluster: Cluster, kubectl: Kubectl, controller: ControllerProcess
) -> None:
    from support.integration.objects import batch, obj

    kubectl.apply(scripted(outcome={"runSeconds": 1}), batch("b", tasks=3))
    kubectl.apply(obj("BatchRun", "r", {"batchRef": "b", "parallelism": 1}))
    kubectl.wait_phase("batchrun/r", "Running")
    kubectl("delete", "batch", "b")
    _crash(cluster, controller)
    controller.start()
    controller.wait_ready()
    status = kubectl.wait_phase("batchrun/r", "Succeeded")["status"]
    assert status["progress"]["completed"] == 3


def test_a_second_replica_waits_and_takes_over(
    cluster: Cluster, kubectl: Kubectl, controller: ControllerProcess, second: ControllerProcess
) -> None:
    second.start()
    second.wait_ready()
    kubectl.apply(scripted(outcome={"runSeconds": 0.5}, maxConcurrentTasks=2), run("r", tasks=8))
    kubectl.wait_phase("batchrun/r", "Running")
    assert controller.stop() == 0
    status = kubectl.wait_phase("batchrun/r", "Succeeded", timeout=60)["status"]
    assert status["progress"]["completed"] == 8
    assert _pods_a_job(kubectl) == Counter({f"r-task-{i}": 1 for i in range(8)})


def test_a_paused_leader_writes_nothing_when_it_wakes_up(
    kubectl: Kubectl, controller: ControllerProcess, second: ControllerProcess
) -> None:
    second.start()
    second.wait_ready()
    kubectl.apply(scripted(outcome={"runSeconds": 0.5}, maxConcurrentTasks=2), run("r", tasks=8))
    kubectl.wait_phase("batchrun/r", "Running")
    controller.pause()
    kubectl.wait_phase("batchrun/r", "Succeeded", timeout=60)
    controller.resume()
    assert controller.wait_exit() == 1
    assert _pods_a_job(kubectl) == Counter({f"r-task-{i}": 1 for i in range(8)})


def _crash(cluster: Cluster, controller: ControllerProcess) -> None:
    """SIGKILL. The Lease is removed too, since only the tests of takeovers are about its expiry."""
    controller.kill()
    cluster.connection.delete(
        f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/controller.kubetask.io"
    )


def _pods_a_job(kubectl: Kubectl) -> Counter[str]:
    return Counter(x["metadata"]["labels"]["job-name"] for x in kubectl.items("pods"))
