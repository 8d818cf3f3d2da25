"""A registry with a node and nothing else: Pods run as real processes, in real time."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from devcluster.apiserver.catalog import Catalog
from devcluster.apiserver.codec import codec_for
from devcluster.apiserver.errors import StatusError
from devcluster.apiserver.interfaces import (
    Attributes,
    SubresourceRegistry,
    SubresourceRequest,
    User,
)
from devcluster.apiserver.local import (
    CONFIGMAPS,
    EVENTS,
    GVR,
    NAMESPACES,
    PODS,
    SECRETS,
    SERVICEACCOUNTS,
    LocalClient,
)
from devcluster.apiserver.registry import Registry
from devcluster.images import Images, ImageSpec
from devcluster.node import Node, NodeOptions
from devcluster.storage import Storage

Object = dict[str, Any]

TRANSCRIPTS = Path(__file__).parent / "transcripts"
IMAGE = "registry.example.com/agent:1"
NAMESPACE = "case"
PATIENCE = 20.0


class NodeLab:
    """One small cluster with a node. `folder` is where Pods leave their things."""

    def __init__(self, folder: Path, *, speed: float, tokens: Any = None, **settings: Any) -> None:
        self.folder = folder
        self.storage = Storage()
        self.storage.begin("pods")
        self.registry = Registry(self.storage, Catalog(), seed=1)
        self.client = LocalClient(self.registry, manager="test")
        self.images = Images({IMAGE: ImageSpec()})
        self.subresources = SubresourceRegistry()
        self.node = Node(
            self.registry,
            self.images,
            directory=folder,
            tokens=tokens,
            subresources=self.subresources,
            options=NodeOptions(speed=speed, **settings),
        )
        self.namespace(NAMESPACE)

    # --- objects

    def namespace(self, name: str) -> None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        self.client.create(NAMESPACES, None, body)

    def create(self, resource: GVR, name: str, namespace: str = NAMESPACE, **fields: Any) -> Object:
        kinds = {CONFIGMAPS: "ConfigMap", SECRETS: "Secret", SERVICEACCOUNTS: "ServiceAccount"}
        kind = fields.pop("kind", kinds.get(resource, "Pod"))
        labels = fields.pop("metadata", {})
        body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, **labels}, **fields}
        return self.client.create(resource, namespace, body)

    def pod(self, name: str, namespace: str = NAMESPACE) -> Object:
        return self.client.get(PODS, namespace, name)

    def run(
        self, name: str, script: str = "", *, pod: Object | None = None, **container: Any
    ) -> Object:
        """Create a Pod with one container; `pod` holds fields of its spec, or its `metadata`."""
        spec: Object = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 5, **(pod or {})}
        metadata = spec.pop("metadata", {})
        one = {"name": "agent", "image": IMAGE, "imagePullPolicy": "IfNotPresent", **container}
        if script:
            one["command"] = ["sh", "-c", script]
        return self.create(PODS, name, metadata=metadata, spec={"containers": [one], **spec})

    def put(self, pod: Object) -> None:
        """Store a Pod without validation of the change."""
        info = self.client.info(PODS)
        metadata = {**pod["metadata"]}
        old = self.registry.current(info, metadata["namespace"], metadata["name"])
        self.registry.put_raw(codec_for(info), {**pod, "metadata": metadata}, old)

    def events(self, name: str, namespace: str = NAMESPACE) -> list[tuple[str, str]]:
        """(reason, message) of a Pod's Events, in the order in which they came first."""
        found = [
            each
            for each in self.client.list(EVENTS, namespace)
            if each["involvedObject"]["name"] == name
        ]
        found.sort(key=lambda each: int(each["metadata"]["name"].rpartition(".")[2], 16))
        return [(each["reason"], each["message"]) for each in found]

    # --- waiting

    async def until(
        self, name: str, condition: Callable[[Object], Any], namespace: str = NAMESPACE
    ) -> Object:
        """The Pod as soon as `condition` holds."""
        async with asyncio.timeout(PATIENCE):
            async for event in self.client.watch(PODS, namespace):
                pod = event["object"]
                if pod["metadata"]["name"] == name and condition(pod):
                    return pod
        raise AssertionError("the watch ended")

    async def ended(self, name: str, namespace: str = NAMESPACE) -> Object:
        """The Pod as it ends."""
        return await self.until(name, has_ended, namespace)

    async def running(self, name: str) -> Object:
        """The Pod as soon as its first container runs."""
        return await self.until(name, lambda pod: "running" in state_of(pod))

    async def waiting(self, name: str, reason: str) -> Object:
        """The Pod as soon as its first container waits for a reason."""
        return await self.until(
            name, lambda pod: state_of(pod).get("waiting", {}).get("reason") == reason
        )

    async def event(self, name: str, reason: str) -> None:
        """Wait until a Pod has an Event of a reason."""
        async with asyncio.timeout(PATIENCE):
            async for event in self.client.watch(EVENTS, NAMESPACE):
                about = event["object"]
                if about["involvedObject"]["name"] == name and about["reason"] == reason:
                    return

    async def logged(self, name: str, text: str) -> None:
        """Wait until a container has written something."""
        async with asyncio.timeout(PATIENCE):
            while text not in self.log(self.pod(name)):  # noqa: ASYNC110 (a file sends no event)
                await asyncio.sleep(0.01)

    async def quiet(self) -> None:
        """Wait until the node has nothing left to do."""
        while tasks := [each for each in asyncio.all_tasks() if is_chore(each)]:
            await asyncio.wait(tasks, timeout=PATIENCE)
        await asyncio.sleep(0.05)

    async def pause(self, seconds: float) -> None:
        """Give something that must not happen the time to happen."""
        await asyncio.sleep(seconds)

    async def gone(self, name: str, namespace: str = NAMESPACE) -> Object:
        """The last state of a Pod that is removed."""
        async with asyncio.timeout(PATIENCE):
            async for event in self.client.watch(PODS, namespace):
                if event["type"] == "DELETED" and event["object"]["metadata"]["name"] == name:
                    return event["object"]
        raise AssertionError("the watch ended")

    def log(self, pod: Object, container: str = "agent", attempt: int = 0) -> str:
        """What a container wrote."""
        metadata = pod["metadata"]
        folder = f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"
        text = (self.folder / "logs" / folder / container / f"{attempt}.log").read_text()
        parts = [line.split(" ", 3)[2:] for line in text.splitlines()]
        return "".join(part + ("\n" if tag == "F" else "") for tag, part in parts)

    async def get_log(self, name: str, namespace: str = NAMESPACE, **query: str) -> tuple[int, str]:
        """What `GET …/log` answers: code, and the text or the Status's message."""
        async with TestClient(TestServer(self._log_app(namespace, name))) as http:
            response = await http.get("/log", params=query)
            text = await response.text()
            return response.status, json.loads(text)["message"] if response.status >= 400 else text

    def _log_app(self, namespace: str, name: str) -> web.Application:
        async def handle(request: web.Request) -> web.StreamResponse:
            attributes = Attributes("get", resource="pods", namespace=namespace, name=name)
            handler = self.subresources.find("", "pods", "log")
            assert handler is not None
            try:
                return await handler(SubresourceRequest(request, attributes, User("me"), None))
            except StatusError as error:
                return web.json_response(error.body(), status=error.code)

        app = web.Application()
        app.router.add_get("/log", handle)
        return app

    async def output(self, name: str, script: str, **fields: Any) -> str:
        """What a Pod that succeeds writes."""
        self.run(name, script, **fields)
        pod = await self.ended(name)
        text = self.log(pod)
        assert pod["status"]["phase"] == "Succeeded", text
        return text


def state_of(pod: Object, container: int = 0) -> Object:
    """The state of a container; {} while there is none."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or [{}]
    return statuses[container].get("state") or {}


def has_ended(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def is_chore(task: asyncio.Task[Any]) -> bool:
    return task.get_name().startswith("pod-")


def load(name: str) -> list[Object]:
    lines = (TRANSCRIPTS / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@asynccontextmanager
async def open_lab(folder: Path, *, speed: float = 20.0, **settings: Any) -> AsyncIterator[NodeLab]:
    """A lab with its node running; at the end no process of it may be left."""
    lab = NodeLab(folder, speed=speed, **settings)
    await lab.node.start()
    try:
        yield lab
    finally:
        await lab.node.stop()
        assert not processes_of(folder)


def processes_of(folder: Path) -> list[str]:
    """Command lines of containers with something of a node's folder, and of the keepers that write there."""
    return [
        each for each in map(_process_of, Path("/proc").glob("[0-9]*"), repeat(str(folder))) if each
    ]


def _process_of(entry: Path, folder: str) -> str:
    if entry.name == str(os.getpid()):
        return ""
    try:
        mounts = (entry / "mountinfo").read_text()
        files = [str(each.readlink()) for each in (entry / "fd").iterdir()]
        command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""  # it has ended meanwhile
    return command if folder in mounts or any(folder in each for each in files) else ""
