"""Follows a run until it ends: a live view on a terminal, a line for each change in a pipe."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from itertools import islice

from rich.console import Group as Lines
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kubetask_controller.cli.exits import CliError, Exit
from kubetask_controller.cli.follow import states
from kubetask_controller.cli.runview import BatchRunView, run_view
from kubetask_controller.cli.session import Session, Target
from kubetask_controller.cli.targets import Targets
from kubetask_controller.cli.terminal import PHASE_STYLES, Terminal, clean
from kubetask_controller.cli.times import elapsed, human
from kubetask_controller.cli.tree import ORDER, render_tree

BAR = 40
MANY = 200
"""Number of tasks above which only failures and counts get a line in a pipe."""
COUNT_PERIOD = 5.0
"""Seconds between two lines with counts of a large run."""
_MARGIN = 6
"""Lines of the terminal that the live view does not use."""

Show = Callable[[BatchRunView], None]


async def follow(
    session: Session,
    target: Target,
    terminal: Terminal,
    *,
    timeout: float | None = None,
    error: bool = False,
) -> BatchRunView:
    """Show a BatchRun until it has ended; returns its last state.

    Args:
        session: the cluster.
        target: the run.
        terminal: the output.
        timeout: timeout in seconds.
        error: whether to use standard error, because standard output contains the result.

    Raises:
        CliError: it does not exist or was deleted, the server rejected a request, or the timeout expired.
    """
    targets = Targets(session)
    try:
        async with asyncio.timeout(timeout):
            with _view(terminal, error=error) as show:
                async with aclosing(states(session, target)) as found:
                    async for run in found:
                        view = run_view(run, await targets.of(run))
                        show(view)
                        if view.ended:
                            return view
    except TimeoutError as late:
        raise CliError(f"{target} has not ended in {timeout:g} s", Exit.TIMEOUT) from late
    raise AssertionError("states() ends with an exception alone")


def ending(view: BatchRunView) -> Text:
    """The end of a run in one line."""
    taken = human(elapsed(view.status.get("startTime"), view.status.get("completionTime"), _now()))
    line = Text(f"batchrun/{view.name} ").append(view.phase, style=PHASE_STYLES[view.phase])
    return line.append(f": {clean(view.message)}").append(f" ({taken})" if taken else "")


@contextlib.contextmanager
def _view(terminal: Terminal, *, error: bool) -> Iterator[Show]:
    console = terminal.console(error=error)
    if not terminal.moving(error=error):
        yield ChangeLines(console.print)
        return
    picture = _Picture(lambda: console.height - _MARGIN)
    with Live(get_renderable=picture.draw, console=console, refresh_per_second=4) as live:
        yield picture.show
        live.refresh()


class ChangeLines:
    """Prints the changes since the last state.

    For a large run, it prints failures, and counts every few seconds.
    """

    def __init__(self, output: Callable[[Text], None]) -> None:
        self._output = output
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        self._seen: dict[int, tuple[str, str]] = {}
        self._head = ("", "")
        self._counts = ""
        self._counted = -COUNT_PERIOD

    def __call__(self, view: BatchRunView) -> None:
        """Print the changes in `view`."""
        few = len(view.rows) <= MANY
        for row in view.rows:
            state = (row.phase, row.reason)
            if self._seen.get(row.index) == state:
                continue
            self._seen[row.index] = state
            if few or row.phase == "Failed":
                what = (
                    f"task {row.index}  {clean(row.target)}" if row.target else f"task {row.index}"
                )
                message = f": {clean(row.message)}" if row.phase == "Failed" and row.message else ""
                self._line(view, f"{what}  {row.phase} {clean(row.reason)}".rstrip() + message)
        head = (view.phase, view.reason)
        if head != self._head and not view.ended:
            self._head = head
            message = clean(view.message) or "not yet processed by a controller"
            self._line(view, f"{view.phase} {clean(view.reason)}: {message}".strip(" :"))
        if not few:
            self._count(view)
        if view.ended:
            self._output(ending(view))

    def _count(self, view: BatchRunView) -> None:
        counts = ", ".join(f"{view.counts[x]} {x}" for x in ("running", "pending", "failed"))
        late = self._clock() - self._counted >= COUNT_PERIOD
        if counts != self._counts and late and not view.ended:
            self._counts, self._counted = counts, self._clock()
            self._line(view, counts)

    def _line(self, view: BatchRunView, text: str) -> None:
        self._output(Text(f"{self._clock() - self._began:7.1f}s  {view.done:>5}  {text}"))


class _Picture:
    """The latest state of a run, rendered to fit the terminal."""

    def __init__(self, height: Callable[[], int]) -> None:
        self._height = height
        self._view: BatchRunView | None = None

    def show(self, view: BatchRunView) -> None:
        """Set the state to render."""
        self._view = view

    def draw(self) -> Lines:
        """Render the state; durations change without a new state."""
        view = self._view
        if view is None:
            return Lines(Text("…", style="dim"))
        lines = list(islice(render_tree(view, now=_now()), max(self._height(), 5)))
        total = len(lines)
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
        if total >= max(self._height(), 5):
            lines[-1] = Text("…", style="dim")
        return Lines(_bar(view), *lines)


def _bar(view: BatchRunView) -> Table:
    counts = view.counts
    ended = counts["completed"] + counts["failed"]
    bar = ProgressBar(total=max(counts["total"], 1), completed=ended, width=BAR)
    head = Table.grid(padding=(0, 1))
    numbers = Text(" ").join(
        Text(f"{sum(1 for x in view.rows if x.phase == phase)} {phase.lower()}", style=style)
        for phase, style in PHASE_STYLES.items()
        if phase in ORDER and any(x.phase == phase for x in view.rows)
    )
    head.add_row(bar, numbers)
    return head


def _now() -> datetime:
    return datetime.now(UTC)
