"""``results``: prints the results of a run's tasks as a table, JSON or CSV."""

import argparse
import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from pydantic_core import to_json

from kubetask_controller.api.text import clean_text, escaped_json
from kubetask_controller.cli.arguments import add_output
from kubetask_controller.cli.exits import Exit, UsageError
from kubetask_controller.cli.podresults import results_from_pods
from kubetask_controller.cli.runview import BatchRunView, TaskRow, run_view
from kubetask_controller.cli.session import BATCH_RUN_RESOURCE, Session, Target
from kubetask_controller.cli.targets import Targets
from kubetask_controller.cli.terminal import Terminal, clean
from kubetask_controller.cli.times import elapsed
from kubetask_controller.types import JSON

CSV_COLUMNS = (
    "index",
    "target",
    "status",
    "reason",
    "outcome",
    "pullRequest",
    "branch",
    "commits",
    "inputTokens",
    "outputTokens",
    "costUSD",
    "startTime",
    "completionTime",
    "seconds",
    "jobName",
    "message",
    "summary",
)
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "|", "%")
"""Characters that start a formula or a call in a spreadsheet, including full-width forms."""


class Results:
    """Collect results."""

    name = "results"
    help = "print the results of a run: pull requests, summaries, cost"
    description = """\
Print the results of a run: pull requests, branches, summaries, tokens and cost, with a row for each
task, whether or not it has ended.

In CSV, cells that a spreadsheet would evaluate as a formula start with an apostrophe, because agents
write their content.

  kubectl kubetask results nightly-7xk2p
  kubectl kubetask results nightly-7xk2p -o csv > nightly.csv
  kubectl kubetask results nightly-7xk2p -o json | jq -r '.[].result.pullRequest // empty'
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the run, and the output format."""
        parser.add_argument("run", metavar="RUN", help="the BatchRun")
        add_output(parser)

    async def execute(
        self, session: Session, options: argparse.Namespace, terminal: Terminal
    ) -> Exit:
        """Print the results."""
        target = Target.parse(options.run)
        if target.resource is not BATCH_RUN_RESOURCE:
            raise UsageError(f"{target}: only a BatchRun has results; a Task has status.result")
        run = await session.get(target)
        view = run_view(run, await Targets(session).of(run))
        rows, missing = await results_from_pods(session, target, view)
        if missing:
            terminal.note(missing)
        if options.output == "json":
            text = to_json([as_json(x) for x in rows], indent=2).decode()
            terminal.stdout.write(escaped_json(text) + "\n")
        elif options.output == "csv":
            terminal.stdout.write(as_csv(rows))
        else:
            _table(view, rows, terminal)
        return Exit.OK


def as_json(row: TaskRow) -> JSON:
    """A task with its whole result, including additional fields of the agent."""
    known = {
        "index": row.index,
        "target": row.target,
        "status": row.phase,
        "reason": row.reason,
        "message": row.message,
    }
    times = {k: row.entry[k] for k in ("jobName", "startTime", "completionTime") if k in row.entry}
    return known | times | {"result": row.result or None}


def as_csv(rows: Iterable[TaskRow]) -> str:
    """All tasks, with a header; RFC 4180 except for line endings, which are those of the system.

    Every cell is quoted, because some spreadsheets split cells at a semicolon or a carriage return.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(CSV_COLUMNS)
    for row in rows:
        cells = _cells(row)
        writer.writerow([spreadsheet_safe(cells[column]) for column in CSV_COLUMNS])
    return text.getvalue()


def total_cost(rows: Iterable[TaskRow]) -> Decimal | None:
    """Sum of the reported costs in US dollars; None if no agent reported one."""
    costs = [x for row in rows if (x := _cost(row)) is not None]
    return sum(costs, Decimal(0)) if costs else None


def _cells(row: TaskRow) -> dict[str, str]:
    result = row.result
    usage = result.get("usage") if isinstance(result.get("usage"), dict) else {}
    commits = result.get("commits")
    seconds = elapsed(
        row.entry.get("startTime"), row.entry.get("completionTime"), datetime.now(UTC)
    )
    cells: dict[str, object] = {
        "index": row.index,
        "target": row.target,
        "status": row.phase,
        "reason": row.reason,
        "message": row.message,
        "commits": " ".join(map(str, commits)) if isinstance(commits, list) else commits,
        "seconds": f"{seconds:.0f}" if seconds is not None and row.ended else None,
    }
    cells |= {key: (usage or {}).get(key) for key in ("inputTokens", "outputTokens", "costUSD")}
    cells |= {key: result.get(key) for key in ("outcome", "pullRequest", "branch", "summary")}
    cells |= {key: row.entry.get(key) for key in ("jobName", "startTime", "completionTime")}
    return {key: "" if value is None else str(value) for key, value in cells.items()}


def spreadsheet_safe(cell: str) -> str:
    """A cell that a spreadsheet does not evaluate: https://owasp.org/www-community/attacks/CSV_Injection."""
    text = clean_text(cell)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def _cost(row: TaskRow) -> Decimal | None:
    usage = row.result.get("usage")
    try:
        cost = Decimal(str(usage["costUSD"])) if isinstance(usage, dict) else None
    except (InvalidOperation, KeyError):
        return None
    return cost if cost is not None and cost.is_finite() else None


def _table(view: BatchRunView, rows: Sequence[TaskRow], terminal: Terminal) -> None:
    columns = ("index", "target", "status", "reason", "outcome", "pullRequest", "costUSD")
    cells = [_cells(row) for row in rows]
    shown = [x for x in columns if x in ("index", "status") or any(row[x] for row in cells)]
    titles = {"pullRequest": "PULL REQUEST", "costUSD": "COST USD"}
    header = [titles.get(x, x.upper()) for x in shown]
    terminal.table(header, ([row[x] for x in shown] for row in cells))
    cost = total_cost(rows)
    if cost is not None:
        terminal.note(f"{clean(view.done)} done, {cost} USD in all")
