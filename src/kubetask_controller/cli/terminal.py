"""Output: colours and live views on a terminal, plain lines in a pipe.

Guarantees: text from objects and agents cannot control the terminal; lines are never truncated or
wrapped in a pipe. NO_COLOR and TERM=dumb are respected.
"""

import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from kubetask_controller.api.text import clean_line, clean_text

_GAP = "   "

PHASE_STYLES = {
    "Pending": "dim",
    "Running": "yellow",
    "Started": "yellow",
    "Succeeded": "green",
    "Failed": "red",
}


def clean(text: object) -> str:
    """Untrusted text as one line without control characters."""
    return clean_line(str(text))


def log_text(line: bytes, limit: int) -> str:
    """A line of a log as text, without control characters except tabs."""
    text = clean_text(line[: 4 * limit].decode(errors="replace")).replace("\n", " ").rstrip()
    return text if len(text) <= limit else f"{text[:limit]}…"


class Terminal:
    """Standard output, error and input of a command."""

    def __init__(
        self,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
        stdin: TextIO | None = None,
    ) -> None:
        self.stdout = stdout or sys.stdout
        self.stderr = stderr or sys.stderr
        self.stdin = stdin or sys.stdin
        self._out = _console(self.stdout)
        self._err = _console(self.stderr)

    def console(self, *, error: bool = False) -> Console:
        """The console of standard output, or of standard error."""
        return self._err if error else self._out

    def moving(self, *, error: bool = False) -> bool:
        """Whether live views are possible there."""
        stream = self.stderr if error else self.stdout
        return stream.isatty() and os.environ.get("TERM") != "dumb"

    def read(self) -> str:
        """Standard input to its end. Ctrl-C interrupts it."""
        with _interruptible():
            return self.stdin.read()

    def read_line(self) -> str:
        """A line of standard input. Ctrl-C interrupts it."""
        with _interruptible():
            return self.stdin.readline()

    def print(self, line: Text | str = "") -> None:
        """Print a line of the result."""
        self._out.print(line)

    def note(self, line: Text | str) -> None:
        """Print a line to standard error."""
        self._err.print(line)

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print columns like kubectl; cells are cleaned."""
        cells = [[clean(x) for x in row] for row in rows]
        widths = [max(map(cell_len, column)) for column in zip(header, *cells, strict=True)]
        for row in [list(header), *cells]:
            padded = (set_cell_size(x, width) for x, width in zip(row, widths, strict=True))
            self.print(Text(_GAP.join(padded).rstrip()))


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt at Ctrl-C: asyncio's handler only cancels a task, which a blocking call prevents."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Console(Console):
    """A console that raises BrokenPipeError instead of exiting."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _console(stream: TextIO) -> Console:
    return _Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)
