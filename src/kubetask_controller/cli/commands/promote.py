"""``promote``: let more tasks of a canary run start, or all of them."""

import argparse

from rich.text import Text

from kubetask_controller.cli.actions import promote
from kubetask_controller.cli.arguments import add_timeout, positive
from kubetask_controller.cli.exits import Exit, UsageError
from kubetask_controller.cli.progress import follow
from kubetask_controller.cli.runview import run_view
from kubetask_controller.cli.session import Session, Target
from kubetask_controller.cli.terminal import Terminal


class Promote:
    """Raise or remove taskLimit."""

    name = "promote"
    help = "start more tasks of a run that was started with --canary, or all"
    description = """\
Start more tasks of a run that has a taskLimit, such as one that was started with --canary: N more,
or all. It says what will start and what that will probably cost; --dry-run says so and changes
nothing.

  kubectl kubetask promote nightly-7xk2p 20
  kubectl kubetask promote nightly-7xk2p --all --wait
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """The run, and how many."""
        parser.add_argument("run", metavar="RUN", help="the BatchRun")
        parser.add_argument(
            "more", nargs="?", type=positive, metavar="N", help="so many more tasks"
        )
        parser.add_argument("--all", action="store_true", help="all tasks of the run")
        parser.add_argument(
            "--dry-run", action="store_true", help="say what would happen, and stop"
        )
        parser.add_argument(
            "--wait", action="store_true", help="follow the run on standard error until it ends"
        )
        add_timeout(parser)

    async def execute(
        self, session: Session, options: argparse.Namespace, terminal: Terminal
    ) -> Exit:
        """Change the run; 1 where --wait saw it fail."""
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
