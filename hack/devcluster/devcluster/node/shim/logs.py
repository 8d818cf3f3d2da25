"""A container's log file: lines of its two streams in the form that container runtimes write for kubelets.

`<time> <stream> <tag> <text>`: tag F ends a line, P is a part of one (a long line, or one that the container
has not ended).
"""

from __future__ import annotations

import os
import time

PART_BYTES = 16384


class LogWriter:
    """Appends to one log file. `fd` is its descriptor, opened for appending."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest: dict[str, bytes] = {}

    def feed(self, stream: str, data: bytes) -> None:
        """Take what a stream (`stdout` or `stderr`) gave."""
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
        """Write what was left without an end of line."""
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
