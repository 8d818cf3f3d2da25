"""One attempt at one request: authentication, TLS, connections, metrics, and errors made ours.

Guarantees: every failure leaves here as a ClientError; answers of 400 and above are read and become
APIStatusError. Does not retry, except for a credential that the server no longer takes.
"""

import asyncio
import errno
import io
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio.client.rest import RESTClientObject
from pydantic_core import from_json
from yarl import URL

from kubetask_controller.client.config import RestConfig
from kubetask_controller.client.credentials import PluginCredentials
from kubetask_controller.client.errors import APIStatusError, TransportError, is_unauthorized
from kubetask_controller.client.metrics import ERROR_CODE, RestMetrics
from kubetask_controller.client.ratelimit import TokenBucket

CONNECT_TIMEOUT = 10.0
"""Seconds for TCP and TLS; an address that swallows packets must not eat a call's whole time."""
_PIECEWISE = 256 * 1024
"""Bytes from which a body is sent in pieces."""

_READ_BUFFER = 256 * 1024
_UNLIMITED = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)


@dataclass(frozen=True, slots=True)
class Call:
    """A request as data; `guard` is called right before it is sent, and may raise to prevent it."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/json"
    guard: Callable[[], None] | None = None

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
        self._base = config.host
        self._configuration = config.configuration
        self._credentials = config.credentials
        self._user_agent = user_agent
        self._metrics = metrics
        self._limit = limit
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Load certificates and make the pool; connections are made when needed."""
        configuration = self._configuration
        # Python 3.13 made the check for RFC 5280 strict; clusters' own CAs often miss an extension.
        configuration.disable_strict_ssl_verification = True
        tls = (await asyncio.to_thread(RESTClientObject, configuration)).ssl_context
        if isinstance(self._credentials, PluginCredentials):
            self._credentials.on_certificate(lambda cert, key: _install(tls, cert, key))
        self._session = aiohttp.ClientSession(
            # Without a limit: every watch holds a connection, and a pool full of watches would
            # leave none for writes. Workers bound what else goes on at once.
            connector=aiohttp.TCPConnector(limit=0, ssl=tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_READ_BUFFER,
            timeout=_UNLIMITED,
            trust_env=True,
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

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
        authorization = await self._credentials.authorization()
        try:
            response = await self._send(call, authorization, timeout)
        except APIStatusError as error:
            if not is_unauthorized(error) or not self._credentials.invalidate(authorization):
                raise
            authorization = await self._credentials.authorization()
            response = await self._send(call, authorization, timeout)
        try:
            yield response
        finally:
            if response.content.at_eof():
                response.release()
            else:
                _abandon(response)

    async def _send(
        self, call: Call, authorization: str | None, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            raise TransportError(f"{call}: the client is not open")
        if call.guard is not None:
            call.guard()
        loop = asyncio.get_running_loop()
        started = loop.time()
        code = ERROR_CODE
        try:
            with translated(call):
                response = await self._session.request(
                    call.method,
                    URL(self._base + call.path, encoded=True),
                    params=call.params,
                    data=_payload(call.body),
                    headers=self._headers(call, authorization),
                    timeout=timeout,
                    allow_redirects=False,
                    proxy=self._configuration.proxy,
                    proxy_headers=self._configuration.proxy_headers,
                    server_hostname=self._configuration.tls_server_name,
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

    def _headers(self, call: Call, authorization: str | None) -> dict[str, str]:
        headers = {
            "Accept": "application/json",
            # Unpacking costs more than a cluster's network saves.
            "Accept-Encoding": "identity",
            "User-Agent": self._user_agent,
        }
        if call.body is not None:
            headers["Content-Type"] = call.content_type
        if authorization:
            headers["Authorization"] = authorization
        return headers

    async def _throttle(self, call: Call) -> None:
        if self._limit is not None:
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


def _install(tls: ssl.SSLContext, certificate: str, key: str) -> None:
    """Use a client certificate for new connections; ssl takes it from files only."""
    with tempfile.TemporaryDirectory() as directory:
        pem = Path(directory, "client.pem")
        pem.touch(mode=0o600)
        pem.write_text(f"{certificate.strip()}\n{key.strip()}\n")
        tls.load_cert_chain(pem)


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
