"""``migrate``: converts CodeSweep manifests into manifests of KubeTask."""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from kubetask_controller.cli.exits import Exit, UsageError
from kubetask_controller.cli.migrate.documents import concatenate
from kubetask_controller.cli.migrate.report import Report
from kubetask_controller.cli.terminal import Terminal, clean

SUFFIXES = (".yaml", ".yml", ".json")


class Migrate:
    """Convert manifests."""

    name = "migrate"
    help = "convert CodeSweep manifests into manifests of KubeTask"
    description = """\
Convert CodeSweep manifests into manifests of KubeTask: Bundle into Batch, BundleRun into BatchRun,
CodeSweepConfig into WorkspaceConfig, and the rules of Roles about them.

Comments and the order are kept, and other documents do not change. The result is written to
standard output, or to the files with --in-place. Parts that cannot be converted are listed on
standard error, and the exit code is 3.

  kubectl kubetask migrate -f bundle.yaml > batch.yaml
  kubectl kubetask migrate -R -f deploy/ --in-place && git diff
  kubectl get bundles.codesweep.io -o yaml | kubectl kubetask migrate
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the files."""
        parser.add_argument(
            "-f",
            "--filename",
            action="append",
            metavar="FILE|DIR",
            help="a file, a folder's YAML and JSON files, or - for stdin, which is the default;"
            " may be repeated",
        )
        parser.add_argument("-R", "--recursive", action="store_true", help="include subfolders")
        parser.add_argument(
            "--in-place",
            action="store_true",
            help="change the files instead of writing to standard output",
        )

    def migrate(self, options: argparse.Namespace, terminal: Terminal) -> Exit:
        """Convert the files; returns 3 if something could not be converted."""
        # Importing the models takes a third of a second, which other commands do not need.
        from kubetask_controller.cli.migrate.convert import convert

        names = options.filename or ["-"]
        if options.in_place and "-" in names:
            raise UsageError("--in-place needs -f FILE: it cannot change standard input")
        reports, results = [], []
        for source in _sources(names, recursive=options.recursive):
            text = _read(source, terminal)
            reports.append(Report(str(source) if source else "stdin"))
            migrated = convert(text, reports[-1])
            if not options.in_place:
                results.append(migrated)
            elif source is not None and migrated != text:
                _write(source, migrated)
        terminal.stdout.write(concatenate(results))
        return _print_report(reports, terminal)


def _sources(names: Iterable[str], *, recursive: bool) -> Iterator[Path | None]:
    """The files, sorted within each folder; None for standard input.

    Raises:
        UsageError: a folder contains no manifests.
    """
    for name in names:
        path = Path(name)
        if name == "-":
            yield None
        elif not path.is_dir():
            yield path
        else:
            found = path.rglob("*") if recursive else path.glob("*")
            files = sorted(x for x in found if x.suffix in SUFFIXES and x.is_file())
            if not files:
                raise UsageError(f"{name} contains no file that ends in {', '.join(SUFFIXES)}")
            yield from files


def _read(source: Path | None, terminal: Terminal) -> str:
    try:
        return terminal.read() if source is None else source.read_bytes().decode("utf-8")
    except OSError as error:
        raise UsageError(f"{source}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{source or 'stdin'} is not UTF-8: {error}") from error


def _write(source: Path, text: str) -> None:
    try:
        source.write_bytes(text.encode())
    except OSError as error:
        raise UsageError(f"{source}: {error.strerror or error}") from error


def _print_report(reports: Sequence[Report], terminal: Terminal) -> Exit:
    configs = {name for report in reports for name in report.configs}
    for report in reports:
        for subject, name in report.templates:
            if name not in configs:
                report.subject = subject
                report.lost(
                    "spec.workspaceConfigRef",
                    f"{name} was a Job template; create a WorkspaceConfig with that name",
                )
        for loss in report.losses():
            terminal.note(clean(loss))
    converted = sum(x.converted for x in reports)
    terminal.note(f"{converted} {'object' if converted == 1 else 'objects'} migrated")
    return Exit.OK if all(x.complete for x in reports) else Exit.INCOMPLETE
