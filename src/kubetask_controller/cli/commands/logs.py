"""``logs``: prints the logs of a run's tasks, once or continuously."""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Phase, Reason
from kubetask_controller.api.indexes import format_indexes, parse_indexes
from kubetask_controller.cli.arguments import whole_number
from kubetask_controller.cli.exits import CliError, Exit, UsageError
from kubetask_controller.cli.follow import LISTED, changes
from kubetask_controller.cli.logs.follower import LogFollower
from kubetask_controller.cli.logs.output import LogOutput
from kubetask_controller.cli.logs.pods import TaskPod, newest_pods, selector, task_pod
from kubetask_controller.cli.logs.stream import LogOptions, log_lines
from kubetask_controller.cli.runview import BatchRunView, TaskRow, run_view, task_view
from kubetask_controller.cli.session import TASK_RESOURCE, Session, Target
from kubetask_controller.cli.targets import Targets
from kubetask_controller.cli.terminal import Terminal, clean
from kubetask_controller.client import ClientError
from kubetask_controller.client.resources import PODS
from kubetask_controller.types import JSON

_RAN = (
    Reason.AGENT_ERROR,
    Reason.OOM_KILLED,
    Reason.TIMED_OUT,
    *c.AGENT_REASONS,
)
"""Reasons of tasks whose agent has run, so that a log existed."""


class Logs:
    """Print logs."""

    name = "logs"
    help = "print the logs of a run's tasks"
    description = """\
Print the logs of a run's tasks, task by task, or with -f as they are written.

With -f, it waits for Pods that have not started and ends with the run; the exit code is 1 if one of
the tasks has failed. Lines start with the task's index if there is more than one task.

  kubectl kubetask logs nightly-7xk2p
  kubectl kubetask logs nightly-7xk2p 3 7-9 -f
  kubectl kubetask logs nightly-7xk2p --failed --tail 20
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the tasks, and the amount of output."""
        parser.add_argument("run", metavar="RUN", help="a BatchRun, or task/NAME")
        parser.add_argument(
            "indexes", nargs="*", metavar="TASK-INDEX", help="tasks such as 3 or 7-9; default: all"
        )
        parser.add_argument(
            "-f", "--follow", action="store_true", help="follow the logs until the run ends"
        )
        parser.add_argument("--failed", action="store_true", help="only failed tasks")
        parser.add_argument(
            "--prefix",
            action=argparse.BooleanOptionalAction,
            help="start each line with its task; default: if there is more than one",
        )
        parser.add_argument(
            "--tail", type=whole_number, metavar="N", help="the last N lines of each"
        )
        parser.add_argument(
            "-c",
            "--container",
            default=c.CONTAINER_AGENT,
            help=f"{c.CONTAINER_AGENT} or {c.CONTAINER_WORKSPACE}; default: {c.CONTAINER_AGENT}",
        )

    async def execute(
        self, session: Session, options: argparse.Namespace, terminal: Terminal
    ) -> Exit:
        """Print logs; returns 4 if there is no log, and with -f 1 if a task has failed."""
        target = Target.parse(options.run)
        request = _Request(session, target, options, Targets(session))
        view = await request.view(await session.get(target))
        request.choose(view)
        output = LogOutput(terminal, request.prefixes if request.prefixed(view) else None)
        log = LogOptions(options.container, options.tail, options.follow)
        if options.follow:
            follower = LogFollower(session, target, output, log)
            view = await request.view(await follower.follow(request.wanted))
            read, problems = set(follower.read), follower.problems
        else:
            read, problems = await _print(request, view, output, log)
        rows = request.rows(view)
        for line in missing(rows, read, problems):
            terminal.note(line)
        if options.failed and not rows:
            terminal.note(f"{target}: no task has failed")
        elif rows and not read:
            raise CliError(f"{target} has no log", Exit.NOT_FOUND)
        lost = options.follow and any(row.phase == Phase.FAILED for row in rows)
        return Exit.FAILED if problems or lost else Exit.OK


class _Request:
    """The selected tasks."""

    def __init__(
        self, session: Session, target: Target, options: argparse.Namespace, targets: Targets
    ) -> None:
        self.session = session
        self.target = target
        self.prefixes: dict[int, str] = {}
        self._options = options
        self._targets = targets
        self._chosen: set[int] | None = None

    def choose(self, view: BatchRunView) -> None:
        """Set the indexes from the command line.

        Raises:
            UsageError: an index is not valid for this run.
        """
        text = ",".join(self._options.indexes)
        try:
            chosen = parse_indexes(text, limit=view.counts["total"] or None)
        except ValueError as error:
            raise UsageError(f"{self.target}: {error}") from error
        self._chosen = chosen or None

    async def view(self, found: JSON) -> BatchRunView:
        """The view of the run, or of the Task as a run of one task."""
        view = self._view(found, await self._targets.of(found))
        self.prefixes |= {row.index: row.target for row in view.rows}
        return view

    def prefixed(self, view: BatchRunView) -> bool:
        """Whether lines start with their task."""
        if self._options.prefix is not None:
            return bool(self._options.prefix)
        # A new run has no rows yet, and probably many tasks.
        return len(self._chosen if self._chosen is not None else view.rows) != 1

    def rows(self, view: BatchRunView) -> list[TaskRow]:
        """The selected tasks."""
        return [
            row
            for row in view.rows
            if (self._chosen is None or row.index in self._chosen)
            and (not self._options.failed or row.phase == Phase.FAILED)
        ]

    def wanted(self, found: JSON) -> set[int] | None:
        """The indexes of `rows` in this state of the run; None for all."""
        view = self._view(found)
        self.prefixes |= {row.index: row.target for row in view.rows if row.target}
        return {x.index for x in self.rows(view)} if self._options.failed else self._chosen

    def _view(self, found: JSON, targets: Mapping[int, str] | None = None) -> BatchRunView:
        return (
            task_view(found) if self.target.resource is TASK_RESOURCE else run_view(found, targets)
        )


async def _print(
    request: _Request, view: BatchRunView, output: LogOutput, log: LogOptions
) -> tuple[set[int], dict[int, str]]:
    """Print logs by index; returns the indexes that were read, and the errors of others."""
    pods = await _pods(request, view, log.container)
    read: set[int] = set()
    problems: dict[int, str] = {}
    for row in request.rows(view):
        pod = pods.get(row.index)
        if pod is None or not pod.began:
            continue
        read.add(row.index)
        try:
            async with aclosing(log_lines(request.session, pod.name, log)) as found:
                async for line in found:
                    output.write(row.index, line)
        except ClientError as error:
            problems[row.index] = str(error)
        output.flush()
    return read, problems


async def _pods(request: _Request, view: BatchRunView, container: str) -> dict[int, TaskPod]:
    parameters = selector(request.target, str(view.status.get("jobName") or ""))
    found = []
    with request.session.explained(request.target):
        async with aclosing(changes(request.session, PODS, parameters)) as events:
            async for kind, pod in events:
                if kind == LISTED:
                    break
                view_of_pod = task_pod(pod, request.target, container)
                if view_of_pod is not None:
                    found.append(view_of_pod)
    return newest_pods(found)


def missing(
    rows: Sequence[TaskRow], read: Iterable[int], problems: Mapping[int, str]
) -> Iterator[str]:
    """Why tasks have no log: one line for each cause."""
    read = set(read)
    why: dict[str, list[int]] = {}
    for row in rows:
        if row.index in problems:
            why.setdefault(clean(problems[row.index]), []).append(row.index)
        elif row.index not in read:
            why.setdefault(_why(row), []).append(row.index)
    for text, indexes in why.items():
        yield f"task {format_indexes(indexes)}: no log: {text}"


def _why(row: TaskRow) -> str:
    if not row.ended:
        return clean(f"has not started ({row.reason})" if row.reason else "has not started")
    if row.phase == Phase.FAILED and row.reason not in _RAN:
        return clean(f"{row.reason}: {row.message}".strip(": "))
    return "its Pod was deleted"
