"""``retry``: starts a new run of another run's tasks; default: the failed ones."""

import argparse

from kubetask_controller.api.constants import Phase
from kubetask_controller.api.indexes import format_indexes, parse_indexes
from kubetask_controller.cli.actions import MAX_SELECT
from kubetask_controller.cli.exits import CliError, Exit, UsageError
from kubetask_controller.cli.runview import BatchRunView, run_view
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
        body = retry_run(run, select=selection(view, options.indexes), name=options.name)
        body["spec"] |= chosen(options)
        return await start(session, body, options, terminal)


def selection(view: BatchRunView, indexes: str | None) -> str | None:
    """``spec.select`` for --indexes; None for the failed tasks.

    Raises:
        UsageError: it selects no task or a task that does not exist, or it is too long.
    """
    if indexes is None:
        return None
    try:
        found = parse_indexes(indexes, limit=view.counts["total"] or None)
    except ValueError as error:
        raise UsageError(f"--indexes: {error}") from error
    select = format_indexes(found)
    if not select:
        raise UsageError("--indexes selects no task")
    if len(select) > MAX_SELECT:
        raise UsageError("--indexes is too long: select fewer tasks, or use ranges")
    failed = view.ended and found == view.indexes(Phase.FAILED)
    return None if failed else select
