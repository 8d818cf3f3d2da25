"""Reads container logs, as written by the shim (see `shim.logs`), with the options of the log endpoint."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

BLOCK_BYTES = 65536


@dataclass(frozen=True, slots=True)
class LogOptions:
    """v1 PodLogOptions. `since` is a Unix time; None means no limit."""

    container: str = ""
    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None
    limit_bytes: int | None = None
    since: float | None = None


class LogReader:
    """Reads one file from its beginning (or its last `tail` lines) on; call `read` again for lines added since."""

    def __init__(self, path: Path, options: LogOptions) -> None:
        self._path = path
        self._options = options
        self._offset = _tail_offset(path, options.tail) if options.tail is not None else 0
        self._rest = b""
        self._left = options.limit_bytes

    @property
    def exhausted(self) -> bool:
        """Whether limitBytes is used up."""
        return self._left is not None and self._left <= 0

    def read(self) -> Iterator[bytes]:
        """The unread rest of the file, in pieces."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while not self.exhausted and (block := file.read(BLOCK_BYTES)):
                self._offset += len(block)
                *lines, self._rest = (self._rest + block).split(b"\n")
                text = b"".join([self._shown(line) for line in lines])
                if self._left is not None:
                    text = text[: self._left]
                    self._left -= len(text)
                if text:
                    yield text

    def _shown(self, line: bytes) -> bytes:
        stamp, _, tag, text = line.split(b" ", 3)
        if self._options.since is not None and _seconds(stamp) < self._options.since:
            return b""
        end = b"\n" if tag == b"F" else b""
        return (stamp + b" " + text + end) if self._options.timestamps else text + end


def _seconds(stamp: bytes) -> float:
    whole, _, fraction = stamp.decode().rstrip("Z").partition(".")
    return datetime.fromisoformat(whole + "+00:00").timestamp() + float(f"0.{fraction or 0}")


def _tail_offset(path: Path, lines: int) -> int:
    """Offset of the last `lines` lines of the log. Parts of a split line count as one line."""
    if not path.exists():
        return 0
    starts: deque[int] = deque(maxlen=max(lines, 0))
    offset, fresh = 0, True
    with path.open("rb") as file:
        for line in file:
            if fresh:
                starts.append(offset)
            fresh = line.split(b" ", 3)[2] == b"F"
            offset += len(line)
    return (starts[0] if starts else offset) if lines > 0 else offset


def last_bytes(path: Path, *, lines: int, limit: int) -> bytes:
    """The last lines of a log, at most `limit` bytes of them: the fallback for a termination message."""
    text = b"".join(LogReader(path, LogOptions(tail=lines)).read())
    return text[-limit:]


def read_end(path: Path, limit: int) -> bytes:
    """The last `limit` bytes of a file; b'' if it is not there."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - limit))
            return file.read(limit)
    except OSError:
        return b""
