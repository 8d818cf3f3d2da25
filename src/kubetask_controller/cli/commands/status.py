"""``status``: shows a run as a tree of its tasks, once or until it ends."""

import argparse
from datetime import UTC, datetime

from rich.text import Text

from kubetask_controller.api.constants import Phase
from kubetask_controller.cli.arguments import add_timeout
from kubetask_controller.cli.exits import Exit
from kubetask_controller.cli.explain import Finding, findings
from kubetask_controller.cli.follow import follow_task
from kubetask_controller.cli.progress import follow
from kubetask_controller.cli.runview import run_view, target_of
from kubetask_controller.cli.session import TASK_RESOURCE, Session, Target
from kubetask_controller.cli.targets import Targets
from kubetask_controller.cli.terminal import PHASE_STYLES, Terminal, clean
from kubetask_controller.cli.times import elapsed, human
from kubetask_controller.cli.tree import DRAWN, PLAIN, render_tree
from kubetask_controller.types import JSON


class Status:
    """Show the state of a run."""

    name = "status"
    help = "show the tasks of a run by state, with reasons and messages"
    description = """\
Show the tasks of a run by state, with reasons and messages.

The exit code is 1 for a run that has failed. With -w, it waits for the end.

  kubectl kubetask status nightly-7xk2p
  kubectl kubetask status nightly-7xk2p -w --timeout 2h
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the run, and the output options."""
        parser.add_argument("run", metavar="RUN", help="a BatchRun, or task/NAME")
        parser.add_argument("-w", "--watch", action="store_true", help="follow it until it ends")
        parser.add_argument(
            "-a",
            "--all",
            action="store_true",
            help="a line for each task, including tasks with the same reason and message",
        )
        add_timeout(parser)

    async def execute(
        self, session: Session, options: argparse.Namespace, terminal: Terminal
    ) -> Exit:
        """Print the tree; returns 1 if the run has failed."""
        target = Target.parse(options.run)
        if target.resource is TASK_RESOURCE:
            return await _task(session, target, options, terminal)
        if options.watch:
            view = await follow(session, target, terminal, timeout=options.timeout)
        else:
            run = await session.get(target)
            view = run_view(run, await Targets(session).of(run))
            glyphs = DRAWN if terminal.moving() else PLAIN
            lines = render_tree(view, now=datetime.now(UTC), glyphs=glyphs, everything=options.all)
            for line in lines:
                terminal.print(line)
            for each in findings(run, view, datetime.now(UTC)):
                if each.level == "act" and each.todo:
                    terminal.note(_advice(each))
        return Exit.FAILED if view.phase == Phase.FAILED else Exit.OK


def _advice(finding: Finding) -> Text:
    line = Text("→ ", style="bold").append(f"{finding.title} {finding.todo}")
    return line.append(f"\n  {finding.command}", style="dim") if finding.command else line


async def _task(
    session: Session, target: Target, options: argparse.Namespace, terminal: Terminal
) -> Exit:
    if options.watch:
        task = await follow_task(
            session, target, lambda x: terminal.print(task_line(x)), timeout=options.timeout
        )
    else:
        task = await session.get(target)
        terminal.print(task_line(task))
    return Exit.FAILED if (task.get("status") or {}).get("phase") == Phase.FAILED else Exit.OK


def task_line(task: JSON) -> Text:
    """A Task in one line."""
    status = task.get("status") or {}
    phase = str(status.get("phase") or "")
    line = Text(f"task/{task['metadata']['name']}", style="bold")
    if not phase:
        return line.append("  not yet processed by a controller", style="dim")
    line.append("  ").append(phase, style=PHASE_STYLES.get(phase, ""))
    target = status.get("target") or target_of(task["spec"].get("contexts") or [])
    taken = human(elapsed(status.get("startTime"), status.get("completionTime"), datetime.now(UTC)))
    for part in (status.get("reason"), target, taken, status.get("message")):
        if part:
            line.append(f"  {clean(part)}")
    return line
