"""Credentials: sources of the Authorization header that renew themselves.

A projected ServiceAccount token is rotated before it expires, and a plugin's token expires at a time that
the plugin returns; both are renewed ahead of time, and at once after an answer of 401.
"""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from kubetask_controller.client.errors import ConfigError

TOKEN_FILE_PERIOD = 60.0
"""Seconds after which a token file is read again: client-go's number."""
EXPIRY_MARGIN = timedelta(seconds=30)
"""How long before its expiry a plugin's credential is renewed."""


Install = Callable[[str, str], Awaitable[None]]


class Credentials(Protocol):
    """Authenticates the client."""

    async def authorization(self) -> str | None:
        """The value of the Authorization header, or None to send no such header.

        Raises:
            ConfigError: the credential is not available.
        """

    def invalidate(self, refused: str | None) -> bool:
        """The server refused this header; returns whether the next one may differ."""

    def on_certificate(self, install: "Install") -> None:
        """Call `install` with every new client certificate and its key, both as PEM."""

    async def close(self) -> None:
        """End a running renewal."""


class StaticCredentials:
    """A header that never changes, or none: fixed tokens, basic authentication, certificates."""

    def __init__(self, authorization: str | None = None) -> None:
        self._authorization = authorization

    @classmethod
    def basic(cls, username: str, password: str) -> "StaticCredentials":
        """HTTP basic authentication."""
        encoded = base64.b64encode(f"{username}:{password}".encode()).decode()
        return cls(f"Basic {encoded}")

    async def authorization(self) -> str | None:
        """The header."""
        return self._authorization

    def invalidate(self, refused: str | None) -> bool:
        """There is no other header."""
        return False

    def on_certificate(self, install: Install) -> None:
        """Nothing: this credential has no certificate."""

    async def close(self) -> None:
        """Nothing: no renewal runs."""


class TokenFile:
    """A bearer token in a file that another process rotates, such as the kubelet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = ""
        self._read_at: float | None = None

    async def authorization(self) -> str | None:
        """The file's content, at most a minute old.

        While the file cannot be read, the previous token is used.
        """
        now = asyncio.get_running_loop().time()
        if self._read_at is None or now - self._read_at >= TOKEN_FILE_PERIOD:
            await self._read()
            self._read_at = now
        return f"Bearer {self._token}"

    def invalidate(self, refused: str | None) -> bool:
        """Read the file again at the next request."""
        if refused == f"Bearer {self._token}":
            self._read_at = None
        return True

    def on_certificate(self, install: Install) -> None:
        """Nothing: this credential has no certificate."""

    async def close(self) -> None:
        """Nothing: no renewal runs."""

    async def _read(self) -> None:
        try:
            token = (await asyncio.to_thread(self._path.read_text)).strip()
        except OSError as error:
            if not self._token:
                raise ConfigError(f"cannot read the token file: {error}") from error
            return
        if not token and not self._token:
            raise ConfigError(f"the token file {self._path} is empty")
        self._token = token or self._token


@dataclass(frozen=True, slots=True)
class PluginCredential:
    """The credential that a plugin returned.

    Attributes:
        token: bearer token, or "" when the plugin returned only a client certificate.
        certificate: PEM, or "".
        key: PEM, or "".
        expires: when it expires, or None when it is valid until the server refuses it.
    """

    token: str
    certificate: str = ""
    key: str = ""
    expires: datetime | None = None


class PluginCredentials:
    """The credential of an exec plugin, kept until it expires or the server refuses it."""

    def __init__(self, run: Callable[[], Awaitable[PluginCredential]]) -> None:
        self._run = run
        self._current: PluginCredential | None = None
        self._install: Install | None = None
        self._running: asyncio.Task[PluginCredential] | None = None

    def on_certificate(self, install: Install) -> None:
        """Call `install` with every new client certificate and its key, both as PEM."""
        self._install = install

    async def authorization(self) -> str | None:
        """The plugin's token; the plugin runs again when the present one has expired."""
        current = self._current
        if current is None or _expired(current):
            # One run for all requests that wait: it may open a browser, or count against a quota.
            # It continues when they time out, else a plugin that is slower would never finish.
            if self._running is None or self._running.done():
                self._running = asyncio.create_task(self._renew(), name="client/credential-plugin")
                self._running.add_done_callback(_retrieve_exception)
            current = await asyncio.shield(self._running)
        return _header(current)

    def invalidate(self, refused: str | None) -> bool:
        """Run the plugin at the next request."""
        # Of several requests that were refused with the same token, only the first causes a run.
        if self._current is not None and _header(self._current) == refused:
            self._current = None
        return True

    async def close(self) -> None:
        """Stop a running plugin."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None

    async def _renew(self) -> PluginCredential:
        credential = await self._run()
        if credential.certificate and self._install:
            await self._install(credential.certificate, credential.key)
        self._current = credential
        return credential


def _retrieve_exception(task: asyncio.Task[PluginCredential]) -> None:
    """All waiting requests may have timed out, and asyncio logs exceptions that nothing retrieves."""
    if not task.cancelled():
        task.exception()


def _header(credential: PluginCredential) -> str | None:
    return f"Bearer {credential.token}" if credential.token else None


def _expired(credential: PluginCredential) -> bool:
    return credential.expires is not None and datetime.now(UTC) > credential.expires - EXPIRY_MARGIN
