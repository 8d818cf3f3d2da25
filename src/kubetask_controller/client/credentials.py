"""Who the client is: a source of the Authorization header that keeps itself fresh.

A projected ServiceAccount token changes before it expires, and a plugin's token ends at a time that
the plugin tells; both are renewed ahead of time here, and at once after the server answered 401.
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
"""How long before its end a plugin's credential is not used any more."""


Install = Callable[[str, str], Awaitable[None]]


class Credentials(Protocol):
    """What proves who the client is."""

    async def authorization(self) -> str | None:
        """The Authorization header's value, or None when there is none to send.

        Raises:
            ConfigError: the credential cannot be had.
        """

    def invalidate(self, refused: str | None) -> bool:
        """The server did not accept `refused`: whether asking again may give another header."""

    def on_certificate(self, install: "Install") -> None:
        """Have `install` called with every new client certificate and its key, both as PEM."""

    async def close(self) -> None:
        """End what is under way."""


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
        """The header given."""
        return self._authorization

    def invalidate(self, refused: str | None) -> bool:
        """There is no other."""
        return False

    def on_certificate(self, install: Install) -> None:
        """Certificates come from elsewhere."""

    async def close(self) -> None:
        """Nothing is under way."""


class TokenFile:
    """A bearer token in a file that something else rewrites, as the kubelet does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = ""
        self._read_at: float | None = None

    async def authorization(self) -> str | None:
        """The file's content as of at most a minute ago.

        A file that cannot be read does not matter while there is an older token to try.
        """
        now = asyncio.get_running_loop().time()
        if self._read_at is None or now - self._read_at >= TOKEN_FILE_PERIOD:
            await self._read()
            self._read_at = now
        return f"Bearer {self._token}"

    def invalidate(self, refused: str | None) -> bool:
        """Read the file again next time."""
        if refused == f"Bearer {self._token}":
            self._read_at = None
        return True

    def on_certificate(self, install: Install) -> None:
        """Certificates come from elsewhere."""

    async def close(self) -> None:
        """Nothing is under way."""

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
    """What a credential plugin gave.

    Attributes:
        token: bearer token, or "" when the plugin gave only a client certificate.
        certificate: PEM, or "".
        key: PEM, or "".
        expires: when it ends, or None for as long as the server takes it.
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
        """Have `install` called with every new client certificate and its key, both as PEM."""
        self._install = install

    async def authorization(self) -> str | None:
        """The plugin's token, from a new run of it when the old one has ended."""
        current = self._current
        if current is None or _ended(current):
            # One run for all who wait: it may open a browser, or count against a quota. And it goes
            # on when they give up, or a plugin slower than their patience would never get done.
            if self._running is None or self._running.done():
                self._running = asyncio.create_task(self._renew(), name="client/credential-plugin")
                self._running.add_done_callback(_look_at_failure)
            current = await asyncio.shield(self._running)
        return _header(current)

    def invalidate(self, refused: str | None) -> bool:
        """Run the plugin next time."""
        # Of many requests that were refused with the same token, only the first asks for a run.
        if self._current is not None and _header(self._current) == refused:
            self._current = None
        return True

    async def close(self) -> None:
        """Stop the plugin if it runs."""
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


def _look_at_failure(task: asyncio.Task[PluginCredential]) -> None:
    """Those who waited may all have given up, and asyncio complains of what nobody looks at."""
    if not task.cancelled():
        task.exception()


def _header(credential: PluginCredential) -> str | None:
    return f"Bearer {credential.token}" if credential.token else None


def _ended(credential: PluginCredential) -> bool:
    return credential.expires is not None and datetime.now(UTC) > credential.expires - EXPIRY_MARGIN
