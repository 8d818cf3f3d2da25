"""The socket of the API server: it can go away and come back on the same port, as a server that is restarted."""

from __future__ import annotations

import socket
import ssl

from aiohttp import web

BACKLOG = 1024


class TLSListener:
    """Serves what a runner serves over TLS."""

    def __init__(self, runner: web.AppRunner, host: str, context: ssl.SSLContext) -> None:
        self._runner = runner
        self._host = host
        self._context = context
        self._reserved: socket.socket | None = None
        self._site: web.SockSite | None = None

    async def start(self, port: int) -> int:
        """Listen; port 0 selects a free one. Returns the port."""
        # A socket that is bound and never listens reserves the port while the server does not listen.
        self._reserved = self._bound(port)
        await self.up()
        return self._port

    async def up(self) -> None:
        """Accept connections."""
        self._site = web.SockSite(
            self._runner, self._bound(self._port), ssl_context=self._context, backlog=BACKLOG
        )
        await self._site.start()

    async def down(self) -> None:
        """Refuse connections and cut those that are open."""
        if self._site is not None:
            await self._site.stop()
            self._site = None
        server = self._runner.server
        for connection in server.connections if server is not None else ():
            if connection.transport is not None:
                connection.transport.abort()

    def close(self) -> None:
        """Release the port; the runner's cleanup stops the listening socket."""
        if self._reserved is not None:
            self._reserved.close()

    @property
    def _port(self) -> int:
        assert self._reserved is not None
        return int(self._reserved.getsockname()[1])

    def _bound(self, port: int) -> socket.socket:
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((self._host, port))
        return bound
