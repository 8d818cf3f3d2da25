"""The command line: the options of kubectl, a command, and the options of the command.

As with kubectl, options may precede or follow the command, or be between its arguments.
"""

import argparse
from collections.abc import Sequence
from typing import Protocol, TypeVar

from kubetask_controller.cli.exits import EXIT_HELP, Exit
from kubetask_controller.cli.session import Session
from kubetask_controller.cli.terminal import Terminal
from kubetask_controller.cli.times import parse_duration
from kubetask_controller.version import __version__

PROG = "kubectl kubetask"


class Command(Protocol):
    """A command of the plugin."""

    name: str
    help: str
    """A description in one line."""
    description: str
    """A description with examples."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own arguments."""


class ClusterCommand(Command, Protocol):
    """A command that needs a cluster."""

    async def execute(
        self, session: Session, options: argparse.Namespace, terminal: Terminal
    ) -> Exit:
        """Run the command; returns the exit code."""


AnyCommand = TypeVar("AnyCommand", bound=Command)


def parse_arguments(
    arguments: Sequence[str], commands: Sequence[AnyCommand]
) -> tuple[AnyCommand, argparse.Namespace]:
    """The command, and its options.

    Raises:
        SystemExit: the command line is not valid (2), or help or the version was requested (0).
    """
    top = _top(commands)
    options = top.parse_args(arguments)
    command = next(x for x in commands if x.name == options.command)
    parser = argparse.ArgumentParser(
        prog=f"{PROG} {command.name}",
        description=command.description,
        epilog=EXIT_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    _add_cluster_options(parser)
    # Intermixed: `logs RUN -f 3` has an option between two positional arguments.
    return command, parser.parse_intermixed_args(options.rest, options)


def _top(commands: Sequence[Command]) -> argparse.ArgumentParser:
    width = max(len(x.name) for x in commands)
    listed = "\n".join(f"  {x.name:{width}}  {x.help}" for x in commands)
    parser = argparse.ArgumentParser(
        prog=PROG,
        usage=f"{PROG} [options] COMMAND …",
        description="Start, watch and control runs of AI coding agents, and collect their results.",
        epilog=f"commands:\n{listed}\n\n{PROG} COMMAND --help shows details.\n\n{EXIT_HELP}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"kubectl-kubetask {__version__}")
    _add_cluster_options(parser, default="")
    names = [x.name for x in commands]
    parser.add_argument("command", choices=names, metavar="COMMAND", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _add_cluster_options(
    parser: argparse.ArgumentParser, *, default: str = argparse.SUPPRESS
) -> None:
    """The default SUPPRESS keeps the options before the command."""
    group = parser.add_argument_group("cluster")
    group.add_argument("--kubeconfig", default=default, metavar="FILE", help="path of a kubeconfig")
    group.add_argument("--context", default=default, metavar="NAME", help="context to use")
    group.add_argument(
        "-n",
        "--namespace",
        default=default,
        metavar="NAME",
        help="namespace; default: that of the context",
    )


def add_timeout(parser: argparse.ArgumentParser) -> None:
    """Add --timeout."""
    parser.add_argument(
        "--timeout",
        type=_duration,
        metavar="DURATION",
        help="maximum time to wait, such as 90s or 1h30m; default: no limit",
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add --output."""
    parser.add_argument(
        "-o",
        "--output",
        choices=("table", "json", "csv"),
        default="table",
        help="default: table",
    )


def whole_number(text: str) -> int:
    """A whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def positive(text: str) -> int:
    """A whole number from 1."""
    value = whole_number(text)
    if not value:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
