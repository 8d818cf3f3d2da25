"""A run as a tree: its tasks by state, failed tasks first.

Many tasks with the same reason and message share one line; failed tasks always have their own line.
Pure functions of the view and the time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from rich.cells import cell_len
from rich.text import Text

from kubetask_controller.api.constants import Phase
from kubetask_controller.api.indexes import format_indexes
from kubetask_controller.cli.costs import costs
from kubetask_controller.cli.runview import STARTED, BatchRunView, TaskRow
from kubetask_controller.cli.terminal import PHASE_STYLES, clean
from kubetask_controller.cli.times import elapsed, human

ORDER = (Phase.FAILED, Phase.RUNNING, STARTED, Phase.PENDING, Phase.SUCCEEDED)
ALIKE = 10
"""Maximum number of tasks with the same reason and message that get their own lines, without --all."""
INDEX_WIDTH = 48
"""Maximum length of index ranges in a line."""


@dataclass(frozen=True, slots=True)
class Glyphs:
    """Characters for branches."""

    fork: str = "├─ "
    last: str = "└─ "
    through: str = "│  "
    space: str = "   "


DRAWN = Glyphs()
PLAIN = Glyphs("  ", "  ", "  ", "  ")
"""Indentation alone, for pipes."""


@dataclass(frozen=True, slots=True)
class Group:
    """Tasks in one state, as lines: (indexes, target, rest) cells, already cleaned."""

    phase: str
    count: int
    lines: Sequence[tuple[str, str, Text]]


def run_line(view: BatchRunView, now: datetime) -> Text:
    """The run in one line: name, phase, reason, progress, cost and duration."""
    line = Text(f"batchrun/{view.name}", style="bold")
    if not view.phase:
        return line.append("  not yet processed by a controller", style="dim")
    line.append("  ").append(view.phase, style=PHASE_STYLES.get(view.phase, ""))
    for part in (view.reason, f"{view.done} done"):
        line.append(f"  {clean(part)}")
    if view.counts["failed"]:
        line.append(f"  {view.counts['failed']} failed", style=PHASE_STYLES["Failed"])
    if bill := costs(view).text():
        line.append(f"  {bill}")
    taken = elapsed(view.status.get("startTime"), view.status.get("completionTime"), now)
    return line.append(f"  {human(taken)}" if taken is not None else "", style="dim")


def render_tree(
    view: BatchRunView, *, now: datetime, glyphs: Glyphs = DRAWN, everything: bool = False
) -> Iterator[Text]:
    """The lines of the tree; the first line is that of `run_line`."""
    yield run_line(view, now)
    if view.message:
        yield Text(f"{glyphs.through if view.rows else glyphs.space}{clean(view.message)}", "dim")
    groups = list(group(view, now=now, everything=everything))
    for number, each in enumerate(groups):
        final = number == len(groups) - 1
        title = Text(glyphs.last if final else glyphs.fork)
        title.append(f"{each.phase} ({each.count})", style=PHASE_STYLES.get(each.phase, ""))
        yield title
        stem = glyphs.space if final else glyphs.through
        yield from _branches(each, stem, glyphs)


def group(view: BatchRunView, *, now: datetime, everything: bool = False) -> Iterator[Group]:
    """The tasks by state, in ORDER."""
    for phase in ORDER:
        rows = [x for x in view.rows if x.phase == phase]
        if rows:
            split = everything or phase == Phase.FAILED
            lines = [_cells(x, now) for x in _parts(rows, split=split)]
            yield Group(phase, len(rows), lines)


def _branches(group: Group, stem: str, glyphs: Glyphs) -> Iterator[Text]:
    first = max(len(x[0]) for x in group.lines)
    second = min(max(cell_len(x[1]) for x in group.lines), 60)
    for number, (indexes, target, rest) in enumerate(group.lines):
        twig = glyphs.last if number == len(group.lines) - 1 else glyphs.fork
        line = Text(f"{stem}{twig}{indexes.ljust(first)}")
        if second:
            line.append(f"  {target}{' ' * (second - cell_len(target))}")
        if rest:
            line.append("  ").append(rest)
        line.rstrip()
        yield line


def _parts(rows: Sequence[TaskRow], *, split: bool) -> Iterator[Sequence[TaskRow]]:
    """Groups of tasks for one line each, sorted by their first index."""
    if split:
        yield from ([x] for x in rows)
        return
    alike: list[Sequence[TaskRow]] = []
    for _, found in groupby(sorted(rows, key=_status_key), key=_status_key):
        same = list(found)
        alike += [same] if len(same) > ALIKE else [[x] for x in same]
    yield from sorted(alike, key=lambda part: part[0].index)


def _status_key(row: TaskRow) -> tuple[str, str]:
    """Key for grouping: reason and message, without messages that are specific to a task."""
    job = str(row.entry.get("jobName") or "")
    own = row.phase == Phase.SUCCEEDED or (job and job in row.message)
    return row.reason, "" if own else row.message


def _cells(rows: Sequence[TaskRow], now: datetime) -> tuple[str, str, Text]:
    row = rows[0]
    indexes = format_indexes(x.index for x in rows)
    if len(indexes) > INDEX_WIDTH:
        indexes = indexes[: INDEX_WIDTH - 1].rpartition(",")[0] + ",…"
    rest = [Text(clean(row.reason), style=PHASE_STYLES.get(row.phase, ""))]
    if len(rows) > 1:
        rest.append(Text(f"{len(rows)} tasks"))
    else:
        taken = elapsed(row.entry.get("startTime"), row.entry.get("completionTime"), now)
        rest.append(Text(human(taken), style="dim"))
    message = _status_key(row)[1] if len(rows) > 1 else _pull_request(row) or row.message
    rest.append(Text(clean(message), style="dim"))
    shown = Text("  ").join(x for x in rest if x)
    return indexes, clean(row.target) if len(rows) == 1 else "", shown


def _pull_request(row: TaskRow) -> str:
    """The pull request of a task that succeeded."""
    return str(row.result.get("pullRequest") or "") if row.phase == Phase.SUCCEEDED else ""
