"""A run as it goes: a moving table on a terminal, a line for each change in a pipe."""

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hack.demo import console

FINAL = ("Succeeded", "Failed")
_STYLES = {"Pending": "dim", "Running": "yellow", "Succeeded": "green", "Failed": "red"}
_BAR = 48


class _View(Protocol):
    def __call__(self, run: dict[str, Any]) -> None: ...


async def follow(states: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    """Show a run until it has ended; its last state."""
    run: dict[str, Any] = {}
    with _view() as show:
        async for run in states:
            show(run)
            if run.get("status", {}).get("phase") in FINAL:
                break
    return run


def subject(task: dict[str, Any]) -> str:
    """What a task works on: its repositories, else its files."""
    contexts = task.get("contexts") or []
    repositories = [f"{r['org']}/{r['repo']}" for x in contexts if (r := x.get("repository"))]
    return ", ".join(repositories or [x["file"]["name"] for x in contexts if x.get("file")])


@contextlib.contextmanager
def _view() -> Iterator[_View]:
    if not console.live:
        yield _Lines()
        return
    with Live(console=console.console, refresh_per_second=12, transient=False) as picture:
        yield lambda run: picture.update(_table(run))


class _Lines:
    """Prints what changed since the last state."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._seen: dict[int, tuple[str, str]] = {}

    def __call__(self, run: dict[str, Any]) -> None:
        status = run.get("status", {})
        for task in status.get("tasks") or []:
            state = (task["status"], task.get("reason", ""))
            if self._seen.get(task["index"]) != state:
                self._seen[task["index"]] = state
                seconds = time.monotonic() - self._started
                done = status.get("done", "")
                console.output(
                    f"  {seconds:5.1f} s  {done:>5}  {subject(task):24} {' '.join(state)}"
                )


def _table(run: dict[str, Any]) -> Group:
    status = run.get("status", {})
    progress = status.get("progress", {})
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("TASK", "REPOSITORY", "STATUS", "REASON", "MESSAGE"):
        table.add_column(column, no_wrap=True, overflow="ellipsis")
    for task in status.get("tasks") or []:
        style = _STYLES.get(task["status"], "default")
        table.add_row(
            str(task["index"]),
            subject(task),
            Text(task["status"], style=style),
            task.get("reason", ""),
            Text(task.get("message", ""), style="dim"),
        )
    ended = progress.get("completed", 0) + progress.get("failed", 0)
    bar = ProgressBar(total=max(progress.get("total", 0), 1), completed=ended, width=_BAR)
    phase = Text(f"  {status.get('phase', '')}  {status.get('done', '')}", style="bold")
    head = Table.grid()
    head.add_row(Text("  "), bar, phase)
    return Group(head, table)
