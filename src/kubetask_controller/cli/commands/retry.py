"""``retry``: starts a new run of another run's tasks; default: the failed ones."""

import argparse

from kubetask_controller.api.indexes import parse_indexes
from kubetask_controller.cli.actions import selection
from kubetask_controller.cli.exits import CliError, Exit, UsageError
from kubetask_controller.cli.runview import run_view
from kubetask_controller.cli.session import BATCH_RUN_RESOURCE, Session, Target
from kubetask_controller.cli.settings import add_settings, chosen, retry_run, start
from kubetask_controller.cli.terminal import Terminal


class Retry:
    """Run tasks of a run again."""

    name = "retry"
    help = "run the failed tasks of a run again, as a new run"
    description = """\
Start a new run of a run's failed tasks, or of the tasks in --indexes, and print its name. The new
run has the settings of the old run, which does not change. The indexes of the new run start at 0.

  kubectl kubetask retry nightly-7xk2p
  kubectl kubetask retry nightly-7xk2p --indexes 3,7-9 --wait
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the run, its tasks, and the settings."""
        parser.add_argument("run", metavar="RUN", help="the BatchRun")
        parser.add_argument(
            "--indexes", metavar="LIST", help="tasks such as 3,7-9; default: failed"
        )
        add_settings(parser)

    async def execute(
        self, session: Session, options: argparse.Namespace, terminal: Terminal
    ) -> Exit:
        """Create the run; returns 1 if --wait is set and the run failed."""
        target = Target.parse(options.run)
        if target.resource is not BATCH_RUN_RESOURCE:
            raise UsageError(f"{target}: only a BatchRun can be retried; create a new Task instead")
        run = await session.get(target)
        view = run_view(run)
        if view.ended and not options.indexes and not view.counts["failed"]:
            raise CliError(f"{target} has no failed task: select tasks with --indexes")
        if not view.ended:
            terminal.note(f"{target} has not ended: the new run waits for its end")
        try:
            indexes = (
                None
                if options.indexes is None
                else parse_indexes(options.indexes, limit=view.counts["total"] or None)
            )
        except ValueError as error:
            raise UsageError(f"--indexes: {error}") from error
        body = retry_run(run, select=selection(view, indexes), name=options.name)
        body["spec"] |= chosen(options)
        return await start(session, body, options, terminal)
