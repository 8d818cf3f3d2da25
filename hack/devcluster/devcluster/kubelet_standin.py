"""A stand-in for scheduler and kubelet: writes the Pod states that a real node writes, without running containers.

It is for clusters without nodes (a bare control plane), and for tests that set the result of a Pod. The result is, in this
order: the return value of `decide`, the Pod's annotation `devcluster.dev/outcome` (JSON of an Outcome), else success after a
short time. The states are those of `kubelet_states`, which follow recordings of a real kubelet.

It runs in a thread with an event loop of its own, so any test can use it. It guarantees that it writes each state of a Pod
once only, and that it removes Pods that are being deleted.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import aiohttp

from . import kubelet_states as states
from .connection import Connection
from .kubelet_states import OUTCOME_ANNOTATION, Outcome, Step

Object = dict[str, Any]
Decide = Callable[[Object], Outcome | None]

NODE_NAME = "standin"
RETRY_SECONDS = 0.2
WATCH_SECONDS = 300
CONFLICT, NOT_FOUND = 409, 404
CHANGED = "Changed"


class StandIn:
    """The stand-in of one cluster. `only_annotated`: leave Pods without the annotation to the cluster's own node."""

    def __init__(self, connection: Connection, *, only_annotated: bool = False) -> None:
        self._connection = connection
        self._only_annotated = only_annotated
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._deciders: list[Decide] = []
        self._lock = threading.Lock()

    # --- what tests use

    def decide(self, decide: Decide) -> Callable[[], None]:
        """Call `decide` with every new Pod (the object, in another thread) until the returned function is called."""
        with self._lock:
            self._deciders.append(decide)

        def forget() -> None:
            with self._lock:
                self._deciders.remove(decide)

        return forget

    def start(self) -> None:
        """Begin; returns once Pods are watched."""
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(ready)), name="kubelet-standin", daemon=True
        )
        self._thread.start()
        ready.wait()

    def stop(self) -> None:
        """End, and wait for it."""
        if self._thread is None or self._loop is None or self._stopping is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._thread = None

    # --- the watch

    async def _run(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(
            headers=self._connection.headers, timeout=timeout
        ) as session:
            kubelet = _Kubelet(session, self._connection, self._outcome)
            watching = asyncio.create_task(self._follow(kubelet, ready))
            await self._stopping.wait()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await kubelet.close()

    async def _follow(self, kubelet: _Kubelet, ready: threading.Event) -> None:
        while True:
            try:
                pods = await kubelet.call("GET", "/api/v1/pods")
                for pod in pods["items"]:
                    kubelet.see(pod)
                ready.set()
                async for event in kubelet.watch(pods["metadata"]["resourceVersion"]):
                    if event["type"] == "DELETED":
                        kubelet.forget(event["object"])
                    elif event["type"] in ("ADDED", "MODIFIED"):
                        kubelet.see(event["object"])
            except (aiohttp.ClientError, OSError, ValueError):
                await asyncio.sleep(RETRY_SECONDS)

    def _outcome(self, pod: Object) -> Outcome | None:
        """The outcome of a Pod; None leaves it to others."""
        with self._lock:
            deciders = list(self._deciders)
        for decide in deciders:
            outcome = decide(pod)
            if outcome is not None:
                return outcome
        text = (pod["metadata"].get("annotations") or {}).get(OUTCOME_ANNOTATION)
        if text is not None:
            return Outcome.decode(json.loads(text))
        return None if self._only_annotated else Outcome()


class _Kubelet:
    """Moves Pods, one task a Pod."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        connection: Connection,
        outcome: Callable[[Object], Outcome | None],
    ) -> None:
        self._session = session
        self._connection = connection
        self._outcome = outcome
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._latest: dict[str, Object] = {}
        self._changed: dict[str, asyncio.Event] = {}

    async def call(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Any:
        """One request. Raises aiohttp.ClientResponseError."""
        async with self._session.request(
            method,
            self._connection.url + path,
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": content_type},
            ssl=self._connection.ssl_context or True,
            raise_for_status=True,
        ) as response:
            return await response.json()

    async def watch(self, resource_version: str) -> AsyncIterator[Object]:
        """Events of all Pods; ends when the server ends the watch or answers that the resourceVersion is too old."""
        path = f"/api/v1/pods?watch=1&resourceVersion={resource_version}&timeoutSeconds={WATCH_SECONDS}"
        async with self._session.get(
            self._connection.url + path,
            ssl=self._connection.ssl_context or True,
            raise_for_status=True,
        ) as response:
            buffer = b""
            try:
                async for chunk in response.content.iter_any():
                    *lines, buffer = (buffer + chunk).split(b"\n")
                    for line in lines:
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            return
                        yield event
            finally:
                # An orderly close would wait for the server, perhaps beyond the end of the event loop.
                if response.connection is not None and response.connection.transport is not None:
                    response.connection.transport.abort()

    def see(self, pod: Object) -> None:
        """Note a state of a Pod; begin with it if it is new."""
        uid = pod["metadata"]["uid"]
        self._latest[uid] = pod
        if uid in self._tasks:
            self._changed[uid].set()
            return
        if states.ended(pod) and "deletionTimestamp" not in pod["metadata"]:
            return
        outcome = self._outcome(pod)
        if outcome is not None:
            self._changed[uid] = asyncio.Event()
            self._tasks[uid] = asyncio.create_task(self._live(pod, outcome))

    def forget(self, pod: Object) -> None:
        """A Pod is gone."""
        uid = pod["metadata"]["uid"]
        self._latest.pop(uid, None)
        self._changed.pop(uid, None)
        task = self._tasks.pop(uid, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Stop moving Pods."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _live(self, pod: Object, outcome: Outcome) -> None:
        """Write a Pod's states, from its binding to its end and its deletion."""
        uid = pod["metadata"]["uid"]
        try:
            if not states.ended(pod):
                if outcome.schedule:
                    await self._bind(pod)
                await self._pass(pod, outcome)
            while "deletionTimestamp" not in self._latest[uid]["metadata"]:
                self._changed[uid].clear()
                await self._changed[uid].wait()
            await self._remove(pod)
        except KeyError:
            return  # gone meanwhile
        except aiohttp.ClientError:
            self._tasks.pop(uid, None)  # seen again, it begins again

    async def _pass(self, pod: Object, outcome: Outcome) -> None:
        """Write one state after the other; a deletion or a deadline ends the Pod early."""
        uid = pod["metadata"]["uid"]
        history: Object = dict(pod.get("status") or {})
        plan = states.steps(pod, outcome)
        while (step := next(plan, None)) is not None:
            cut = await self._pause(pod, step.after, interruptible=step.interruptible)
            if cut == CHANGED:
                pod = self._latest[uid]
                plan = await self._changed_plan(pod)
                continue
            history["conditions"] = states.known_conditions(history, self._latest[uid])
            status = states.cut_short(pod, history, cut) if cut else step.status(history)
            history = {**history, **status}
            await self._write(pod, history)
            if cut:
                return

    async def _changed_plan(self, pod: Object) -> Iterator[Step]:
        """The steps after the annotation of a running Pod has changed."""
        outcome = self._outcome(pod) or Outcome()
        if outcome.schedule:
            await self._bind(pod)
        if (pod.get("status") or {}).get("phase") == "Running":
            return states.ending(pod, outcome)
        return states.steps(pod, outcome)

    async def _pause(self, pod: Object, seconds: float, *, interruptible: bool) -> str:
        """Wait; returns why the wait was cut short: `Deleted`, `DeadlineExceeded`, `Changed`, or '' when it was not."""
        loop = asyncio.get_running_loop()
        uid, script = pod["metadata"]["uid"], _script(pod)
        end = loop.time() + seconds
        while True:
            latest = self._latest[uid]
            if interruptible and "deletionTimestamp" in latest["metadata"]:
                return "Deleted"
            if interruptible and _script(latest) != script:
                return CHANGED
            limit = end
            deadline = states.seconds_to_deadline(latest)
            if interruptible and deadline is not None:
                if deadline <= 0:
                    return "DeadlineExceeded"
                limit = min(end, loop.time() + deadline)
            if loop.time() >= end:
                return ""
            self._changed[uid].clear()
            try:
                async with asyncio.timeout_at(None if limit == math.inf else limit):
                    await self._changed[uid].wait()
            except TimeoutError:
                continue

    async def _bind(self, pod: Object) -> None:
        if pod["spec"].get("nodeName"):
            return
        metadata = pod["metadata"]
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": metadata["name"], "uid": metadata["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NODE_NAME},
        }
        await self._tolerate(
            self.call("POST", f"{_path(pod)}/binding", binding), CONFLICT, NOT_FOUND
        )

    async def _write(self, pod: Object, status: Object) -> None:
        patch = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}
        kind = "application/merge-patch+json"
        await self._tolerate(
            self.call("PATCH", f"{_path(pod)}/status", patch, kind), NOT_FOUND, CONFLICT
        )

    async def _remove(self, pod: Object) -> None:
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": pod["metadata"]["uid"]},
        }
        await self._tolerate(self.call("DELETE", _path(pod), options), NOT_FOUND, CONFLICT)

    @staticmethod
    async def _tolerate(call: Any, *codes: int) -> None:
        try:
            await call
        except aiohttp.ClientResponseError as error:
            if error.status not in codes:
                raise


def _script(pod: Object) -> str | None:
    script: str | None = (pod["metadata"].get("annotations") or {}).get(OUTCOME_ANNOTATION)
    return script


def _path(pod: Object) -> str:
    metadata = pod["metadata"]
    return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
