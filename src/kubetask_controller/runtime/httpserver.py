"""A small HTTP server for health and metrics; a runnable.

Guarantees: the port is open when run() has begun to serve (see `started`), and closed when run() returns. An address is Go's
``host:port``, with an empty host for all interfaces and port 0 for any free one.
"""

import asyncio
import ssl
from collections.abc import Iterable

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

logger = structlog.get_logger("http")

KEEPALIVE = 90.0
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
    ) -> None:
        """`name` for logs and errors; `tls` makes it HTTPS."""
        self.name = name
        self.started = asyncio.Event()
        self.port = 0
        self._where = split_address(address)
        self._tls = tls
        self._app = web.Application(middlewares=list(middlewares))
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
            self._app, access_log=None, keepalive_timeout=KEEPALIVE, shutdown_timeout=SHUTDOWN
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port, ssl_context=self._tls)
            await site.start()
            self.port = int(runner.addresses[0][1])
            logger.info("Serving", server=self.name, address=f"{host or ''}:{self.port}")
            self.started.set()
            await stop.wait()
        finally:
            await runner.cleanup()
