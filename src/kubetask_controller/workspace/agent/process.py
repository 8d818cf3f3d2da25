"""Runs the agent: prints a readable log, writes a full transcript, masks both, forwards signals and enforces limits.

This process forwards signals to the agent's process group, because some tools have a parent process that ignores them. An
agent that received a signal has failed, whatever it reports and whatever its exit code is.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import IO

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Reason
from kubetask_controller.api.text import clean_text
from kubetask_controller.workspace.agent.report import MAX_SHOWN, OutputReader, Wait
from kubetask_controller.workspace.agent.supervisor import kill_other_processes
from kubetask_controller.workspace.redaction import Redactor

MAX_OUTPUT_LINE = 8 * 1024 * 1024
"""Maximum length of a line in characters; a longer line is split."""
LEFT_BEHIND_SECONDS = 0.3
"""Seconds for which the remaining processes of an agent may print before they are killed."""
DRAIN_SECONDS = 5.0
"""Seconds without new output, after that, until the output counts as complete although a process keeps it open."""
GRACE_SECONDS = 15.0
"""Seconds between SIGTERM and SIGKILL; half of the default grace period of a Pod."""
QUIET_SECONDS = (10.0, 60.0, 300.0)
"""Seconds without output after which the log shows the current activity; the last value repeats."""
TICK_SECONDS = 0.5
PIPE_BYTES = 1 << 20
"""Size of the output pipe. Some tools lose output that does not fit into the pipe when they exit."""


@dataclass(frozen=True, slots=True)
class AgentLimits:
    """Limits of an agent. 0 and None mean no limit.

    Attributes:
        idle_seconds: seconds without output.
        retry_wait_seconds: seconds of waiting for a model that rejects requests.
        turns: calls of the model.
        cost: cost in US dollars.
    """

    idle_seconds: float = 0
    retry_wait_seconds: float = c.DEFAULT_MAX_RETRY_WAIT_SECONDS
    turns: int = 0
    cost: Decimal | None = None


@dataclass(frozen=True, slots=True)
class ProcessContext:
    """The common settings of agent processes.

    Attributes:
        environ: environment variables.
        transcript: file for the whole output.
        redact: masks the output.
        limits: limits of each process.
    """

    environ: Mapping[str, str]
    transcript: Path
    redact: Redactor
    limits: AgentLimits = field(default_factory=AgentLimits)


@dataclass(frozen=True, slots=True)
class StopCause:
    """Why an agent was stopped."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How an agent ended.

    Attributes:
        code: exit code; 128 plus the signal's number if a signal ended it; never 0 after a signal or a stop.
        signalled: number of the signal that this process received; 0 for none.
        stop: the exceeded limit; None for none.
    """

    code: int
    signalled: int = 0
    stop: StopCause | None = None


class Output:
    """Where an agent's output goes: what a person wants of it on stdout, all of it in the transcript; both masked."""

    def __init__(self, transcript: Path, redact: Redactor) -> None:
        self._path = transcript
        self._shown = redact.pieces()
        self._transcribed = redact.pieces()
        self._lock = threading.Lock()

    def follow(self, stream: Iterable[str], reader: OutputReader) -> None:
        """Take lines to their end."""
        with self._path.open("a") as file:
            for line in stream:
                file.write(self._transcribed(line))
                file.flush()
                with self._lock:
                    self._write(reader.feed(line.rstrip("\r\n")), reader.max_shown)

    def follow_log(self, lines: Iterable[str], reader: OutputReader) -> None:
        """Take lines of the tool's own log file."""
        with self._lock:
            for line in lines:
                self._write(reader.log(line), reader.max_shown)

    def show(self, lines: Sequence[str], limit: int = MAX_SHOWN) -> None:
        """Show lines of our own, of at most `limit` characters each."""
        with self._lock:
            self._write(lines, limit)

    def _write(self, lines: Sequence[str], limit: int) -> None:
        for line in lines:
            for text in self._shown(clean_text(line)).splitlines() or [""]:
                cut = text.rstrip()
                shown = cut if len(cut) <= limit else f"{cut[: limit - 1]}…"
                sys.stdout.write(f"{shown}\n")
        sys.stdout.flush()


class Runner:
    """Runs agents, one after another, and forwards the signals that this process receives.

    A signal while no agent runs raises SystemExit in the main thread.
    """

    def __init__(self, surroundings: ProcessContext) -> None:
        self._here = surroundings
        self._process: subprocess.Popen[str] | None = None
        self._output = Output(surroundings.transcript, surroundings.redact)
        self._last = time.monotonic()
        self._reading_since: float | None = None
        self.signalled = 0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._forward)

    def run(
        self,
        command: Sequence[str],
        reader: OutputReader,
        *,
        cwd: Path,
        stdin: str = "",
        environ: Mapping[str, str] | None = None,
        logs: tuple[Path, str] | None = None,
    ) -> ExitStatus:
        """Run a command to its end.

        Args:
            command: program and arguments.
            reader: reads its output.
            cwd: working directory.
            stdin: standard input.
            environ: additional variables.
            logs: a folder, and a pattern of log files below it for the reader.

        Raises:
            FileNotFoundError: the program does not exist.
            PermissionError: the program is not executable.
        """
        follow_logs = _LogFiles(*logs) if logs else None
        self._last = time.monotonic()
        process = self._start(command, cwd, environ or {})
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):
            fcntl.fcntl(process.stdout.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        workers = [
            threading.Thread(target=self._follow, args=(process.stdout, reader), daemon=True),
            threading.Thread(target=_feed, args=(process.stdin, stdin), daemon=True),
        ]
        for worker in workers:
            worker.start()
        stop = self._watch(process, reader, follow_logs)
        code = process.wait()
        # Servers and watchers that the agent started keep its output open.
        workers[0].join(LEFT_BEHIND_SECONDS)
        self._signal(signal.SIGKILL)
        kill_other_processes()
        self._drain(workers[0])
        self._process = None
        self._output.show(reader.flush(), reader.max_shown)
        code = code if code >= 0 else 128 - code
        if self.signalled:
            code = 128 + self.signalled
        return ExitStatus(code or int(stop is not None), self.signalled, stop)

    def _start(
        self, command: Sequence[str], cwd: Path, environ: Mapping[str, str]
    ) -> "subprocess.Popen[str]":
        process = self._process = subprocess.Popen(
            list(command),
            cwd=cwd,
            env={**self._here.environ, "PWD": str(cwd), **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        if self.signalled:
            self._signal(signal.SIGTERM)
        return process

    def _watch(
        self, process: "subprocess.Popen[str]", reader: OutputReader, logs: "_LogFiles | None"
    ) -> StopCause | None:
        """Wait for the agent's end, report inactivity, enforce the limits; returns the exceeded limit."""
        stop: StopCause | None = None
        notices = _quiet_times()
        notice, deadline = next(notices), None
        waiting = _Waiting()
        last = self._last
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(TICK_SECONDS)
                return stop
            now = time.monotonic()
            if logs is not None:
                self._output.follow_log(logs.lines(), reader)
            if self._last != last:
                last, notices = self._last, _quiet_times()
                notice = next(notices)
            quiet = now - last
            if quiet >= notice:
                what = reader.wait.text if reader.wait else reader.activity or "the command"
                self._output.show(
                    [f"no output for {notice:.0f} s; waiting for {what}"], reader.max_shown
                )
                notice = next(notices)
            waited = waiting.at(now, reader.wait)
            if stop is None and not self.signalled:
                stop = self._limit(reader, quiet=quiet, waited=waited)
                if stop is not None:
                    self._output.show([f"{stop.reason.value}: {stop.message}"])
                    self._signal(signal.SIGTERM)
            if stop is not None or self.signalled:
                deadline = deadline or now + GRACE_SECONDS
                if now >= deadline:
                    self._signal(signal.SIGKILL)

    def _limit(self, reader: OutputReader, *, quiet: float, waited: float) -> StopCause | None:
        limits, wait = self._here.limits, reader.wait
        if limits.turns and reader.turns > limits.turns:
            return StopCause(
                Reason.MAX_TURNS_EXCEEDED,
                f"the agent needed more than {limits.turns} turns (agent.maxTurns)",
            )
        if limits.cost is not None and reader.cost is not None and reader.cost > limits.cost:
            return StopCause(
                Reason.BUDGET_EXCEEDED,
                f"the agent cost more than {limits.cost} USD (agent.maxCostUSD)",
            )
        longest = limits.retry_wait_seconds
        if wait is not None and longest and max(wait.seconds or 0.0, waited) > longest:
            reason = Reason.RATE_LIMITED if wait.limited else Reason.AGENT_ERROR
            seconds = wait.seconds or 0.0
            if seconds > longest:
                detail = f"it waits {seconds:.0f} s, longer than {longest:.0f} s"
            else:
                detail = f"it has waited longer than {longest:.0f} s"
            return StopCause(reason, f"{wait.text}; {detail} (agent.maxRetryWaitSeconds)")
        if limits.idle_seconds and quiet >= limits.idle_seconds:
            what = wait.text if wait else reader.activity or "the command"
            return StopCause(
                Reason.IDLE_TIMEOUT,
                f"no output for {limits.idle_seconds:.0f} s (agent.idleTimeoutSeconds), waiting for {what}",
            )
        return None

    def _forward(self, number: int, frame: FrameType | None) -> None:
        again, self.signalled = self.signalled, self.signalled or number
        if self._process is None:
            sys.exit(128 + number)
        self._signal(signal.SIGKILL if again else signal.SIGTERM)

    def _signal(self, number: int) -> None:
        """Signal the agent's process group, which may outlive its first process."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _follow(self, stream: IO[str], reader: OutputReader) -> None:
        def lines() -> Iterator[str]:
            while True:
                self._reading_since = time.monotonic()
                line = stream.readline(MAX_OUTPUT_LINE)
                self._reading_since = None
                if not line:
                    return
                self._last = time.monotonic()
                yield line

        with stream:
            self._output.follow(lines(), reader)

    def _drain(self, follower: threading.Thread) -> None:
        """Wait until the output is processed; not for more of it from a process that could not be ended."""
        while follower.is_alive():
            follower.join(TICK_SECONDS)
            since = self._reading_since
            if since is not None and time.monotonic() - since > DRAIN_SECONDS:
                return


class _Waiting:
    """How long a tool has waited for its model, from the first announcement on."""

    def __init__(self) -> None:
        self._wait: Wait | None = None
        self._began = self._announced = 0.0

    def at(self, now: float, wait: Wait | None) -> float:
        """Seconds until `now`. After an exact delay the next request is in progress, and the model may work for long."""
        if wait is None or self._wait is None:
            self._began = now
        if wait is not self._wait:
            self._announced = now
        self._wait = wait
        if wait is None:
            return 0.0
        if wait.exact and wait.seconds is not None:
            now = min(now, self._announced + wait.seconds + TICK_SECONDS)
        return now - self._began


class _LogFiles:
    """Reads new lines of a tool's log files while it runs."""

    def __init__(self, folder: Path, pattern: str) -> None:
        self._folder, self._pattern = folder, pattern
        self._read = {path: self._size(path) for path in folder.glob(pattern)}

    def lines(self) -> Iterator[str]:
        for path in sorted(self._folder.glob(self._pattern)):
            start, end = self._read.get(path, 0), self._size(path)
            if end <= start:
                continue
            with contextlib.suppress(OSError), path.open("rb") as file:
                file.seek(max(start, end - MAX_OUTPUT_LINE))
                data = file.read(MAX_OUTPUT_LINE)
                whole = data[: data.rfind(b"\n") + 1]
                self._read[path] = file.tell() - len(data) + len(whole)
                yield from whole.decode(errors="replace").splitlines()

    @staticmethod
    def _size(path: Path) -> int:
        try:
            return path.stat().st_size
        except OSError:
            return 0


def _quiet_times() -> Iterator[float]:
    yield from QUIET_SECONDS
    total = QUIET_SECONDS[-1]
    while True:
        total += QUIET_SECONDS[-1]
        yield total


def _feed(stream: IO[str], text: str) -> None:
    try:
        with stream:
            stream.write(text)
    except BrokenPipeError:
        pass  # the process closed its standard input
