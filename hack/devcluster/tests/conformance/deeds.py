"""Context of the recorded calls: users, bodies too long to be recorded, changes while a watch ran.

It is derived from the notes of the transcripts and from the objects of later calls.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

RUNS = "/apis/sample.example.com/v1alpha1/namespaces/default/runs"
JOBS = "/apis/batch/v1/namespaces/default/jobs"
PODS = "/api/v1/namespaces/default/pods"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"

Object = dict[str, Any]


class Caller(Protocol):
    """The client that sends the requests of a deed."""

    tokens: dict[str, str]

    async def call(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Any:
        """A request as admin; the decoded answer. Raises for anything but success."""

    async def pause(self, seconds: float) -> None:
        """Wait."""


Deed = Callable[[Caller], Awaitable[None]]


def user_of(file: str, index: int) -> str:
    """Who made a recorded call: admin, anonymous, stranger (a bad token), or a ServiceAccount's name."""
    if file != "auth" or index in (3, 4):
        return "admin"
    return {1: "anonymous", 2: "stranger"}.get(index, "little")


# --- bodies


def _run(name: str) -> Object:
    return {
        "apiVersion": "sample.example.com/v1alpha1",
        "kind": "Run",
        "metadata": {"name": name},
        "spec": {"batchRef": "b", "labels": {"x": ""}},
    }


def _padded(body: Object, field: Object, size: int) -> Object:
    """`body` with its field x so long that all is `size` bytes."""
    field["x"] = "y" * (size - len(json.dumps(body)))
    return body


def long_body(file: str, index: int, size: int) -> Object:
    """The body of `size` bytes of a call that recorded only how long it was."""
    if file == "core":
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "big"},
            "data": {"x": ""},
        }
        return _padded(body, body["data"], size)  # type: ignore[arg-type]
    body = _run(f"huge-{index}")
    return _padded(body, body["spec"]["labels"], size)


# --- before a call


async def _seven_runs(caller: Caller) -> None:
    for number in range(7):
        body = _run(f"list-{number}")
        body["metadata"]["labels"] = {"n": str(number), "odd": str(number % 2)}
        del body["spec"]["labels"]
        await caller.call("POST", RUNS, body)


async def _account(caller: Caller) -> None:
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "little"}}
    await caller.call("POST", ACCOUNTS, body)


async def _token(caller: Caller) -> None:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = await caller.call("POST", f"{ACCOUNTS}/little/token", body)
    caller.tokens["little"] = answer["status"]["token"]


def _wait(seconds: float) -> Deed:
    return lambda caller: caller.pause(seconds)


BEFORE: dict[tuple[str, int], Deed] = {
    ("crd", 6): _wait(1.0),
    ("crd", 7): _wait(2.0),
    ("lists", 1): _seven_runs,
    ("lists", 16): _wait(3.0),
    ("jobs", 15): _wait(1.5),
    ("jobs", 22): _wait(2.0),
    ("jobs", 24): _wait(2.0),
    ("core", 2): _wait(0.5),
    ("auth", 3): _account,
    ("auth", 5): _token,
}


# --- while a watch runs


def _patch(path: str, body: Object) -> Deed:
    async def patch(caller: Caller) -> None:
        await caller.call("PATCH", path, body, MERGE)

    return patch


def _create_job(name: str, **spec: Any) -> Deed:
    pod = {"restartPolicy": "Never", "containers": [{"name": "agent", "image": "x"}]}
    body = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": {"kubetask.io/task": "x"}},
        "spec": {**spec, "template": {"spec": pod}},
    }

    async def create(caller: Caller) -> None:
        await caller.call("POST", JOBS, body)

    return create


def _delete_job(name: str, policy: str) -> Deed:
    async def delete(caller: Caller) -> None:
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy}
        await caller.call("DELETE", f"{JOBS}/{name}", body)

    return delete


def _move_pod(job: str, status: Object) -> Deed:
    async def move(caller: Caller) -> None:
        pods = await caller.call("GET", f"{PODS}?labelSelector=job-name={job}")
        name = pods["items"][0]["metadata"]["name"]
        await caller.call("PATCH", f"{PODS}/{name}/status", {"status": status}, STRATEGIC)

    return move


def _container(state: Object, *, ready: bool) -> Object:
    return {
        "name": "agent",
        "image": "x",
        "imageID": "",
        "ready": ready,
        "restartCount": 0,
        "state": state,
    }


def _running(job: str) -> Deed:
    return _move_pod(
        job,
        {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [_container({"running": {}}, ready=True)],
        },
    )


def _ended(job: str, code: int, **more: Any) -> Deed:
    reason = "Error" if code else "Completed"
    state = {"running": None, "terminated": {"exitCode": code, "reason": reason, **more}}
    phase = "Failed" if code else "Succeeded"
    return _move_pod(job, {"phase": phase, "containerStatuses": [_container(state, ready=False)]})


async def _delete_run(caller: Caller) -> None:
    await caller.call("DELETE", f"{RUNS}/list-3")


# Seconds from the start of the watch, and the request sent at that time.
DURING: dict[tuple[str, int], list[tuple[float, Deed]]] = {
    ("watches", 1): [
        (0.3, _patch(f"{RUNS}/list-1", {"spec": {"parallelism": 8}})),
        (0.3, _patch(f"{RUNS}/list-1", {"metadata": {"labels": {"odd": "0"}}})),
        (0.3, _patch(f"{RUNS}/list-1", {"metadata": {"labels": {"odd": "1"}}})),
        (0.3, _delete_run),
    ],
    ("jobs", 4): [(0.5, _running("ok")), (1.2, _ended("ok", 0, message="pushed 3 commits"))],
    ("jobs", 7): [(0.3, _create_job("bad", backoffLimit=0)), (0.7, _ended("bad", 1))],
    ("jobs", 8): [(0.3, _create_job("late", activeDeadlineSeconds=2))],
    ("jobs", 9): [
        (0.3, _create_job("sus", suspend=True)),
        (1.6, _patch(f"{JOBS}/sus", {"spec": {"suspend": False}})),
        (3.2, _patch(f"{JOBS}/sus", {"spec": {"suspend": True}})),
    ],
    ("jobs", 10): [(0.3, _create_job("ttl", ttlSecondsAfterFinished=1)), (0.7, _ended("ttl", 0))],
    ("jobs", 11): [
        (
            0.3,
            _create_job(
                "pfp",
                backoffLimit=3,
                podFailurePolicy={
                    "rules": [
                        {
                            "action": "FailJob",
                            "onExitCodes": {
                                "containerName": "agent",
                                "operator": "In",
                                "values": [42],
                            },
                        }
                    ]
                },
            ),
        ),
        (0.7, _ended("pfp", 42)),
    ],
    ("jobs", 12): [(0.3, _create_job("del")), (1.2, _delete_job("del", "Background"))],
    ("jobs", 13): [(0.3, _create_job("fg")), (1.2, _delete_job("fg", "Foreground"))],
}
