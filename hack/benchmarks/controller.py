"""How fast a run's Jobs are made, and what the controller needs for it, against a bare client that posts the same Jobs.

    python -m hack.benchmarks.controller [--tasks 500,1000,5000]

The cluster is the one that tests take: KUBECONFIG, KUBEBUILDER_ASSETS, else the development cluster. Figures that matter are
ratios within one run; absolute ones move with the machine.
"""

import argparse
import asyncio
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster.base import Cluster
from devcluster.choice import chosen_cluster
from hack.benchmarks.running import BIN, SYSTEM, cpu, install

from kubetask_controller.client.config import load_config
from kubetask_controller.client.resources import JOBS, NAMESPACES, Resource
from kubetask_controller.client.rest import Client

IN_FLIGHT = 32
RUNS = Resource("kubetask.io", "v1alpha1", "batchruns", "BatchRun")
CONFIGS = Resource("kubetask.io", "v1alpha1", "workspaceconfigs", "WorkspaceConfig")
ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")


@dataclass(frozen=True, slots=True)
class Measured:
    """One run.

    Attributes:
        tasks: how many.
        bare: seconds in which the bare client made the Jobs.
        created: seconds from the run's creation until its last Job was there.
        final: seconds until its status was final.
        cpu: CPU seconds of the controller.
        rss: its peak memory in MiB.
        writes: writes of the run's status.
    """

    tasks: int
    bare: float
    created: float
    final: float
    cpu: float
    rss: float
    writes: int


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m hack.benchmarks.controller", description=__doc__
    )
    parser.add_argument("--tasks", default="500,1000,5000", help="sizes of the runs")
    options = parser.parse_args()
    sizes = [int(x) for x in options.tasks.split(",")]
    with (
        tempfile.TemporaryDirectory(prefix="kubetask-benchmark-") as directory,
        chosen_cluster(Path(directory)) as cluster,
    ):
        print(cluster.summary())
        install(cluster)
        print(
            f"{'tasks':>6} {'bare':>8} {'created':>8} {'ratio':>6} {'final':>8} "
            f"{'CPU/task':>9} {'peak RSS':>9} {'status writes':>14}"
        )
        for size in sizes:
            measured = asyncio.run(_measure(cluster, Path(directory), size))
            print(
                f"{measured.tasks:>6} {measured.bare:>6.1f} s {measured.created:>6.1f} s "
                f"{measured.created / measured.bare:>6.2f} {measured.final:>6.1f} s "
                f"{1000 * measured.cpu / measured.tasks:>6.2f} ms {measured.rss:>5.0f} MiB "
                f"{measured.writes:>14}",
                flush=True,
            )


async def _measure(cluster: Cluster, directory: Path, size: int) -> Measured:
    config = await load_config(kubeconfig=str(cluster.admin_kubeconfig))
    async with Client(config, user_agent="kubetask-benchmark") as client:
        namespaces = [f"bench-{size}-run", f"bench-{size}-bare"]
        for name in namespaces:
            await _namespace(client, name)
        created, final, cpu, rss, writes = await _controller(
            cluster, client, directory, namespaces[0], size
        )
        jobs = (await client.list(JOBS, namespaces[0], timeout=300))["items"]
        bare = await _bare(client, namespaces[1], jobs)
        for name in namespaces:
            await client.delete(NAMESPACES, None, name)
    return Measured(size, bare, created, final, cpu, rss, writes)


async def _namespace(client: Client, name: str) -> None:
    await client.create(NAMESPACES, None, {"metadata": {"name": name}})
    await client.create(ACCOUNTS, name, {"metadata": {"name": "kubetask-agent"}})
    config = {
        "apiVersion": "kubetask.io/v1alpha1",
        "kind": "WorkspaceConfig",
        "metadata": {"name": "default"},
        "spec": {"podAnnotations": {"devcluster.dev/outcome": '{"runSeconds": 0.2}'}},
    }
    await client.create(CONFIGS, name, config)


async def _controller(
    cluster: Cluster, client: Client, directory: Path, namespace: str, size: int
) -> tuple[float, float, float, float, int]:
    kubeconfig = cluster.service_account_kubeconfig(SYSTEM, "kubetask-controller")
    with (directory / "controller.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            BIN / "kubetask-controller",
            f"--kubeconfig={kubeconfig}",
            "--metrics-bind-address=0",
            "--health-probe-bind-address=0",
            stdout=log,
            stderr=log,
        )
    try:
        await asyncio.sleep(3)  # the caches fill before the clock starts
        before = cpu(process.pid)
        result = await _follow(client, namespace, size)
        return *result[:2], cpu(process.pid) - before, _peak_rss(process.pid), result[2]
    finally:
        process.terminate()
        await process.wait()


async def _follow(client: Client, namespace: str, size: int) -> tuple[float, float, int]:
    started = time.monotonic()
    run = await client.create(RUNS, namespace, _run(size))
    seen: set[str] = set()
    created = 0.0
    writes = 0
    version = run["metadata"]["resourceVersion"]

    async def count_jobs() -> None:
        nonlocal created
        params = {"resourceVersion": version, "timeoutSeconds": "3000"}
        async with client.watch(JOBS, namespace, params=params, timeout_seconds=3000) as events:
            async for event in events:
                seen.add(event["object"]["metadata"].get("name", ""))
                if len(seen) >= size:
                    created = time.monotonic() - started
                    return

    counting = asyncio.create_task(count_jobs())
    params = {"resourceVersion": version, "timeoutSeconds": "3000"}
    async with client.watch(RUNS, namespace, params=params, timeout_seconds=3000) as events:
        async for event in events:
            writes += event["type"] == "MODIFIED"
            if event["object"].get("status", {}).get("phase") in ("Succeeded", "Failed"):
                break
    final = time.monotonic() - started
    await counting
    return created, final, writes


def _run(size: int) -> dict[str, Any]:
    text = {"type": "File", "file": {"name": "task.md", "source": {"inline": "x" * 1024}}}
    repositories = [
        [
            {
                "type": "Repository",
                "repository": {"org": "acme", "repo": f"service-{i}", "branch": "main"},
            }
        ]
        for i in range(size)
    ]
    return {
        "apiVersion": "kubetask.io/v1alpha1",
        "kind": "BatchRun",
        "metadata": {"name": "run"},
        "spec": {"batchSpec": {"commonContext": [text], "variableContexts": repositories}},
    }


async def _bare(client: Client, namespace: str, jobs: Sequence[dict[str, Any]]) -> float:
    bodies = [_again(x) for x in jobs]
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def create(body: dict[str, Any]) -> None:
        async with gate:
            await client.create(JOBS, namespace, body)

    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for body in bodies:
            group.create_task(create(body))
    return time.monotonic() - started


def _again(job: dict[str, Any]) -> dict[str, Any]:
    """A Job as it was posted: without what the server and its controllers added, and without its owner."""
    metadata = {k: job["metadata"][k] for k in ("name", "labels", "annotations")}
    spec = {k: v for k, v in job["spec"].items() if k != "selector"}
    ours = {
        k: v
        for k, v in metadata["labels"].items()
        if "controller-uid" not in k and "job-name" not in k
    }
    template = {**spec["template"], "metadata": {**spec["template"]["metadata"], "labels": ours}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {**metadata, "labels": ours},
        "spec": {**spec, "template": template},
    }


def _peak_rss(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


if __name__ == "__main__":
    main()
