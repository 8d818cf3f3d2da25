"""Runs the agent: a readable log on stdout, all of its output in the workspace, both masked; signals passed on."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from kubetask_controller.workspace.agent.told import Reader
from kubetask_controller.workspace.redaction import Redactor

MAX_LINE = 8 * 1024 * 1024
"""Characters after which a line is taken for two."""
LEFT_BEHIND_SECONDS = 2.0
"""How long output is awaited of processes that an agent leaves behind."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where agents run, and where their output goes."""

    environ: Mapping[str, str]
    transcript: Path
    redact: Redactor


class Runner:
    """Runs agents, one after another, and hands on to them the signals that this process gets.

    A signal that comes while none of them runs ends this process, as does a second one that comes after the first agent's
    end.
    """

    def __init__(self, surroundings: Surroundings) -> None:
        self._here = surroundings
        self._process: subprocess.Popen[str] | None = None
        self._signalled = 0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._forward)

    def run(
        self,
        command: Sequence[str],
        reader: Reader,
        *,
        cwd: Path,
        stdin: str = "",
        environ: Mapping[str, str] | None = None,
    ) -> int:
        """Run a command to its end; its exit code, 128 and the signal's number where one ended it.

        Raises:
            FileNotFoundError: there is no such program.
            PermissionError: it may not be executed.
        """
        process = self._process = subprocess.Popen(
            list(command),
            cwd=cwd,
            env={**self._here.environ, **(environ or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        if self._signalled:
            process.send_signal(self._signalled)
        assert process.stdin is not None
        assert process.stdout is not None
        workers = [
            threading.Thread(target=self._follow, args=(process.stdout, reader), daemon=True),
            threading.Thread(target=_feed, args=(process.stdin, stdin), daemon=True),
        ]
        for worker in workers:
            worker.start()
        code = process.wait()
        # Servers and watchers that it started hold its output open, and nobody ends them.
        workers[0].join(LEFT_BEHIND_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        workers[0].join(LEFT_BEHIND_SECONDS)
        self._process = None
        return code if code >= 0 else 128 - code

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self._signalled = number
        if self._process is None:
            sys.exit(128 + number)
        if self._process.poll() is None:
            self._process.send_signal(number)

    def _follow(self, stream: IO[str], reader: Reader) -> None:
        with stream, self._here.transcript.open("a") as file:
            while line := stream.readline(MAX_LINE):
                text = self._here.redact(line)
                file.write(text)
                file.flush()
                for shown in reader.feed(text.rstrip("\n")):
                    sys.stdout.write(f"{shown}\n")
                sys.stdout.flush()


def _feed(stream: IO[str], text: str) -> None:
    try:
        with stream:
            stream.write(text)
    except BrokenPipeError:
        pass  # it did not want to read
