"""Runs git: never with a terminal, never with a scheme that was not allowed, and with its errors made readable.

Arguments are given as a list, names that come from users always as full refs or behind ``--``, so that none of them can
become an option.
"""

import os
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from kubetask_controller.workspace.redaction import Redactor

ALLOWED_PROTOCOLS = "https:http:ssh:file"
TAIL_LINES = 40
STALL_SECONDS = 60
"""A transfer that brings less than a kilobyte a second for so long is given up, and tried again."""

_TRANSIENT = re.compile(
    r"could not resolve host|connection (refused|reset|timed out)|timed out|early eof|rpc failed"
    r"|unexpected disconnect|returned error: (5\d\d|429)|temporary failure|remote end hung up"
    r"|connection was (aborted|reset)|ssl_error_syscall|gnutls_handshake|operation too slow"
    r"|empty reply from server|kex_exchange_identification",
    re.IGNORECASE,
)
_FINAL = re.compile(
    r"authentication failed|could not read (username|password)|returned error: 4(0\d|1\d)"
    r"|permission denied|host key verification failed|not found|does not exist|couldn't find remote ref",
    re.IGNORECASE,
)


class GitError(Exception):
    """git failed.

    Attributes:
        output: the end of what it said, without secrets.
        transient: trying again may help.
    """

    def __init__(self, arguments: tuple[str, ...], output: str) -> None:
        self.output = output
        self.transient = bool(_TRANSIENT.search(output)) and not _FINAL.search(output)
        super().__init__(last_word(output) or f"git {arguments[0]} failed")


def last_word(output: str) -> str:
    """The line of git's output that says what is wrong, without its prefix."""
    lines = [x.strip() for x in re.split(r"[\r\n]+", output) if x.strip()]
    told = [x for x in lines if x.startswith(("fatal:", "error:"))]
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
        """`show` gets every line of progress, without secrets."""
        self._redact = redact or Redactor()
        self._show = show
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

    def __call__(self, *arguments: str, cwd: Path | None = None) -> str:
        """What git prints on stdout.

        Raises:
            GitError: it failed.
        """
        process = subprocess.Popen(
            ["git", *arguments],
            cwd=cwd,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        assert process.stdout is not None
        assert process.stderr is not None
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        reader = threading.Thread(target=self._follow, args=(process.stderr, tail), daemon=True)
        reader.start()
        with process.stdout:
            out = process.stdout.read()
        reader.join()
        if process.wait():
            raise GitError(arguments, "\n".join(tail))
        return out.strip()

    def _follow(self, stream: IO[str], tail: deque[str]) -> None:
        with stream:
            for line in stream:
                text = self._redact(line.rstrip("\n"))
                tail.append(text)
                if self._show is not None:
                    self._show(text)


def say(text: str) -> None:
    """A line of the container's log."""
    print(text, flush=True, file=sys.stdout)
