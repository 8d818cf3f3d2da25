"""``cancel``, ``suspend``, ``resume`` and ``promote``: change a BatchRun or Task that exists."""

import argparse
from typing import Any, ClassVar

from rich.text import Text

from kubetask_controller.api.constants import Phase
from kubetask_controller.cli.actions import promote
from kubetask_controller.cli.arguments import add_timeout, positive
from kubetask_controller.cli.exits import CliError, Exit, UsageError
from kubetask_controller.cli.progress import follow
from kubetask_controller.cli.runview import run_view
from kubetask_controller.cli.session import Session, Target
from kubetask_controller.cli.terminal import Terminal, clean


class _SpecChange:
    """Sets a field of the spec."""

    name: str
    help: str
    description: str
    verb: ClassVar[str]
    patch: ClassVar[dict[str, Any]]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the runs and Tasks."""
        parser.add_argument(
            "targets", nargs="+", metavar="RUN", help="a BatchRun, or task/NAME; may be repeated"
        )

    async def execute(
        self, session: Session, options: argparse.Namespace, terminal: Terminal
    ) -> Exit:
        """Change each object; returns the code of the last failure."""
        code = Exit.OK
        for target in [Target.parse(x) for x in options.targets]:
            try:
                await self._change(session, target, terminal)
            except CliError as error:
                terminal.note(Text("error: ", style="red").append(clean(error)))
                code = error.code
        return code

    async def _change(self, session: Session, target: Target, terminal: Terminal) -> None:
        found = await session.get(target)
        phase = (found.get("status") or {}).get("phase")
        if phase in (Phase.SUCCEEDED, Phase.FAILED):
            terminal.print(f"{target} has already ended: {phase}")
            return
        spec = found["spec"]
        if all(bool(spec.get(key)) == value for key, value in self.patch.items()):
            terminal.print(f"{target} {self.verb} (nothing to change)")
            return
        # With the uid, so that a new object of the same name is not changed.
        patch = {"metadata": {"uid": found["metadata"]["uid"]}, "spec": self.patch}
        with session.explained(target):
            await session.client.patch(target.resource, session.namespace, target.name, patch)
        terminal.print(f"{target} {self.verb}")


class Cancel(_SpecChange):
    """Cancel a run or Task."""

    name = "cancel"
    help = "cancel a run or a Task: running tasks are stopped, logs remain"
    description = """\
Cancel a run or a Task: pending tasks never start, running tasks are stopped, and their logs remain.
This cannot be undone.

  kubectl kubetask cancel nightly-7xk2p
  kubectl kubetask cancel task/update-service-a
"""
    verb = "cancelled"
    patch: ClassVar[dict[str, Any]] = {"cancel": True}


class Suspend(_SpecChange):
    """Suspend a run or Task."""

    name = "suspend"
    help = "suspend a run or a Task: no task starts, running tasks continue"
    description = """\
Suspend a run or a Task: no task starts, running tasks continue.

  kubectl kubetask suspend nightly-7xk2p
"""
    verb = "suspended"
    patch: ClassVar[dict[str, Any]] = {"suspend": True}


class Resume(_SpecChange):
    """Resume a suspended run or Task."""

    name = "resume"
    help = "resume a suspended run or Task"
    description = """\
Resume a suspended run or Task.

  kubectl kubetask resume nightly-7xk2p
"""
    verb = "resumed"
    patch: ClassVar[dict[str, Any]] = {"suspend": False}


class Promote:
    """Raise or remove taskLimit."""

    name = "promote"
    help = "start more tasks of a run that was started with --canary, or all"
    description = """\
Start more tasks of a run with a taskLimit, such as one that was started with --canary: N more, or
all. It prints how many tasks will start and their projected cost; --dry-run changes nothing.

  kubectl kubetask promote nightly-7xk2p 20
  kubectl kubetask promote nightly-7xk2p --all --wait
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the run, and the number of tasks."""
        parser.add_argument("run", metavar="RUN", help="the BatchRun")
        parser.add_argument(
            "more", nargs="?", type=positive, metavar="N", help="number of additional tasks"
        )
        parser.add_argument("--all", action="store_true", help="all tasks of the run")
        parser.add_argument(
            "--dry-run", action="store_true", help="print the effects, and change nothing"
        )
        parser.add_argument(
            "--wait", action="store_true", help="follow the run on standard error until it ends"
        )
        add_timeout(parser)

    async def execute(
        self, session: Session, options: argparse.Namespace, terminal: Terminal
    ) -> Exit:
        """Change the run; returns 1 if --wait is set and the run failed."""
        if options.all == (options.more is not None):
            raise UsageError("promote needs either a number of tasks or --all")
        target = Target.parse(options.run)
        run = await session.get(target)
        plan = promote(target, run, run_view(run), options.more)
        for line in plan.effects:
            terminal.note(Text(line))
        if options.dry_run:
            return Exit.OK
        with session.explained(target):
            await session.client.patch(
                target.resource, session.namespace, target.name, dict(plan.patch)
            )
        terminal.print(f"{target} promoted")
        if not options.wait:
            return Exit.OK
        view = await follow(session, target, terminal, timeout=options.timeout, error=True)
        return Exit.OK if view.succeeded else Exit.FAILED
