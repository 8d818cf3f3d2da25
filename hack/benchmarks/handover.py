"""How fast an idle controller ends after SIGTERM, and how fast a standby takes over.

    python -m hack.benchmarks.handover [--times 5]

The baseline is the same hand-over after SIGKILL, where the Lease has to run out. The cluster is the one that tests take.
"""

import argparse
import asyncio
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from devcluster.base import Cluster
from devcluster.choice import chosen_cluster
from hack.benchmarks.running import Running, controller, install, wait_for

EXIT_LIMIT = 2.0
TAKEOVER_LIMIT = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hack.benchmarks.handover", description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="kubetask-benchmark-") as directory,
        chosen_cluster(Path(directory)) as cluster,
    ):
        print(cluster.summary())
        install(cluster)
        clean = [_hand_over(cluster, Path(directory), signal.SIGTERM) for _ in range(options.times)]
        _, crash = _hand_over(cluster, Path(directory), signal.SIGKILL)
    exits, takeovers = [x for x, _ in clean], [x for _, x in clean]
    _report("SIGTERM to exit", exits, EXIT_LIMIT)
    _report("SIGTERM to the standby's lead", takeovers, TAKEOVER_LIMIT)
    print(
        f"SIGKILL to the standby's lead: {crash:.1f} s, "
        f"{crash / statistics.median(takeovers):.0f} times as long"
    )


def _report(what: str, seconds: list[float], limit: float) -> None:
    worst = max(seconds)
    print(
        f"{what}: median {statistics.median(seconds):.2f} s, worst {worst:.2f} s of {len(seconds)}, "
        f"limit {limit:g} s {'met' if worst < limit else 'MISSED'}"
    )


def _hand_over(cluster: Cluster, directory: Path, how: signal.Signals) -> tuple[float, float]:
    """Seconds from the signal to the exit, and to the moment at which the standby leads."""
    with controller(cluster, directory) as leader:
        asyncio.run(wait_for(lambda: leader.ready() and leader.leads()))
        with controller(cluster, directory) as standby:
            asyncio.run(wait_for(standby.ready))
            asyncio.run(asyncio.sleep(3))  # it has read the Lease
            started = time.monotonic()
            leader.process.send_signal(how)
            asyncio.run(wait_for(lambda: _ended(leader)))
            exited = time.monotonic() - started
            asyncio.run(wait_for(standby.leads))
            return exited, time.monotonic() - started


def _ended(running: Running) -> bool:
    try:
        running.process.wait(0.01)
    except subprocess.TimeoutExpired:
        return False
    return True


if __name__ == "__main__":
    main()
