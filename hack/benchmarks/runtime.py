"""What the runtime costs: 10,000 Jobs listed and indexed, and then a flood of watch events to a reconciler that does nothing.

    python -m hack.benchmarks.runtime [--jobs 10000] [--events 50000]

The server is a process of its own (firehose.py); only this process is measured. Figures are processor time, which does not
depend on other load of the machine; wall time is shown beside it. The baseline of each figure is the cost of reading the same
JSON without a runtime, measured in the same process immediately before.
"""

import argparse
import asyncio
import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hack.benchmarks.firehose import FIRST_VERSION, _line, job
from pydantic_core import from_json

from kubetask_controller.app.main import GC_THRESHOLD
from kubetask_controller.client.config import RestConfig
from kubetask_controller.client.resources import JOBS
from kubetask_controller.client.rest import Client
from kubetask_controller.reconcilers.listers import by_owner_uid
from kubetask_controller.reconcilers.projections import PartialJob, project_job
from kubetask_controller.runtime.cache import Cache
from kubetask_controller.runtime.controller import Controller, ControllerOptions
from kubetask_controller.runtime.handler import InformerSource, Predicate, enqueue_self
from kubetask_controller.runtime.metrics import Metrics
from kubetask_controller.runtime.reconcile import Request, Result

BEAT = 0.001
PAGE = os.sysconf("SC_PAGE_SIZE")
LIMITS = {"listed": 3.0, "memory": 60.0, "stall": 50.0, "events": 10_000.0}


class Pulse:
    """How long the event loop was held up: the longest time between two of its turns, in ms."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    async def beat(self) -> None:
        """Until cancelled."""
        while True:
            wall, cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(BEAT)
            late = time.perf_counter() - wall - BEAT
            self.wall = max(self.wall, late * 1000)
            # Where another process had the core, the loop was not held up by us.
            self.cpu = max(self.cpu, min(late, time.thread_time() - cpu) * 1000)


class Nothing:
    """A reconciler that counts."""

    def __init__(self) -> None:
        self.count = 0

    async def reconcile(self, request: Request) -> Result:
        """Nothing."""
        self.count += 1
        return Result()


@dataclass(frozen=True, slots=True)
class Listed:
    """How a list went: seconds of wall and processor, MiB above before, ms of the longest stall."""

    wall: float
    cpu: float
    memory: float
    peak: float
    stall: float
    stall_wall: float


@dataclass(frozen=True, slots=True)
class Flooded:
    """How the events went."""

    wall: float
    cpu: float
    reconciles: int
    stall: float
    stall_wall: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hack.benchmarks.runtime", description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--measure", choices=("streamed", "paged"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is None:
        # A process for each, so that memory begins at the same place.
        for way in ("streamed", "paged"):
            command = [sys.executable, "-m", "hack.benchmarks.runtime", f"--measure={way}"]
            subprocess.run(
                [*command, f"--jobs={options.jobs}", f"--events={options.events}"], check=True
            )
        return
    # As the controller has it.
    gc.set_threshold(*GC_THRESHOLD)
    with _firehose(options.jobs, options.events, streams=options.measure == "streamed") as port:
        asyncio.run(_measure(options, port))


@contextmanager
def _firehose(jobs: int, events: int, *, streams: bool) -> Iterator[int]:
    command = [sys.executable, "-m", "hack.benchmarks.firehose", f"--jobs={jobs}"]
    command += [f"--events={events}"] + ([] if streams else ["--no-streaming"])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


async def _measure(options: argparse.Namespace, port: int) -> None:
    print(f"{options.jobs} Jobs, list {options.measure}")
    config = RestConfig.for_host(f"http://127.0.0.1:{port}")
    async with Client(config, user_agent="benchmark") as client:
        cache = Cache(client)
        jobs = cache.informer(
            JOBS, project=project_job, partial=PartialJob, indexers={"owner": by_owner_uid}
        )
        reconciler = Nothing()
        controller = Controller(
            reconciler,
            sources=[InformerSource(jobs, enqueue_self, Predicate())],
            options=ControllerOptions("benchmark"),
            metrics=Metrics(),
        )
        listed = await _list(cache)
        parse = _parse_alone(2000)
        assert len(jobs) == options.jobs
        _report_list(listed, options.jobs * parse)
        stop = asyncio.Event()
        running = asyncio.create_task(controller.run(stop))
        await _until(lambda: reconciler.count >= options.jobs)
        last = FIRST_VERSION + options.events
        flooded = await _flood(client, cache, reconciler, last)
        _report_events(flooded, options.events, options.events * parse)
        stop.set()
        await running
        _filling.cancel()
        await asyncio.gather(_filling, return_exceptions=True)


_filling: asyncio.Task[None]


async def _list(cache: Cache) -> Listed:
    global _filling
    gc.collect()
    before, wall, cpu = _rss(), time.perf_counter(), time.process_time()
    pulse = Pulse()
    beating = asyncio.create_task(pulse.beat())
    _filling = asyncio.create_task(cache.run())
    await cache.wait_for_sync(120)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    beating.cancel()
    gc.collect()
    return Listed(wall, cpu, _rss() - before, _peak() - before, pulse.cpu, pulse.wall)


async def _flood(client: Client, cache: Cache, reconciler: Nothing, last: int) -> Flooded:
    (jobs,) = cache.informers.values()
    already = reconciler.count
    pulse = Pulse()
    beating = asyncio.create_task(pulse.beat())
    wall, cpu = time.perf_counter(), time.process_time()
    await client.create(JOBS, "default", {})
    await _until(lambda: jobs.resource_version("default") == str(last))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    beating.cancel()
    return Flooded(wall, cpu, reconciler.count - already, pulse.cpu, pulse.wall)


async def _until(done: Callable[[], bool]) -> None:
    while not done():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


def _parse_alone(count: int) -> float:
    """Seconds of processor time that one event's JSON takes to read, and no more."""
    lines = [_line("MODIFIED", job(n, n)) for n in range(count)]
    started = time.process_time()
    for line in lines:
        from_json(line)
    seconds = (time.process_time() - started) / count
    print(f"  JSON alone    {len(lines[0])} bytes an event, {seconds * 1e6:.0f} us each")
    return seconds


def _report_list(listed: Listed, parse: float) -> None:
    print(
        f"  listed        {listed.cpu:.2f} s of processor ({listed.wall:.2f} s), "
        f"{listed.cpu / parse:.2f} times JSON alone, {_against(listed.cpu, 'listed')}"
    )
    print(
        f"  memory        {listed.memory:.1f} MiB above an empty process "
        f"(peak {listed.peak:.1f}), {_against(listed.memory, 'memory')}"
    )
    print(
        f"  longest stall {listed.stall:.0f} ms of processor ({listed.stall_wall:.0f} ms), "
        f"{_against(listed.stall, 'stall')}"
    )


def _report_events(flooded: Flooded, events: int, parse: float) -> None:
    rate = events / flooded.cpu
    verdict = "met" if rate >= LIMITS["events"] else "MISSED"
    print(
        f"  events        {rate:,.0f} a second of processor ({events / flooded.wall:,.0f}), "
        f"{flooded.cpu / parse:.2f} times JSON alone, {flooded.reconciles} reconciles, "
        f"limit {LIMITS['events']:,.0f} {verdict}"
    )
    print(
        f"  longest stall {flooded.stall:.0f} ms of processor ({flooded.stall_wall:.0f} ms), "
        f"{_against(flooded.stall, 'stall')}",
        flush=True,
    )


def _against(value: float, name: str) -> str:
    return f"limit {LIMITS[name]:g} {'met' if value <= LIMITS[name] else 'MISSED'}"


def _rss() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 2**20


def _peak() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
