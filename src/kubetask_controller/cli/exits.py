"""How a command ends: its exit code, and the one sentence that says why.

The codes are part of the interface: scripts and pipelines match on them, so they are added to and
never changed.
"""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the plugin."""

    OK = 0  # done; where a run was followed, it succeeded
    FAILED = 1  # the run failed, or the command could not do what was asked
    USAGE = 2  # the command line or a file it names cannot be understood
    INCOMPLETE = 3  # migrate left something that a person has to look at
    NOT_FOUND = 4  # the object that was named is not there, or vanished meanwhile
    SERVER = 5  # the API server cannot be reached, or refuses
    TIMEOUT = 6  # --timeout passed, and the run goes on
    INTERRUPTED = 130  # Ctrl-C
    BROKEN_PIPE = 141  # whoever read the output went away


EXIT_HELP = """\
exit codes:
  0    done; a run that was followed succeeded
  1    the run failed, or what was asked for could not be done
  2    the command line, or a file it names, is not understood
  3    migrate: something could not be carried over
  4    the object is not there
  5    the API server cannot be reached, or refuses
  6    --timeout passed; the run goes on
  130  Ctrl-C; the run goes on
"""


class CliError(Exception):
    """Ends a command. The message is one sentence that names the object it is about."""

    def __init__(self, message: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.code = code


class UsageError(CliError):
    """The command line, or a file it names, is not understood."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.USAGE)
