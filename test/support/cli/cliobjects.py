"""Runs and Pods as the controller and the cluster leave them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

JSON = dict[str, Any]
STARTED = "2026-01-01T10:00:00Z"
ENDED = "2026-01-01T10:04:12Z"


BATCH = {
    "apiVersion": "kubetask.io/v1alpha1",
    "kind": "Batch",
    "metadata": {"name": "deps"},
    "spec": {},
}


@dataclass
class Outcome:
    code: int
    out: str
    err: str


Cli = Callable[..., Awaitable[Outcome]]


def repository(repo: str, branch: str = "") -> JSON:
    fields = {"org": "myorg", "repo": repo} | ({"branch": branch} if branch else {})
    return {"type": "Repository", "repository": fields}


def entry(index: int, phase: str, reason: str, **more: Any) -> JSON:
    contexts = [repository(f"service-{index}")]
    return {"index": index, "contexts": contexts, "status": phase, "reason": reason, **more}


def succeeded(index: int, **result: Any) -> JSON:
    more = {"startTime": STARTED, "completionTime": ENDED, "jobName": f"nightly-task-{index}"}
    return entry(index, "Succeeded", "TaskSucceeded", result=result, **more)


def failed(index: int, reason: str = "AgentError", message: str = "exit code 1") -> JSON:
    more = {"startTime": STARTED, "completionTime": ENDED, "jobName": f"nightly-task-{index}"}
    return entry(index, "Failed", reason, message=message, **more)


def running(index: int) -> JSON:
    return entry(index, "Running", "TaskRunning", startTime=STARTED)


def queued(index: int) -> JSON:
    return entry(index, "Pending", "Queued", message="waiting for a place")


def run(name: str = "nightly", *tasks: JSON, phase: str = "", **spec: Any) -> JSON:
    return {
        "apiVersion": "kubetask.io/v1alpha1",
        "kind": "BatchRun",
        "metadata": {"name": name, "uid": f"uid-{name}"},
        "spec": {"batchRef": "update-deps", **spec},
        "status": run_status(*tasks, phase=phase),
    }


def run_status(*tasks: JSON, phase: str = "", message: str = "") -> JSON:
    """The status that follows from its tasks."""
    counts = {
        key: sum(x["status"] == state for x in tasks)
        for key, state in (
            ("pending", "Pending"),
            ("running", "Running"),
            ("completed", "Succeeded"),
            ("failed", "Failed"),
        )
    }
    ended = counts["completed"] + counts["failed"] == len(tasks)
    phase = phase or ("Running" if not ended else "Failed" if counts["failed"] else "Succeeded")
    reason = {"Running": "TasksRunning", "Failed": "TasksFailed", "Succeeded": "TasksSucceeded"}
    done = f"{counts['completed'] + counts['failed']}/{len(tasks)}"
    status = {
        "phase": phase,
        "reason": reason.get(phase, "Queued"),
        "message": message or f"{done} done",
        "progress": {"total": len(tasks), **counts},
        "done": done,
        "startTime": STARTED,
        "tasks": list(tasks),
    }
    return status | ({"completionTime": ENDED} if ended else {})


def pod(index: int, *, run: str = "nightly", state: JSON | None = None, **more: Any) -> JSON:
    """The Pod of a task; `state` is that of its agent's container."""
    return {
        "metadata": {
            "name": more.pop("name", f"{run}-task-{index}-abcde"),
            "creationTimestamp": more.pop("created", STARTED),
            "labels": {
                "kubetask.io/batch-run": run[:63],
                "kubetask.io/task-index": str(index),
                "app.kubernetes.io/managed-by": "kubetask",
                "batch.kubernetes.io/job-name": f"{run}-task-{index}",
            },
            "annotations": {"kubetask.io/batch-run": run},
        },
        "status": {
            "phase": more.pop("phase", "Running"),
            "containerStatuses": [
                {"name": "agent", "state": {"running": {}} if state is None else state}
            ],
        },
    }


def ended_pod(index: int, message: str = "", **more: Any) -> JSON:
    state = {"terminated": {"exitCode": 0, "containerID": "c://1", "message": message}}
    return pod(index, state=state, phase="Succeeded", **more)
