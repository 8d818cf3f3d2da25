"""Starts containers as processes, each kept by a shim (`shim.main`), and reports how they end.

A `Process` is one run of one container. Its whole tree dies with its first process, with its shim, and with this process.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from shim.server import serve; serve()"
_FOLDER = str(Path(__file__).parent)
KILLED = 128 + signal.SIGKILL
ERRORS = "shim.log"


class StartError(Exception):
    """A container's program did not start; the message is the runtime's."""


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of a container, after `seconds`.

    `code` is 128 + the signal if one killed it; `oom`: it went over its memory limit.
    """

    code: int
    oom: bool = False
    seconds: float = 0.0


class Launcher:
    """Starts shims. They end with the sockets that `launch` returns."""

    def __init__(self) -> None:
        self._server: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None

    async def start(self) -> None:
        """Start the process of which shims are forks."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._server = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", _BOOT, _FOLDER),
                stdin=theirs.fileno(),
                start_new_session=True,
                cwd="/",
            )

    def launch(self) -> socket.socket:
        """A socket to a new shim. Raises StartError when there can be none."""
        if self._control is None:
            raise StartError("the node is stopping")
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [b"+"], [theirs.fileno()])
            except OSError as error:
                ours.close()
                raise StartError(f"the node cannot make processes any more: {error}") from None
        return ours

    async def stop(self) -> None:
        """End it. May be called twice."""
        control, self._control = self._control, None
        if control is not None:
            control.close()
        if self._server is not None:
            await self._server.wait()


@dataclass(frozen=True, slots=True)
class Runtime:
    """The container runtime: the shims' launcher, and whether each container needs a user namespace."""

    launcher: Launcher
    user_namespace: bool


class Process:
    """One run of a container. `exited` is done when it has ended, with its `Exit`. `folder` gets the shim's errors."""

    def __init__(self, launcher: Launcher, folder: Path) -> None:
        self._launcher = launcher
        self._folder = folder
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        self._started: asyncio.Future[None] = loop.create_future()
        self.exited: asyncio.Future[Exit] = loop.create_future()
        self._log_waiters: list[asyncio.Future[None]] = []

    async def start(self, config: Mapping[str, Any]) -> None:
        """Run what `config` (`shim.main.Config`) describes; returns when its program runs. Raises StartError."""
        reader, self._writer = await asyncio.open_connection(sock=self._launcher.launch())
        self._send(config)
        self._reading = asyncio.create_task(self._read(reader, self._writer))
        await asyncio.shield(self._started)

    def signal(self, number: int) -> None:
        """Send a signal to the container's first process, if it still runs."""
        if not self.exited.done():
            self._send({"signal": int(number)})

    async def kill(self) -> None:
        """End it at once, and wait until nothing of it is left."""
        if self._writer is None:
            return
        if not self.exited.done():
            with suppress(OSError):
                self._writer.write_eof()
        if self._reading is not None:
            await self._reading

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
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read the shim's reports until it ends."""
        failure = ""
        with suppress(ConnectionError):
            while line := await reader.readline():
                message = json.loads(line)
                if "started" in message:
                    self._started.set_result(None)
                elif "failed" in message:
                    failure = message["failed"]
                elif "exited" in message:
                    self.exited.set_result(
                        Exit(message["exited"], message["oom"], message["seconds"])
                    )
                self._wake()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        if not self._started.done():
            self._started.set_exception(StartError(failure or self._crash()))
            self._started.exception()  # the starter may have been cancelled; mark the exception as retrieved
        if not self.exited.done():
            self.exited.set_result(Exit(KILLED))
        self._wake()

    def _crash(self) -> str:
        """The last output of a shim that failed."""
        with suppress(OSError):
            text = (self._folder / ERRORS).read_text(encoding="utf-8", errors="replace")
            if text.strip():
                return text.strip().rpartition("\n")[2]
        return "the container's keeper was killed"

    def _wake(self) -> None:
        for waiter in self._log_waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._log_waiters.clear()
