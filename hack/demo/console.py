"""What the demo says, on a terminal and in a pipe."""

import os
import sys

from rich.console import Console
from rich.rule import Rule
from rich.syntax import Syntax
from rich.text import Text

console = Console(highlight=False, soft_wrap=True)
live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
"""Whether pictures may move; otherwise each change is a line."""


def scene(title: str) -> None:
    """Begin a scene."""
    console.print()
    console.print(Rule(title, align="left", style="cyan"))


def step(text: str, *, seconds: float | None = None) -> None:
    """Something was done."""
    line = Text("  ✓ ", style="green") + Text(text, style="default")
    if seconds is not None:
        line += Text(f"  {seconds:.1f} s", style="dim")
    console.print(line)


def command(text: str) -> None:
    """A command that is about to run, as a person would type it."""
    console.print(Text("$ ", style="bold cyan") + Text(text, style="bold"))


def output(text: str) -> None:
    """What a command printed."""
    console.print(Text(text.rstrip("\n")))


def diff(text: str) -> None:
    """A diff, in its colours."""
    console.print(Syntax(text.rstrip("\n"), "diff", theme="ansi_dark", background_color="default"))
