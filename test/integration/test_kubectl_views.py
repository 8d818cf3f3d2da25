"""What a user sees with kubectl alone: lists, watches, descriptions, logs, waits."""

import pytest
from devcluster.base import Cluster

from support.integration.kubectl import Kubectl
from support.integration.objects import conditions, config, run, scripted, task

pytestmark = pytest.mark.slow

FOREVER = {"runSeconds": None}


def test_the_watch_of_a_run_shows_its_way_to_the_end(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome={"runSeconds": 0.3}))
    with kubectl.watching("get", "batchruns", "-w") as lines:
        kubectl.apply(run("nightly", tasks=3))
        header = next(lines).split()
        seen = []
        for line in lines:
            seen.append(line.split())
            if "Succeeded" in line:
                break
    assert header == ["NAME", "PHASE", "REASON", "DONE", "FAILED", "RUNNING", "AGE"]
    phases = list(dict.fromkeys(x[1] for x in seen if x[1] in ("Pending", "Running", "Succeeded")))
    assert phases in (["Pending", "Running", "Succeeded"], ["Pending", "Succeeded"])
    assert seen[-1][:6] == ["nightly", "Succeeded", "TasksSucceeded", "3/3", "0", "0"]


def test_wide_columns_name_the_batch_and_the_times(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome={}), run("nightly"))
    kubectl.wait_phase("batchrun/nightly", "Succeeded")
    header = kubectl("get", "batchruns", "-o", "wide").splitlines()[0].split()
    assert header == [
        *("NAME", "PHASE", "REASON", "DONE", "FAILED", "RUNNING"),
        *("BATCH", "PENDING", "STARTED", "COMPLETED", "AGE"),
    ]


@pytest.mark.parametrize("short", ["kbatch", "brun", "ktask", "wsc", "kubetask"])
def test_short_names_and_the_category_are_known(kubectl: Kubectl, short: str) -> None:
    assert "No resources found" not in kubectl("get", short, "--ignore-not-found")


def test_describe_tells_every_change_of_phase_once(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome={"runSeconds": 0.2}), run("nightly", tasks=2))
    kubectl.wait_phase("batchrun/nightly", "Succeeded")
    for _ in range(50):
        text = kubectl("describe", "batchrun", "nightly")
        if "Succeeded" in text.rpartition("Events:")[2]:
            break
    events = text.rpartition("Events:")[2]
    assert events.count("all 2 tasks succeeded") == 1
    assert "kubetask-controller" in events


def test_kubectl_wait_ends_when_a_run_does(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome={"exitCode": 3, "message": "no tests ran"}), run("nightly"))
    kubectl.wait("batchrun/nightly", "condition=Failed")
    found = kubectl.get("batchrun", "nightly")
    assert conditions(found) == {
        "Complete": "False",
        "Failed": "True",
        "Suspended": "False",
        "Ready": "False",
        "Reconciling": "False",
        "Stalled": "True",
    }
    (entry,) = found["status"]["tasks"]
    assert (entry["status"], entry["reason"]) == ("Failed", "AgentError")
    assert entry["message"] == "exit code 3: no tests ran"


def test_logs_of_a_task_are_those_of_its_agent(cluster: Cluster, kubectl: Kubectl) -> None:
    cluster.require("processes")
    shell = ["sh", "-c", "echo working on $TASK_NAME of $BATCH_RUN_NAME in $TASK_NAMESPACE"]
    kubectl.apply(config(agentImage=cluster.test_image, command=shell), run("nightly", tasks=2))
    kubectl.wait_phase("batchrun/nightly", "Succeeded")
    expected = f"working on nightly-task-1 of nightly in {kubectl.namespace}\n"
    assert kubectl("logs", "job/nightly-task-1") == expected


def test_deleting_a_task_takes_its_job_with_it(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome=FOREVER), task("fix"))
    kubectl.wait_phase("task/fix", "Running")
    (job,) = kubectl.items("jobs")
    kubectl("delete", "task", "fix")
    kubectl.wait(f"job/{job['metadata']['name']}", "delete")
    assert kubectl.items("pods", "-l", "kubetask.io/task=fix") == [] or all(
        "deletionTimestamp" in x["metadata"] for x in kubectl.items("pods")
    )


def test_a_task_shows_what_it_works_on(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome={}), task("fix"))
    kubectl.wait_phase("task/fix", "Succeeded")
    header, line = kubectl("get", "tasks.kubetask.io").splitlines()
    assert header.split() == ["NAME", "PHASE", "REASON", "TARGET", "AGE"]
    assert line.split()[:4] == ["fix", "Succeeded", "TaskSucceeded", "task.md"]
