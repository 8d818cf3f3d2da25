"""Fields of a run and a Task that steer neither flow nor failure: whose they are, what is handed on, and what remains."""

import json

import pytest

from support.integration.kubectl import Kubectl, KubectlError
from support.integration.objects import obj, run, scripted, task

pytestmark = pytest.mark.slow

FOREVER = {"runSeconds": None}


def test_parallelism_that_is_lowered_lets_go_on_what_runs(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome={"runSeconds": 2}), run("r", tasks=6, parallelism=4))
    kubectl.wait("batchrun/r", "jsonpath={.status.progress.running}=4")
    kubectl("patch", "batchrun", "r", "--type=merge", "-p", '{"spec": {"parallelism": 1}}')
    status = kubectl.wait_phase("batchrun/r", "Succeeded")["status"]
    assert status["progress"]["completed"] == 6
    ends = sorted((x["startTime"], x["completionTime"]) for x in status["tasks"])
    # The last two had to wait for one another.
    assert ends[-1][0] >= ends[-2][1]


def test_what_somebody_else_manages_is_left_alone(kubectl: Kubectl) -> None:
    elsewhere = {"managedBy": "example.com/other-cluster"}
    kubectl.apply(scripted(outcome={}), run("theirs", **elsewhere), task("theirs", **elsewhere))
    kubectl.apply(run("ours"))
    kubectl.wait_phase("batchrun/ours", "Succeeded")
    for kind in ("batchrun", "task"):
        assert kubectl.get(kind, "theirs")["status"] == {"observedGeneration": -1}
    owners = {x["metadata"]["ownerReferences"][0]["name"] for x in kubectl.items("jobs")}
    assert owners == {"ours"}


def test_labels_by_which_gitops_tools_own_objects_are_not_handed_on(kubectl: Kubectl) -> None:
    made = run("r")
    made["metadata"]["labels"] = {
        "app.kubernetes.io/instance": "my-app",
        "argocd.argoproj.io/instance": "my-app",
        "kustomize.toolkit.fluxcd.io/name": "my-app",
        "kueue.x-k8s.io/queue-name": "agents",
    }
    made["metadata"]["annotations"] = {"argocd.argoproj.io/tracking-id": "my-app:x"}
    kubectl.apply(scripted(outcome={}), made)
    kubectl.wait_phase("batchrun/r", "Succeeded")
    (job,) = kubectl.items("jobs")
    (pod,) = kubectl.items("pods")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "agents"
    assert "my-app" not in json.dumps([job["metadata"], pod["metadata"], job["spec"]])


def test_jobs_and_pods_say_what_they_are(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome={}), run("r", tasks=2))
    kubectl.wait_phase("batchrun/r", "Succeeded")
    for kind in ("jobs", "pods"):
        found = kubectl.items(kind, "-l", "kubetask.io/batch-run=r,kubetask.io/task-index=1")
        (only,) = found
        labels = only["metadata"]["labels"]
        assert labels["app.kubernetes.io/managed-by"] == "kubetask"
        assert labels["kubetask.io/workspace-config"] == "default"
        assert labels["kubetask.io/task"] == "r-task-1"
    job = kubectl.get("job", "r-task-1")
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("BatchRun", "r")
    assert owner["controller"] is owner["blockOwnerDeletion"] is True
    assert job["spec"]["backoffLimit"] == 0
    pod = job["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "kubetask-agent"
    assert pod["restartPolicy"] == "Never"
    assert pod["automountServiceAccountToken"] is False
    environment = {x["name"]: x.get("value") for x in pod["containers"][0]["env"]}
    assert (environment["BATCH_RUN_NAME"], environment["TASK_INDEX"]) == ("r", "1")


def test_a_run_that_is_to_go_goes_last(kubectl: Kubectl) -> None:
    ends = {"ttlSecondsAfterFinished": 0, "ttlPolicy": "All"}
    kubectl.apply(scripted(outcome={}), run("r", tasks=2, **ends), task("t", **ends))
    kubectl.wait("batchrun/r", "delete")
    kubectl.wait("task/t", "delete")
    for job in kubectl.items("jobs"):
        kubectl.wait(f"job/{job['metadata']['name']}", "delete")
    assert kubectl.items("jobs") == []


def test_a_retry_takes_what_failed_and_waits_for_the_end_of_the_other_run(kubectl: Kubectl) -> None:
    kubectl.apply(scripted("slow", outcome={"exitCode": 1, "runSeconds": 2}), scripted(outcome={}))
    kubectl.apply(run("first", tasks=2, workspaceConfigRef="slow"))
    kubectl.wait_phase("batchrun/first", "Running")
    kubectl.apply(obj("BatchRun", "second", {"retryOf": "first", "workspaceConfigRef": "default"}))
    kubectl.wait_reason("batchrun/second", "RetryOfNotFinished")
    status = kubectl.wait_phase("batchrun/second", "Succeeded")["status"]
    assert status["progress"]["total"] == 2
    kubectl.apply(obj("BatchRun", "third", {"retryOf": "nothing"}))
    kubectl.wait_reason("batchrun/third", "RetryOfNotFound")


def test_a_suspended_task_waits_and_then_runs(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome={}), task("t", suspend=True))
    found = kubectl.wait_reason("task/t", "Suspended")
    assert found["status"]["phase"] == "Pending"
    assert kubectl.items("jobs") == []
    kubectl("patch", "task", "t", "--type=merge", "-p", '{"spec": {"suspend": false}}')
    kubectl.wait_phase("task/t", "Succeeded")


def test_retries_are_the_jobs_own_and_only_where_they_are_asked_for(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome={"exitCode": 1}), run("once"), run("twice", backoffLimit=1))
    kubectl.wait_phase("batchrun/once", "Failed")
    kubectl.wait_phase("batchrun/twice", "Failed", timeout=60)
    pods = [x["metadata"]["labels"]["job-name"] for x in kubectl.items("pods")]
    assert (pods.count("once-task-0"), pods.count("twice-task-0")) == (1, 2)


def test_the_status_of_an_object_cannot_be_set_by_its_manifest(kubectl: Kubectl) -> None:
    made = {**run("r", suspend=True), "status": {"phase": "Succeeded"}}
    kubectl.apply(scripted(outcome={}), made)
    kubectl.wait_reason("batchrun/r", "Suspended")
    with pytest.raises(KubectlError, match="timed out"):
        kubectl.wait("batchrun/r", "jsonpath={.status.phase}=Succeeded", timeout=1)
