"""One attempt at one request: authentication, TLS, connections, metrics, and errors made ours.

Guarantees: every failure leaves here as a ClientError; answers of 400 and above are read and become
APIStatusError. Does not retry, except for a credential that the server no longer takes.
"""

import asyncio
import errno
import io
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from multidict import CIMultiDict
from pydantic_core import from_json
from yarl import URL

from kubetask_controller.client.config import RestConfig
from kubetask_controller.client.connections import Connections, GuardedRequest
from kubetask_controller.client.errors import APIStatusError, TransportError, is_unauthorized
from kubetask_controller.client.metrics import ERROR_CODE, RestMetrics
from kubetask_controller.client.ratelimit import TokenBucket

CONNECT_TIMEOUT = 10.0
"""Seconds for TCP and TLS; an address that swallows packets must not eat a call's whole time."""
_PIECEWISE = 256 * 1024
"""Bytes from which a body is sent in pieces."""
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
_UNLIMITED = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)


@dataclass(frozen=True, slots=True)
class Call:
    """A request as data.

    Attributes:
        method: in capitals.
        path: escaped.
        params: of the query.
        body: or None.
        content_type: of the body.
        guard: called right before it is sent, when there is a connection; may raise to prevent it.
        user_agent: in place of the client's own, if not "".
        unlimited: does not wait for the client-side limit of requests.
        metadata_only: the answer may be a PartialObjectMetadata.
    """

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/json"
    guard: Callable[[], None] | None = None
    user_agent: str = ""
    unlimited: bool = False
    metadata_only: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Transport:
    """The connections to one server. Used between start() and close()."""

    def __init__(
        self,
        config: RestConfig,
        *,
        user_agent: str,
        metrics: RestMetrics,
        limit: TokenBucket | None,
    ) -> None:
        self.host = str(URL(config.host).authority)
        self._config = config
        self._credentials = config.credentials
        self._user_agent = user_agent
        self._metrics = metrics
        self._limit = limit
        self._connections = Connections(
            config.tls, on_resolved=lambda seconds: metrics.resolved(self.host, seconds)
        )

    async def start(self) -> None:
        """Load certificates; connections are made when needed."""
        self._credentials.on_certificate(self._connections.install)
        await self._connections.start()

    async def close(self) -> None:
        """Close all connections."""
        await self._credentials.close()
        await self._connections.close()

    async def fetch(self, call: Call) -> bytes:
        """The body of a successful answer."""
        async with self.open(call, timeout=_UNLIMITED) as response:
            with translated(call):
                body = await response.read()
        sent = len(call.body or b"")
        self._metrics.sizes(
            method=call.method, host=self.host, request_bytes=sent, response_bytes=len(body)
        )
        return body

    @asynccontextmanager
    async def open(
        self, call: Call, *, timeout: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A successful answer whose body is still to be read."""
        await self._throttle(call)
        for last in (False, True):
            authorization = await self._credentials.authorization()
            async with self._connections.use() as session:
                try:
                    response = await self._send(session, call, authorization, timeout)
                except APIStatusError as error:
                    if last or not is_unauthorized(error):
                        raise
                    # Either who we are has changed since, or we are nobody.
                    renewed = self._credentials.invalidate(authorization)
                    if not await self._connections.reread() and not renewed:
                        raise
                    continue
                try:
                    yield response
                finally:
                    if response.content.at_eof():
                        response.release()
                    else:
                        _abandon(response)
                return

    async def _send(
        self,
        session: aiohttp.ClientSession,
        call: Call,
        authorization: str | None,
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        if call.guard is not None:
            call.guard()
        loop = asyncio.get_running_loop()
        started = loop.time()
        code = ERROR_CODE
        try:
            with translated(call):
                response = await session.request(
                    call.method,
                    URL(self._config.host + call.path, encoded=True),
                    params=call.params,
                    data=_payload(call.body),
                    headers=self._headers(call, authorization),
                    timeout=timeout,
                    allow_redirects=False,
                    proxy=self._config.proxy,
                    server_hostname=self._config.tls.server_name,
                    middlewares=() if call.method == "GET" else (_sent_once, _asking(call.guard)),
                )
            code = str(response.status)
        finally:
            self._metrics.request_finished(
                method=call.method, host=self.host, code=code, seconds=loop.time() - started
            )
        if response.status >= 300:
            with translated(call):
                raise await _status_error(response)
        return response

    def _headers(self, call: Call, authorization: str | None) -> CIMultiDict[str]:
        headers = CIMultiDict(
            {
                "Accept": _METADATA if call.metadata_only else "application/json",
                # Unpacking costs more than a cluster's network saves.
                "Accept-Encoding": "identity",
                "User-Agent": call.user_agent or self._user_agent,
            }
        )
        if call.body is not None:
            headers["Content-Type"] = call.content_type
        if authorization:
            headers["Authorization"] = authorization
        headers.extend(self._config.headers)
        return headers

    async def _throttle(self, call: Call) -> None:
        if self._limit is not None and not call.unlimited:
            waited = await self._limit.acquire()
            self._metrics.rate_limited(method=call.method, host=self.host, seconds=waited)


@contextmanager
def translated(call: Call) -> Iterator[None]:
    """Turns what aiohttp and the system raise into TransportError."""
    try:
        yield
    except TimeoutError as error:
        raise TransportError(f"{call}: {error or 'no answer in time'}", timed_out=True) from error
    except aiohttp.ClientConnectorError as error:
        refused = error.os_error.errno == errno.ECONNREFUSED
        raise TransportError(f"{call}: {error}", refused=refused) from error
    except (aiohttp.ClientError, OSError) as error:
        raise TransportError(f"{call}: {error or type(error).__name__}") from error


async def _status_error(response: aiohttp.ClientResponse) -> APIStatusError:
    """The answer's Status object, or what can be said without one."""
    async with response:
        body = await response.read()
    retry_after = _seconds(response.headers.get("Retry-After"))
    status: Any = None
    if response.content_type == "application/json":
        try:
            status = from_json(body)
        except ValueError:
            status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        status = {"message": body.decode(errors="replace").strip() or response.reason}
    return APIStatusError.from_status(status, code=response.status, retry_after=retry_after)


def _seconds(header: str | None) -> float | None:
    # Kubernetes sends whole seconds, never a date.
    return float(header) if header and header.isdecimal() else None


class _UnansweredError(aiohttp.ClientError):
    """A connection ended before the answer came."""


async def _sent_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keeps aiohttp from sending a PUT or DELETE again by itself when its connection breaks."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _UnansweredError(str(error) or type(error).__name__) from error


def _asking(guard: Callable[[], None] | None) -> aiohttp.ClientMiddlewareType:
    """Has the request ask once more when there is a connection: making one may take longer than a lead lasts."""

    async def ask(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if isinstance(request, GuardedRequest):
            request.guard = guard
        return await handler(request)

    return ask


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    """A large body goes out in pieces, between which the event loop sees to others."""
    return io.BytesIO(body) if body is not None and len(body) > _PIECEWISE else body


def _abandon(response: aiohttp.ClientResponse) -> None:
    """Leave a stream early, without reading it to its end.

    close() alone would wait for the server to answer TLS's close_notify, in the background and perhaps beyond the end of
    the event loop.
    """
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()
