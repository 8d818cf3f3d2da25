"""Many runs and Tasks of many teams at once, with caps, on an API server that leaves the controller few seats.

    KUBEBUILDER_ASSETS=DIR python -m hack.benchmarks.many [--namespaces 20] [--runs 10] [--tasks 50] [--singles 50] [--write]

Each namespace has a WorkspaceConfig with ``maxConcurrentTasks``, runs of so many tasks each, and single Tasks. All of them
are created while the controller runs. API priority and fairness has a priority level for the controller's ServiceAccount,
with as many seats as ``--seats`` says; what does not fit into its queue is answered with 429.

Measured are how long it takes, what a task costs, whether a cap was ever exceeded, and how evenly owners are served: Jain's
index of the Jobs that each run had when half of its namespace's tasks had theirs, 1 for equal shares, 1/n for one of n.
"""

import argparse
import asyncio
import json
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

from hack.benchmarks import report
from hack.benchmarks.controller import ACCOUNTS, FINAL, RUNS, run_of
from hack.benchmarks.history import TASKS
from hack.benchmarks.observer import Observer
from hack.benchmarks.planes import Plane, plane
from hack.benchmarks.running import SYSTEM, controller, install, peak_rss, wait_for

from kubetask_controller.client.config import load_config
from kubetask_controller.client.resources import NAMESPACES, Resource
from kubetask_controller.client.rest import Client

CONFIGS = Resource("kubetask.io", "v1alpha1", "workspaceconfigs", "WorkspaceConfig")
LEVELS = Resource(
    "flowcontrol.apiserver.k8s.io",
    "v1",
    "prioritylevelconfigurations",
    "PriorityLevelConfiguration",
    namespaced=False,
)
SCHEMAS = Resource(
    "flowcontrol.apiserver.k8s.io", "v1", "flowschemas", "FlowSchema", namespaced=False
)
LEVEL = "kubetask-benchmark"
OURS = "app.kubernetes.io/managed-by=kubetask"
SERVER_SEATS = 200
"""Seats of the whole API server: requests that it carries out at once."""
DEFAULT_SHARES = 245
"""The sum of the shares of the priority levels that an API server has by itself."""
QUEUE_LENGTH = 16
HEADER = (
    "namespaces",
    "runs",
    "tasks in all",
    "seats",
    "answers 429",
    "all Jobs created",
    "all final",
    "CPU of the controller, a task",
    "peak memory",
    "most at once of a cap of",
    "runs of a namespace: Jain's index, lowest",
    "namespaces: Jain's index",
    "longest wait for a first Job",
)


class Shares:
    """Which owner got its Jobs when."""

    def __init__(self) -> None:
        self.order: dict[str, list[tuple[float, str]]] = {}
        self._running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def see(self, seconds: float, created: bool, metadata: dict[str, Any]) -> None:
        """A Job was created, or has succeeded."""
        namespace, labels = metadata["namespace"], metadata["labels"]
        if not created:
            self._running[namespace] -= 1
            return
        self._running[namespace] += 1
        self.most[namespace] = max(self.most[namespace], self._running[namespace])
        owner = labels.get("kubetask.io/batch-run") or f"task/{labels['kubetask.io/task']}"
        self.order.setdefault(namespace, []).append((seconds, owner))

    def of_runs(self, runs: int) -> list[float]:
        """Jain's index of the runs of each namespace, when half of its tasks had their Jobs."""
        found = []
        for jobs in self.order.values():
            half = Counter(owner for _, owner in jobs[: len(jobs) // 2] if "/" not in owner)
            found.append(jain([*half.values(), *[0] * (runs - len(half))]))
        return found

    def of_namespaces(self) -> float:
        """Jain's index of the namespaces, when half of all tasks had their Jobs."""
        times = sorted(x for jobs in self.order.values() for x, _ in jobs)
        half = times[len(times) // 2]
        return jain([sum(x <= half for x, _ in jobs) for jobs in self.order.values()])

    def longest_wait(self) -> float:
        """Seconds until the last of all owners had its first Job."""
        first: dict[tuple[str, str], float] = {}
        for namespace, jobs in self.order.items():
            for seconds, owner in jobs:
                first.setdefault((namespace, owner), seconds)
        return max(first.values())


def jain(shares: Iterable[int]) -> float:
    """Jain's index of fairness: the square of the sum, over n times the sum of the squares."""
    values = list(shares)
    squares = sum(x * x for x in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hack.benchmarks.many", description=__doc__)
    parser.add_argument("--namespaces", type=int, default=20)
    parser.add_argument("--runs", type=int, default=10, help="in each namespace")
    parser.add_argument("--tasks", type=int, default=50, help="of each run")
    parser.add_argument("--singles", type=int, default=50, help="Tasks in each namespace")
    parser.add_argument("--cap", type=int, default=25, help="maxConcurrentTasks of each namespace")
    parser.add_argument("--seats", type=int, default=6, help="of the controller at the API server")
    parser.add_argument("--write", action="store_true", help="update docs/performance.md")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    flags = {
        "kube-apiserver": (
            f"--max-requests-inflight={SERVER_SEATS // 2}",
            f"--max-mutating-requests-inflight={SERVER_SEATS // 2}",
        )
    }
    with plane(flags=flags) as one:
        row = asyncio.run(_measure(one, options))
    print(json.dumps(row), flush=True)
    if options.write:
        command = (
            f"python -m hack.benchmarks.many --namespaces {options.namespaces} --runs {options.runs}"
            f" --tasks {options.tasks} --singles {options.singles} --cap {options.cap}"
            f" --seats {options.seats} --write"
        )
        rows = report.keep("many", [row], key=("total", "seats"), command=command)
        report.write_rows("many", report.table(HEADER, [_cells(x) for x in rows]), rows)


def _cells(row: report.Row) -> list[str]:
    return [
        str(row["namespaces"]),
        str(row["runs"]),
        f"{row['total']:,}",
        str(row["seats"]),
        f"{row['rejected']:,}",
        f"{row['created']:.0f} s",
        f"{row['final']:.0f} s",
        f"{1000 * row['cpu'] / row['total']:.1f} ms",
        f"{row['rss']:.0f} MiB",
        f"{row['most']} of {row['cap']}",
        f"{row['of_runs']:.2f}",
        f"{row['of_namespaces']:.2f}",
        f"{row['wait']:.0f} s",
    ]


async def _measure(one: Plane, options: argparse.Namespace) -> report.Row:
    cluster = one.cluster
    install(cluster)
    names = [f"team-{x}" for x in range(options.namespaces)]
    total = len(names) * (options.runs * options.tasks + options.singles)
    config = await load_config(kubeconfig=str(cluster.admin_kubeconfig))
    shares = Shares()
    async with (
        Client(config, user_agent="kubetask-benchmark") as client,
        Observer.connected(cluster.connection) as observer,
    ):
        level = await _restrict(client, options.seats)
        for name in names:
            await _team(client, name, options.cap)
        with controller(cluster, one.directory) as running:
            await wait_for(running.leads)
            async with observer.following("", selector=OURS, seen=shares.see):
                await one.quiet()
                before = running.cpu()
                observer.begin()
                await _submit(client, names, options)
                print(f"{total} tasks: submitted after {observer.seconds:.1f} s", flush=True)
                owners = len(names) * (options.runs + options.singles)
                async with running.alive():
                    created = await observer.until_created(total)
                    print(f"all Jobs created after {created:.1f} s", flush=True)
                    final = await _until_all_final(observer, owners)
                used = running.cpu() - before
                rejected = await _rejected(observer)
            rss = peak_rss(running.process.pid)
    most = max(shares.most.values())
    return {
        "namespaces": len(names),
        "runs": len(names) * options.runs,
        "total": total,
        "seats": level,
        "rejected": rejected,
        "created": round(created, 1),
        "final": round(final, 1),
        "cpu": round(used, 2),
        "rss": round(rss),
        "cap": options.cap,
        "most": most,
        "of_runs": round(min(shares.of_runs(options.runs)), 3),
        "of_namespaces": round(shares.of_namespaces(), 3),
        "wait": round(shares.longest_wait(), 1),
    }


async def _restrict(client: Client, seats: int) -> int:
    """A priority level for the controller alone, which borrows from no other and waits in one short queue; its seats.

    The Lease keeps the level that API servers have for leader election: behind creates, its renewals would come too late.
    """
    shares = max(1, round(seats * DEFAULT_SHARES / (SERVER_SEATS - seats)))
    queuing = {"queues": 1, "handSize": 1, "queueLengthLimit": QUEUE_LENGTH}
    limited = {
        "nominalConcurrencyShares": shares,
        "lendablePercent": 0,
        "borrowingLimitPercent": 0,
        "limitResponse": {"type": "Queue", "queuing": queuing},
    }
    await client.create(
        LEVELS,
        None,
        {
            "apiVersion": LEVELS.api_version,
            "kind": LEVELS.kind,
            "metadata": {"name": LEVEL},
            "spec": {"type": "Limited", "limited": limited},
        },
    )
    rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
    await client.create(SCHEMAS, None, _schema(LEVEL, LEVEL, 500, rule))
    lease = {"verbs": ["*"], "apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    name = f"{LEVEL}-lease"
    await client.create(SCHEMAS, None, _schema(name, "leader-election", 400, lease))
    return -(-SERVER_SEATS * shares // (DEFAULT_SHARES + shares))


def _schema(name: str, level: str, precedence: int, rule: dict[str, Any]) -> dict[str, Any]:
    """Requests of the controller that match the rule belong to the priority level."""
    account = {"name": "kubetask-controller", "namespace": SYSTEM}
    scope = {"namespaces": ["*"], "clusterScope": True}
    return {
        "apiVersion": SCHEMAS.api_version,
        "kind": SCHEMAS.kind,
        "metadata": {"name": name},
        "spec": {
            "priorityLevelConfiguration": {"name": level},
            "matchingPrecedence": precedence,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [
                {
                    "subjects": [{"kind": "ServiceAccount", "serviceAccount": account}],
                    "resourceRules": [rule | scope],
                }
            ],
        },
    }


async def _team(client: Client, name: str, cap: int) -> None:
    await client.create(NAMESPACES, None, {"metadata": {"name": name}})
    await client.create(ACCOUNTS, name, {"metadata": {"name": "kubetask-agent"}})
    body = {
        "apiVersion": CONFIGS.api_version,
        "kind": CONFIGS.kind,
        "metadata": {"name": "default"},
        "spec": {"agentImage": "registry.example.com/agent:1", "maxConcurrentTasks": cap},
    }
    await client.create(CONFIGS, name, body)


async def _submit(client: Client, names: list[str], options: argparse.Namespace) -> None:
    """Runs and Tasks of all teams in turns."""
    gate = asyncio.Semaphore(8)

    async def create(kind: Resource, namespace: str, body: dict[str, Any]) -> None:
        async with gate:
            await client.create(kind, namespace, body, timeout=120)

    async with asyncio.TaskGroup() as group:
        for number in range(max(options.runs, options.singles)):
            for name in names:
                if number < options.runs:
                    body = run_of(options.tasks, name=f"run-{number}")
                    group.create_task(create(RUNS, name, body))
                if number < options.singles:
                    group.create_task(create(TASKS, name, _single(number)))


def _single(number: int) -> dict[str, Any]:
    repository = {"org": "acme", "repo": f"single-{number}", "branch": "main"}
    return {
        "apiVersion": TASKS.api_version,
        "kind": TASKS.kind,
        "metadata": {"name": f"single-{number}"},
        "spec": {"contexts": [{"type": "Repository", "repository": repository}]},
    }


async def _until_all_final(observer: Observer, count: int) -> float:
    """Seconds until the column PHASE of all BatchRuns and Tasks is final."""
    while True:
        phases = [*await observer.phases("batchruns"), *await observer.phases("tasks")]
        if sum(x in FINAL for x in phases) >= count:
            return observer.seconds
        await asyncio.sleep(2)


async def _rejected(observer: Observer) -> int:
    """Requests of the controller's level that the API server has answered with 429."""
    name = "apiserver_flowcontrol_rejected_requests_total"
    pattern = rf'^{name}{{[^}}]*priority_level="{LEVEL}"[^}}]*}} (\S+)$'
    return round(sum(map(float, re.findall(pattern, await observer.metrics(), re.M))))


if __name__ == "__main__":
    main()
