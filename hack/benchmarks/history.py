"""What ended runs and their finished Jobs cost a controller: its start, its memory, its longest turn, and each later event.

    KUBEBUILDER_ASSETS=DIR python -m hack.benchmarks.history [--runs 0,2500,10000] [--write]

Each size has a control plane of its own. A run of five tasks is carried out for real; copies of it and of its Jobs are then
put into etcd, which takes seconds where the API would take an hour. The controller is started, has to create the Job of a
Task, and then carries out a run of 200 tasks. A second start measures the turns of the event loop, because that takes
processor time too.
"""

import argparse
import asyncio
import base64
import copy
import json
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
from hack.benchmarks import growth, report
from hack.benchmarks.controller import FINAL, NAMESPACE, RUNS, make_namespace, run_of
from hack.benchmarks.observer import Observer
from hack.benchmarks.planes import Plane, plane
from hack.benchmarks.running import controller, cpu, install, peak_rss

from kubetask_controller.client.config import load_config
from kubetask_controller.client.resources import JOBS, Resource
from kubetask_controller.client.rest import Client

TASKS = Resource("kubetask.io", "v1alpha1", "tasks", "Task")
TASKS_A_RUN = 5
EVENTS = 200
"""Tasks of the run by which the cost of an event is measured."""
_IN_ONE_TRANSACTION = 100
HEADER = (
    "ended runs",
    "finished Jobs",
    "CPU until it acts",
    "time until it acts",
    "longest turn of the event loop",
    "peak memory",
    "CPU of a task, later",
)


@dataclass(frozen=True, slots=True)
class Start:
    """How a controller started.

    Attributes:
        runs: ended runs in the cluster.
        cpu: processor seconds until it had created the Job of a Task, of which the rest of the process's start is part.
        seconds: the time of that.
        turn: seconds of processor time of the longest turn of its event loop.
        rss: peak memory in MiB.
        task: processor seconds of each task of a run that came later.
    """

    runs: int
    cpu: float
    seconds: float
    turn: float
    rss: float
    task: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hack.benchmarks.history", description=__doc__)
    parser.add_argument("--runs", default="0,2500,10000", help="ended runs, of five tasks each")
    parser.add_argument("--save", type=Path, help="append each measurement to this file, as JSON")
    parser.add_argument("--write", action="store_true", help="update docs/performance.md")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for count in map(int, options.runs.split(",")):
        with plane() as one:
            start = asyncio.run(_measure(one, count))
        print(start, flush=True)
        if options.save:
            with options.save.open("a") as file:
                file.write(json.dumps(asdict(start)) + "\n")
        if options.write:
            command = f"python -m hack.benchmarks.history --runs {options.runs} --write"
            rows = report.keep("history", [asdict(start)], key=("runs",), command=command)
            report.write_rows("history", report.table(HEADER, [_cells(x) for x in rows]), rows)
            growth.write()


def _cells(row: report.Row) -> list[str]:
    return [
        f"{row['runs']:,}",
        f"{row['runs'] * TASKS_A_RUN:,}",
        f"{row['cpu']:.1f} s",
        f"{row['seconds']:.1f} s",
        f"{1000 * row['turn']:.0f} ms",
        f"{row['rss']:.0f} MiB",
        f"{1000 * row['task']:.1f} ms",
    ]


async def _measure(one: Plane, count: int) -> Start:
    cluster = one.cluster
    install(cluster)
    config = await load_config(kubeconfig=str(cluster.admin_kubeconfig))
    async with (
        Client(config, user_agent="kubetask-benchmark") as client,
        Observer.connected(cluster.connection) as observer,
    ):
        await make_namespace(client)
        await _fill(one, client, observer, count)
        await one.quiet()
        with controller(one.cluster, one.directory) as running:
            pid = running.process.pid
            seconds = await _until_it_acts(client, observer, "first-start")
            used = cpu(pid)
            await _settled(pid)
            before = cpu(pid)
            await client.create(RUNS, NAMESPACE, run_of(EVENTS, name="later"))
            await observer.until_phase(NAMESPACE, "later", FINAL)
            task = (cpu(pid) - before) / EVENTS
            rss = peak_rss(pid)
            running.stop()
        turns = one.directory / "turns.json"
        command = (sys.executable, "-m", "hack.benchmarks.stalls", turns)
        with controller(one.cluster, one.directory, command=command) as running:
            await _until_it_acts(client, observer, "second-start")
            running.stop()
        found = json.loads(turns.read_text())
        print(json.dumps(found, indent=1), flush=True)
    return Start(count, used, seconds, found["longest"], rss, task)


async def _until_it_acts(client: Client, observer: Observer, name: str) -> float:
    """Create a Task; returns the seconds until it has its Job."""
    began = time.monotonic()
    await client.create(TASKS, NAMESPACE, _task(name))
    async with observer.following(NAMESPACE, selector=f"kubetask.io/task={name}"):
        await observer.until_created(1)
    return time.monotonic() - began


async def _settled(pid: int) -> None:
    """Return once the process uses less than a tenth of a core."""
    async with asyncio.timeout(120):
        while True:
            before = cpu(pid)
            await asyncio.sleep(2)
            if cpu(pid) - before < 0.2:
                return


async def _fill(one: Plane, client: Client, observer: Observer, count: int) -> None:
    """Carry one run out, and copy it."""
    with controller(one.cluster, one.directory) as running:
        await client.create(RUNS, NAMESPACE, run_of(TASKS_A_RUN, name="first"))
        await observer.until_phase(NAMESPACE, "first", FINAL)
        running.stop()
    run = await client.get(RUNS, NAMESPACE, "first")
    jobs = (await client.list(JOBS, NAMESPACE))["items"]
    async with aiohttp.ClientSession(one.cluster.etcd_url) as session:
        batch: list[tuple[str, dict[str, Any]]] = []
        for key, value in _copies(run, jobs, count):
            batch.append((key, value))
            if len(batch) == _IN_ONE_TRANSACTION:
                await _put(session, batch)
                batch = []
        await _put(session, batch)


def _copies(
    run: dict[str, Any], jobs: list[dict[str, Any]], count: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    for number in range(count):
        name, uid = f"ended-{number}", str(uuid.uuid4())
        one = _with_name(run, name, uid)
        for entry in one["status"]["tasks"]:
            entry["jobName"] = entry["jobName"].replace("first", name, 1)
        yield f"/registry/kubetask.io/batchruns/{NAMESPACE}/{name}", one
        for job in jobs:
            job_name = job["metadata"]["name"].replace("first", name, 1)
            again = _with_name(job, job_name, str(uuid.uuid4()))
            again |= {"apiVersion": "batch/v1", "kind": "Job"}
            again["metadata"]["labels"]["kubetask.io/batch-run"] = name
            again["metadata"]["ownerReferences"][0] |= {"name": name, "uid": uid}
            yield f"/registry/jobs/{NAMESPACE}/{job_name}", again


def _with_name(obj: dict[str, Any], name: str, uid: str) -> dict[str, Any]:
    again = copy.deepcopy(obj)
    again["metadata"] |= {"name": name, "uid": uid}
    del again["metadata"]["resourceVersion"]
    return again


async def _put(session: aiohttp.ClientSession, batch: list[tuple[str, dict[str, Any]]]) -> None:
    if not batch:
        return
    puts = [
        {
            "requestPut": {
                "key": base64.b64encode(key.encode()).decode(),
                "value": base64.b64encode(json.dumps(value).encode()).decode(),
            }
        }
        for key, value in batch
    ]
    async with session.post("/v3/kv/txn", json={"success": puts}) as answer:
        answer.raise_for_status()


def _task(name: str) -> dict[str, Any]:
    repository = {"org": "acme", "repo": "service", "branch": "main"}
    return {
        "apiVersion": TASKS.api_version,
        "kind": TASKS.kind,
        "metadata": {"name": name},
        "spec": {"contexts": [{"type": "Repository", "repository": repository}]},
    }


if __name__ == "__main__":
    main()
