"""Runs git: never with a terminal, never with a scheme that was not allowed, and with its errors made readable.

Arguments are given as a list, names that come from users always as full refs or behind ``--``, so that none of them can
become an option. A git that is running is ended with us.
"""

import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import IO

from kubetask_controller.workspace.redaction import Redactor

ALLOWED_PROTOCOLS = "https:http:ssh:file"
TAIL_LINES = 40
STALL_SECONDS = 60
"""A transfer that brings less than a kilobyte a second for so long is given up, and tried again."""
PROGRESS_SECONDS = 5.0
"""How often a percentage is worth a line of the log."""

_TRANSIENT = re.compile(
    r"could not resolve host|connection (refused|reset|timed out|closed)|timed out|early eof"
    r"|rpc failed|unexpected disconnect|returned error: (5\d\d|429|408)|remote end hung up"
    r"|temporary failure|connection was (aborted|reset)|ssl_error_syscall|gnutls_handshake"
    r"|operation too slow|empty reply from server|kex_exchange_identification|no route to host"
    r"|network is unreachable|failed to connect|couldn't connect|transfer closed",
    re.IGNORECASE,
)
_FINAL = re.compile(
    r"authentication failed|could not read (username|password)|returned error: 40[0-7]"
    r"|permission denied|host key verification failed|does not exist|couldn't find remote ref"
    r"|repository .*not found",
    re.IGNORECASE,
)
_CORRUPT = re.compile(
    r"is corrupt|bad object|object file .* is empty|invalid sha1 pointer|missing (blob|tree|commit)"
    r"|unable to read (tree|sha1|commit)|unable to parse|not a git repository: |bad (tree|signature)"
    r"|index file .* (small|corrupt)|packfile .* (cannot|not)|failed to read object|bad config",
    re.IGNORECASE,
)
_PERCENT = re.compile(r"\b\d+%")


class GitError(Exception):
    """git failed.

    Attributes:
        output: the end of what it said, without secrets.
        transient: trying again may help.
        corrupt: the repository that git worked in is broken.
    """

    def __init__(self, arguments: tuple[str, ...], output: str) -> None:
        self.output = output
        self.transient = bool(_TRANSIENT.search(output)) and not _FINAL.search(output)
        self.corrupt = bool(_CORRUPT.search(output)) and not self.transient
        super().__init__(last_word(output) or f"git {arguments[0]} failed")


def last_word(output: str) -> str:
    """The line of git's output that says what is wrong, without its prefix."""
    lines = [x.strip() for x in re.split(r"[\r\n]+", output) if x.strip()]
    told = [x for x in lines if x.startswith(("fatal:", "error:"))]
    # ssh's own words say more than git's "Could not read from remote repository".
    general = ("fatal: Could not read from remote repository", "fatal: the remote end hung up")
    if told and told[-1].startswith(general) and lines.index(told[-1]) > 0:
        before = lines[lines.index(told[-1]) - 1]
        if not _PERCENT.search(before):
            told = [before]
    chosen = (told or lines or [""])[-1]
    return re.sub(r"^(fatal|error): ", "", chosen)


class Git:
    """git with one set of rules."""

    def __init__(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        redact: Redactor | None = None,
        show: Callable[[str], None] | None = None,
    ) -> None:
        """`show` gets lines of progress, without secrets, and a percentage only now and then."""
        self._redact = redact or Redactor()
        self._show = show
        self._shown = 0.0
        self._environ = {
            **(os.environ if environ is None else environ),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "",
            "SSH_ASKPASS": "",
            "GIT_ALLOW_PROTOCOL": ALLOWED_PROTOCOLS,
            "GIT_HTTP_LOW_SPEED_LIMIT": "1000",
            "GIT_HTTP_LOW_SPEED_TIME": str(STALL_SECONDS),
            "LC_ALL": "C",
        }

    def __call__(self, *arguments: str, stdin: str = "") -> str:
        """What git prints on stdout.

        Raises:
            GitError: it failed.
        """
        process = subprocess.Popen(
            ["git", *arguments],
            env=self._environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        workers = (
            threading.Thread(target=self._follow, args=(process.stderr, tail), daemon=True),
            threading.Thread(target=_feed, args=(process.stdin, stdin), daemon=True),
        )
        for worker in workers:
            worker.start()
        try:
            with process.stdout:
                out = process.stdout.read()
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            for worker in workers:
                worker.join()
        if code:
            raise GitError(arguments, "\n".join(tail))
        return out.strip()

    def _follow(self, stream: IO[str], tail: deque[str]) -> None:
        with stream:
            for line in stream:
                text = self._redact(line.rstrip("\n"))
                tail.append(text)
                if self._show is not None and self._worth_showing(text):
                    self._show(text)

    def _worth_showing(self, text: str) -> bool:
        if not _PERCENT.search(text) or "done." in text:
            return True
        now = time.monotonic()
        if now - self._shown < PROGRESS_SECONDS:
            return False
        self._shown = now
        return True


def _feed(stream: IO[str], text: str) -> None:
    try:
        with stream:
            stream.write(text)
    except BrokenPipeError:
        pass  # git ended early, and its exit code says why


def say(text: str) -> None:
    """A line of the container's log."""
    print(text, flush=True, file=sys.stdout)
