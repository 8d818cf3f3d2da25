"""Accepts connections within limits: how many, how long a handshake takes, how long one may idle.

Whoever reaches the port can open connections, and each TLS connection costs a quarter of a megabyte before anything is asked.
So at most ``Limits.connections`` are open. A further one takes the place of the one that has been idle longest, which keeps
the port open for probes and scrapers while somebody floods it; where all are at work, it is closed. A connection without a
request in ``first_request`` seconds, or idle for ``idle`` seconds, is closed, and so is one whose request takes too long.
These limits correspond to ReadHeaderTimeout and IdleTimeout of Go's http.Server, beside a limited listener.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

logger = structlog.get_logger("http")

BACKLOG = 128
SWEEP_SECONDS = 1.0
SHUTDOWN_SECONDS = 2.0
"""How long a peer may take to answer the end of a TLS connection."""
_RETRY_SECONDS = 1.0
_NO_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one server; times in seconds.

    Attributes:
        connections: open at once, handshakes included.
        handshake: how long a TLS handshake may take.
        first_request: from the connection to its first whole request.
        idle: between requests, and for a peer to read an answer.
        request: how long a handler may take.
    """

    connections: int = 64
    handshake: float = 5.0
    first_request: float = 10.0
    idle: float = 90.0
    request: float = 30.0


@dataclass(eq=False)
class Connection(asyncio.Protocol):
    """One accepted connection; passes everything on to the protocol that serves it."""

    served: asyncio.Protocol
    since: float
    """When it began to be as it is: idle, or at work."""
    on_lost: Callable[["Connection"], None]
    accepted: socket.socket | None
    """The socket, until a transport has it."""
    transport: asyncio.Transport | None = None
    opening: asyncio.Task[None] | None = None
    requests: int = field(default=0)
    working: int = field(default=0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is over."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.served.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed, from whichever side."""
        self.on_lost(self)
        self.served.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of requests."""
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
        """A request is at work."""
        self.working, self.requests, self.since = self.working + 1, self.requests + 1, now

    def end(self, now: float) -> None:
        """Its answer is on the way."""
        self.working, self.since = self.working - 1, now

    def abort(self) -> None:
        """Close it now, whatever it does."""
        if self.transport is not None:
            self.transport.abort()
        elif self.opening is not None:
            self.opening.cancel()

    def overdue(self, now: float, limits: Limits) -> bool:
        """It has been as it is for too long."""
        waiting = limits.idle if self.requests else limits.first_request
        return now - self.since > (limits.request if self.working else waiting)


class Listener:
    """Listens at one address, and gives each admitted connection a protocol of `serve`."""

    def __init__(
        self,
        serve: Callable[[], asyncio.Protocol],
        *,
        tls: ssl.SSLContext | None,
        limits: Limits,
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
            OSError: the address cannot be used.
        """
        self._sockets = await _listening(host, port)
        self._tasks = [asyncio.create_task(self._accept(x)) for x in self._sockets]
        self._tasks.append(asyncio.create_task(self._sweep()))
        return int(self._sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Accept no more, and drop what is in a handshake; connections that serve are left to the server."""
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
        """Close every connection that is left."""
        for connection in list(self._open):
            connection.abort()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listening)
            except ConnectionError:
                continue  # it was gone again
            except OSError as error:
                logger.warning("Connections cannot be accepted", error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            self._admit(accepted, loop.time())

    def _admit(self, accepted: socket.socket, now: float) -> None:
        if len(self._open) >= self._limits.connections and not self._make_room():
            accepted.close()
            return
        connection = Connection(self._serve(), now, self._open.discard, accepted)
        self._open.add(connection)
        connection.opening = asyncio.create_task(self._handshake(connection, accepted))
        connection.opening.add_done_callback(lambda _: self._opened(connection))

    def _make_room(self) -> bool:
        idle = [x for x in self._open if not x.working]
        if not idle:
            return False
        oldest = min(idle, key=lambda x: x.since)
        oldest.abort()
        self._open.discard(oldest)
        return True

    async def _handshake(self, connection: Connection, accepted: socket.socket) -> None:
        loop, limit = asyncio.get_running_loop(), self._limits.handshake
        connection.accepted = None  # the transport has the socket from here on, and closes it
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
        """The handshake is over, or was cancelled, perhaps before it began."""
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
    """A socket for each address of the host; all of them on one port."""
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
