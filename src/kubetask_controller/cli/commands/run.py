"""``run``: creates a BatchRun of a Batch in the cluster, or of a file."""

import argparse
from pathlib import Path

import yaml

from kubetask_controller.api import constants as c
from kubetask_controller.cli.exits import Exit, UsageError
from kubetask_controller.cli.session import BATCH_RESOURCE, Session, Target
from kubetask_controller.cli.settings import add_settings, chosen, new_run, start
from kubetask_controller.cli.terminal import Terminal
from kubetask_controller.types import JSON


class Run:
    """Start a run."""

    name = "run"
    help = "start a run of a Batch, or of a file"
    description = """\
Start a run and print its name. With --wait, follow it, and exit with 1 if it fails.

A file contains a BatchRun, or a Batch, which becomes the inline batchSpec of the run: the cluster
needs no Batch of that name.

  kubectl kubetask run update-dependencies
  kubectl kubetask run update-dependencies --parallelism 20 --wait
  kubectl kubetask run -f batch.yaml --name first-try

With --canary, only the first tasks start. Check their results, then start the others with "kubectl
kubetask promote". With --max-cost, no further task starts when the cost reaches the limit.

  kubectl kubetask run update-dependencies --canary 3 --max-cost 25
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the Batch, and the settings."""
        parser.add_argument("batch", nargs="?", metavar="BATCH", help="a Batch of the namespace")
        parser.add_argument(
            "-f", "--filename", metavar="FILE", help="a Batch or BatchRun in YAML; - for stdin"
        )
        add_settings(parser)

    async def execute(
        self, session: Session, options: argparse.Namespace, terminal: Terminal
    ) -> Exit:
        """Create the run; returns 1 if --wait is set and the run failed."""
        if bool(options.batch) == bool(options.filename):
            raise UsageError("run needs either the name of a Batch or -f FILE")
        if options.filename:
            body = from_document(_read(options.filename, terminal), options, session.namespace)
        else:
            batch = options.batch.removeprefix("batch/")
            # A run without a Batch stays Pending, which is right for GitOps, but not for a command.
            await session.get(Target(BATCH_RESOURCE, batch))
            spec = {"batchRef": batch, **chosen(options)}
            body = new_run(options.name, base=batch, spec=spec, metadata={})
        return await start(session, body, options, terminal)


def from_document(document: JSON, options: argparse.Namespace, namespace: str) -> JSON:
    """The BatchRun of a Batch or BatchRun in a file.

    Raises:
        UsageError: the file contains another kind, or an object of another namespace.
    """
    kind, where = document.get("kind"), options.filename
    metadata, spec = document.get("metadata") or {}, document.get("spec")
    if document.get("apiVersion") != c.API_VERSION or kind not in (c.KIND_BATCH, c.KIND_BATCH_RUN):
        found = f"{document.get('apiVersion')} {kind}"
        raise UsageError(f"{where}: {found} is neither a Batch nor a BatchRun of {c.API_VERSION}")
    if not isinstance(metadata, dict) or not isinstance(spec, dict):
        raise UsageError(f"{where}: the {kind} has no spec")
    if metadata.get("namespace", namespace) != namespace:
        raise UsageError(
            f"{where}: the {kind} belongs to namespace {metadata['namespace']}, not {namespace}:"
            f" pass -n {metadata['namespace']}"
        )
    kept = {k: v for k, v in metadata.items() if k in ("labels", "annotations")}
    if kind == c.KIND_BATCH:
        base = str(metadata.get("name") or "run")
        spec = {"batchSpec": spec, **chosen(options)}
        return new_run(options.name, base=base, spec=spec, metadata=kept)
    base = str(metadata.get("generateName") or "run").rstrip("-")
    name = options.name or metadata.get("name")
    return new_run(name, base=base, spec={**spec, **chosen(options)}, metadata=kept)


def _read(filename: str, terminal: Terminal) -> JSON:
    """The single Batch or BatchRun in a file.

    Raises:
        UsageError: the file is not readable, or does not contain a single such object.
    """
    try:
        text = terminal.read() if filename == "-" else Path(filename).read_text("utf-8")
        documents = [x for x in yaml.safe_load_all(text) if isinstance(x, dict)]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{filename}: {error}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{filename} is not YAML: {error}") from error
    ours = [x for x in documents if x.get("kind") in (c.KIND_BATCH, c.KIND_BATCH_RUN)] or documents
    if len(ours) != 1:
        raise UsageError(f"{filename} must contain one Batch or BatchRun, not {len(ours)}")
    return ours[0]
