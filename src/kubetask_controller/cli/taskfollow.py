"""A Task as it goes, until it ends: a line for each change."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from kubetask_controller.api.constants import Phase
from kubetask_controller.cli.exits import CliError, Exit
from kubetask_controller.cli.follow import states
from kubetask_controller.cli.session import JSON, Session, Target


async def follow_task(
    session: Session, target: Target, show: Callable[[JSON], None], *, timeout: float | None
) -> JSON:
    """Show a Task whenever its phase or reason changes, until it has ended; its last state.

    Raises:
        CliError: it is not there, it vanished, the server refuses, or the time is over.
    """
    seen: object = None
    try:
        async with asyncio.timeout(timeout):
            async with aclosing(states(session, target)) as found:
                async for task in found:
                    status = task.get("status") or {}
                    said = (status.get("phase"), status.get("reason"))
                    if said != seen:
                        seen = said
                        show(task)
                    if said[0] in (Phase.SUCCEEDED, Phase.FAILED):
                        return task
    except TimeoutError as late:
        raise CliError(f"{target} has not ended in {timeout:g} s", Exit.TIMEOUT) from late
    raise AssertionError("states() ends with an exception alone")
