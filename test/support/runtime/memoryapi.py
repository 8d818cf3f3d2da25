"""Objects in memory with resourceVersions and conflicts, and clients that can be slow, cut off or deaf."""

import asyncio
import copy
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from kubetask_controller.client.errors import APIStatusError, TransportError

WATCH_END = "k8s.io/initial-events-end"


class MemoryAPI:
    """What an API server keeps."""

    def __init__(self):
        self.objects = {}
        self.version = 100
        self.calls = []
        self._streams = []

    def client(self, name="client"):
        return MemoryClient(self, name)

    def read(self, resource, namespace, name):
        """The object as it is, without a client."""
        return self.objects.get((resource, namespace, name))

    def all(self, resource):
        return [obj for (r, _, _), obj in self.objects.items() if r == resource]

    def put(self, resource, obj):
        """Write an object past all clients."""
        namespace, name = obj["metadata"].get("namespace"), obj["metadata"]["name"]
        known = (resource, namespace, name) in self.objects
        return self._store(resource, namespace, name, obj, "MODIFIED" if known else "ADDED")

    def remove(self, resource, namespace, name):
        old = self.objects.pop((resource, namespace, name))
        self._publish(resource, "DELETED", self._stamp(old))

    def create(self, resource, namespace, obj):
        name = obj["metadata"]["name"]
        if (resource, namespace, name) in self.objects:
            raise APIStatusError(code=409, reason="AlreadyExists")
        return self._store(resource, namespace, name, obj, "ADDED")

    def get(self, resource, namespace, name):
        found = self.objects.get((resource, namespace, name))
        if found is None:
            raise APIStatusError(code=404, reason="NotFound")
        return found

    def update(self, resource, namespace, name, obj):
        old = self.get(resource, namespace, name)
        wanted = obj["metadata"].get("resourceVersion")
        if wanted and wanted != old["metadata"]["resourceVersion"]:
            raise APIStatusError(code=409, reason="Conflict")
        return self._store(resource, namespace, name, obj, "MODIFIED")

    def patch(self, resource, namespace, name, patch):
        return self._store(
            resource, namespace, name, self.get(resource, namespace, name) | patch, "MODIFIED"
        )

    def stream(self, resource):
        """What exists, then a bookmark, then what changes."""
        queue = asyncio.Queue()
        for obj in self.all(resource):
            queue.put_nowait({"type": "ADDED", "object": copy.deepcopy(obj)})
        metadata = {"resourceVersion": str(self.version), "annotations": {WATCH_END: "true"}}
        meta = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": metadata,
        }
        queue.put_nowait({"type": "BOOKMARK", "object": meta})
        self._streams.append((resource, queue))
        return queue

    def _store(self, resource, namespace, name, obj, event):
        stored = self._stamp(copy.deepcopy(obj))
        stored["metadata"].setdefault("uid", f"uid-{self.version}")
        self.objects[resource, namespace, name] = stored
        self._publish(resource, event, stored)
        return stored

    def _stamp(self, obj):
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        return obj

    def _publish(self, resource, event, obj):
        for watched, queue in self._streams:
            if watched == resource:
                queue.put_nowait({"type": event, "object": copy.deepcopy(obj)})


@dataclass
class Connection:
    """What befalls requests.

    Attributes:
        latency: seconds that a request takes; longer than its timeout, and there is no answer.
        failure: what every request ends with, before it is carried out.
        deaf: requests are carried out, and their answers lost.
        heard: cleared, new watches say nothing.
    """

    latency: float = 0.0
    failure: Exception | None = None
    deaf: bool = False
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self):
        self.heard.set()


class MemoryClient:
    """A Client of a MemoryAPI; views made by guarded() share its connection."""

    def __init__(self, api, name, guard=None, connection=None):
        self.api = api
        self.name = name
        self.connection = connection or Connection()
        self._guard = guard

    def guarded(self, guard):
        return MemoryClient(self.api, self.name, guard, self.connection)

    def component(self, name):
        return MemoryClient(self.api, self.name, self._guard, self.connection)

    async def get(self, resource, namespace, name, *, timeout=30.0):
        return await self._call("get", timeout, resource, namespace, name)

    async def create(self, resource, namespace, body, *, timeout=30.0):
        return await self._call("create", timeout, resource, namespace, body)

    async def update(self, resource, namespace, name, body, *, timeout=30.0):
        return await self._call("update", timeout, resource, namespace, name, body)

    async def patch(self, resource, namespace, name, body, *, timeout=30.0):
        return await self._call("patch", timeout, resource, namespace, name, body)

    @asynccontextmanager
    async def watch(self, resource, namespace, *, params, timeout_seconds, decode=None):
        async def events():
            await self.connection.heard.wait()
            queue = self.api.stream(resource)
            while True:
                yield await queue.get()

        stream = events()
        try:
            yield stream
        finally:
            await stream.aclose()

    async def _call(self, verb, timeout, resource, namespace, *arguments):
        if self._guard is not None and verb != "get":
            self._guard()
        connection = self.connection
        self.api.calls.append((self.name, verb, resource.plural))
        latency = connection.latency
        await asyncio.sleep(min(latency, timeout))
        if latency > timeout:
            raise TransportError("no answer", timed_out=True)
        if connection.failure is not None:
            raise connection.failure
        answer = getattr(self.api, verb)(resource, namespace, *arguments)
        if connection.deaf:
            raise TransportError("reset")
        return copy.deepcopy(answer)
