"""A small HTTP server for health and metrics, with limits on its connections; a runnable.

Guarantees: the port is open once `started` is set, and closed when run() returns. An address is Go's ``host:port``: an empty
host means all interfaces, and port 0 any free one.

Every client that reaches the port can open connections, and each TLS connection costs a quarter of a megabyte before its
first request. So at most ``ConnectionLimits.connections`` are open. A further one evicts the connection that has been idle
longest, which keeps the port open for probes and scrapers during a flood; where all of them serve a request, the new one is
closed. A connection without a request in ``first_request`` seconds, or idle for ``idle`` seconds, is closed, and so is one
whose request takes too long. The limits correspond to ReadHeaderTimeout and IdleTimeout of Go's http.Server, with a limited
listener.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

BACKLOG = 128
SWEEP_SECONDS = 1.0
SHUTDOWN_SECONDS = 2.0
"""How long running requests, and the end of a TLS connection, may take at the stop."""
_RETRY_SECONDS = 1.0
_NO_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

logger = structlog.get_logger("http")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of one server; times in seconds.

    Attributes:
        connections: open at once, including those in a handshake.
        handshake: how long a TLS handshake may take.
        first_request: from the connection to its first complete request.
        idle: between requests, and for a peer to read a response.
        request: how long a handler may take.
    """

    connections: int = 64
    handshake: float = 5.0
    first_request: float = 10.0
    idle: float = 90.0
    request: float = 30.0


@dataclass(eq=False)
class Connection(asyncio.Protocol):
    """One accepted connection; it forwards everything to the protocol that serves it."""

    served: asyncio.Protocol
    since: float
    """When its present state began: idle, or serving."""
    on_lost: Callable[["Connection"], None]
    accepted: socket.socket | None
    """The socket, until a transport owns it."""
    transport: asyncio.Transport | None = None
    opening: asyncio.Task[None] | None = None
    requests: int = field(default=0)
    active: int = field(default=0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is over."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.served.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Either side closed it."""
        self.on_lost(self)
        self.served.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Forward bytes of requests."""
        self.served.data_received(data)

    def eof_received(self) -> bool | None:
        """The peer sends no more."""
        return self.served.eof_received()

    def pause_writing(self) -> None:
        """The peer does not read."""
        self.served.pause_writing()

    def resume_writing(self) -> None:
        """The peer reads again."""
        self.served.resume_writing()

    def begin(self, now: float) -> None:
        """A request begins."""
        self.active, self.requests, self.since = self.active + 1, self.requests + 1, now

    def end(self, now: float) -> None:
        """A request has its response."""
        self.active, self.since = self.active - 1, now

    def abort(self) -> None:
        """Close it at once."""
        if self.transport is not None:
            self.transport.abort()
        elif self.opening is not None:
            self.opening.cancel()

    def overdue(self, now: float, limits: ConnectionLimits) -> bool:
        """Whether its present state has lasted for too long."""
        waiting = limits.idle if self.requests else limits.first_request
        return now - self.since > (limits.request if self.active else waiting)


class Listener:
    """Listens at one address, and serves each admitted connection with a protocol of `serve`."""

    def __init__(
        self,
        serve: Callable[[], asyncio.Protocol],
        *,
        tls: ssl.SSLContext | None,
        limits: ConnectionLimits,
    ) -> None:
        self._serve = serve
        self._tls = tls
        self._limits = limits
        self._open: set[Connection] = set()
        self._sockets: list[socket.socket] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, host: str | None, port: int) -> int:
        """Listen; returns the port.

        Raises:
            OSError: the server cannot listen at the address.
        """
        self._sockets = await _listening(host, port)
        self._tasks = [asyncio.create_task(self._accept(x)) for x in self._sockets]
        self._tasks.append(asyncio.create_task(self._sweep()))
        return int(self._sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Accept no more, and drop connections in a handshake; the server closes the others."""
        opening = [x.opening for x in self._open if x.transport is None and x.opening]
        tasks = [*self._tasks, *opening]
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for each in self._sockets:
                each.close()
            self._sockets, self._tasks = [], []

    def abort(self) -> None:
        """Close every remaining connection."""
        for connection in list(self._open):
            connection.abort()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listening)
            except ConnectionError:
                continue  # the peer has closed it already
            except OSError as error:
                logger.warning("Connections cannot be accepted", error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            self._admit(accepted, loop.time())

    def _admit(self, accepted: socket.socket, now: float) -> None:
        if len(self._open) >= self._limits.connections and not self._evict_idle():
            accepted.close()
            return
        connection = Connection(self._serve(), now, self._open.discard, accepted)
        self._open.add(connection)
        connection.opening = asyncio.create_task(self._handshake(connection, accepted))
        connection.opening.add_done_callback(lambda _: self._opened(connection))

    def _evict_idle(self) -> bool:
        idle = [x for x in self._open if not x.active]
        if not idle:
            return False
        oldest = min(idle, key=lambda x: x.since)
        oldest.abort()
        self._open.discard(oldest)
        return True

    async def _handshake(self, connection: Connection, accepted: socket.socket) -> None:
        loop, limit = asyncio.get_running_loop(), self._limits.handshake
        connection.accepted = None  # the transport owns and closes the socket from here on
        try:
            await loop.connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=limit if self._tls else None,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS if self._tls else None,
            )
        except OSError:
            self._open.discard(connection)

    def _opened(self, connection: Connection) -> None:
        """The handshake has ended, or was cancelled, perhaps before it began."""
        if connection.accepted is not None:
            connection.accepted.close()
        if connection.transport is None:
            self._open.discard(connection)

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for connection in [x for x in self._open if x.overdue(loop.time(), self._limits)]:
                connection.abort()


async def _listening(host: str | None, port: int) -> list[socket.socket]:
    """A socket for each address of the host; all of them have one port."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        if sockets and not port:
            address = (address[0], sockets[0].getsockname()[1], *address[2:])
        try:
            sockets.append(_bound(family, kind, protocol, address))
        except OSError as error:
            if error.errno in _NO_ADDRESS:
                missing = error  # a host may have only one of IPv4 and IPv6
                continue
            for each in sockets:
                each.close()
            raise
    if not sockets:
        raise missing or OSError(f"{host!r} has no address")
    return sockets


def _bound(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.setblocking(False)
        bound.bind(address)
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        text = (
            f"error while attempting to bind on address {address!r}: {str(error.strerror).lower()}"
        )
        raise OSError(error.errno, text) from None
    return bound


def split_address(address: str) -> tuple[str | None, int] | None:
    """Host and port of ``host:port``; None for "" and "0", which mean no server.

    Raises:
        ValueError: the address has no port.
    """
    if address in ("", "0"):
        return None
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        raise ValueError(f"{address!r} is not host:port")
    return host.strip("[]") or None, int(port)


class HTTPServer:
    """Serves routes at one address."""

    def __init__(
        self,
        name: str,
        address: str,
        routes: Iterable[web.RouteDef],
        *,
        tls: ssl.SSLContext | None = None,
        middlewares: Iterable[Middleware] = (),
        limits: ConnectionLimits | None = None,
    ) -> None:
        """`name` is for logs; `tls` enables HTTPS."""
        self.name = name
        self.started = asyncio.Event()
        self.port = 0
        self._address = split_address(address)
        self._tls = tls
        self._limits = limits or ConnectionLimits()
        self._app = web.Application(middlewares=[_mark_active, *middlewares])
        self._app.router.add_routes(routes)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set.

        Raises:
            OSError: the server cannot listen at the address.
        """
        if self._address is None:
            self.started.set()
            return
        host, port = self._address
        runner = web.AppRunner(
            self._app,
            access_log=None,
            keepalive_timeout=self._limits.idle,
            shutdown_timeout=SHUTDOWN_SECONDS,
        )
        await runner.setup()
        assert runner.server is not None
        listener = Listener(runner.server, tls=self._tls, limits=self._limits)
        try:
            self.port = await listener.start(host, port)
            logger.info("Serving", server=self.name, address=f"{host or ''}:{self.port}")
            self.started.set()
            await stop.wait()
        finally:
            await listener.close()
            await runner.cleanup()
            listener.abort()


@web.middleware
async def _mark_active(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Marks a connection as active during a request, so that it does not count as idle."""
    loop = asyncio.get_running_loop()
    connection = request.transport.get_protocol() if request.transport is not None else None
    if not isinstance(connection, Connection):
        return await handler(request)
    connection.begin(loop.time())
    try:
        return await handler(request)
    finally:
        connection.end(loop.time())
