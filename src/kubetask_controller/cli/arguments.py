"""The command line: options that kubectl has too, then a command, then the command's own.

Options may stand before and after the command, and between its arguments, as with kubectl.
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
    """What it does, in one line."""
    description: str
    """What it does, with examples."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own arguments."""


class ClusterCommand(Command, Protocol):
    """A command that talks to a cluster."""

    async def execute(
        self, session: Session, options: argparse.Namespace, terminal: Terminal
    ) -> Exit:
        """Do it; the exit code."""


AnyCommand = TypeVar("AnyCommand", bound=Command)


def parse_arguments(
    arguments: Sequence[str], commands: Sequence[AnyCommand]
) -> tuple[AnyCommand, argparse.Namespace]:
    """The command, and its options.

    Raises:
        SystemExit: the line is not understood (2), or asked for help or the version (0).
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
        description="Runs of AI coding agents over repositories: start, watch, steer, collect.",
        epilog=f"commands:\n{listed}\n\n{PROG} COMMAND --help tells more.\n\n{EXIT_HELP}",
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
    """The default SUPPRESS keeps what was given before the command."""
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
    """--timeout, for what waits for an end."""
    parser.add_argument(
        "--timeout",
        type=_duration,
        metavar="DURATION",
        help="give up waiting after this, such as 90s or 1h30m; default: never",
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
