"""Jobs and actions on them, to be played on a real control plane and on the development cluster.

A deed is [seconds, what, ...]: `run` or `end` (with an exit code) the nth Pod that has not ended, in the order of age,
`bind` or `delete` it, `restart` its container so many times, `patch` or `remove` the Job.
"""

from typing import Any

Object = dict[str, Any]
Deed = list[Any]

NEVER = {"restartPolicy": "Never", "containers": [{"name": "agent", "image": "x"}]}


def on_exit_code(action: str, code: int) -> Object:
    return {"action": action, "onExitCodes": {"operator": "In", "values": [code]}}


def not_on_exit_code(action: str, code: int) -> Object:
    return {"action": action, "onExitCodes": {"operator": "NotIn", "values": [code]}}


SCENARIOS: dict[str, tuple[Object, list[Deed]]] = {
    "three completions, two at a time": (
        {"completions": 3, "parallelism": 2},
        [[0.4, "end", 0, 0], [2.5, "end", 0, 0], [4.5, "end", 0, 0]],
    ),
    "a work queue": (
        {"parallelism": 2},
        [[0.4, "run", 0], [0.4, "run", 1], [2.4, "end", 0, 0], [4.5, "end", 0, 0]],
    ),
    "a work queue whose last Pod fails": (
        {"parallelism": 2},
        [[0.4, "end", 0, 0], [2.5, "end", 0, 1]],
    ),
    "fewer at a time": (
        {"completions": 3, "parallelism": 3},
        [[0.4, "run", 0], [2.4, "patch", {"spec": {"parallelism": 1}}], [5.4, "end", 0, 0]],
    ),
    "none at a time, then one": (
        {"parallelism": 0},
        [[1.5, "patch", {"spec": {"parallelism": 1}}], [2.4, "end", 0, 0]],
    ),
    "every Pod at once fails": (
        {"completions": 3, "parallelism": 3, "backoffLimit": 1},
        [[0.4, "end", 0, 1], [0.41, "end", 0, 1], [0.42, "end", 0, 1]],
    ),
    "failures double the wait": (
        {"backoffLimit": 2},
        [[0.4, "end", 0, 1], [13.5, "end", 0, 1]],
    ),
    "a rule fails the Job while others run": (
        {
            "completions": 3,
            "parallelism": 3,
            "podFailurePolicy": {"rules": [on_exit_code("FailJob", 42)]},
        },
        [[0.4, "run", 0], [0.4, "run", 1], [0.4, "run", 2], [2.4, "end", 1, 42]],
    ),
    "a rule ignores, another counts": (
        {
            "backoffLimit": 0,
            "podFailurePolicy": {
                "rules": [on_exit_code("Ignore", 7), not_on_exit_code("Count", 9)],
            },
        },
        [[0.4, "end", 0, 7], [13.5, "end", 0, 8]],
    ),
    "no rule matches": (
        {"backoffLimit": 0, "podFailurePolicy": {"rules": [on_exit_code("Ignore", 7)]}},
        [[0.4, "end", 0, 8]],
    ),
    "containers restart too often": (
        {
            "backoffLimit": 2,
            "template": {"spec": {**NEVER, "restartPolicy": "OnFailure"}},
        },
        [[0.4, "restart", 0, 1], [2.5, "restart", 0, 2]],
    ),
    "a deadline passes while the Job waits": (
        {"activeDeadlineSeconds": 4},
        [[0.4, "end", 0, 1]],
    ),
    "a deadline is set on a running Job": (
        {},
        [[0.4, "run", 0], [2.4, "patch", {"spec": {"activeDeadlineSeconds": 5}}]],
    ),
    "a Pod that goes is replaced at once": (
        {},
        [[0.3, "bind", 0], [0.4, "run", 0], [2.4, "delete", 0]],
    ),
    "a Pod is replaced only when it has failed": (
        {"podReplacementPolicy": "Failed"},
        [[0.3, "bind", 0], [0.4, "run", 0], [2.4, "delete", 0], [5.4, "end", 0, 1]],
    ),
    "managed by somebody else": ({"managedBy": "example.com/other"}, []),
    "made suspended with a deadline": (
        {"suspend": True, "activeDeadlineSeconds": 3},
        [[4.5, "patch", {"spec": {"suspend": False}}]],
    ),
    "deleted in the foreground while a Pod runs": (
        {},
        [[0.3, "bind", 0], [0.4, "run", 0], [2.4, "remove", "Foreground"]],
    ),
    "deleted without its Pod": (
        {},
        [[0.3, "bind", 0], [0.4, "run", 0], [2.4, "remove", "Orphan"]],
    ),
}


def namespace_of(name: str) -> str:
    return "s-" + "-".join(name.replace(",", "").lower().split())[:50]


def job_of(name: str) -> Object:
    spec = {"template": {"spec": NEVER}, **SCENARIOS[name][0]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": spec}


def length_of(name: str) -> float:
    """How long to look at a Job."""
    deeds = SCENARIOS[name][1]
    patient = name in ("failures double the wait", "every Pod at once fails")
    return (deeds[-1][0] if deeds else 0.0) + (24.0 if patient else 6.0)


def running(now: str) -> Object:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": now}
    return {"phase": "Running", "conditions": [ready]}


def ended(code: int, now: str) -> Object:
    terminated = {"exitCode": code, "startedAt": now, "finishedAt": now}
    status = {"name": "agent", "image": "x", "imageID": "", "ready": False, "restartCount": 0}
    return {
        "phase": "Failed" if code else "Succeeded",
        "containerStatuses": [{**status, "state": {"terminated": terminated}}],
    }


def restarted(count: int, now: str) -> Object:
    state = {"running": {"startedAt": now}}
    status = {"name": "agent", "image": "x", "imageID": "", "ready": True}
    return {
        "phase": "Running",
        "containerStatuses": [{**status, "restartCount": count, "state": state}],
    }


def nth(pods: list[Object], position: int) -> Object:
    """The Pod that a deed means."""
    alive = [pod for pod in pods if pod["status"].get("phase") not in ("Succeeded", "Failed")]
    alive.sort(key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))
    return alive[position]


def job_state(kind: str, job: Object) -> Object:
    """What of a Job's state is compared."""
    metadata, status = job["metadata"], dict(job.get("status") or {})
    for key in ("startTime", "completionTime"):
        if key in status:
            status[key] = "*"
    waiting = status.pop("uncountedTerminatedPods", None)
    if waiting is not None:
        status["uncounted"] = {key: len(uids) for key, uids in waiting.items()}
    status["conditions"] = [
        " ".join([each["type"], each["status"], each["reason"], nameless(each["message"])])
        for each in status.get("conditions") or ()
    ]
    state: Object = {"type": kind, "generation": metadata.get("generation"), "status": status}
    for key in ("finalizers", "deletionGracePeriodSeconds"):
        if key in metadata:
            state[key] = metadata[key]
    return state


def nameless(message: str) -> str:
    """A sentence without namespaces and generated names."""
    words = ["POD" if word.startswith("j-") or "/j-" in word else word for word in message.split()]
    return " ".join(words)


def pod_state(pod: Object) -> Object:
    """What of a Pod at the end is compared."""
    metadata = pod["metadata"]
    annotations = metadata.get("annotations") or {}
    return {
        "phase": pod["status"].get("phase"),
        "finalizers": metadata.get("finalizers") or [],
        "deleting": "deletionTimestamp" in metadata,
        "owners": [each["kind"] for each in metadata.get("ownerReferences") or ()],
        "annotations": {key: annotations[key] for key in sorted(annotations)},
        "labels": sorted(metadata.get("labels") or {}),
        "hostname": pod["spec"].get("hostname", ""),
        "env": [each["name"] for each in pod["spec"]["containers"][0].get("env") or ()],
    }


def sorted_pods(pods: list[Object]) -> list[Object]:
    return sorted((pod_state(pod) for pod in pods), key=str)
