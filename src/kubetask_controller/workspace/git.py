"""Runs git: without a terminal, with the allowed schemes only, within limits, and with readable errors.

Arguments are a list; user-provided names are always full refs or follow ``--``, so that none of them can become an option. A
running git ends with this process. Every command ends, whatever the server does: memory, output, log lines and time have
limits.
"""

import contextlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, TypeVar

from kubetask_controller.api.constants import DEFAULT_GIT_TIMEOUT_SECONDS, Reason
from kubetask_controller.workspace.redaction import Redactor

_T = TypeVar("_T")

ALLOWED_PROTOCOLS = "https:http:ssh:file"
TAIL_LINES = 80
STALL_SECONDS = 60
"""Seconds after which a transfer with less than a kilobyte per second is aborted and retried."""
PROGRESS_SECONDS = 5.0
"""Minimum interval of progress percentages in the log."""
MAX_LINE_BYTES = 2048
"""Maximum length of a line of git or its server; the rest is dropped."""
MAX_SHOWN_LINES = 2000
"""Maximum number of lines that one command adds to the log."""
MAX_OUTPUT = 64 * 1024 * 1024
"""Maximum number of bytes that a command prints to stdout."""
END_SECONDS = 5.0
"""Seconds between SIGTERM and SIGKILL."""

DEFAULT_MEMORY = 2 * 1024**3
"""Private memory of a git process in bytes, if the container has no limit."""
_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)

RETRY_DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each retry if a host is unreachable, plus a jitter of up to 50 %."""
BUSY_SECONDS = 900.0
"""Maximum total wait for a server that responds with 429, 502, 503 or 504."""
ERROR_SECONDS = 120.0
"""Maximum total wait for a server that responds with another 5xx."""
MAX_RETRY_DELAY = 60.0
"""Maximum wait between two tries if the server does not request one."""

_TRANSIENT = re.compile(
    r"could not resolve host|connection (refused|reset|timed out|closed)|timed out|early eof"
    r"|rpc failed|unexpected disconnect|returned error: (5\d\d|429|408)|remote end hung up"
    r"|temporary failure|connection was (aborted|reset)|ssl_error_syscall|gnutls_handshake"
    r"|operation too slow|empty reply from server|kex_exchange_identification|no route to host"
    r"|network is unreachable|failed to connect|couldn't connect|transfer closed|too many requests",
    re.IGNORECASE,
)
_FINAL = re.compile(
    r"authentication failed|could not read (username|password)|returned error: 40[0-7]"
    r"|permission denied|host key verification failed|does not exist|couldn't find remote ref"
    r"|repository .*not found|remote rejected|\[rejected\]",
    re.IGNORECASE,
)
_LIMITED = re.compile(
    r"returned error: 429|too many requests|requested too many times|\brate[ -]?limited\b|\brate limit"
    r"|\brate[ -]?limits? (exceeded|reached)\b|abuse detection",
    re.IGNORECASE,
)
_NAMES = re.compile(r"(?<!\w)'[^'\n]*'|\"[^\"\n]*\"|\S*/\S*|-> *\S+")
"""Names in messages: quoted text, URLs, paths, refs."""
_SERVER_ERROR = re.compile(r"returned error: (5\d\d|429)")
_CORRUPT = re.compile(
    r"is corrupt|bad object|object file .* is empty|invalid sha1 pointer|missing (blob|tree|commit)"
    r"|unable to read (tree|sha1|commit)|unable to parse|not a git repository: |bad (tree|signature)"
    r"|unable to unpack|did not receive expected object|inflate: data stream error"
    r"|index file .* (small|corrupt)|packfile .* (cannot|not)|failed to read object|bad config"
    r"|reference broken|unable to resolve reference|bad shallow line|unexpected line in .*packed-refs",
    re.IGNORECASE,
)
_NO_MEMORY = re.compile(
    r"out of memory|cannot allocate memory|malloc failed|mmap failed|unable to create thread"
    r"|died of signal 9",
    re.IGNORECASE,
)
_STORAGE = (
    (
        re.compile(r"chmod on .* failed: Operation not permitted"),
        "the file system of the volume refuses to change modes (chmod): mount SMB with noperm, or with the uid and gid of"
        " the containers",
    ),
    (
        re.compile(r"no space left on device|disk quota exceeded|file too large", re.IGNORECASE),
        "the volume is full: raise workspace.emptyDir.sizeLimit of the WorkspaceConfig, or the size of the claim",
    ),
    (
        re.compile(r"read-only file system", re.IGNORECASE),
        "the volume is read-only: mount the claim for writing",
    ),
    (
        re.compile(
            r"insufficient permission for adding|(create|write|open|mkdir|unlink|rename|cannot)\b.*: permission denied",
            re.IGNORECASE,
        ),
        "the user of the container may not write to the volume: set securityContext.fsGroup or runAsUser of the"
        " WorkspaceConfig",
    ),
    (
        re.compile(r"stale (nfs )?file handle|input/output error", re.IGNORECASE),
        "the storage of the volume fails",
    ),
)
"""Errors of git about the volume, and what to do."""
_PERCENT = re.compile(r"\b\d+%")
_REMOTE_PROGRESS = re.compile(
    r"^(enumerating|counting|compressing|resolving|processing|finding|receiving|writing|total"
    r"|updating files|create a pull request|to create a merge request)\b.*",
    re.IGNORECASE,
)
_DECORATION = re.compile(r"^[\W_]*$")
_SPECIFIC = re.compile(
    r"\b(error|fatal|denied|rejected|refus\w*|declin\w*|forbidden|not (allowed|permitted|authori[sz]ed|found)"
    r"|cannot|must|violat\w*|protected|blocked|requires?|required|invalid|disabled|enforced|exceed\w*|limit"
    r"|missing|unauthori[sz]ed|expired|archived|secrets?)\b|\bGH\d{3}\b|\bTF\d{4,}\b|GitLab:|Gitea:|Forgejo:",
    re.IGNORECASE,
)
_GENERAL = (
    "fatal: Could not read from remote repository",
    "fatal: the remote end hung up",
    "error: failed to push some refs",
    "fatal: early EOF",
    "fatal: fsck error in packed object",
    "fatal: clone of '",
    "Failed to clone",
    "fatal: index-pack failed",
    "fatal: fetch-pack: invalid index-pack output",
)
"""Lines of git that are less specific than the line before them."""
_REJECTED = re.compile(r"! \[(?:remote )?rejected\].*\((?P<why>.*)\)\s*$")
_HOOK_DECLINED = ("pre-receive hook declined", "hook declined", "update hook declined")
MAX_SERVER_MESSAGE = 600
"""Maximum length of a server's message in an error."""


class GitError(Exception):
    """git failed.

    Attributes:
        output: the last lines of its output, without secrets.
        transient: a retry may succeed.
        corrupt: the local repository is corrupt.
        rate_limited: the server enforces a rate limit.
        server_error: the server responded with 429 or 5xx.
        retry_after: seconds that the server requested to wait; None if it did not.
        no_memory: git ran out of memory.
        storage: the problem of the volume; empty if there is none.
    """

    def __init__(
        self, arguments: tuple[str, ...], output: str, *, retry_after: float | None = None
    ) -> None:
        self.output = output
        self.storage = _storage(output)
        self.rate_limited = bool(_LIMITED.search(_NAMES.sub(" ", output))) and not self.storage
        self.transient = self.rate_limited or (
            bool(_TRANSIENT.search(output)) and not _FINAL.search(output) and not self.storage
        )
        self.no_memory = bool(_NO_MEMORY.search(output))
        self.corrupt = bool(_CORRUPT.search(output)) and not (
            self.transient or self.no_memory or self.storage
        )
        self.server_error = bool(_SERVER_ERROR.search(output))
        self.retry_after = retry_after
        text = error_line(output) or f"git {arguments[0]} failed"
        super().__init__(f"{self.storage} ({text})" if self.storage else text)

    @property
    def reason(self) -> Reason:
        """The task's reason if this error fails its preparation."""
        if self.no_memory:
            return Reason.OOM_KILLED
        if self.storage:
            return Reason.WORKSPACE_ERROR
        return Reason.RATE_LIMITED if self.rate_limited else Reason.CLONE_FAILED


def _storage(output: str) -> str:
    own = "\n".join(x for x in output.splitlines() if not x.startswith("remote:"))
    return next((text for pattern, text in _STORAGE if pattern.search(own)), "")


def error_line(output: str) -> str:
    """The error message of git, or that of the server if it is more specific."""
    lines = [x.strip() for x in re.split(r"[\r\n]+", output) if x.strip()]
    own = [x for x in lines if x.startswith(("fatal:", "error:"))]
    message = server_message(lines)
    rejected = [x["why"] for line in lines if (x := _REJECTED.search(line))]
    chosen = next((x for x in reversed(own) if not x.startswith(_GENERAL)), "")
    if not chosen and own and not rejected:
        # The message of ssh is more specific than git's "Could not read from remote repository".
        before = lines[lines.index(own[-1]) - 1] if lines.index(own[-1]) > 0 else ""
        useful = before and not _PERCENT.search(before) and not before.startswith("remote:")
        chosen = before if useful else own[-1]
    if not chosen and rejected:
        chosen = "" if message and rejected[-1] in _HOOK_DECLINED else rejected[-1]
    chosen = re.sub(r"^(fatal|error): ", "", chosen or ("" if message or not lines else lines[-1]))
    if not message:
        return chosen
    return f"{message} ({chosen})" if chosen else message


def server_message(lines: list[str]) -> str:
    """The message of the server: its specific lines and its last line; empty if there is none."""
    texts = []
    for line in lines:
        if not line.startswith("remote:"):
            continue
        text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line.removeprefix("remote:")).strip(
            " \t*=-—─#>|"
        )
        if text and not _DECORATION.match(text) and not _REMOTE_PROGRESS.match(text):
            texts.append(text)
    if not texts:
        return ""
    specific = [x for x in texts if _SPECIFIC.search(x)]
    chosen = list(dict.fromkeys([*specific, texts[-1]]))
    while len(chosen) > 1 and sum(map(len, chosen)) + len(chosen) > MAX_SERVER_MESSAGE:
        chosen.pop(len(chosen) - 2)
    return "; ".join(chosen)[:MAX_SERVER_MESSAGE]


def memory_for_git() -> int:
    """Private memory of one git process in bytes: three quarters of the container's limit."""
    for path in _CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):
            limit = int(path.read_text())
            if limit < 2**50:
                return max(limit * 3 // 4, 64 * 1024**2)
    return DEFAULT_MEMORY


def memory_options(memory: int) -> list[str]:
    """Settings that keep git's caches well below `memory` bytes."""
    unit = max(memory // 16, 8 * 1024**2)
    return [
        f"core.packedGitLimit={unit * 2}",
        f"core.packedGitWindowSize={min(unit, 32 * 1024**2)}",
        f"core.deltaBaseCacheLimit={min(unit, 96 * 1024**2)}",
        f"core.bigFileThreshold={min(unit * 2, 512 * 1024**2)}",
        f"pack.windowMemory={unit}",
        f"pack.deltaCacheSize={unit}",
        "pack.threads=2",
    ]


class Git:
    """Runs git commands."""

    def __init__(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        redact: Callable[[str], str] | None = None,
        show: Callable[[str], None] | None = None,
        timeout: float = DEFAULT_GIT_TIMEOUT_SECONDS,
        fresh: Callable[[], Mapping[str, str]] | None = None,
    ) -> None:
        """Create a runner.

        Args:
            environ: variables of git; default: those of this process.
            redact: masks log lines and errors.
            show: called with lines for the log, without secrets; progress percentages are rate-limited.
            timeout: timeout of a command in seconds.
            fresh: returns additional variables for each command.
        """
        self._redact = redact or Redactor()
        self._show = show
        self._shown = 0.0
        self._timeout = timeout
        self._fresh = fresh
        self._memory = memory_for_git()
        self._environ = {
            **(os.environ if environ is None else environ),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "",
            "SSH_ASKPASS": "",
            "GIT_ALLOW_PROTOCOL": ALLOWED_PROTOCOLS,
            "GIT_HTTP_LOW_SPEED_LIMIT": "1000",
            "GIT_HTTP_LOW_SPEED_TIME": str(STALL_SECONDS),
            "GIT_TRACE_CURL_NO_DATA": "1",
            "GIT_TRACE_REDACT": "1",
            "LC_ALL": "C",
        }

    def __call__(
        self,
        *arguments: str,
        stdin: str | Path = "",
        environ: Mapping[str, str] | None = None,
        strip: bool = True,
    ) -> str:
        """Run git; returns its stdout.

        Args:
            arguments: arguments of git.
            stdin: text or file for standard input.
            environ: additional variables.
            strip: whether to strip white space from both ends of the output.

        Raises:
            GitError: git failed, exceeded the timeout or printed too much.
        """
        with tempfile.TemporaryDirectory(
            prefix="kubetask-git-", dir=self._environ.get("TMPDIR") or None
        ) as folder:
            # Only this trace contains the Retry-After header of the server.
            trace = Path(folder) / "http"
            return self._run(arguments, stdin, environ or {}, trace, strip=strip)

    def _run(
        self,
        arguments: tuple[str, ...],
        stdin: str | Path,
        environ: Mapping[str, str],
        trace: Path,
        *,
        strip: bool,
    ) -> str:
        process = self._start(arguments, environ, trace)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        over: list[str] = []
        workers = (
            threading.Thread(target=self._follow, args=(process.stderr, tail), daemon=True),
            threading.Thread(target=_feed, args=(process.stdin, stdin), daemon=True),
        )
        for worker in workers:
            worker.start()
        name = _command(arguments)
        timer = threading.Timer(
            self._timeout,
            lambda: _end(process, over, f"git {name} took longer than {self._timeout:g} s"),
        )
        timer.daemon = True
        timer.start()
        try:
            with process.stdout:
                out = process.stdout.read(MAX_OUTPUT + 1)
                if len(out) > MAX_OUTPUT:
                    _end(process, over, f"git {name} printed more than {MAX_OUTPUT >> 20} MiB")
            code = process.wait()
        except BaseException:
            _end(process, over, "")
            raise
        finally:
            timer.cancel()
            for worker in workers:
                worker.join(END_SECONDS)
        if over:
            raise GitError((name,), f"fatal: {over[0]}")
        if code:
            if code in (-9, 137):
                tail.append(f"fatal: git {name} died of signal 9: out of memory")
            raise GitError((name,), "\n".join(tail), retry_after=_retry_after(trace))
        text = out.decode(errors="replace")
        return text.strip() if strip else text

    def _start(
        self, arguments: tuple[str, ...], environ: Mapping[str, str], trace: Path
    ) -> "subprocess.Popen[bytes]":
        options = [y for x in memory_options(self._memory) for y in ("-c", x)]
        return subprocess.Popen(
            [
                *("sh", "-c", f'ulimit -d {self._memory // 1024}; exec git "$@"', "git"),
                *options,
                *arguments,
            ],
            env={
                **self._environ,
                "GIT_TRACE_CURL": str(trace),
                **(self._fresh() if self._fresh else {}),
                **environ,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def _follow(self, stream: IO[bytes], tail: deque[str]) -> None:
        shown = 0
        with stream:
            for line in _lines(stream):
                text = self._redact(line)
                tail.append(text)
                if self._show is None or not self._worth_showing(text):
                    continue
                shown += 1
                if shown <= MAX_SHOWN_LINES:
                    self._show(text)
                elif shown == MAX_SHOWN_LINES + 1:
                    self._show("(further messages of this git command are not shown)")

    def _worth_showing(self, text: str) -> bool:
        if not _PERCENT.search(text) or "done." in text:
            return True
        now = time.monotonic()
        if now - self._shown < PROGRESS_SECONDS:
            return False
        self._shown = now
        return True


class RetryBudget:
    """Limits the retries of one operation.

    Args:
        chance: returns a random number from 0 to 1, so that tasks that fail together do not retry together.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._tries = 0
        self._waited = 0.0

    def delay(self, error: GitError) -> float | None:
        """Seconds to wait before the next try; None if the budget is used up."""
        if not error.transient:
            return None
        self._tries += 1
        if error.rate_limited or error.server_error:
            busy = error.rate_limited or re.search(r"returned error: 50[234]", error.output)
            limit = BUSY_SECONDS if busy or error.retry_after is not None else ERROR_SECONDS
            wait = min(2.0 ** min(self._tries - 1, 10), MAX_RETRY_DELAY) * (0.5 + self._chance())
            if error.retry_after is not None:
                wait = error.retry_after + wait
        elif self._tries <= len(RETRY_DELAYS):
            limit = float("inf")
            wait = RETRY_DELAYS[self._tries - 1] * (1 + 0.5 * self._chance())
        else:
            return None
        self._waited += wait
        return wait if self._waited <= limit else None


def with_retries(step: Callable[[], _T], *, sleep: Callable[[float], None] = time.sleep) -> _T:
    """Repeat a step while its errors are transient.

    Raises:
        GitError: the last error.
    """
    budget = RetryBudget()
    while True:
        try:
            return step()
        except GitError as error:
            delay = budget.delay(error)
            if delay is None:
                raise
            log_line(f"{error}; retrying in {delay:.0f} s")
            sleep(delay)


def log_line(text: str) -> None:
    """Print a line to the container's log."""
    print(text, flush=True, file=sys.stdout)


def _lines(stream: IO[bytes]) -> Iterator[str]:
    """Lines of a stream, of bounded length, whether they end in a line feed or a carriage return."""
    rest, skipping = b"", False
    while chunk := os.read(stream.fileno(), 65536):
        *whole, rest = re.split(rb"[\r\n]+", rest + chunk)
        for line in whole:
            if line and not skipping:
                yield line[:MAX_LINE_BYTES].decode(errors="replace").rstrip()
            skipping = False
        if len(rest) > MAX_LINE_BYTES:
            if not skipping:
                yield rest[:MAX_LINE_BYTES].decode(errors="replace")
            rest, skipping = b"", True
    if rest and not skipping:
        yield rest[:MAX_LINE_BYTES].decode(errors="replace").rstrip()


def _feed(stream: IO[bytes], source: str | Path) -> None:
    try:
        with stream:
            if isinstance(source, Path):
                with source.open("rb") as file:
                    shutil.copyfileobj(file, stream)
            else:
                stream.write(source.encode())
    except BrokenPipeError:
        pass  # git ended early; its exit code is evaluated


def _end(process: "subprocess.Popen[bytes]", over: list[str], why: str) -> None:
    """Terminate git, which terminates its children, and kill it after END_SECONDS."""
    if why:
        over.append(why)
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def _command(arguments: tuple[str, ...]) -> str:
    """The subcommand among git's arguments."""
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        rest = rest[2:] if rest[0] in ("-C", "-c", "--git-dir") else rest[1:]
    return rest[0] if rest else ""


def _retry_after(trace: Path) -> float | None:
    """The Retry-After of the last response, in seconds."""
    try:
        with trace.open("rb") as file:
            file.seek(max(0, trace.stat().st_size - 64 * 1024))
            text = file.read().decode(errors="replace")
    except OSError:
        return None
    found = re.findall(r"<= recv header: retry-after: *([^\r\n]+)", text, re.IGNORECASE)
    return parse_retry_after(found[-1]) if found else None


def parse_retry_after(value: str, now: Callable[[], float] = time.time) -> float | None:
    """Seconds of a Retry-After header (RFC 9110, 10.2.3); None if it is neither a number nor a date."""
    value = value.strip()
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now())
    except (TypeError, ValueError):
        return None
