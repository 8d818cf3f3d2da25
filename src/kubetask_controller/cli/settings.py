"""How a new run is executed: the options that ``run`` and ``retry`` share, and the object they make."""

import argparse
import re
from collections.abc import Mapping
from typing import Any

from kubetask_controller.api import constants as c
from kubetask_controller.cli.arguments import add_timeout, positive, whole_number
from kubetask_controller.cli.exits import Exit
from kubetask_controller.cli.progress import follow
from kubetask_controller.cli.session import BATCH_RUN_RESOURCE, Session, Target
from kubetask_controller.cli.terminal import Terminal
from kubetask_controller.jsontypes import JSON

_RETRIED = re.compile(r"-retry-[a-z0-9]{5}$")
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")

EXECUTION_FIELDS = (
    "workspaceConfigRef",
    "parallelism",
    "maxFailures",
    "maxCostUSD",
    "backoffLimit",
    "maxDisruptions",
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
    add_execution(parser)
    parser.add_argument(
        "--wait", action="store_true", help="follow the run on standard error until it ends"
    )
    add_timeout(parser)


def add_execution(parser: argparse.ArgumentParser) -> None:
    """How to run: fields of the spec."""
    parser.add_argument("--parallelism", type=positive, metavar="N", help="tasks that run at once")
    parser.add_argument(
        "--max-failures",
        type=whole_number,
        metavar="N",
        help="failures after which nothing new starts",
    )
    parser.add_argument(
        "--backoff-limit", type=whole_number, metavar="N", help="tries of a task after its first"
    )
    parser.add_argument(
        "--canary",
        type=positive,
        metavar="N",
        help="start the first N tasks alone; the others wait until the run is promoted",
    )
    parser.add_argument(
        "--max-cost",
        type=_amount,
        metavar="USD",
        help="start nothing new once the tasks have cost as much, as far as agents report it",
    )
    parser.add_argument("--workspace-config", metavar="NAME", help="the WorkspaceConfig to run in")


def chosen(options: argparse.Namespace) -> JSON:
    """Fields of the spec that the options set."""
    fields = {
        "parallelism": options.parallelism,
        "maxFailures": options.max_failures,
        "backoffLimit": options.backoff_limit,
        "taskLimit": options.canary,
        "maxCostUSD": options.max_cost,
        "workspaceConfigRef": options.workspace_config,
    }
    return {key: value for key, value in fields.items() if value is not None}


def _amount(text: str) -> str:
    """An amount of money as the API has it: a decimal number in a string."""
    if not _DECIMAL.fullmatch(text) or not float(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an amount of US dollars such as 25 or 2.50"
        )
    return text


def retry_run(run: JSON, *, select: str | None, name: str | None = None) -> JSON:
    """The BatchRun that runs tasks of `run` again, with its settings.

    Args:
        run: the object.
        select: indexes; None for the failed tasks.
        name: of the new run; None to have the server make one up.
    """
    old: JSON = run["spec"]
    spec: JSON = {"retryOf": run["metadata"]["name"]}
    if select:
        spec["select"] = select
    spec |= {key: old[key] for key in EXECUTION_FIELDS if key in old}
    labels = run["metadata"].get("labels") or {}
    queued = {key: labels[key] for key in c.PROPAGATED_LABELS if key in labels}
    base = f"{_RETRIED.sub('', run['metadata']['name'])}-retry"
    return new_run(name, base=base, spec=spec, metadata={"labels": queued} if queued else {})


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
    wanted = Target(BATCH_RUN_RESOURCE, metadata.get("name") or f"{metadata['generateName']}…")
    with session.explained(wanted):
        made = await session.client.create(BATCH_RUN_RESOURCE, session.namespace, body)
    target = Target(BATCH_RUN_RESOURCE, made["metadata"]["name"])
    # The bare name and nothing else, and at once, for `RUN=$(kubectl kubetask run …)`.
    terminal.print(target.name)
    terminal.stdout.flush()
    if not options.wait:
        return Exit.OK
    view = await follow(session, target, terminal, timeout=options.timeout, error=True)
    return Exit.OK if view.succeeded else Exit.FAILED
