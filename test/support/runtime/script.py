"""A server that does what a test wrote down, and an informer whose handler remembers everything."""

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from kubetask_controller.client import APIStatusError, Resource, TransportError
from kubetask_controller.runtime.informer import Informer, InformerOptions
from kubetask_controller.runtime.reflector import Reflector, ReflectorOptions

RUNS = Resource("sample.example.com", "v1alpha1", "runs", "Run")


@dataclass(frozen=True, slots=True)
class View:
    namespace: str
    name: str
    uid: str
    resource_version: str
    color: str = ""


def view(raw):
    metadata = raw["metadata"]
    return View(
        metadata.get("namespace", ""),
        metadata["name"],
        metadata.get("uid", ""),
        metadata.get("resourceVersion", ""),
        raw.get("spec", {}).get("color", ""),
    )


def obj(name, version, *, uid=None, namespace="default", color=""):
    return {
        "apiVersion": RUNS.api_version,
        "kind": RUNS.kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid or f"uid-{name}",
            "resourceVersion": str(version),
        },
        "spec": {"color": color},
    }


def added(name, version, **more):
    return {"type": "ADDED", "object": obj(name, version, **more)}


def modified(name, version, **more):
    return {"type": "MODIFIED", "object": obj(name, version, **more)}


def deleted(name, version, **more):
    return {"type": "DELETED", "object": obj(name, version, **more)}


def bookmark(version, *, end=False):
    metadata = {"resourceVersion": str(version)}
    if end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    meta = {"apiVersion": RUNS.api_version, "kind": RUNS.kind, "metadata": metadata}
    return {"type": "BOOKMARK", "object": meta}


def error(code, reason="", message="", **more):
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return {
        "type": "ERROR",
        "object": {**status, "message": message, "reason": reason, "code": code, **more},
    }


EXPIRED = error(410, "Expired", "too old resource version: 1 (269)")
GONE = APIStatusError(code=410, reason="Expired")
TOO_LARGE = APIStatusError(
    code=504,
    reason="Timeout",
    message="Timeout: Too large resource version: 99999999, current: 297",
    details={"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large"}]},
    retry_after=1.0,
)
BUSY = APIStatusError(code=429, reason="TooManyRequests")
NO_STREAMING = APIStatusError(code=422, reason="Invalid", message="sendInitialEvents: Forbidden")
REFUSED = TransportError("refused", refused=True)
RESET = TransportError("reset")
SILENT = TransportError("silent", timed_out=True)


@dataclass
class Watch:
    """A watch's events, how long it stays open after them, and what it then ends with."""

    events: list = field(default_factory=list)
    open_for: float | None = None
    ends_with: Exception | None = None
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False

    async def __aiter__(self):
        for event in self.events:
            if isinstance(event, float | int):
                await asyncio.sleep(event)
            else:
                yield event
        if self.ends_with:
            await asyncio.sleep(self.open_for or 0)
            raise self.ends_with
        await (asyncio.Event().wait() if self.open_for is None else asyncio.sleep(self.open_for))


@dataclass
class Page:
    """An answer to a list."""

    items: list
    version: str
    token: str = ""

    @property
    def metadata(self):
        return {"resourceVersion": self.version, "continue": self.token}

    async def __aiter__(self):
        for item in self.items:
            yield item


class Server:
    """Answers with what was scripted, in its order; a watch without a script stays open, silent."""

    def __init__(self, *, watches=(), lists=()):
        self.watches = deque(watches)
        self.lists = deque(lists)
        self.calls = []
        self.open_watches = 0

    @asynccontextmanager
    async def list(self, params):
        self.calls.append(("list", dict(params)))
        answer = self.lists.popleft()
        if isinstance(answer, Exception):
            raise answer
        yield answer

    @asynccontextmanager
    async def watch(self, params, *, timeout_seconds):
        self.calls.append(("watch", dict(params)))
        self.timeouts = [*getattr(self, "timeouts", []), timeout_seconds]
        answer = self.watches.popleft() if self.watches else Watch()
        if isinstance(answer, Exception):
            raise answer
        self.open_watches += 1
        events = answer.__aiter__()
        try:
            yield events
        finally:
            self.open_watches -= 1
            await events.aclose()

    @property
    def verbs(self):
        return [verb for verb, _ in self.calls]

    def versions(self, verb):
        return [params.get("resourceVersion", "") for v, params in self.calls if v == verb]


class Recorder:
    """A handler that keeps what it hears."""

    def __init__(self):
        self.heard = []

    def on_add(self, obj, initial):
        self.heard.append(("add!" if initial else "add", obj.name))

    def on_update(self, old, new):
        self.heard.append(("update", new.name))

    def on_delete(self, obj, final_state_unknown):
        self.heard.append(("delete?" if final_state_unknown else "delete", obj.name))

    def take(self):
        heard, self.heard = self.heard, []
        return heard


class Counts:
    """InformerMetrics that a test can read."""

    def __init__(self):
        self.ends = []
        self.lists = self.failures = self.dropped = 0
        self.statistics = {}

    def track(self, resource, statistics):
        self.statistics[resource] = statistics

    def listed(self, resource):
        self.lists += 1

    def watch_ended(self, resource, reason):
        self.ends.append(str(reason))

    def handler_failed(self, resource):
        self.failures += 1

    def event_dropped(self, resource):
        self.dropped += 1


class ReflectorHarness:
    """A reflector on a scripted server, with its informer; random numbers are all `jitter`."""

    def __init__(self, clock, server, *, jitter=0.0, streaming=True, **options):
        self.clock, self.server = clock, server
        self.metrics = Counts()
        self.recorder = Recorder()
        self.informer = Informer(
            RUNS, project=view, options=InformerOptions(clock=clock, metrics=self.metrics)
        )
        self.informer.add_event_handler(self.recorder)
        self.informer.start()
        self.reflector = Reflector(
            RUNS,
            server,
            self.informer.reflector_store(""),
            options=ReflectorOptions(
                clock=clock,
                random=lambda: jitter,
                metrics=self.metrics,
                streaming=streaming,
                **options,
            ),
        )

    async def __aenter__(self):
        self.task = asyncio.create_task(self.reflector.run())
        await self.clock.settle()
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    @property
    def names(self):
        return sorted(o.name for o in self.informer.list())
