"""One attempt of one request: authentication, TLS, connections, metrics, and the translation of errors.

Guarantees: every failure is raised as a ClientError; answers of 300 and above are read and become
APIStatusError. A request is not retried, except with a new credential after a 401.
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

CONNECT_TIMEOUT = 10.0
"""Seconds for TCP and TLS; an address that drops packets must not use up the whole timeout of a call."""
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
        guard: called right before the request is sent, on its connection; may raise to prevent it.
        user_agent: in place of the client's own, if not "".
        unlimited: the client-side limit does not apply.
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


class TokenBucket:
    """A client-side limit, as client-go's QPS and burst: `qps` requests a second, and up to `burst` at once after a pause.

    First in, first out. The API server's own priority and fairness is the better limit, so this one is off by default.
    """

    def __init__(self, qps: float, burst: int) -> None:
        if qps <= 0 or burst < 1:
            raise ValueError("a rate limit needs qps > 0 and burst >= 1")
        self._interval = 1 / qps
        self._burst = burst
        # When the bucket is (or will be) empty; a reservation moves it ahead.
        self._empty_at = float("-inf")

    def reserve(self, now: float) -> float:
        """Take a token at this monotonic time; returns the seconds until it may be used."""
        earliest = now - self._burst * self._interval
        self._empty_at = max(self._empty_at, earliest) + self._interval
        return max(0.0, self._empty_at - now)

    async def acquire(self) -> float:
        """Take a token, and wait for it where necessary; returns the seconds waited."""
        wait = self.reserve(asyncio.get_running_loop().time())
        if wait:
            try:
                await asyncio.sleep(wait)
            except asyncio.CancelledError:
                # Else cancelled requests would delay later ones.
                self._empty_at -= self._interval
                raise
        return wait


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
        """Load certificates; connections are opened on demand."""
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
        """A successful answer whose body has not been read."""
        await self._throttle(call)
        for last in (False, True):
            authorization = await self._credentials.authorization()
            async with self._connections.use() as session:
                try:
                    response = await self._send(session, call, authorization, timeout)
                except APIStatusError as error:
                    if last or not is_unauthorized(error):
                        raise
                    # Either the credential has been rotated since, or it is not valid.
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
                    middlewares=() if call.method == "GET" else (_sent_once, _guarding(call.guard)),
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
                # Decompression costs more than a cluster's network saves.
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
    """Translates exceptions of aiohttp and the system into TransportError."""
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
    """The error of an answer: from its Status object, else from its code and text."""
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
    """A connection ended before the answer arrived."""


async def _sent_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Prevents aiohttp from resending a PUT or DELETE when its connection breaks."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _UnansweredError(str(error) or type(error).__name__) from error


def _guarding(guard: Callable[[], None] | None) -> aiohttp.ClientMiddlewareType:
    """Calls the guard again once there is a connection: to open one may take longer than a Lease lasts."""

    async def set_guard(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if isinstance(request, GuardedRequest):
            request.guard = guard
        return await handler(request)

    return set_guard


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    """A large body is sent in pieces, so that the event loop runs in between."""
    return io.BytesIO(body) if body is not None and len(body) > _PIECEWISE else body


def _abandon(response: aiohttp.ClientResponse) -> None:
    """Close a stream before its end.

    close() alone would wait in the background for the server's TLS close_notify, perhaps beyond the end of the event loop.
    """
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()
