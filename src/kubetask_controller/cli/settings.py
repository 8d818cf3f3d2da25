"""The options that ``run`` and ``retry`` share, and the BatchRun that they create."""

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
from kubetask_controller.types import JSON

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
"""Fields of a BatchRun's spec that a retry inherits."""


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the execution options, --name and --wait."""
    parser.add_argument("--name", help="name of the new run; default: generated from the old name")
    add_execution(parser)
    parser.add_argument(
        "--wait", action="store_true", help="follow the run on standard error until it ends"
    )
    add_timeout(parser)


def add_execution(parser: argparse.ArgumentParser) -> None:
    """Add options for fields of the spec."""
    parser.add_argument(
        "--parallelism",
        type=positive,
        metavar="N",
        help="maximum number of tasks that run at the same time",
    )
    parser.add_argument(
        "--max-failures",
        type=whole_number,
        metavar="N",
        help="maximum number of failed tasks before no further task starts",
    )
    parser.add_argument(
        "--backoff-limit", type=whole_number, metavar="N", help="number of retries of a task"
    )
    parser.add_argument(
        "--canary",
        type=positive,
        metavar="N",
        help="start only the first N tasks; the others wait until the run is promoted",
    )
    parser.add_argument(
        "--max-cost",
        type=_amount,
        metavar="USD",
        help="start no further task when the reported cost reaches this limit",
    )
    parser.add_argument("--workspace-config", metavar="NAME", help="the WorkspaceConfig to run in")


def chosen(options: argparse.Namespace) -> JSON:
    """Fields of the spec from the options."""
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
    """An amount in the format of the API: a decimal number in a string."""
    if not _DECIMAL.fullmatch(text) or not float(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an amount of US dollars such as 25 or 2.50"
        )
    return text


def retry_run(run: JSON, *, select: str | None, name: str | None = None) -> JSON:
    """A BatchRun that repeats tasks of `run` with its settings.

    Args:
        run: the object.
        select: indexes; None for the failed tasks.
        name: name of the new run; None for a generated name.
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
    """A BatchRun; without `name`, the server generates a name that starts with `base`."""
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
    """Create a run, print its name, and with --wait follow it; returns 1 if it failed.

    Raises:
        CliError: the server rejected the request, or the timeout expired.
    """
    metadata = body["metadata"]
    wanted = Target(BATCH_RUN_RESOURCE, metadata.get("name") or f"{metadata['generateName']}…")
    with session.explained(wanted):
        made = await session.client.create(BATCH_RUN_RESOURCE, session.namespace, body)
    target = Target(BATCH_RUN_RESOURCE, made["metadata"]["name"])
    # Only the name, immediately, for `RUN=$(kubectl kubetask run …)`.
    terminal.print(target.name)
    terminal.stdout.flush()
    if not options.wait:
        return Exit.OK
    view = await follow(session, target, terminal, timeout=options.timeout, error=True)
    return Exit.OK if view.succeeded else Exit.FAILED
