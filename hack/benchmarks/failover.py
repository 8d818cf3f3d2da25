"""Ends the leader in the middle of a large run: how soon its standby acts, and whether anything is lost or done twice.

    KUBEBUILDER_ASSETS=DIR python -m hack.benchmarks.failover [--tasks 5000] [--at 0.8] [--signals TERM,KILL] [--write]

A run creates its Jobs until so many of them are there; their Pods run for a minute, so all of them are in flight. Then the
leader gets the signal. The standby has to create the rest. After SIGKILL the Lease is free once it has run out; after SIGTERM
once the leader has given it up. Then every task must have succeeded, with one Job and one Pod.
"""

import argparse
import asyncio
import json
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hack.benchmarks import report
from hack.benchmarks.controller import FINAL, NAMESPACE, RUNS, make_namespace, run_of
from hack.benchmarks.observer import Observer
from hack.benchmarks.planes import STARTS, Plane, plane
from hack.benchmarks.running import SYSTEM, controller, install, wait_for

from kubetask_controller.client.config import load_config
from kubetask_controller.client.resources import LEASES
from kubetask_controller.client.rest import Client

LEASE = "controller.kubetask.io"
_POLL = 0.05
HEADER = (
    "tasks",
    "in flight",
    "signal",
    "leader's exit",
    "Lease free",
    "the standby leads, after the Lease is free",
    "its first create, after the Lease is free",
    "all final",
    "tasks lost",
    "run twice",
)


@dataclass(slots=True)
class Lease:
    """The history of the first leader's Lease, in seconds of this machine's wall clock.

    Attributes:
        leader: who holds it at first.
        free_at: when it runs out, or when it was first seen without a holder.
        taken_at: when it was first seen with another holder, 0 before.
    """

    leader: str = ""
    free_at: float = 0.0
    taken_at: float = 0.0

    def see(self, spec: dict[str, Any]) -> None:
        """The Lease was read."""
        holder = spec.get("holderIdentity") or ""
        self.leader = self.leader or holder
        if holder == self.leader:
            renewed = datetime.fromisoformat(spec["renewTime"]).timestamp()
            self.free_at = renewed + spec["leaseDurationSeconds"]
        elif holder and not self.taken_at:
            self.taken_at = time.time()
        elif not holder:
            self.free_at = min(self.free_at, time.time())

    async def follow(self, client: Client) -> None:
        """Read it twenty times a second until cancelled."""
        while True:
            self.see((await client.get(LEASES, SYSTEM, LEASE))["spec"])
            await asyncio.sleep(_POLL)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hack.benchmarks.failover", description=__doc__)
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--at", type=float, default=0.8, help="share of the Jobs that are there")
    parser.add_argument("--run-seconds", type=float, default=60.0, help="of each Pod")
    parser.add_argument("--signals", default="TERM,KILL")
    parser.add_argument("--write", action="store_true", help="update docs/performance.md")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for name in options.signals.split(","):
        with plane(run_seconds=options.run_seconds) as one:
            row = asyncio.run(_measure(one, options, name))
        print(json.dumps(row), flush=True)
        if options.write:
            command = (
                f"python -m hack.benchmarks.failover --tasks {options.tasks} --at {options.at:g}"
                f" --signals {options.signals} --write"
            )
            rows = report.keep("failover", [row], key=("tasks", "signal"), command=command)
            report.write_rows("failover", report.table(HEADER, [_cells(x) for x in rows]), rows)


def _cells(row: report.Row) -> list[str]:
    return [
        f"{row['tasks']:,}",
        f"{row['in_flight']:,}",
        f"SIG{row['signal']}",
        f"{row['exit']:.1f} s",
        f"{row['free']:.1f} s",
        f"{row['leads']:.1f} s",
        "nothing was left to create" if row["acts"] is None else f"**{row['acts']:.1f} s**",
        f"{row['final']:.0f} s",
        str(row["lost"]),
        str(row["twice"]),
    ]


async def _measure(one: Plane, options: argparse.Namespace, name: str) -> report.Row:
    cluster = one.cluster
    install(cluster)
    config = await load_config(kubeconfig=str(cluster.admin_kubeconfig))
    jobs: Counter[str] = Counter()

    def see(_: float, created: bool, metadata: dict[str, Any]) -> None:
        jobs[metadata["name"]] += created

    async with (
        Client(config, user_agent="kubetask-benchmark") as client,
        Observer.connected(cluster.connection) as observer,
    ):
        await make_namespace(client)
        with controller(cluster, one.directory) as leader:
            await wait_for(leader.leads)
            with controller(cluster, one.directory) as standby:
                await wait_for(standby.ready)
                lease = Lease()
                following = asyncio.create_task(lease.follow(client))
                async with observer.following(NAMESPACE, seen=see):
                    await one.quiet()
                    observer.begin()
                    await client.create(RUNS, NAMESPACE, run_of(options.tasks), timeout=120)
                    await observer.until_created(round(options.tasks * options.at))
                    in_flight = len(observer.created) - len(observer.succeeded)
                    ended, offset = time.time(), time.time() - observer.seconds
                    leader.process.send_signal(getattr(signal, f"SIG{name}"))
                    await wait_for(lambda: leader.process.poll() is not None, seconds=120)
                    exited = time.time()
                    await wait_for(lambda: lease.taken_at > 0, seconds=120)
                    await observer.until_created(options.tasks)
                    final = await observer.until_phase(NAMESPACE, "run", FINAL)
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
        status = (await client.get(RUNS, NAMESPACE, "run"))["status"]
    acted = min((x + offset for x in observer.created if x + offset > lease.taken_at), default=0.0)
    starts = Counter(x.rsplit("/", 1)[0] for x in (one.directory / STARTS).read_text().split())
    return {
        "tasks": options.tasks,
        "signal": name,
        "in_flight": in_flight,
        "exit": round(exited - ended, 2),
        "free": round(lease.free_at - ended, 2),
        "leads": round(lease.taken_at - lease.free_at, 2),
        "acts": round(acted - lease.free_at, 2) if acted else None,
        "final": round(final, 1),
        "lost": options.tasks - status["progress"]["completed"],
        "twice": sum(x > 1 for x in jobs.values()) + sum(x > 1 for x in starts.values()),
    }


if __name__ == "__main__":
    main()
