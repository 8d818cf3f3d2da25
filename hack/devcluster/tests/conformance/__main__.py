"""The score: how many recorded calls get the recorded answer, file by file.

    python hack/devcluster/tests/conformance [--kubeconfig FILE] [--file NAME] [-v]

Plays against a development cluster of its own, or against the (new) cluster of a kubeconfig.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from conformance.score import judge, table
from conformance.target import play_here, play_there
from conformance.transcript import FILES, load


def report(line: object) -> None:
    sys.stdout.write(f"{line}\n")


def main() -> int:
    """Play, print, and fail when something disagrees that no list excuses."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kubeconfig", type=Path, help="a cluster to play against")
    parser.add_argument(
        "--file", action="append", choices=FILES, help="only these, and in their order"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="every difference")
    arguments = parser.parse_args()
    exchanges = [each for file in arguments.file or FILES for each in load(file)]
    results = (
        play_there(arguments.kubeconfig, exchanges)
        if arguments.kubeconfig
        else play_here(exchanges)
    )
    verdicts = judge(exchanges, results)
    for verdict in verdicts:
        shown = verdict.differences if arguments.verbose else verdict.differences[:3]
        if shown:
            report(verdict.exchange.title)
            for difference in shown:
                report(f"    {difference}")
            if len(shown) < len(verdict.differences):
                report(f"    and {len(verdict.differences) - len(shown)} more")
    report(table(verdicts))
    return any(verdict.differences for verdict in verdicts)


if __name__ == "__main__":
    sys.exit(main())
