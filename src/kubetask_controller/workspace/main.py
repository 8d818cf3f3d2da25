"""The console script ``kubetask-workspace``."""

import argparse
import contextlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from kubetask_controller.api.constants import Reason
from kubetask_controller.version import __version__
from kubetask_controller.workspace.credentials import make_app_token
from kubetask_controller.workspace.errors import PreparationError
from kubetask_controller.workspace.prepare import prepare
from kubetask_controller.workspace.termination import write_termination_message


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. Exits with 0, or with 1 and the reason in the termination message."""
    parser = argparse.ArgumentParser(
        prog="kubetask-workspace", description="Prepares the files and repositories of a task."
    )
    parser.add_argument("--version", action="version", version=f"kubetask {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare", help="prepare the task that KUBETASK_TASK_SPEC describes")
    token = commands.add_parser("app-token", help="print a token of a GitHub App for git")
    token.add_argument("folder", type=Path, help="folder of the App's key")
    token.add_argument("cache", type=Path, help="file that caches the token")
    token.add_argument("api", help="URL of the host's API; empty for that of the repository's host")
    token.add_argument("url", help="URL of a repository")
    token.add_argument("names", nargs="+", help="repositories as org/repo")
    options = parser.parse_args(arguments)
    if options.command == "app-token":
        _print_token(options)
        return
    # The kernel does not deliver a signal to process 1 that has no handler.
    signal.signal(signal.SIGTERM, _end)
    try:
        prepare()
    except PreparationError as error:
        _fail(error.reason, str(error))
    except OSError as error:
        _fail(Reason.WORKSPACE_ERROR, str(error))


def _print_token(options: argparse.Namespace) -> None:
    try:
        until, made = make_app_token(options.folder, options.api, options.url, options.names)
    except ValueError as error:
        sys.exit(str(error))
    with contextlib.suppress(OSError):
        options.cache.write_text(f"{int(until)}\n{made}\n")
    print(made)


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _fail(reason: Reason, message: str) -> None:
    print(f"{reason.value}: {message}", file=sys.stderr, flush=True)
    write_termination_message({"reason": reason.value, "message": message})
    sys.exit(1)
