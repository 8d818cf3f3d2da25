"""Prints whole lines of several tasks to one output, each with its task as a prefix.

In a pipe, lines are unchanged bytes of the agent. On a terminal, escape sequences and other control characters are removed.
"""

import sys
from collections.abc import Mapping
from typing import BinaryIO

from rich.style import Style

from kubetask_controller.api.text import clean_text
from kubetask_controller.cli.terminal import Terminal, clean

_COLOURS = ("cyan", "magenta", "blue", "yellow", "green", "bright_cyan", "bright_magenta")


class LogOutput:
    """Writes lines.

    An incomplete last line gets a line feed too, because a line of another task follows.
    """

    def __init__(self, terminal: Terminal, prefixes: Mapping[int, str] | None) -> None:
        """`prefixes`: by index; None for none."""
        console = terminal.console()
        self._terminal = terminal
        self._prefixes = prefixes
        self._binary: BinaryIO | None = getattr(terminal.stdout, "buffer", None)
        self._person = terminal.stdout.isatty()
        self._colour = console.color_system is not None and not console.no_color
        self._made: dict[int, bytes] = {}

    def write(self, index: int, line: bytes) -> None:
        """Write a line of a task."""
        if self._person:
            # After a carriage return, the rest of the line would overwrite its start.
            line = clean_text(line.decode(errors="replace")).replace("\n", " ").rstrip().encode()
        data = self._prefix(index) + line + b"\n"
        if self._binary is not None:
            self._binary.write(data)
        else:
            self._terminal.stdout.write(data.decode(errors="replace"))

    def flush(self) -> None:
        """Flush the output."""
        self._terminal.stdout.flush()

    def _prefix(self, index: int) -> bytes:
        if self._prefixes is None:
            return b""
        made = self._made.get(index)
        if made is None:
            text = " ".join(filter(None, (str(index), clean(self._prefixes.get(index, "")))))
            text = f"[{text}]"
            if self._colour:
                text = Style(color=_COLOURS[index % len(_COLOURS)]).render(text)
            made = self._made[index] = f"{text} ".encode(sys.getdefaultencoding(), "replace")
        return made
