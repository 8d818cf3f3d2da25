"""Exit codes and errors of commands.

The codes are part of the interface, because scripts and pipelines match on them: new ones may be
added, existing ones never change.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the plugin."""

    OK = 0  # done; a run that was followed succeeded
    FAILED = 1  # the run or the command failed
    USAGE = 2  # the command line, or a file of it, is not valid
    INCOMPLETE = 3  # migrate could not convert everything
    NOT_FOUND = 4  # the object does not exist, or was deleted
    SERVER = 5  # the API server is unavailable, or rejected the request
    TIMEOUT = 6  # --timeout expired; the run continues
    INTERRUPTED = 130  # Ctrl-C
    BROKEN_PIPE = 141  # the reader of the output closed the pipe


EXIT_HELP = """\
exit codes:
  0    done; a run that was followed succeeded
  1    the run or the command failed
  2    the command line, or a file of it, is not valid
  3    migrate: not everything was converted
  4    the object does not exist
  5    the API server is unavailable, or rejected the request
  6    --timeout expired; the run continues
  130  Ctrl-C; the run continues
"""


class CliError(Exception):
    """Ends a command. The message names the object."""

    def __init__(self, message: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.code = code


class UsageError(CliError):
    """The command line, or a file of it, is not valid."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.USAGE)


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise the first exception of a TaskGroup instead of the group."""
    try:
        yield
    except BaseExceptionGroup as errors:
        first: BaseException = errors
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from errors
