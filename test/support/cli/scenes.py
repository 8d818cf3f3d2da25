"""Runs as the controller leaves them: the ten of "why is it not finished", a demonstration, 10,000 tasks, hostile text."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from support.cli.cliobjects import repository

JSON = dict[str, Any]

HOSTILE = (
    "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    "\x1b[31mred\x1b]0;owned\x07 \u202egnp.exe\u2066 {{7*7}} ' OR 1=1 --"
)
PULL = "https://git.example/acme/service-{}/pull/{}"


def now() -> datetime:
    """The scenes are as old as they say when they are made, however long the tests before took."""
    return datetime.now(UTC).replace(microsecond=0)


def at(seconds_ago: float) -> str:
    """A time of the API."""
    return (now() - timedelta(seconds=seconds_ago)).strftime("%Y-%m-%dT%H:%M:%SZ")


def age(time: str) -> float:
    """Seconds since a time of the API."""
    return (now() - datetime.fromisoformat(time)).total_seconds()


def entry(index: int, phase: str, reason: str, **more: Any) -> JSON:
    """A task in the status of a run."""
    contexts = [repository(f"service-{index}", "main")]
    return {"index": index, "contexts": contexts, "status": phase, "reason": reason, **more}


def done(index: int, start: float, took: float, cost: float = 0.4) -> JSON:
    """A task that succeeded, `start` seconds ago."""
    usage = {
        "inputTokens": int(cost * 90_000),
        "outputTokens": int(cost * 6_000),
        "costUSD": str(cost),
    }
    result = {
        "summary": f"requests is at 2.32.4 in service-{index}; its tests pass.",
        "outcome": "Changed",
        "pullRequest": PULL.format(index, 40 + index),
        "branch": f"kubetask/nightly-{index}",
        "commits": [f"{index:040x}"],
        "usage": usage,
    }
    times = {"startTime": at(start), "completionTime": at(start - took)}
    return entry(index, "Succeeded", "TaskSucceeded", result=result, jobName=f"j-{index}", **times)


def failed(index: int, start: float, took: float, reason: str, message: str) -> JSON:
    times = {"startTime": at(start), "completionTime": at(start - took)}
    return entry(index, "Failed", reason, message=message, jobName=f"j-{index}", **times)


def working(index: int, start: float) -> JSON:
    return entry(index, "Running", "TaskRunning", startTime=at(start), jobName=f"j-{index}")


def waiting(index: int, reason: str, message: str) -> JSON:
    return entry(index, "Pending", reason, message=message, jobName=f"j-{index}")


def made(
    name: str,
    tasks: list[JSON],
    *,
    created: float = 600,
    reason: str = "",
    message: str = "",
    phase: str = "",
    total: int | None = None,
    spec: JSON | None = None,
    usage: JSON | None = None,
    metadata: JSON | None = None,
    status: JSON | None = None,
) -> JSON:
    """A BatchRun."""
    keys = (
        ("pending", "Pending"),
        ("running", "Running"),
        ("completed", "Succeeded"),
        ("failed", "Failed"),
    )
    counts = {key: sum(x["status"] == state for x in tasks) for key, state in keys}
    total = len(tasks) if total is None else total
    counts["pending"] += total - len(tasks)
    ended = bool(tasks) and counts["completed"] + counts["failed"] == total
    phase = phase or ("Running" if not ended else "Failed" if counts["failed"] else "Succeeded")
    words = {"Running": "TasksRunning", "Failed": "TasksFailed", "Succeeded": "TasksSucceeded"}
    told: JSON = {
        "observedGeneration": 1,
        "phase": phase,
        "reason": reason or words.get(phase, "Queued"),
        "message": message
        or f"{counts['completed'] + counts['failed']}/{total} done, {counts['failed']} failed",
        "progress": {"total": total, **counts},
        "tasks": tasks,
    }
    starts = [x["startTime"] for x in tasks if "startTime" in x]
    if starts:
        told["startTime"] = min(starts)
    if ended:
        told["completionTime"] = max(x["completionTime"] for x in tasks)
    if usage:
        told["usage"] = usage
    return {
        "apiVersion": "kubetask.io/v1alpha1",
        "kind": "BatchRun",
        "metadata": {
            "name": name,
            "creationTimestamp": at(created),
            "generation": 1,
            "labels": {"team": "platform"},
            **(metadata or {}),
        },
        "spec": {"batchRef": "update-dependencies", **(spec or {})},
        "status": told if status is None else status,
    }


def demonstration() -> JSON:
    """A run of 40 that goes on, with failures: what the documentation shows."""
    chance = random.Random(7)
    tasks: list[JSON] = []
    for index in range(40):
        start = 3000 - index * 68 - chance.random() * 60
        took = 150 + chance.random() * 220
        if index in (5, 17):
            tasks.append(
                failed(index, start, took, "AgentError", "exit code 1: 3 tests of billing fail")
            )
        elif index == 11:
            tasks.append(
                failed(
                    index, start, 8, "CloneFailed", f"acme/service-{index}: branch 'main' not found"
                )
            )
        elif index < 28:
            tasks.append(done(index, start, took, round(0.2 + chance.random() * 0.6, 2)))
        elif index < 34:
            tasks.append(working(index, 330 - (index - 28) * 45))
        elif index == 36:
            tasks.append(
                waiting(index, "ContextNotFound", 'ConfigMap "guides" has no key "service-36.md"')
            )
        else:
            tasks.append(
                waiting(
                    index,
                    "Queued",
                    "waiting for a free concurrency slot of WorkspaceConfig default",
                )
            )
    spent = sum(float(x["result"]["usage"]["costUSD"]) for x in tasks if "result" in x)
    usage = {
        "inputTokens": int(spent * 90_000),
        "outputTokens": int(spent * 6_000),
        "costUSD": f"{spent:.2f}",
    }
    spec = {"parallelism": 6, "maxCostUSD": "25", "activeDeadlineSeconds": 3600}
    return made("update-requests-7xk2p", tasks, created=3060, spec=spec, usage=usage)


def large(count: int = 10_000) -> JSON:
    """A run so large that its status keeps index ranges and the failed tasks alone."""
    ended = count - 40
    tasks = [
        failed(i, 4000, 60, "AgentError", f"exit code 1: test {i} fails")
        for i in range(0, ended, 500)
    ]
    run = made("large", tasks, created=7200, total=count, spec={"parallelism": 20})
    lost = set(range(0, ended, 500))
    ranges: list[str] = []
    start = None
    for index in range(ended + 1):
        if index < ended and index not in lost:
            start = index if start is None else start
        elif start is not None:
            ranges.append(f"{start}-{index - 1}")
            start = None
    run["status"] |= {
        "omitted": ["Contexts", "Times", "Tasks"],
        "completedIndexes": ",".join(ranges),
        "failedIndexes": ",".join(str(x) for x in sorted(lost)),
        "startedIndexes": f"0-{ended + 19}",
        "progress": {
            "total": count,
            "pending": 20,
            "running": 20,
            "completed": ended - len(lost),
            "failed": len(lost),
        },
    }
    run["spec"]["batchSpec"] = {
        "variableContexts": [[repository(f"service-{i}", "main")] for i in range(count)]
    }
    del run["spec"]["batchRef"]
    return run


def hostile() -> JSON:
    """Text of an attacker in every field that can hold one."""
    result = {
        "summary": HOSTILE,
        "outcome": HOSTILE[:60],
        "pullRequest": "javascript:document.title='owned'",
        "branch": HOSTILE[:200],
        "commits": [HOSTILE[:100]],
        HOSTILE[:40]: {HOSTILE[:40]: [HOSTILE]},
    }
    bad = failed(0, 300, 20, HOSTILE[:100], HOSTILE)
    bad["contexts"] = [
        {"type": "Repository", "repository": {"org": HOSTILE, "repo": HOSTILE, "branch": HOSTILE}}
    ]
    good = done(1, 300, 20)
    good["result"] = result
    return made(
        "hostile",
        [bad, good, waiting(2, "ContextNotFound", HOSTILE)],
        message=HOSTILE,
        metadata={"labels": {"team": HOSTILE}},
        spec={"batchRef": HOSTILE, "workspaceConfigRef": HOSTILE},
    )


def unfinished() -> dict[str, tuple[JSON, tuple[str, ...]]]:
    """Ten runs that are not finished, and what the page has to say about each."""
    ok = [done(i, 560 - 30 * i, 120) for i in range(4)]
    empty: JSON = {"observedGeneration": -1}

    def pending(name: str, reason: str, message: str) -> JSON:
        return made(name, [], phase="Pending", reason=reason, message=message, total=0)

    cases = [
        (
            made("nobody-acts", [], status=empty),
            (
                "No controller has processed it for 10m",
                "Check that the controller runs and that it watches this namespace.",
            ),
        ),
        (
            pending("no-batch", "BatchNotFound", 'Batch "update-dependencies" does not exist'),
            (
                "It cannot start: the Batch does not exist.",
                'Batch "update-dependencies" does not exist',
                "Create the Batch in this namespace; the run then starts.",
            ),
        ),
        (
            made(
                "suspended",
                [
                    *ok,
                    working(4, 100),
                    *(waiting(i, "Suspended", "spec.suspend is true") for i in range(5, 9)),
                ],
                reason="Suspended",
                spec={"suspend": True},
            ),
            ("Suspended by a user: 4 tasks will not start.", "Resume it.", "1 task working."),
        ),
        (
            made(
                "canary",
                [*ok[:3], *(waiting(i, "TaskLimit", "taskLimit is 3") for i in range(3, 40))],
                reason="TaskLimit",
                spec={"taskLimit": 3, "maxCostUSD": "20"},
            ),
            (
                "37 tasks wait: taskLimit allows only the first 3 tasks to start.",
                "spent $1.20, projected $16.00 of at most $20.00",
                "promote the run",
            ),
        ),
        (
            made(
                "slots",
                [
                    *ok,
                    working(4, 100),
                    working(5, 60),
                    *(
                        waiting(i, "Queued", "waiting for a free concurrency slot")
                        for i in range(6, 12)
                    ),
                ],
                spec={"parallelism": 2},
            ),
            (
                "6 tasks: waiting for a free slot.",
                "parallelism is 2, and 2 tasks run",
                "2 tasks working.",
            ),
        ),
        (
            made(
                "image",
                [
                    waiting(
                        i,
                        "ImagePullBackOff",
                        f'container agent of j-{i}: Back-off pulling image "quay.io/acme/agent:v9"',
                    )
                    for i in range(3)
                ],
                phase="Pending",
                reason="ImagePullBackOff",
            ),
            (
                "3 tasks cannot start: an image cannot be pulled.",
                'Back-off pulling image "quay.io/acme/agent:v9"',
                "Correct agentImage or imagePullSecrets of the WorkspaceConfig.",
            ),
        ),
        (
            made(
                "account",
                [
                    *ok,
                    *(
                        waiting(
                            i, "ServiceAccountNotFound", 'serviceaccount "kubetask-agent" not found'
                        )
                        for i in range(4, 6)
                    ),
                ],
            ),
            (
                "2 tasks cannot start: the ServiceAccount of the Pods does not exist.",
                "Apply config/tenant in this namespace",
            ),
        ),
        (
            made(
                "hangs", [*[done(i, 9000, 120) for i in range(5)], working(5, 8000)], created=9100
            ),
            (
                "1 task working for an unusually long time: task 5 for 2h",
                "others took 2m0s.",
                "activeDeadlineSeconds is not set, so it has no time limit.",
                "Read its log.",
            ),
        ),
        (
            made(
                "cancelling",
                [*ok, working(4, 100), working(5, 60), waiting(6, "Queued", "")],
                reason="Cancelling",
                spec={"cancel": True},
            ),
            ("Cancelled: 2 tasks still being stopped.", "A Pod has its grace period to end."),
        ),
        (
            made("elsewhere", [], status=empty, spec={"managedBy": "kueue.x-k8s.io/multikueue"}),
            (
                "Another controller is responsible: managedBy is kueue.x-k8s.io/multikueue.",
                "This controller ignores the object.",
            ),
        ),
    ]
    return {run["metadata"]["name"]: (run, says) for run, says in cases}


def pod(
    run: str, index: int, *, prepare: float, work: float | None, end: float | None = None
) -> JSON:
    """The Pod of a task, with the times of its containers, in seconds ago."""
    state = lambda start, stop: (  # noqa: E731
        {
            "terminated": {
                "startedAt": at(start),
                "finishedAt": at(stop),
                "exitCode": 0,
                "containerID": "c://1",
            }
        }
        if stop is not None
        else {"running": {"startedAt": at(start)}}
    )
    agent = {"waiting": {"reason": "PodInitializing"}} if work is None else state(work, end)
    return {
        "metadata": {
            "name": f"{run}-task-{index}-abcde",
            "creationTimestamp": at(prepare + 5),
            "labels": {
                "kubetask.io/batch-run": run,
                "kubetask.io/task-index": str(index),
                "app.kubernetes.io/managed-by": "kubetask",
                "batch.kubernetes.io/job-name": f"j-{index}",
            },
            "annotations": {"kubetask.io/batch-run": run},
        },
        "spec": {"nodeName": "node-a"},
        "status": {
            "phase": "Running" if end is None else "Succeeded",
            "initContainerStatuses": [{"name": "workspace", "state": state(prepare, work)}],
            "containerStatuses": [{"name": "agent", "state": agent}],
        },
    }


def event(
    about: JSON, kind: str, reason: str, message: str, ago: float, warning: bool = False
) -> JSON:
    """An Event about an object."""
    metadata = about["metadata"]
    return {
        "metadata": {"name": f"{metadata['name']}.{reason.lower()}.{int(ago)}"},
        "involvedObject": {"kind": kind, "name": metadata["name"], "uid": metadata["uid"]},
        "type": "Warning" if warning else "Normal",
        "reason": reason,
        "message": message,
        "lastTimestamp": at(ago),
        "count": 1,
    }
