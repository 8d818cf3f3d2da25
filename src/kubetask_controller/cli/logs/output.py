"""Lines of many tasks on one output, each whole, with the task it belongs to before it.

In a pipe they are what the agent wrote, byte for byte. On a terminal they have no escape sequences and no other characters
that move its cursor, change its colours or reorder what is read.
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

    A last line that a connection cut off is ended all the same, because another task's follows.
    """

    def __init__(self, terminal: Terminal, prefixes: Mapping[int, str] | None) -> None:
        """`prefixes`: by index; None for none."""
        self._terminal = terminal
        self._prefixes = prefixes
        self._binary: BinaryIO | None = getattr(terminal.stdout, "buffer", None)
        self._person = terminal.stdout.isatty()
        self._colour = terminal.console().color_system is not None
        self._made: dict[int, bytes] = {}

    def write(self, index: int, line: bytes) -> None:
        """A line of a task."""
        if self._person:
            # A carriage return would let the rest of the line replace its start.
            line = clean_text(line.decode(errors="replace")).replace("\n", " ").rstrip().encode()
        data = self._prefix(index) + line + b"\n"
        if self._binary is not None:
            self._binary.write(data)
        else:
            self._terminal.stdout.write(data.decode(errors="replace"))

    def flush(self) -> None:
        """What was written is there for its reader."""
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
