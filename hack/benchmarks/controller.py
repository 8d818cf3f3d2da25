"""How fast a run's Jobs are created and the run ends, against a bare client that posts the same Jobs.

    KUBEBUILDER_ASSETS=DIR python -m hack.benchmarks.controller [--tasks 1000,5000] [--rounds 3] [--write]

Each measurement has a control plane of its own: etcd, kube-apiserver, kube-controller-manager, and stand-ins for kubelets
that end each Pod after 0.2 s. The bare client keeps 32 requests in flight, made of bytes that are ready before the clock
starts, and looks into no answer. Ratios within one round hold; absolute figures move with the machine. With ``--before`` each
round measures an older checkout too, which is run from its sources with the packages of this one.
``--write`` puts the table of medians into docs/performance.md and draws the picture of the growth.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hack.benchmarks import growth, rawhttp, report
from hack.benchmarks.observer import Observer
from hack.benchmarks.planes import Plane, plane
from hack.benchmarks.running import BIN, SYSTEM, cpu, install, peak_rss

from kubetask_controller.client.config import load_config
from kubetask_controller.client.resources import JOBS, NAMESPACES, Resource
from kubetask_controller.client.rest import Client

IN_FLIGHT = 32
RUNS = Resource("kubetask.io", "v1alpha1", "batchruns", "BatchRun")
BATCHES = Resource("kubetask.io", "v1alpha1", "batches", "Batch")
ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
NAMESPACE = "benchmark"
FINAL = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement. Times are seconds since the first request, processor times are seconds.

    Attributes:
        tasks: how many.
        first: until the first Job was there.
        created: until the last Job was there.
        final: until the run was final, or the last Job had succeeded.
        servers: processor time of API server, etcd and controller manager, by name.
        cpu: processor time of the controller.
        rss: its peak memory in MiB.
        requests: what the API server answered, by verb and resource.
        size: bytes of the BatchRun at its end, as JSON.
    """

    tasks: int
    first: float
    created: float
    final: float
    servers: dict[str, float]
    cpu: float
    rss: float
    requests: dict[str, int]
    size: int = 0

    @property
    def server(self) -> float:
        """Processor time of all servers."""
        return sum(self.servers.values())


@dataclass(frozen=True, slots=True)
class Round:
    """One round of measurements in sequence: this checkout, optionally an older one, and the bare client."""

    ours: Measured
    before: Measured | None
    bare: Measured | None


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m hack.benchmarks.controller", description=__doc__
    )
    parser.add_argument("--tasks", default="1000,5000", help="sizes of the runs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--by-reference", action="store_true", help="the run names a Batch")
    parser.add_argument("--annotation", type=int, default=0, help="KiB of an annotation of the run")
    parser.add_argument("--alone", action="store_true", help="without the bare client")
    parser.add_argument("--before", type=Path, help="an older checkout, measured in each round too")
    parser.add_argument("--save", type=Path, help="append each measurement to this file, as JSON")
    parser.add_argument("--write", action="store_true", help="update docs/performance.md")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for size in map(int, options.tasks.split(",")):
        rounds = [_round(size, options) for _ in range(options.rounds)]
        row = _row(size, options, rounds)
        print(json.dumps(row), flush=True)
        if options.write:
            rows = report.keep("run", [row], key=("tasks", "by"), command=_command(options))
            report.write_rows("run", report.table(HEADER, [_cells(x) for x in rows]), rows)
            growth.write()


HEADER = (
    "tasks",
    "rounds",
    "bare: last Job",
    "KubeTask",
    "ratio",
    "before",
    "bare: all succeeded",
    "KubeTask: final",
    "ratio",
    "before",
    "CPU of the servers: bare",
    "KubeTask",
    "before",
    "CPU of the controller, a task",
    "before",
    "peak memory",
    "size of the BatchRun",
)


def _command(options: argparse.Namespace) -> str:
    more = " --by-reference" if options.by_reference else ""
    more += f" --annotation {options.annotation}" if options.annotation else ""
    more += " --alone" if options.alone else ""
    more += " --before CHECKOUT" if options.before else ""
    return (
        f"python -m hack.benchmarks.controller --tasks {options.tasks} --rounds {options.rounds}"
        f"{more} --write"
    )


def _round(size: int, options: argparse.Namespace) -> Round:
    with plane() as one:
        ours, jobs = asyncio.run(_controller(one, size, options, None))
    _tell("KubeTask", ours, options.save)
    before = None
    if options.before:
        with plane() as one:
            before, _ = asyncio.run(_controller(one, size, options, options.before))
        _tell("before", before, options.save)
    if options.alone:
        return Round(ours, before, None)
    with plane() as one:
        bare = asyncio.run(_bare(one, jobs))
    _tell("bare", bare, options.save)
    print(
        f"{'ratio':>8} last Job {ours.created / bare.created:.2f}, end {ours.final / bare.final:.2f}, "
        f"CPU {(ours.server + ours.cpu) / bare.server:.2f}",
        flush=True,
    )
    return Round(ours, before, bare)


def _tell(who: str, measured: Measured, save: Path | None) -> None:
    print(
        f"{who:>8} {measured.tasks:>6} tasks: first Job {measured.first:6.2f} s, "
        f"last {measured.created:6.2f} s, end {measured.final:6.1f} s; "
        f"CPU of the servers {measured.server:6.1f} s, of the controller {measured.cpu:5.2f} s; "
        f"{measured.rss:4.0f} MiB\n{'':>8} {measured.servers} {measured.requests}",
        flush=True,
    )
    if save:
        with save.open("a") as file:
            file.write(json.dumps({"who": who, "time": time.time(), **asdict(measured)}) + "\n")


def _row(size: int, options: argparse.Namespace, rounds: Sequence[Round]) -> report.Row:
    """The medians of all rounds: seconds, seconds of processor time, MiB and bytes."""

    def medians(which: Sequence[Measured]) -> dict[str, float] | None:
        if not which:
            return None
        return {
            name: round(statistics.median(getattr(x, name) for x in which), 2)
            for name in ("first", "created", "final", "server", "cpu", "rss", "size")
        }

    def ratio(name: str) -> float | None:
        found = [getattr(x.ours, name) / getattr(x.bare, name) for x in rounds if x.bare]
        return round(statistics.median(found), 2) if found else None

    return {
        "tasks": size,
        "by": "reference" if options.by_reference else "inline",
        "rounds": len(rounds),
        "ours": medians([x.ours for x in rounds]),
        "bare": medians([x.bare for x in rounds if x.bare]),
        "before": medians([x.before for x in rounds if x.before]),
        "created": ratio("created"),
        "final": ratio("final"),
    }


def _cells(row: report.Row) -> list[str]:
    def cell(who: str, text: str) -> str:
        return (
            text.format(**row[who], a_task=1000 * row[who]["cpu"] / row["tasks"])
            if row[who]
            else ""
        )

    def ratio(name: str) -> str:
        return f"**{row[name]:.2f}**" if row[name] else ""

    return [
        f"{row['tasks']:,}" + (", by reference" if row["by"] == "reference" else ""),
        str(row["rounds"]),
        cell("bare", "{created:.1f} s"),
        cell("ours", "{created:.1f} s"),
        ratio("created"),
        cell("before", "{created:.1f} s"),
        cell("bare", "{final:.1f} s"),
        cell("ours", "{final:.1f} s"),
        ratio("final"),
        cell("before", "{final:.1f} s"),
        cell("bare", "{server:.0f} s"),
        cell("ours", "{server:.0f} s"),
        cell("before", "{server:.0f} s"),
        cell("ours", "{a_task:.1f} ms"),
        cell("before", "{a_task:.1f} ms"),
        cell("ours", "{rss:.0f} MiB"),
        f"{row['ours']['size'] / 1024:,.0f} KiB",
    ]


async def _controller(
    one: Plane, size: int, options: argparse.Namespace, checkout: Path | None
) -> tuple[Measured, list[dict[str, Any]]]:
    cluster = one.cluster
    install(cluster, checkout)
    config = await load_config(kubeconfig=str(cluster.admin_kubeconfig))
    async with (
        Client(config, user_agent="kubetask-benchmark") as client,
        Observer.connected(cluster.connection) as observer,
    ):
        await make_namespace(client)
        if options.by_reference:
            await client.create(BATCHES, NAMESPACE, _batch(size))
        kubeconfig = cluster.service_account_kubeconfig(SYSTEM, "kubetask-controller")
        process = _start(checkout, kubeconfig, one.directory / "controller.log")
        try:
            async with observer.following(NAMESPACE):
                await one.quiet()
                servers, own = one.cpu(), cpu(process.pid)
                before = await observer.requests()
                observer.begin()
                run = run_of(size, by_reference=options.by_reference)
                if options.annotation:
                    text = "x" * 1024 * options.annotation
                    run["metadata"]["annotations"] = {"example.com/note": text}
                await client.create(RUNS, NAMESPACE, run, timeout=120)
                created = await observer.until_created(size)
                final = await observer.until_phase(NAMESPACE, "run", FINAL)
            measured = Measured(
                size,
                observer.created[0],
                created,
                final,
                _used(one, servers),
                cpu(process.pid) - own,
                peak_rss(process.pid),
                _difference(await observer.requests(), before),
                len(json.dumps(await client.get(RUNS, NAMESPACE, "run"), separators=(",", ":"))),
            )
        finally:
            process.kill()
            process.wait()
        jobs = (await client.list(JOBS, NAMESPACE, timeout=300))["items"]
    return measured, jobs


def _start(checkout: Path | None, kubeconfig: Path, log: Path) -> subprocess.Popen[bytes]:
    """The controller of this checkout, or of another one with the packages of this one."""
    flags = ("--metrics-bind-address=0", "--health-probe-bind-address=0")
    program = [str(BIN / "kubetask-controller")]
    environ = dict(os.environ)
    if checkout:
        code = "from kubetask_controller.app.main import main; main()"
        program = [sys.executable, "-c", code]
        environ["PYTHONPATH"] = str(checkout.resolve() / "src")
    with log.open("wb") as file:
        return subprocess.Popen(
            [*program, f"--kubeconfig={kubeconfig}", *flags], stdout=file, stderr=file, env=environ
        )


async def _bare(one: Plane, jobs: Sequence[dict[str, Any]]) -> Measured:
    cluster = one.cluster
    config = await load_config(kubeconfig=str(cluster.admin_kubeconfig))
    path = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
    requests = [rawhttp.post(path, json.dumps(_again(x)).encode()) for x in jobs]
    port = urlsplit(cluster.url).port
    assert port is not None
    async with (
        Client(config, user_agent="kubetask-benchmark") as client,
        Observer.connected(cluster.connection) as observer,
    ):
        await make_namespace(client)
        async with observer.following(NAMESPACE):
            await one.quiet()
            servers = one.cpu()
            before = await observer.requests()
            observer.begin()
            await rawhttp.send(
                port, requests, connections=IN_FLIGHT, tls=cluster.connection.ssl_context
            )
            created = await observer.until_created(len(jobs))
            final = await observer.until_succeeded(len(jobs))
        return Measured(
            len(jobs),
            observer.created[0],
            created,
            final,
            _used(one, servers),
            0.0,
            0.0,
            _difference(await observer.requests(), before),
        )


def _used(one: Plane, before: dict[str, float]) -> dict[str, float]:
    return {name: round(used - before[name], 2) for name, used in one.cpu().items()}


def _difference(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    counted = {key: after[key] - before.get(key, 0) for key in after}
    return {key: n for key, n in sorted(counted.items(), key=lambda x: -x[1])[:12] if n}


async def make_namespace(client: Client) -> None:
    """The namespace of a benchmark, with what runs need."""
    await client.create(NAMESPACES, None, {"metadata": {"name": NAMESPACE}})
    await client.create(ACCOUNTS, NAMESPACE, {"metadata": {"name": "kubetask-agent"}})


def _spec(size: int) -> dict[str, Any]:
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
    return {"commonContext": [text], "variableContexts": repositories}


def _batch(size: int) -> dict[str, Any]:
    return {
        "apiVersion": RUNS.api_version,
        "kind": "Batch",
        "metadata": {"name": "batch"},
        "spec": _spec(size),
    }


def run_of(size: int, *, by_reference: bool = False, name: str = "run") -> dict[str, Any]:
    """A BatchRun of so many tasks, each on a repository of its own, with a common file of 1 KiB."""
    spec = {"batchRef": "batch"} if by_reference else {"batchSpec": _spec(size)}
    return {
        "apiVersion": RUNS.api_version,
        "kind": "BatchRun",
        "metadata": {"name": name},
        "spec": spec,
    }


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


if __name__ == "__main__":
    main()
