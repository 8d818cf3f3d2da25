"""Flow control: how many run at once, and how a user holds or ends what runs."""

import json

import pytest

from support.integration.kubectl import Kubectl, KubectlError
from support.integration.objects import conditions, obj, run, scripted, task

pytestmark = pytest.mark.slow

FOREVER = {"runSeconds": None}


def _patch(kubectl: Kubectl, target: str, **spec: object) -> None:
    kubectl("patch", *target.split("/"), "--type=merge", "-p", json.dumps({"spec": spec}))


def test_no_more_run_at_once_than_parallelism_says(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome=FOREVER), run("r", tasks=5, parallelism=2))
    kubectl.wait("batchrun/r", "jsonpath={.status.progress.running}=2")
    assert len(kubectl.items("jobs")) == 2
    _patch(kubectl, "batchrun/r", parallelism=4)
    kubectl.wait("batchrun/r", "jsonpath={.status.progress.running}=4")
    assert len(kubectl.items("jobs")) == 4


def test_a_workspace_limits_all_that_use_it(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome=FOREVER, maxConcurrentTasks=3), run("big", tasks=6))
    kubectl.wait("batchrun/big", "jsonpath={.status.progress.running}=3")
    kubectl.apply(run("small"))
    kubectl.wait_reason("batchrun/small", "Queued")
    assert len(kubectl.items("jobs")) == 3


def test_a_small_run_is_not_starved_by_a_large_one(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome={"runSeconds": 1}, maxConcurrentTasks=2), run("big", tasks=12))
    kubectl.wait("batchrun/big", "jsonpath={.status.progress.running}=2")
    kubectl.apply(run("small"))
    kubectl.wait_phase("batchrun/small", "Succeeded")
    progress = kubectl.get("batchrun", "big")["status"]["progress"]
    assert progress["completed"] < progress["total"]


def test_a_suspended_run_starts_nothing_new_and_lets_go_on_what_runs(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome={"runSeconds": 2}), run("r", tasks=2, parallelism=1))
    kubectl.wait_phase("batchrun/r", "Running")
    _patch(kubectl, "batchrun/r", suspend=True)
    kubectl.wait("batchrun/r", "condition=Suspended")
    kubectl.wait("batchrun/r", "jsonpath={.status.progress.completed}=1")
    found = kubectl.get("batchrun", "r")
    assert (found["status"]["phase"], found["status"]["reason"]) == ("Running", "Suspended")
    assert len(kubectl.items("jobs")) == 1
    _patch(kubectl, "batchrun/r", suspend=False)
    found = kubectl.wait_phase("batchrun/r", "Succeeded")
    assert conditions(found)["Suspended"] == "False"


def test_a_run_that_is_made_suspended_has_no_jobs(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome={}), run("r", suspend=True))
    kubectl.wait_reason("batchrun/r", "Suspended")
    assert kubectl.items("jobs") == []
    _patch(kubectl, "batchrun/r", suspend=False)
    kubectl.wait_phase("batchrun/r", "Succeeded")


def test_cancelling_ends_what_runs_and_starts_nothing_more(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome=FOREVER), run("r", tasks=3, parallelism=1))
    kubectl.wait_phase("batchrun/r", "Running")
    _patch(kubectl, "batchrun/r", cancel=True)
    status = kubectl.wait_phase("batchrun/r", "Failed")["status"]
    assert status["reason"] == "Cancelled"
    assert [x["reason"] for x in status["tasks"]] == ["Cancelled"] * 3
    assert len(kubectl.items("jobs")) == 1
    (pod,) = kubectl.items("pods")
    assert pod["status"]["phase"] == "Failed"


def test_cancelling_takes_the_retries_too(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome=FOREVER), run("r", backoffLimit=4))
    kubectl.wait_phase("batchrun/r", "Running")
    _patch(kubectl, "batchrun/r", cancel=True)
    status = kubectl.wait_phase("batchrun/r", "Failed")["status"]
    assert status["tasks"][0]["reason"] == "Cancelled"
    assert len(kubectl.items("pods")) == 1


def test_a_cancelled_task_ends_as_cancelled(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome=FOREVER), task("t"))
    kubectl.wait_phase("task/t", "Running")
    _patch(kubectl, "task/t", cancel=True)
    assert kubectl.wait_phase("task/t", "Failed")["status"]["reason"] == "Cancelled"


def test_a_run_stops_after_too_many_failures(kubectl: Kubectl) -> None:
    kubectl.apply(
        scripted(outcome={"exitCode": 1}), run("r", tasks=5, parallelism=1, maxFailures=1)
    )
    status = kubectl.wait_phase("batchrun/r", "Failed")["status"]
    assert status["reason"] == "MaxFailuresExceeded"
    assert len(kubectl.items("jobs")) == 2
    reasons = [x["reason"] for x in status["tasks"]]
    assert reasons == ["AgentError"] * 2 + ["MaxFailuresExceeded"] * 3


def test_a_new_run_takes_the_failed_tasks_of_an_ended_one(kubectl: Kubectl) -> None:
    outcome = {"exitCode": 1, "message": "flaky"}
    kubectl.apply(scripted("flaky", outcome=outcome), scripted("good", outcome={}))
    kubectl.apply(run("first", tasks=3, workspaceConfigRef="flaky"))
    kubectl.wait_phase("batchrun/first", "Failed")
    retry = {"retryOf": "first", "select": "0,2", "workspaceConfigRef": "good"}
    kubectl.apply(obj("BatchRun", "second", retry))
    status = kubectl.wait_phase("batchrun/second", "Succeeded")["status"]
    files = [x["contexts"][0]["file"]["name"] for x in status["tasks"]]
    assert files == ["0.md", "2.md"]
    assert kubectl.get("batchrun", "first")["status"]["phase"] == "Failed"


def test_jobs_go_once_their_end_is_recorded(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome={}), run("r", tasks=2, ttlSecondsAfterFinished=0))
    kubectl.wait_phase("batchrun/r", "Succeeded")
    for job in kubectl.items("jobs"):
        kubectl.wait(f"job/{job['metadata']['name']}", "delete")
    assert kubectl.items("jobs") == []
    assert kubectl.get("batchrun", "r")["status"]["progress"]["completed"] == 2


def test_a_job_that_a_queue_holds_is_queued_and_no_deadline_runs(kubectl: Kubectl) -> None:
    stuck = {"unschedulable": "0/1 nodes are available: 1 Insufficient cpu."}
    kubectl.apply(scripted(outcome=stuck), run("r", pendingDeadlineSeconds=3))
    kubectl.wait_reason("batchrun/r", "Unschedulable")
    kubectl("patch", "job", "r-task-0", "-p", json.dumps({"spec": {"suspend": True}}))
    status = kubectl.wait_reason("batchrun/r", "Queued")["status"]
    assert (status["phase"], status["tasks"][0]["reason"]) == ("Pending", "Queued")
    with pytest.raises(KubectlError, match="timed out"):
        kubectl.wait("batchrun/r", "condition=Failed", timeout=5)
    kubectl("patch", "job", "r-task-0", "-p", json.dumps({"spec": {"suspend": False}}))
    status = kubectl.wait_phase("batchrun/r", "Failed")["status"]
    assert status["tasks"][0]["reason"] == "PendingTimeout"


def test_a_job_of_another_owner_is_never_adopted(kubectl: Kubectl) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "r-task-0"},
        "spec": {"suspend": True, "template": {"spec": pod}},
    }
    kubectl.apply(scripted(outcome={}), job)
    kubectl.apply(run("r"))
    status = kubectl.wait_phase("batchrun/r", "Failed")["status"]
    assert status["tasks"][0]["reason"] == "NameConflict"
    assert "ownerReferences" not in kubectl.get("job", "r-task-0")["metadata"]
