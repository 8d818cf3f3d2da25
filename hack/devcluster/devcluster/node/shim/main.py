"""Runs one container and reports to the node.

Standard input: a line of JSON, the `Config`, then one line of JSON per order: {"signal": number}. Its end
means that the node is gone: the container is killed. Standard output, a line of JSON each: {"started": pid}
or {"failed": why}, {"log": true} when the log has grown (may be left out), and last {"exited": code, "oom":
bool, "seconds": from its start to its end}. The code is 128 + the signal for a container that was killed.

The container's first process is number 1 of its own process namespace: when it ends, the kernel kills all
that it has left.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from typing import Any, TypedDict

from . import linux
from .container import Container, become
from .memory import LOOK_SECONDS, MemoryLimit
from .rootfs import Mount

PART_BYTES = 16384


class LogWriter:
    """Appends to one log file. `fd` is its descriptor, opened for appending."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest: dict[str, bytes] = {}

    def feed(self, stream: str, data: bytes) -> None:
        """Append the output of a stream (`stdout` or `stderr`)."""
        *lines, rest = (self._rest.get(stream, b"") + data).split(b"\n")
        stamp = _stamp()
        head = f"{stamp} {stream} ".encode()
        out: list[bytes] = []
        for line in lines:
            while len(line) > PART_BYTES:
                out.append(b"%sP %s\n" % (head, line[:PART_BYTES]))
                line = line[PART_BYTES:]
            out.append(b"%sF %s\n" % (head, line))
        while len(rest) > PART_BYTES:
            out.append(b"%sP %s\n" % (head, rest[:PART_BYTES]))
            rest = rest[PART_BYTES:]
        self._rest[stream] = rest
        self._write(b"".join(out))

    def finish(self) -> None:
        """Write the last line if it has no line ending."""
        for stream, rest in self._rest.items():
            if rest:
                self._write(f"{_stamp()} {stream} P ".encode() + rest + b"\n")
        self._rest.clear()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


def _stamp() -> str:
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds:09d}Z"


READ_BYTES = 65536
DRAIN_SECONDS = 1.0
SIGNALED = 128


class Config(TypedDict):
    """One container. Paths are of the machine but for `cwd` and targets; `memory` in bytes, 0 for no limit.

    `errors` receives failures of the shim itself.
    """

    log: str
    errors: str
    base: str
    user_namespace: bool
    memory: int
    mounts: list[Mount]
    container: Container


class _Shim:
    def __init__(self, config: Config) -> None:
        self._config = config
        self._log_fd = os.open(config["log"], os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o640)
        self._log = LogWriter(self._log_fd)
        self._orders = b""
        self._streams: dict[int, str] = {}
        self._poll = select.poll()
        self._pid = 0
        self._listening = False

    def run(self) -> None:
        """From the start of the container to its end."""
        failure = self._start()
        if failure:
            os.waitpid(self._pid, 0)
            _tell(failed=failure)
            return
        started = time.monotonic()
        _tell(started=self._pid)
        limit = MemoryLimit(self._pid, self._config["memory"]) if self._config["memory"] else None
        status = self._keep(limit)
        seconds = time.monotonic() - started
        self._drain()
        code = os.waitstatus_to_exitcode(status)
        _tell(
            exited=code if code >= 0 else SIGNALED - code,
            oom=limit is not None and limit.exceeded,
            seconds=seconds,
        )

    def _start(self) -> str:
        """Start the process. Returns the failure before its program was running, or ''."""
        if self._config["user_namespace"]:
            _enter_user_namespace(self._config["container"])
        linux.unshare(linux.CLONE_NEWPID)
        out, err, result = os.pipe(), os.pipe(), os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            become(
                self._config["container"],
                self._config["mounts"],
                self._config["base"],
                (out[1], err[1], result[1]),
            )
        for _, end in (out, err, result):
            os.close(end)
        self._streams = {out[0]: "stdout", err[0]: "stderr"}
        for fd in self._streams:
            self._poll.register(fd, select.POLLIN)
        with open(result[0], "rb") as file:  # closed by the kernel when the program starts
            return file.read().decode(errors="replace")

    def _keep(self, limit: MemoryLimit | None) -> int:
        """Pass on streams and orders until the container has ended. Returns its wait status."""
        process = os.pidfd_open(self._pid)
        self._poll.register(process, select.POLLIN)
        self._poll.register(0, select.POLLIN)
        self._listening = True
        timeout = None if limit is None else LOOK_SECONDS * 1000
        while True:
            for fd, _ in self._poll.poll(timeout):
                if fd == process:
                    self._poll.unregister(process)
                    self._stop_listening()
                    return os.waitpid(self._pid, 0)[1]
                if fd == 0:
                    self._order()
                else:
                    self._copy(fd)
            if limit is not None:
                limit.look()

    def _drain(self) -> None:
        """Read the rest of the streams after their writers have closed them."""
        while self._streams:
            ready = self._poll.poll(DRAIN_SECONDS * 1000)
            if not ready:
                break
            for fd, _ in ready:
                self._copy(fd)
        self._log.finish()

    def _copy(self, fd: int) -> None:
        data = os.read(fd, READ_BYTES)
        if data:
            self._log.feed(self._streams[fd], data)
            _tell(log=True)
        else:
            self._poll.unregister(fd)
            del self._streams[fd]
            os.close(fd)

    def _order(self) -> None:
        data = os.read(0, READ_BYTES)
        if not data:
            os.kill(self._pid, signal.SIGKILL)
            self._stop_listening()
            return
        *lines, self._orders = (self._orders + data).split(b"\n")
        for line in lines:
            os.kill(self._pid, json.loads(line)["signal"])

    def _stop_listening(self) -> None:
        if self._listening:
            self._poll.unregister(0)
            self._listening = False


def _enter_user_namespace(container: Container) -> None:
    """Become root of a user namespace in which this user has the container's uid and gid."""
    uid, gid = os.geteuid(), os.getegid()
    linux.unshare(linux.CLONE_NEWUSER)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{container['uid']} {uid} 1"),
        ("gid_map", f"{container['gid']} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="utf-8") as file:
            file.write(text)


def _tell(**message: Any) -> None:
    try:
        os.write(1, json.dumps(message).encode() + b"\n")
    except BrokenPipeError:
        return  # the node is gone; the end of standard input shows it too


def run() -> None:
    """Run the container that standard input describes."""
    line = b""
    while not line.endswith(b"\n"):
        data = os.read(0, 1)
        if not data:
            return
        line += data
    config: Config = json.loads(line)
    errors = os.open(config["errors"], os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    os.dup2(errors, 2)
    os.close(errors)
    try:
        _Shim(config).run()
    except OSError as error:
        _tell(failed=f"{error}")
