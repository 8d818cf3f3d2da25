"""The connections to one server, reused until a certificate or CA changes.

Guarantees: after a certificate or CA has changed in its file, or a plugin has returned a new one, every
new request uses it; running requests end undisturbed on their old connections.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from aiohttp.resolver import DefaultResolver

from kubetask_controller.client.errors import ConfigError, TransportError
from kubetask_controller.client.tls import TLSConfig, TLSMaterial

FILES_PERIOD = 60.0
"""Seconds after which certificate files are read again, as token files are."""
_READ_BUFFER = 256 * 1024

logger = structlog.get_logger("client")


class Connections:
    """Used between start() and close()."""

    def __init__(self, tls: TLSConfig, *, on_resolved: Callable[[float], None]) -> None:
        """`on_resolved` is called with the seconds of each DNS lookup."""
        self._tls = tls
        self._on_resolved = on_resolved
        self._material = TLSMaterial()
        self._from_plugin: tuple[bytes, bytes] | None = None
        self._read_at = 0.0
        self._current: _Pool | None = None
        self._retired: set[_Pool] = set()

    async def start(self) -> None:
        """Load certificates; connections are opened on demand.

        Raises:
            ConfigError: the certificates are not valid.
        """
        self._material = await asyncio.to_thread(self._tls.load)
        await self._renew()

    async def close(self) -> None:
        """Close all connections."""
        pools = {*self._retired, self._current} - {None}
        self._current, self._retired = None, set()
        for pool in pools:
            if pool is not None:
                await pool.session.close()

    async def install(self, certificate: str, key: str) -> None:
        """Use a client certificate of a plugin, both as PEM, for new requests.

        Raises:
            ConfigError: it is not valid.
        """
        pair = (certificate.encode(), key.encode())
        if pair != self._from_plugin:
            self._from_plugin = pair
            await self._renew()

    async def reread(self) -> bool:
        """Read the certificate files again; returns whether they have changed and are valid."""
        self._read_at = asyncio.get_running_loop().time()
        if not self._tls.from_files or self._current is None:
            return False
        try:
            material = await asyncio.to_thread(self._tls.load)
            if material == self._material:
                return False
            old, self._material = self._material, material
            try:
                await self._renew()
            except ConfigError:
                self._material = old
                raise
        except ConfigError as error:
            # Perhaps a rotation is half done; the present certificates stay in use.
            logger.warning("Certificates could not be read again", error=str(error))
            return False
        logger.info("Certificates have changed")
        return True

    @asynccontextmanager
    async def use(self) -> AsyncIterator[aiohttp.ClientSession]:
        """The session for one request, in use until the answer has been read.

        Raises:
            TransportError: not between start() and close().
        """
        if (
            self._tls.from_files
            and asyncio.get_running_loop().time() - self._read_at >= FILES_PERIOD
        ):
            await self.reread()
        pool = self._current
        if pool is None:
            raise TransportError("the client is not open")
        pool.users += 1
        try:
            yield pool.session
        finally:
            pool.users -= 1
            if not pool.users and pool in self._retired:
                self._retired.discard(pool)
                await pool.session.close()

    async def _renew(self) -> None:
        material = self._material
        if self._from_plugin is not None:
            certificate, key = self._from_plugin
            material = replace(material, certificate=certificate, key=key)
        context = await asyncio.to_thread(self._tls.context, material)
        self._read_at = asyncio.get_running_loop().time()
        old = self._current
        session = aiohttp.ClientSession(
            # Without a limit: every watch has a connection, and a pool full of watches would
            # leave none for writes. The number of workers bounds the other requests.
            connector=aiohttp.TCPConnector(
                limit=0, ssl=context, resolver=_MeasuredResolver(self._on_resolved)
            ),
            request_class=GuardedRequest,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_READ_BUFFER,
        )
        self._current = _Pool(session)
        if old is not None:
            if old.users:
                self._retired.add(old)
            else:
                await old.session.close()


class GuardedRequest(aiohttp.ClientRequest):
    """Calls its guard immediately before it is sent.

    Attributes:
        guard: may raise, which the caller gets; or None.
    """

    guard: Callable[[], None] | None = None

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """As aiohttp; there is a connection by then."""
        if self.guard is not None:
            self.guard()
        return await super().send(conn)


class _Pool:
    """A session and the number of requests that use it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.users = 0


class _MeasuredResolver(AbstractResolver):
    """aiohttp's default resolver, with a measurement of its time."""

    def __init__(self, on_resolved: Callable[[float], None]) -> None:
        self._resolver = DefaultResolver()
        self._on_resolved = on_resolved

    async def resolve(self, host: str, *args: Any, **kwargs: Any) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            return await self._resolver.resolve(host, *args, **kwargs)
        finally:
            self._on_resolved(loop.time() - started)

    async def close(self) -> None:
        await self._resolver.close()
