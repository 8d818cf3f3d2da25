"""A client of the Kubernetes API that sends and returns JSON objects.

Guarantees: each call has a time limit that includes its retries; requests that are safe to retry are
retried as in client-go (see retry.py); a write without an answer is never sent twice; connections are
reused. Every failure is a ClientError. There is no cache, and there are no typed objects.
"""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from enum import StrEnum
from typing import Self

import aiohttp
from pydantic_core import from_json, to_json

from kubetask_controller.client.config import RestConfig
from kubetask_controller.client.errors import APIStatusError, ClientError, TransportError
from kubetask_controller.client.metrics import ERROR_CODE, NoRestMetrics, RestMetrics
from kubetask_controller.client.resources import Resource
from kubetask_controller.client.retry import retry_delay
from kubetask_controller.client.streams import Decode, ListStream, WatchStream
from kubetask_controller.client.transport import CONNECT_TIMEOUT, Call, TokenBucket, Transport
from kubetask_controller.types import JSON

TIMEOUT = 30.0
"""Seconds for a call about one object, retries included."""
LIST_TIMEOUT = 60.0
"""Seconds for a list; for a streamed list the greatest time without data."""
WATCH_MARGIN = 30.0
"""Seconds beyond the watch's timeoutSeconds after which the client ends it."""
INACTIVITY_LIMIT = 68.0
"""Seconds without data after which a watch counts as broken: bookmarks arrive about every 60 s, and the
server keeps at least 75 s of history to resume from."""
DEFAULT_BURST = 30

Params = Mapping[str, str]


class PatchType(StrEnum):
    """The format of a patch; the value is its content type."""

    MERGE = "application/merge-patch+json"
    JSON = "application/json-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    APPLY = "application/apply-patch+yaml"


class Client:
    """One server, one identity. An async context manager; share one instance.

    All methods raise APIStatusError when the server answers with a failure and TransportError when there is no
    answer; both are ClientErrors. `timeout` is in seconds and includes the retries.

    A write with `metadata_only` returns a PartialObjectMetadata, which has apiVersion, kind and metadata of
    the object: neither side serializes or parses a spec and a status that the caller does not read.
    """

    def __init__(
        self,
        config: RestConfig,
        *,
        user_agent: str,
        qps: float | None = None,
        burst: int = DEFAULT_BURST,
        metrics: RestMetrics | None = None,
    ) -> None:
        """`qps` and `burst` limit the requests of this client; None and 0 mean no limit."""
        self._metrics = metrics or NoRestMetrics()
        self._transport = Transport(
            config,
            user_agent=user_agent,
            metrics=self._metrics,
            limit=TokenBucket(qps, burst) if qps else None,
        )
        self._user_agent = user_agent
        self._guard: Callable[[], None] | None = None
        self._component = ""
        self._owns_transport = True

    def guarded(self, guard: Callable[[], None]) -> "Client":
        """A view of this client that calls `guard` immediately before each attempt of a write.

        For leader election: an exception of `guard` is raised to the caller, and nothing is sent.
        Requests other than GET count as writes. Closing the view does nothing.
        """
        view = self._view()
        view._guard = guard
        return view

    def component(self, name: str) -> "Client":
        """A view of this client that appends ``/name`` to the user agent, without the limit of requests.

        For leader election: a renewal must not wait behind other requests.
        """
        view = self._view()
        view._component = name
        return view

    async def __aenter__(self) -> Self:
        if self._owns_transport:
            await self._transport.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; running requests end with TransportError."""
        if self._owns_transport:
            await self._transport.close()

    async def get(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        subresource: str | None = None,
        timeout: float = TIMEOUT,
    ) -> JSON:
        """Read an object."""
        return await self._call(
            Call("GET", resource.path(namespace, name, subresource)), timeout=timeout
        )

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        params: Params | None = None,
        timeout: float = LIST_TIMEOUT,
    ) -> JSON:
        """Read a list at once; use list_stream for one that may be large."""
        return await self._call(
            Call("GET", resource.path(namespace), params or {}), timeout=timeout
        )

    async def create(
        self,
        resource: Resource,
        namespace: str | None,
        body: JSON,
        *,
        subresource: str | None = None,
        name: str | None = None,
        params: Params | None = None,
        metadata_only: bool = False,
        timeout: float = TIMEOUT,
    ) -> JSON:
        """Create an object; returns it as created, or its metadata (see ``Client``).

        `name` is needed only to create a subresource, such as a token.
        """
        path = resource.path(namespace, name, subresource)
        call = Call("POST", path, params or {}, to_json(body), metadata_only=metadata_only)
        return await self._call(call, timeout=timeout)

    async def update(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: JSON,
        *,
        subresource: str | None = None,
        params: Params | None = None,
        metadata_only: bool = False,
        timeout: float = TIMEOUT,
    ) -> JSON:
        """Replace an object; returns it as replaced, or its metadata (see ``Client``).

        A resourceVersion in the body prevents lost updates.
        """
        path = resource.path(namespace, name, subresource)
        call = Call("PUT", path, params or {}, to_json(body), metadata_only=metadata_only)
        return await self._call(call, timeout=timeout)

    async def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: JSON | Sequence[JSON],
        *,
        patch_type: PatchType = PatchType.MERGE,
        subresource: str | None = None,
        params: Params | None = None,
        metadata_only: bool = False,
        timeout: float = TIMEOUT,
    ) -> JSON:
        """Patch an object; returns it as patched, or its metadata (see ``Client``).

        APPLY needs ``fieldManager`` among the params.
        """
        path = resource.path(namespace, name, subresource)
        call = Call(
            "PATCH",
            path,
            params or {},
            to_json(body),
            patch_type.value,
            metadata_only=metadata_only,
        )
        return await self._call(call, timeout=timeout)

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
    ) -> JSON:
        """Delete an object; returns a Status, or the object while it has finalizers.

        With `uid` another object of the same name is not deleted (the server answers 409).
        """
        options: JSON = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
        }
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        path = resource.path(namespace, name)
        return await self._call(Call("DELETE", path, body=to_json(options)), timeout=timeout)

    @asynccontextmanager
    async def list_stream(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        params: Params | None = None,
        inactivity_timeout: float = LIST_TIMEOUT,
    ) -> AsyncIterator[ListStream]:
        """Read a list while it arrives. Not retried: the caller would get items twice."""
        call = Call("GET", resource.path(namespace), params or {})
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT, sock_read=inactivity_timeout
        )
        async with self._transport.open(self._as_viewed(call), timeout=timeout) as response:
            yield ListStream(call, response, resource)

    @asynccontextmanager
    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        params: Params,
        timeout_seconds: float,
        inactivity_timeout: float = INACTIVITY_LIMIT,
        decode: Decode = from_json,
    ) -> AsyncIterator[WatchStream]:
        """Watch: a stream of events, ERROR events included. Not retried.

        Args:
            resource: what to watch.
            namespace: None for all.
            params: resourceVersion, labelSelector, allowWatchBookmarks, sendInitialEvents, …
            timeout_seconds: the watch's timeoutSeconds, after which the server ends the stream.
            inactivity_timeout: seconds without data that end the stream with a TransportError.
            decode: parses an event; see ``streams.event_decoder``.
        """
        query = {**params, "watch": "1", "timeoutSeconds": str(int(timeout_seconds))}
        call = Call("GET", resource.path(namespace), query)
        timeout = aiohttp.ClientTimeout(
            total=timeout_seconds + WATCH_MARGIN,
            sock_connect=CONNECT_TIMEOUT,
            sock_read=inactivity_timeout,
        )
        async with self._transport.open(self._as_viewed(call), timeout=timeout) as response:
            yield WatchStream(call, response, decode=decode)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: JSON | None = None,
        timeout: float = TIMEOUT,
    ) -> bytes:
        """Send any request, such as ``GET /version``; returns the body of the answer."""
        data = None if body is None else to_json(body)
        return await self._exchange(Call(method, path, params or {}, data), timeout=timeout)

    def _view(self) -> "Client":
        view = copy.copy(self)
        view._owns_transport = False
        return view

    def _as_viewed(self, call: Call) -> Call:
        if self._guard is not None and call.method != "GET":
            call = replace(call, guard=self._guard)
        if self._component:
            agent = f"{self._user_agent}/{self._component}"
            call = replace(call, user_agent=agent, unlimited=True)
        return call

    async def _call(self, call: Call, *, timeout: float) -> JSON:
        body = await self._exchange(call, timeout=timeout)
        try:
            answer = from_json(body)
        except ValueError as error:
            raise TransportError(f"{call}: the answer cannot be parsed: {error}") from error
        if not isinstance(answer, dict):
            raise TransportError(f"{call}: the answer is no JSON object")
        return answer

    async def _exchange(self, call: Call, *, timeout: float) -> bytes:
        deadline = asyncio.get_running_loop().time() + timeout
        call = self._as_viewed(call)
        try:
            async with asyncio.timeout_at(deadline):
                return await self._attempts(call, deadline)
        except TimeoutError as error:
            raise TransportError(f"{call}: no answer in {timeout:g} s", timed_out=True) from error

    async def _attempts(self, call: Call, deadline: float) -> bytes:
        attempt = 0
        while True:
            try:
                return await self._transport.fetch(call)
            except ClientError as error:
                delay = retry_delay(error, method=call.method, attempt=attempt)
                # The server's error explains more than a timeout.
                if delay is None or asyncio.get_running_loop().time() + delay >= deadline:
                    raise
                code = str(error.code) if isinstance(error, APIStatusError) else ERROR_CODE
            self._metrics.request_retried(method=call.method, host=self._transport.host, code=code)
            await asyncio.sleep(delay)
            attempt += 1
