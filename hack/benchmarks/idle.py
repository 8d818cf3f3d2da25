"""What a controller costs that has nothing to do: processor time and requests, with many finished Jobs in its cache.

    python -m hack.benchmarks.idle [--jobs 5000] [--seconds 60]

The baseline is the same controller with no Jobs at all, in the same run. The cluster is the one that tests take.
"""

import argparse
import asyncio
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster.base import Cluster
from devcluster.choice import chosen_cluster
from hack.benchmarks.running import controller, install, wait_for

from kubetask_controller.client.config import load_config
from kubetask_controller.client.resources import JOBS
from kubetask_controller.client.rest import Client

SETTLE = 15.0
"""Seconds from ready to the beginning of a measurement: the start's own work is over, and the Lease is held."""
LIMIT = 1.0
"""Percent of a core."""
MANAGED_BY = "benchmark.example.com/nobody"
"""Who looks after the Jobs, so that the Job controller does not."""


@dataclass(frozen=True, slots=True)
class Idle:
    """A quiet time: percent of a core, and requests by method beside those of the Lease."""

    percent: float
    requests: Counter[str]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hack.benchmarks.idle", description=__doc__)
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="kubetask-benchmark-") as directory,
        chosen_cluster(Path(directory)) as cluster,
    ):
        print(cluster.summary())
        install(cluster)
        empty = _measure(cluster, Path(directory), options.seconds)
        asyncio.run(_make_jobs(cluster, options.jobs))
        full = _measure(cluster, Path(directory), options.seconds)
        print(
            f"{'Jobs':>6} {'of a core':>10} {'requests in ' + format(options.seconds, 'g') + ' s'}"
        )
        for count, idle in ((0, empty), (options.jobs, full)):
            print(f"{count:>6} {idle.percent:>9.2f}% {dict(idle.requests)}")
        alone = set(full.requests) <= {"PUT"}
        print(
            f"limit {LIMIT:g}% {'met' if full.percent < LIMIT else 'MISSED'}; "
            f"nothing but the Lease: {'yes' if alone else 'NO'}; "
            f"{full.percent / max(empty.percent, 0.01):.1f} times the empty controller"
        )


def _measure(cluster: Cluster, directory: Path, seconds: float) -> Idle:
    with controller(cluster, directory) as running:
        asyncio.run(wait_for(running.ready))
        asyncio.run(asyncio.sleep(SETTLE))
        before, cpu = running.samples("rest_client_requests_total"), running.cpu()
        asyncio.run(asyncio.sleep(seconds))
        used = running.cpu() - cpu
        after = running.samples("rest_client_requests_total")
        running.process.terminate()
        running.process.wait(30)
    requests: Counter[str] = Counter()
    for series, value in after.items():
        method = series.partition('method="')[2].partition('"')[0]
        requests[method] += round(value - before.get(series, 0))
    return Idle(100 * used / seconds, +requests)


async def _make_jobs(cluster: Cluster, count: int) -> None:
    config = await load_config(kubeconfig=str(cluster.admin_kubeconfig))
    gate = asyncio.Semaphore(16)
    async with Client(config, user_agent="benchmark") as client, asyncio.TaskGroup() as group:

        async def make(number: int) -> None:
            async with gate:
                job = await client.create(JOBS, "default", _job(number))
                job["status"] = _finished()
                name = job["metadata"]["name"]
                await client.update(JOBS, "default", name, job, subresource="status")

        for number in range(count):
            group.create_task(make(number))


def _job(number: int) -> dict[str, Any]:
    labels = {"app.kubernetes.io/managed-by": "kubetask", "kubetask.io/task-index": str(number)}
    container = {"name": "agent", "image": "registry.example.com/agent:1"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"finished-{number}", "labels": labels},
        "spec": {
            "managedBy": MANAGED_BY,
            "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
        },
    }


def _finished() -> dict[str, Any]:
    moment = "2026-01-01T00:00:00Z"
    fields = {"status": "True", "lastProbeTime": moment, "lastTransitionTime": moment}
    return {
        "startTime": moment,
        "completionTime": moment,
        "succeeded": 1,
        "uncountedTerminatedPods": {},
        "conditions": [{"type": kind, **fields} for kind in ("SuccessCriteriaMet", "Complete")],
    }


if __name__ == "__main__":
    main()
