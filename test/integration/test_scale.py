"""The sizes that the API promises: ten thousand tasks, the longest names, the most contexts, a prompt of half a MiB."""

import json
from typing import Any

import pytest

from support.integration.kubectl import Kubectl
from support.integration.objects import API, obj, run, scripted, task, text

pytestmark = [pytest.mark.slow(10), pytest.mark.timeout(180)]

MAX_TASKS = 10_000
ETCD_LIMIT = 1_500_000
"""Bytes of an object at which etcd refuses it (1.5 MiB with the request's envelope)."""


def _many(tasks: int) -> dict[str, Any]:
    repository = {"type": "Repository", "repository": {"org": "acme", "repo": "service"}}
    return {"commonContext": [text()], "variableContexts": [[repository]] * tasks}


def _size(found: dict[str, Any]) -> int:
    return len(json.dumps(found, separators=(",", ":")))


def _whole(kubectl: Kubectl, name: str) -> dict[str, Any]:
    """With its managedFields, as etcd keeps it."""
    return json.loads(kubectl("get", "batchrun", name, "-o", "json", "--show-managed-fields"))


@pytest.mark.parametrize("way", ["inline", "by reference"])
def test_ten_thousand_tasks_are_accounted_for_in_one_object(kubectl: Kubectl, way: str) -> None:
    if way == "inline":
        spec: dict[str, Any] = {"batchSpec": _many(MAX_TASKS)}
    else:
        kubectl.create(obj("Batch", "b", _many(MAX_TASKS)))
        spec = {"batchRef": "b"}
    kubectl.create(obj("BatchRun", "r", {**spec, "suspend": True}))
    kubectl.wait_reason("batchrun/r", "Suspended", timeout=60)
    assert kubectl.get("batchrun", "r")["status"]["progress"]["total"] == MAX_TASKS
    kubectl("patch", "batchrun", "r", "--type=merge", "-p", '{"spec": {"cancel": true}}')
    status = kubectl.wait_phase("batchrun/r", "Failed", timeout=60)["status"]
    assert status["reason"] == "Cancelled"
    assert status["progress"] == {
        "total": MAX_TASKS,
        "pending": 0,
        "running": 0,
        "completed": 0,
        "failed": MAX_TASKS,
    }
    assert status["failedIndexes"] == f"0-{MAX_TASKS - 1}"
    assert status["done"] == f"{MAX_TASKS}/{MAX_TASKS}"
    assert _size(_whole(kubectl, "r")) < ETCD_LIMIT
    # What was given up is named, and the failed tasks that stay have their reason.
    assert status["omitted"]
    assert {x["reason"] for x in status["tasks"]} == {"Cancelled"}
    assert kubectl.items("jobs") == []


def test_names_of_253_characters_work(kubectl: Kubectl) -> None:
    long = "n" * 253
    kubectl.apply(scripted(outcome={}), run(long, tasks=2), task(long))
    status = kubectl.wait_phase(f"batchrun/{long}", "Succeeded")["status"]
    jobs = {x["metadata"]["name"]: x for x in kubectl.items("jobs")}
    assert len({x["jobName"] for x in status["tasks"]}) == 2
    for index, entry in enumerate(status["tasks"]):
        job = jobs[entry["jobName"]]
        assert len(entry["jobName"]) <= 63
        assert job["metadata"]["labels"]["kubetask.io/task-index"] == str(index)
        assert long in "".join(job["metadata"]["annotations"].values())
    assert kubectl.wait_phase(f"task/{long}", "Succeeded")["status"]["jobName"] in jobs


def test_a_task_has_up_to_64_contexts(kubectl: Kubectl) -> None:
    kubectl.apply(scripted(outcome={}))
    kubectl.apply(task("t", *(text(f"docs/{i}.md", f"part {i}") for i in range(64))))
    kubectl.wait_phase("task/t", "Succeeded")
    (job,) = kubectl.items("jobs")
    mounted = json.dumps(job["spec"]["template"]["spec"]["volumes"])
    assert mounted.count('"path"') >= 64


def test_a_prompt_of_half_a_mebibyte_reaches_every_task(kubectl: Kubectl) -> None:
    prompt = "Update the dependencies.\n" * (500 * 1024 // 25)
    kubectl.apply(scripted(outcome={}))
    inline = {"commonContext": [text("task.md", prompt)], "variableContexts": [[text("a.md")]] * 3}
    kubectl.create(
        {
            "apiVersion": API,
            "kind": "BatchRun",
            "metadata": {"name": "r"},
            "spec": {"batchSpec": inline},
        }
    )
    kubectl.wait_phase("batchrun/r", "Succeeded")
    holders = [x for x in kubectl.items("configmaps") if prompt in x.get("data", {}).values()]
    # It stands once for the run, and not once for each task.
    assert len(holders) == 1
    for job in kubectl.items("jobs"):
        assert holders[0]["metadata"]["name"] in json.dumps(job["spec"]["template"]["spec"])
        assert "Update the dependencies" not in json.dumps(job)
