"""The plugin: from the command line to the exit code. Ctrl-C stops it immediately and does not change the cluster."""

import asyncio
import os
import sys
from argparse import Namespace
from collections.abc import Sequence

from rich.text import Text

from kubetask_controller.cli.arguments import ClusterCommand, parse_arguments
from kubetask_controller.cli.commands.discover import Discover
from kubetask_controller.cli.commands.lifecycle import Cancel, Promote, Resume, Suspend
from kubetask_controller.cli.commands.logs import Logs
from kubetask_controller.cli.commands.migrate import Migrate
from kubetask_controller.cli.commands.prs import Prs
from kubetask_controller.cli.commands.results import Results
from kubetask_controller.cli.commands.retry import Retry
from kubetask_controller.cli.commands.run import Run
from kubetask_controller.cli.commands.schedule import Schedule
from kubetask_controller.cli.commands.status import Status
from kubetask_controller.cli.commands.ui import Ui
from kubetask_controller.cli.exits import CliError, Exit
from kubetask_controller.cli.session import open_session
from kubetask_controller.cli.terminal import Terminal, clean
from kubetask_controller.client import ClientError

COMMANDS: Sequence[ClusterCommand | Migrate | Discover] = (
    Run(),
    Status(),
    Ui(),
    Logs(),
    Results(),
    Prs(),
    Promote(),
    Retry(),
    Cancel(),
    Suspend(),
    Resume(),
    Discover(),
    Schedule(),
    Migrate(),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command, and exit."""
    terminal = Terminal()
    try:
        code = asyncio.run(run_command(sys.argv[1:] if arguments is None else arguments, terminal))
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
    except BrokenPipeError:
        # Discard buffered output; otherwise Python prints an error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Exit.BROKEN_PIPE
    sys.exit(code)


async def run_command(arguments: Sequence[str], terminal: Terminal) -> Exit:
    """Run a command; returns its exit code.

    Raises:
        SystemExit: the command line is not valid (2), or help or the version was requested (0).
    """
    command, options = parse_arguments(arguments, COMMANDS)
    try:
        return await _execute(command, options, terminal)
    except CliError as error:
        _print_error(terminal, error)
        return error.code
    except ClientError as error:
        _print_error(terminal, error)
        return Exit.SERVER


async def _execute(
    command: ClusterCommand | Migrate | Discover, options: Namespace, terminal: Terminal
) -> Exit:
    if isinstance(command, Migrate):
        return command.migrate(options, terminal)
    if isinstance(command, Discover):
        return await command.run(options, terminal)
    async with open_session(
        kubeconfig=options.kubeconfig, context=options.context, namespace=options.namespace
    ) as session:
        return await command.execute(session, options, terminal)


def _print_error(terminal: Terminal, error: Exception) -> None:
    terminal.note(Text("error: ", style="red").append(clean(error)))
