"""Runs the agent: its output masked on stdout and whole in the workspace, signals passed on."""

import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from kubetask_controller.workspace.redaction import Redactor

MAX_KEPT = 4 * 1024 * 1024
"""Characters of output that are kept for reading the agent's last words."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: its exit code (128 + the signal's number), and its output without secrets."""

    code: int
    output: str


def run(
    command: Sequence[str],
    *,
    cwd: Path,
    environ: Mapping[str, str],
    transcript: Path,
    redact: Redactor,
) -> Ended:
    """Run a command to its end.

    Raises:
        FileNotFoundError: there is no such program.
        PermissionError: it may not be executed.
    """
    process = subprocess.Popen(
        list(command),
        cwd=cwd,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    kept: deque[str] = deque()
    size = 0
    with _signals_to(process), transcript.open("a") as file, process.stdout:
        for line in process.stdout:
            text = redact(line)
            sys.stdout.write(text)
            sys.stdout.flush()
            file.write(text)
            kept.append(text)
            size += len(text)
            while size > MAX_KEPT and len(kept) > 1:
                size -= len(kept.popleft())
        code = process.wait()
    return Ended(code if code >= 0 else 128 - code, "".join(kept))


@contextmanager
def _signals_to(process: subprocess.Popen[str]) -> Iterator[None]:
    """Hand SIGTERM and SIGINT on to the agent, so that it can end in peace."""

    def forward(number: int, frame: FrameType | None) -> None:
        if process.poll() is None:
            process.send_signal(number)

    before: dict[int, Any] = {}
    for number in (signal.SIGTERM, signal.SIGINT):
        before[number] = signal.signal(number, forward)
    try:
        yield
    finally:
        for old, handler in before.items():
            signal.signal(old, handler)
