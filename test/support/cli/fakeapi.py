"""A small API server: objects in memory, lists and watches, Pod logs, over real HTTP."""

import asyncio
import copy
import itertools
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

JSON = dict[str, Any]
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
KINDS = {
    "batches": "Batch",
    "batchruns": "BatchRun",
    "tasks": "Task",
    "pods": "Pod",
    "events": "Event",
    "namespaces": "Namespace",
    "workspaceconfigs": "WorkspaceConfig",
    "controllerrevisions": "ControllerRevision",
}


@dataclass
class Log:
    """A container's log: (second, line) pairs, and whether it still grows."""

    lines: list[tuple[int, str]] = field(default_factory=list)
    open: bool = True
    grown: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def write(self, *lines: str, second: int = 0) -> None:
        async with self.grown:
            self.lines += [(second, x) for x in lines]
            self.grown.notify_all()

    async def close(self) -> None:
        async with self.grown:
            self.open = False
            self.grown.notify_all()


class FakeApi:
    """Objects by (plural, namespace, name)."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], JSON] = {}
        self.events: list[tuple[int, str, str, JSON]] = []
        self.logs: dict[str, Log] = {}
        self.requests: list[tuple[str, str]] = []
        self.refuse: Callable[[web.Request], web.StreamResponse | None] = lambda _: None
        self.on_create: Callable[[JSON], None] = lambda _: None
        self.port = 0
        self._versions = itertools.count(1)
        self._version = 0
        self._changed = asyncio.Condition()
        self._watches: set[web.StreamResponse] = set()
        self.log_cuts = 0
        """How many log connections break after their first piece."""
        self.answering = asyncio.Event()
        """While it is cleared, requests hang."""
        self.answering.set()

    async def put(self, plural: str, body: JSON, namespace: str = "team") -> JSON:
        """Make or replace an object, and tell watches."""
        body = copy.deepcopy(body)
        metadata = body.setdefault("metadata", {})
        key = (plural, namespace, metadata["name"])
        kind = "MODIFIED" if key in self.objects else "ADDED"
        self._version = next(self._versions)
        old = self.objects.get(key, {"metadata": {}})["metadata"].get("uid")
        metadata.setdefault("uid", old or f"uid-{self._version}")
        metadata |= {"namespace": namespace, "resourceVersion": str(self._version)}
        body.setdefault("kind", KINDS[plural])
        self.objects[key] = body
        await self._tell(kind, plural, body)
        return body

    async def status(self, plural: str, name: str, status: JSON, namespace: str = "team") -> None:
        """Replace an object's status."""
        body = copy.deepcopy(self.objects[plural, namespace, name])
        body["status"] = status
        await self.put(plural, body, namespace)

    async def remove(self, plural: str, name: str, namespace: str = "team") -> None:
        self._version = next(self._versions)
        await self._tell("DELETED", plural, self.objects.pop((plural, namespace, name)))

    async def cut_watches(self) -> None:
        """Break all watches, as a server that restarts does."""
        for response in list(self._watches):
            response.force_close()
            if response._req and response._req.transport:
                response._req.transport.close()

    async def watched(self) -> None:
        """Until somebody watches."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._watches)

    async def asked(self, suffix: str, times: int) -> None:
        """Until a path that ends so was asked for that often."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: sum(path.endswith(suffix) for _, path in self.requests) >= times
            )

    async def _tell(self, kind: str, plural: str, body: JSON) -> None:
        async with self._changed:
            self.events.append((self._version, kind, plural, copy.deepcopy(body)))
            self._changed.notify_all()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        async with self._changed:
            self.requests.append((request.method, request.path))
            self._changed.notify_all()
        await self.answering.wait()
        refused = self.refuse(request)
        if refused is not None:
            return refused
        parts = request.path.strip("/").split("/")
        parts = parts[3:] if parts[0] == "apis" else parts[2:]
        # Without a namespace a list is one of all namespaces.
        if parts[0] == "namespaces" and len(parts) > 2:
            _, namespace, plural, *rest = parts
        else:
            namespace, (plural, *rest) = "", parts
        if plural not in KINDS:
            return failure(404, "the server could not find the requested resource")
        if len(rest) == 2 and rest[1] == "log":
            return await self._log(request, rest[0])
        if rest:
            return await self._one(request, plural, namespace, rest[0])
        if request.method == "POST":
            return await self._create(request, plural, namespace)
        for term in request.query.get("labelSelector", "").split(","):
            if not LABEL_VALUE.fullmatch(value := term.partition("=")[2]):
                return failure(400, f"unable to parse requirement: values[0]: {value!r}")
        if request.query.get("watch"):
            return await self._watch(request, plural, namespace)
        return self._list(request, plural, namespace)

    async def _one(
        self, request: web.Request, plural: str, namespace: str, name: str
    ) -> web.StreamResponse:
        found = self.objects.get((plural, namespace, name))
        if found is None:
            group = "" if plural == "pods" else ".kubetask.io"
            details = {"name": name, "kind": plural}
            return failure(404, f'{plural}{group} "{name}" not found', details)
        if request.method == "PATCH":
            patch = await request.json()
            uid = patch.get("metadata", {}).get("uid")
            if uid and uid != found["metadata"]["uid"]:
                return failure(409, "Precondition failed: UID", {"name": name})
            body = copy.deepcopy(found)
            for key, value in patch.get("spec", {}).items():
                body["spec"][key] = value
                if value is None:
                    del body["spec"][key]
            if request.query.get("dryRun"):
                return web.json_response(body)
            found = await self.put(plural, body, namespace)
        return web.json_response(found)

    async def _create(self, request: web.Request, plural: str, namespace: str) -> web.Response:
        body = await request.json()
        metadata = body["metadata"]
        if "name" not in metadata:
            metadata["name"] = metadata.pop("generateName") + "x7k2p"
        if (plural, namespace, metadata["name"]) in self.objects:
            return failure(409, "already exists", {"name": metadata["name"]}, "AlreadyExists")
        if request.query.get("dryRun"):
            return web.json_response(body, status=201)
        made = await self.put(plural, body, namespace)
        self.on_create(made)
        return web.json_response(made, status=201)

    def _list(self, request: web.Request, plural: str, namespace: str) -> web.Response:
        items = [
            x
            for (p, ns, _), x in sorted(self.objects.items())
            if p == plural and namespace in ("", ns) and _selected(x, request)
        ]
        start = int(request.query.get("continue", 0))
        limit = int(request.query.get("limit", 500))
        metadata = {"resourceVersion": str(self._version)}
        if start + limit < len(items):
            metadata["continue"] = str(start + limit)
        return web.json_response({"metadata": metadata, "items": items[start : start + limit]})

    async def _watch(self, request: web.Request, plural: str, namespace: str) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_type = "application/json"
        await response.prepare(request)
        seen = int(request.query.get("resourceVersion") or 0)
        async with self._changed:
            self._watches.add(response)
            self._changed.notify_all()
        try:
            while True:
                async with self._changed:
                    while not any(x[0] > seen for x in self.events):
                        await self._changed.wait()
                    news = [x for x in self.events if x[0] > seen]
                for version, kind, about, body in news:
                    seen = version
                    there = namespace in ("", body["metadata"]["namespace"])
                    if about == plural and there and _selected(body, request):
                        event = json.dumps({"type": kind, "object": body})
                        await response.write(event.encode() + b"\n")
        finally:
            self._watches.discard(response)

    async def _log(self, request: web.Request, pod: str) -> web.StreamResponse:
        log = self.logs.get(f"{pod}/{request.query['container']}")
        if log is None:
            return failure(400, f'container "agent" in pod "{pod}" is waiting to start')
        response = web.StreamResponse()
        await response.prepare(request)
        follow = request.query.get("follow") == "true"
        since = int(request.query.get("sinceTime", "T00:00:00Z")[-3:-1])
        tail = int(request.query["tailLines"]) if "tailLines" in request.query else None
        sent = 0 if tail is None else max(len(log.lines) - tail, 0)
        while True:
            async with log.grown:
                while follow and log.open and len(log.lines) == sent:
                    await log.grown.wait()
                news, sent = log.lines[sent:], len(log.lines)
                still = log.open and follow
            for second, line in news:
                if second >= since:
                    stamp = f"2026-01-01T10:00:{second:02}.000000001Z "
                    text = (stamp if request.query.get("timestamps") else "") + line + "\n"
                    await response.write(text.encode())
            if self.log_cuts and news:
                self.log_cuts -= 1
                assert request.transport is not None
                await asyncio.sleep(0.05)
                request.transport.close()
                return response
            if not still:
                await response.write_eof()
                return response


def failure(code: int, message: str, details: JSON | None = None, reason: str = "") -> web.Response:
    """A Status."""
    body = {"kind": "Status", "code": code, "message": message, "reason": reason}
    return web.json_response(body | ({"details": details} if details else {}), status=code)


def _selected(body: JSON, request: web.Request) -> bool:
    field, _, name = request.query.get("fieldSelector", "").partition("=")
    part = body.get("involvedObject", {}) if field.startswith("involved") else body["metadata"]
    if name and part.get("name") != name:
        return False
    labels = body["metadata"].get("labels", {})
    for term in filter(None, request.query.get("labelSelector", "").split(",")):
        key, equals, value = term.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


@asynccontextmanager
async def serving(api: FakeApi) -> AsyncIterator[FakeApi]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    api.port = runner.addresses[0][1]
    try:
        yield api
    finally:
        await runner.cleanup()
