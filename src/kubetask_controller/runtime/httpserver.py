"""A small HTTP server for health and metrics; a runnable.

Guarantees: the port is open when run() has begun to serve (see `started`), and closed when run() returns. Connections are
bounded in number and time (`listener`). An address is Go's ``host:port``, with an empty host for all interfaces and port 0
for any free one.
"""

import asyncio
import ssl
from collections.abc import Iterable

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from kubetask_controller.runtime.listener import Connection, Limits, Listener

logger = structlog.get_logger("http")

SHUTDOWN = 2.0
"""Seconds that answers under way may take at the end."""


def split_address(address: str) -> tuple[str | None, int] | None:
    """Host and port of ``host:port``; None for an empty address or "0", which mean no server.

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
        limits: Limits | None = None,
    ) -> None:
        """`name` for logs and errors; `tls` makes it HTTPS; `limits` of its connections."""
        self.name = name
        self.started = asyncio.Event()
        self.port = 0
        self._where = split_address(address)
        self._tls = tls
        self._limits = limits or Limits()
        self._app = web.Application(middlewares=[_at_work, *middlewares])
        self._app.router.add_routes(routes)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set.

        Raises:
            OSError: the address cannot be used.
        """
        if self._where is None:
            self.started.set()
            return
        host, port = self._where
        runner = web.AppRunner(
            self._app,
            access_log=None,
            keepalive_timeout=self._limits.idle,
            shutdown_timeout=SHUTDOWN,
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
async def _at_work(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Keeps a connection from being closed as idle while it answers."""
    loop = asyncio.get_running_loop()
    connection = request.transport.get_protocol() if request.transport is not None else None
    if not isinstance(connection, Connection):
        return await handler(request)
    connection.begin(loop.time())
    try:
        return await handler(request)
    finally:
        connection.end(loop.time())
