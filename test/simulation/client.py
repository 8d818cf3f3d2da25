"""The real client's methods, errors, retries and streams against the model of the API server, with what befalls them.

A request travels to the server and its answer back; both take time, and either may be lost. A process that has crashed sends
and hears nothing more, while what it has sent may still arrive.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json, to_json

from kubetask_controller.client.errors import APIStatusError, ClientError, TransportError
from kubetask_controller.client.resources import CORE_EVENTS, EVENTS, LEASES, Resource
from kubetask_controller.client.rest import LIST_TIMEOUT, TIMEOUT, PatchType
from kubetask_controller.client.retry import retry_delay
from simulation.apiserver import Change, Stored, event_lines, matches, parse_selector, refusal

if TYPE_CHECKING:
    from simulation.world import Process

JSON = dict[str, Any]
BOOKMARKS = 60.0
ListOf = list
"""The built-in, which a method of that name hides."""
_VERBS = {"get": "GET", "list": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}


@dataclass(slots=True)
class Trouble:
    """What happens to the next ``count`` requests that match.

    ``how``: "lost" (not carried out, no answer), "unheard" (carried out, no answer), "late" (carried out at once, answered
    ``seconds`` later), "slow" (carried out ``seconds`` later), or a status code.
    """

    verb: str
    resource: str
    how: str
    count: int = 1
    seconds: float = 0.0


@dataclass
class Wire:
    """What a process shares with all views of its client."""

    process: "Process"
    streams: list["Stream"] = field(default_factory=list)


class SimClient:
    """Stands for kubetask_controller.client.rest.Client."""

    def __init__(self, wire: Wire, guard: Callable[[], None] | None = None) -> None:
        self._wire = wire
        self._guard = guard

    def guarded(self, guard: Callable[[], None]) -> "SimClient":
        return SimClient(self._wire, guard)

    def component(self, name: str) -> "SimClient":
        return SimClient(self._wire, self._guard)

    async def get(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        subresource: str | None = None,
        timeout: float = TIMEOUT,
    ) -> JSON:
        server = self._wire.process.world.server
        stored: Stored = await self._send("get", resource, name, timeout, lambda: server.get(resource, namespace or "", name))
        return from_json(stored.raw)

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        params: Mapping[str, str] | None = None,
        timeout: float = LIST_TIMEOUT,
    ) -> JSON:
        version, found = await self._send(
            "list", resource, "", timeout, lambda: self._select(resource, namespace, params or {})
        )
        return {
            "apiVersion": resource.api_version,
            "kind": f"{resource.kind}List",
            "metadata": {"resourceVersion": str(version)},
            "items": [from_json(x.raw) for x in found],
        }

    async def create(
        self,
        resource: Resource,
        namespace: str | None,
        body: JSON,
        *,
        subresource: str | None = None,
        name: str | None = None,
        params: Mapping[str, str] | None = None,
        metadata_only: bool = False,
        timeout: float = TIMEOUT,
    ) -> JSON:
        world, data = self._wire.process.world, to_json(body)
        if resource in (EVENTS, LEASES):
            world.note(self._wire.process.name, _event_text, body)
            return body
        stored = await self._send(
            "create",
            resource,
            body["metadata"].get("name", ""),
            timeout,
            lambda: world.server.create(resource, namespace or "", data, self._wire.process.name),
        )
        return _answer(stored, metadata_only)

    async def update(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: JSON,
        *,
        subresource: str | None = None,
        params: Mapping[str, str] | None = None,
        metadata_only: bool = False,
        timeout: float = TIMEOUT,
    ) -> JSON:
        server, data = self._wire.process.world.server, to_json(body)
        stored = await self._send(
            "update",
            resource,
            name,
            timeout,
            lambda: server.update(resource, namespace or "", name, data, self._wire.process.name, subresource or ""),
        )
        return _answer(stored, metadata_only)

    async def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: JSON | Sequence[JSON],
        *,
        patch_type: PatchType = PatchType.MERGE,
        subresource: str | None = None,
        params: Mapping[str, str] | None = None,
        metadata_only: bool = False,
        timeout: float = TIMEOUT,
    ) -> JSON:
        if resource in (EVENTS, LEASES):
            return {}
        assert patch_type is PatchType.MERGE, "only merge patches are modelled"
        server, data = self._wire.process.world.server, to_json(body)
        stored = await self._send(
            "patch",
            resource,
            name,
            timeout,
            lambda: server.patch(resource, namespace or "", name, data, self._wire.process.name, subresource or ""),
        )
        return _answer(stored, metadata_only)

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        propagation: str = "Background",
        grace_period_seconds: int | None = None,
        timeout: float = TIMEOUT,
        **preconditions: str,
    ) -> JSON:
        server = self._wire.process.world.server
        stored = await self._send(
            "delete",
            resource,
            name,
            timeout,
            lambda: server.delete(
                resource,
                namespace or "",
                name,
                self._wire.process.name,
                uid=uid,
                propagation=propagation,
                grace=grace_period_seconds,
                **preconditions,
            ),
        )
        return from_json(stored.raw)

    def list_stream(
        self, resource: Resource, namespace: str | None = None, *, params: Mapping[str, str] | None = None, **_: Any
    ) -> "_ListStream":
        return _ListStream(self, resource, namespace, params or {})

    def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        params: Mapping[str, str],
        timeout_seconds: float,
        decode: Callable[[bytes], Any] = from_json,
        **_: Any,
    ) -> "Stream":
        return Stream(self._wire, resource, namespace, params, timeout_seconds, decode)

    def _select(self, resource: Resource, namespace: str | None, params: Mapping[str, str]) -> "tuple[int, ListOf[Stored]]":
        server = self._wire.process.world.server
        kept = CORE_EVENTS if resource in (CORE_EVENTS, EVENTS) else resource
        found = server.list(kept, namespace, params.get("labelSelector", ""), params.get("fieldSelector", ""))
        return server.version, found

    async def _send(self, verb: str, resource: Resource, name: str, timeout: float, work: Callable[[], Any]) -> Any:
        """One call with its retries, as the real client's."""
        loop = asyncio.get_running_loop()
        deadline, attempt = loop.time() + timeout, 0
        while True:
            if self._guard is not None and verb not in ("get", "list"):
                self._guard()
            try:
                return await self._attempt(verb, resource, name, deadline, work)
            except ClientError as error:
                delay = retry_delay(error, method=_VERBS[verb], attempt=attempt)
                if delay is None or loop.time() + delay >= deadline:
                    raise
            await asyncio.sleep(delay)
            attempt += 1

    async def _attempt(self, verb: str, resource: Resource, name: str, deadline: float, work: Callable[[], Any]) -> Any:
        process = self._wire.process
        world, loop = process.world, process.world.loop
        answer: asyncio.Future[Any] = loop.create_future()
        if not process.sends(verb, resource, name):
            return await answer  # for ever: the process is gone
        if verb in ("get", "list"):
            world.note(process.name, f"{verb}s {resource} {name}")
        there, back = process.latency(), process.latency()
        trouble = world.trouble(process, verb, str(resource), name)
        how = trouble.how if trouble else ""
        if how == "lost":
            loop.later(there, _settle, answer, None, TransportError(f"{verb} {resource}: connection reset"))
            return await answer
        if how == "slow":
            there = trouble.seconds
        if how == "late":
            back = trouble.seconds
        sent, decided = loop.time(), process.decided_at()

        def arrive() -> None:
            if process.dropped:
                return
            try:
                if how.isdigit():
                    raise refusal(int(how), _REASONS.get(how, ""), _TEXTS.get(how, ""), 1.0 if how == "429" else None)
                world.request = (process, sent, decided)
                result, error = work(), None
            except APIStatusError as caught:
                result, error = None, caught
            finally:
                world.request = None
            world.check()
            if how == "unheard":
                result, error = None, TransportError(f"{verb} {resource}: the connection broke")
            loop.later(back, _settle, answer, result, error)

        loop.later(there, arrive)
        if there + back > deadline - sent:
            late = TransportError(f"{verb} {resource}: no answer in time", timed_out=True)
            loop.later(deadline - sent, _settle, answer, None, late)
        return await answer


_REASONS = {"409": "Conflict", "403": "Forbidden", "500": "InternalError", "429": "TooManyRequests"}
_TEXTS = {"403": "jobs.batch is forbidden: exceeded quota: q, requested: count/jobs.batch=1"}


def _answer(stored: Stored, metadata_only: bool) -> JSON:
    obj: JSON = from_json(stored.raw)
    if metadata_only:
        return {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": obj["metadata"]}
    return obj


def _settle(answer: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(result)


def _event_text(body: JSON) -> str:
    return f"Event {body['type']} {body['reason']} on {body['regarding'].get('name')}: {body['note'][:120]}"


class _ListStream:
    """The paged list that a reflector falls back to; always one page."""

    def __init__(self, client: SimClient, *request: Any) -> None:
        self._client, self._request = client, request
        self.metadata: JSON = {}
        self._items: deque[JSON] = deque()

    async def __aenter__(self) -> "_ListStream":
        resource, namespace, params = self._request
        answer = await self._client.list(resource, namespace, params=params)
        self.metadata = answer["metadata"]
        self._items.extend(answer["items"])
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is open."""

    def __aiter__(self) -> "_ListStream":
        return self

    async def __anext__(self) -> JSON:
        if not self._items:
            raise StopAsyncIteration
        return self._items.popleft()


class Stream:
    """A watch: what exists, where that is asked for, and then what changes, each when its time has come.

    The events of a resource keep their order, and arrive as late as the process's lag says at the moment of the change.
    """

    def __init__(
        self,
        wire: Wire,
        resource: Resource,
        namespace: str | None,
        params: Mapping[str, str],
        limit: float,
        decode: Callable[[bytes], Any],
    ) -> None:
        self._wire, self.resource, self._params, self._limit, self._decode = (wire, resource, params, limit, decode)
        self._selector = parse_selector(params.get("labelSelector", ""))
        self._queue: deque[tuple[float, bytes, int]] = deque()
        self._last = 0.0
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._end: BaseException | None = None
        self.delivered = 0

    async def __aenter__(self) -> "Stream":
        process = self._wire.process
        world, loop = process.world, process.world.loop
        if not process.alive:
            await loop.create_future()
        await asyncio.sleep(process.latency())
        trouble = world.trouble(process, "watch", str(self.resource), "")
        if trouble is not None:
            if trouble.how.isdigit():
                raise refusal(int(trouble.how), _REASONS.get(trouble.how, ""), "", 1.0 if trouble.how == "429" else None)
            raise TransportError(f"watch {self.resource}: connection reset")
        server = world.server
        if self._params.get("sendInitialEvents") == "true":
            for stored in server.all(self.resource):
                if matches(stored, self._selector):
                    self._put(b"ADDED", stored.raw, server.version)
            self._put(
                b"BOOKMARK",
                self._bookmark(server.version, b'"annotations":{"k8s.io/initial-events-end":"true"},'),
                server.version,
            )
        else:
            since = int(self._params.get("resourceVersion") or server.version)
            for change in server.history.get(str(self.resource), ()):
                if change.version > since:
                    self.changed(change)
        process.streams.append(self)
        self._timer = loop.later(BOOKMARKS, self._tick)
        loop.later(self._limit, self.close, StopAsyncIteration())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self in self._wire.process.streams:
            self._wire.process.streams.remove(self)
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self.close(StopAsyncIteration())

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> JSON:
        loop = self._wire.process.world.loop
        while True:
            now = loop.time()
            if self._queue and self._queue[0][0] <= now:
                _, line, version = self._queue.popleft()
                self.delivered = version
                self._wire.process.saw(self.resource, version)
                return self._decode(line)
            if self._end is not None:
                raise self._end
            self._waiter = loop.create_future()
            if self._queue:
                loop.later(self._queue[0][0] - now, self._wake)
            await self._waiter

    def changed(self, change: Change) -> None:
        """Called for each change of the resource."""
        found = event_lines(change, self._selector)
        if found is not None:
            self._put(found[0].encode(), found[1], change.version)

    def close(self, error: BaseException) -> None:
        """The server ends the stream, or the connection breaks."""
        if self._end is None:
            self._end = error
            self._wake()

    def _put(self, kind: bytes, raw: bytes, version: int) -> None:
        process = self._wire.process
        now = process.world.loop.time()
        due = max(self._last, now + process.watch_latency + process.lag(str(self.resource)))
        self._last = due
        self._queue.append((due, b'{"type":"' + kind + b'","object":' + raw + b"}", version))
        if len(self._queue) == 1:
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _tick(self) -> None:
        world = self._wire.process.world
        self._put(b"BOOKMARK", self._bookmark(world.server.version), world.server.version)
        self._timer = world.loop.later(BOOKMARKS, self._tick)

    def _bookmark(self, version: int, annotations: bytes = b"") -> bytes:
        r = self.resource
        return b'{"kind":"%s","apiVersion":"%s","metadata":{%s"resourceVersion":"%d"}}' % (
            r.kind.encode(),
            r.api_version.encode(),
            annotations,
            version,
        )
