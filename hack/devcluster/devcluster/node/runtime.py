"""Starts containers as processes, each kept by a shim (`shim.main`), and tells how they end.

A `Process` is one run of one container. Its whole tree dies with its first process, with its shim, and with
this process.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from shim.main import main; main()"
_FOLDER = str(Path(__file__).parent)
KILLED = 128 + signal.SIGKILL
SHIM_LOG = "shim.log"


class StartError(Exception):
    """A container's program did not start; the message is the runtime's."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended. `code` is 128 + the signal if one killed it; `oom`: it went over its memory limit."""

    code: int
    oom: bool = False


class Process:
    """One run of a container. `exited` is done when it has ended, with its `Exit`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shim: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        self._started: asyncio.Future[None] = loop.create_future()
        self.exited: asyncio.Future[Exit] = loop.create_future()
        self._log_waiters: list[asyncio.Future[None]] = []

    async def start(self, config: Mapping[str, Any]) -> None:
        """Run what `config` (`shim.main.Config`) describes; returns when its program runs. Raises StartError."""
        with (self._folder / SHIM_LOG).open("wb") as errors:
            self._shim = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", _BOOT, _FOLDER),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                cwd="/",
            )
        self._send(config)
        self._reader = asyncio.create_task(self._read())
        await asyncio.shield(self._started)

    def signal(self, number: int) -> None:
        """Send a signal to the container's first process, if it still runs."""
        if not self.exited.done():
            self._send({"signal": int(number)})

    async def kill(self) -> None:
        """End it at once, and wait until nothing of it is left."""
        if self._shim is None:
            return
        if self._shim.returncode is None:
            assert self._shim.stdin is not None
            self._shim.stdin.close()
            await self._shim.wait()
        if self._reader is not None:
            await self._reader

    async def log_growth(self, timeout: float) -> None:
        """Wait until the log has grown, the container has ended or `timeout` seconds have passed."""
        if self.exited.done():
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._log_waiters.append(waiter)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await waiter

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._shim is not None
        assert self._shim.stdin is not None
        with suppress(ConnectionError):
            self._shim.stdin.write(json.dumps(message).encode() + b"\n")

    async def _read(self) -> None:
        """Take in what the shim tells until it ends."""
        shim = self._shim
        assert shim is not None
        assert shim.stdout is not None
        assert shim.stdin is not None
        failure = ""
        while line := await shim.stdout.readline():
            message = json.loads(line)
            if "started" in message:
                self._started.set_result(None)
            elif "failed" in message:
                failure = message["failed"]
            elif "exited" in message:
                self.exited.set_result(Exit(message["exited"], message["oom"]))
            self._wake()
        shim.stdin.close()
        await shim.wait()
        if not self._started.done():
            self._started.set_exception(StartError(failure or self._crash()))
            self._started.exception()  # the starter may have been cancelled; nobody else asks
        if not self.exited.done():
            self.exited.set_result(Exit(KILLED))
        self._wake()

    def _crash(self) -> str:
        """What a shim that broke down has left."""
        text = (self._folder / SHIM_LOG).read_text(encoding="utf-8", errors="replace").strip()
        return text.rpartition("\n")[2] or "the container's keeper was killed"

    def _wake(self) -> None:
        for waiter in self._log_waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._log_waiters.clear()
