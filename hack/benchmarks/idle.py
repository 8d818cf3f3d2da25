"""What a controller costs that has nothing to do: processor time and requests, with many finished Jobs in its cache.

    python -m hack.benchmarks.idle [--jobs 5000] [--seconds 60]

The baseline is the same controller with no Jobs at all, in the same run. The cluster is the one that tests take.
"""

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster.base import Cluster
from devcluster.choice import chosen_cluster

from kubetask_controller.client.config import load_config
from kubetask_controller.client.resources import JOBS
from kubetask_controller.client.rest import Client

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SYSTEM = "kubetask-system"
TICKS = os.sysconf("SC_CLK_TCK")
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


def install(cluster: Cluster) -> None:
    """The controller's CRDs and rights."""
    environ = {**os.environ, "KUBECONFIG": str(cluster.admin_kubeconfig)}
    for arguments in (
        ("apply", "--server-side", "-k", "config/crd"),
        ("apply", "-f", "config/manager/namespace.yaml"),
        ("apply", "-n", SYSTEM, "-k", "config/rbac"),
        ("wait", "--for=condition=Established", "crd", "-l", "app.kubernetes.io/name=kubetask"),
    ):
        subprocess.run(
            [BIN / "kubectl", *arguments], env=environ, cwd=ROOT, check=True, capture_output=True
        )


@dataclass(frozen=True, slots=True)
class Running:
    """A controller's process and where it is asked."""

    process: subprocess.Popen[bytes]
    metrics: int
    health: int

    def ready(self) -> bool:
        """It answers /readyz with 200."""
        try:
            url = f"http://127.0.0.1:{self.health}/readyz"
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def samples(self, name: str) -> dict[str, float]:
        """The series of a metric: what stands in braces, and its value."""
        url = f"http://127.0.0.1:{self.metrics}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        found = (x.rpartition(" ") for x in lines if x.startswith(f"{name}{{"))
        return {series[len(name) :]: float(value) for series, _, value in found}

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def controller(cluster: Cluster, directory: Path) -> Iterator[Running]:
    """A controller with leader election; killed at the end if it still runs."""
    kubeconfig = cluster.service_account_kubeconfig(SYSTEM, "kubetask-controller")
    metrics, health = _port(), _port()
    with (directory / "controller.log").open("ab") as log:
        process = subprocess.Popen(
            [
                BIN / "kubetask-controller",
                f"--kubeconfig={kubeconfig}",
                f"--metrics-bind-address=127.0.0.1:{metrics}",
                f"--health-probe-bind-address=127.0.0.1:{health}",
                "--leader-elect",
                f"--leader-election-namespace={SYSTEM}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        yield Running(process, metrics, health)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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


async def wait_for(done: Any, *, seconds: float = 60.0) -> None:
    """Return once `done()` is true."""
    async with asyncio.timeout(seconds):
        while not done():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


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
