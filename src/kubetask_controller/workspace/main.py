"""The console script ``kubetask-workspace``."""

import argparse
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from kubetask_controller.api.constants import Reason
from kubetask_controller.version import __version__
from kubetask_controller.workspace.errors import PreparationError
from kubetask_controller.workspace.prepare import prepare
from kubetask_controller.workspace.termination import leave


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; exits with 0, or with 1 and the reason in the termination message."""
    parser = argparse.ArgumentParser(
        prog="kubetask-workspace", description="Prepares the files and repositories of a task."
    )
    parser.add_argument("--version", action="version", version=f"kubetask {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare", help="prepare the task that KUBETASK_TASK_SPEC describes")
    parser.parse_args(arguments)
    # The first process of a container is not ended by a signal that it does not handle.
    signal.signal(signal.SIGTERM, _end)
    try:
        prepare()
    except PreparationError as error:
        _fail(error.reason, str(error))
    except OSError as error:
        _fail(Reason.WORKSPACE_ERROR, str(error))


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _fail(reason: Reason, message: str) -> None:
    print(f"{reason.value}: {message}", file=sys.stderr, flush=True)
    leave({"reason": reason.value, "message": message})
    sys.exit(1)
