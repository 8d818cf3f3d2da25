"""How a new run is executed: the options that ``run`` and ``retry`` share, and the object they make."""

import argparse
from collections.abc import Mapping
from typing import Any

from kubetask_controller.api import constants as c
from kubetask_controller.cli.arguments import add_timeout, count, positive
from kubetask_controller.cli.exits import Exit
from kubetask_controller.cli.progress import follow
from kubetask_controller.cli.session import BATCH_RUNS, Session, Target
from kubetask_controller.cli.terminal import Terminal

JSON = dict[str, Any]

EXECUTION_FIELDS = (
    "workspaceConfigRef",
    "parallelism",
    "maxFailures",
    "backoffLimit",
    "activeDeadlineSeconds",
    "pendingDeadlineSeconds",
    "ttlSecondsAfterFinished",
    "ttlPolicy",
    "managedBy",
)
"""Fields of a BatchRun's spec that a new run takes over from the one it retries."""


def add_settings(parser: argparse.ArgumentParser) -> None:
    """How to run, and whether to wait."""
    parser.add_argument("--name", help="name of the new run; default: made up from the old name")
    parser.add_argument("--parallelism", type=positive, metavar="N", help="tasks that run at once")
    parser.add_argument(
        "--max-failures", type=count, metavar="N", help="failures after which nothing new starts"
    )
    parser.add_argument(
        "--backoff-limit", type=count, metavar="N", help="tries of a task after its first"
    )
    parser.add_argument("--workspace-config", metavar="NAME", help="the WorkspaceConfig to run in")
    parser.add_argument(
        "--wait", action="store_true", help="follow the run on standard error until it ends"
    )
    add_timeout(parser)


def chosen(options: argparse.Namespace) -> JSON:
    """Fields of the spec that the options set."""
    fields = {
        "parallelism": options.parallelism,
        "maxFailures": options.max_failures,
        "backoffLimit": options.backoff_limit,
        "workspaceConfigRef": options.workspace_config,
    }
    return {key: value for key, value in fields.items() if value is not None}


def new_run(name: str | None, *, base: str, spec: JSON, metadata: Mapping[str, Any]) -> JSON:
    """A BatchRun; without a name of its own the server makes one up that begins with `base`."""
    named = {"name": name} if name else {"generateName": f"{base}-"}
    return {
        "apiVersion": c.API_VERSION,
        "kind": c.KIND_BATCH_RUN,
        "metadata": {**metadata, **named},
        "spec": spec,
    }


async def start(
    session: Session, body: JSON, options: argparse.Namespace, terminal: Terminal
) -> Exit:
    """Create a run, print its name, and with --wait follow it; 1 where it failed.

    Raises:
        CliError: the server refuses it, or the time is over.
    """
    metadata = body["metadata"]
    wanted = Target(BATCH_RUNS, metadata.get("name") or f"{metadata['generateName']}…")
    with session.explained(wanted):
        made = await session.client.create(BATCH_RUNS, session.namespace, body)
    target = Target(BATCH_RUNS, made["metadata"]["name"])
    # The bare name and nothing else, and at once, for `RUN=$(kubectl kubetask run …)`.
    terminal.print(target.name)
    terminal.stdout.flush()
    if not options.wait:
        return Exit.OK
    view = await follow(session, target, terminal, timeout=options.timeout, error=True)
    return Exit.OK if view.succeeded else Exit.FAILED
