"""How fast the development cluster is, against a bare aiohttp server that echoes what it is sent.

    python -m hack.benchmarks.devcluster [--creates 4000] [--objects 100000]

Creates of a Job as the controller makes them, over plain HTTP and over TLS, alone and with watchers; how long a start takes;
how much memory many objects need. Each figure is the best of a few rounds, which take turns with the baseline: what matters
is the ratio, absolute figures move with the machine.
"""

import argparse
import asyncio
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hack.benchmarks import rawhttp

CONNECTIONS = 16
ROUNDS = 5
WATCHERS = 50
JOBS = "/apis/batch/v1/namespaces/default/jobs"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Server:
    """A server in a process of its own, with its output up to readiness."""

    pid: int
    said: str
    seconds: float

    def port(self, after: str) -> int:
        """The port that it named after these words."""
        found = re.search(rf"{after}(?:https?://[\d.]+:)?(\d+)", self.said)
        assert found is not None, self.said
        return int(found[1])

    @property
    def cpu(self) -> float:
        """CPU seconds that it took so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    @property
    def rss(self) -> float:
        """Its memory in MiB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def serving(*arguments: str) -> Iterator[Server]:
    """Start `python -m …`, and wait until it reports that it is ready."""
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if line.startswith("ready:"):
                break
        try:
            yield Server(process.pid, said, time.perf_counter() - started)
        finally:
            process.terminate()


@dataclass(slots=True)
class Best:
    """The best of several rounds."""

    rate: float = 0.0
    cpu: float = 0.0
    round_: int = 0

    def take(self, rate: float, cpu: float) -> None:
        """Take a round's creates a second, and the CPU seconds of one."""
        self.rate = max(self.rate, rate)
        self.cpu = min(self.cpu or cpu, cpu)

    def show(self, what: str, baseline: "Best | None" = None) -> None:
        """Print a line."""
        ratio = f"{self.rate / baseline.rate:6.2f}" if baseline else "      "
        print(f"{what:<44} {self.rate:8.0f}/s {1e6 * self.cpu:7.0f} µs {ratio}", flush=True)


def job(name: str) -> bytes:
    """A Job like those that the controller creates: some 2.5 KB."""
    mounts = [{"name": x, "mountPath": f"/{x}"} for x in ("workspace", "files", "tmp", "home")]
    env = [{"name": f"KUBETASK_{i}", "value": f"value-{i}-of-{name}"} for i in range(10)]
    agent = {
        "name": "agent",
        "image": "registry.example.com/agent:1",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "env": env,
        "volumeMounts": mounts,
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
    }
    prepare = {
        "name": "workspace",
        "image": "registry.example.com/workspace:1",
        "command": ["kubetask-workspace", "prepare"],
        "env": env,
        "volumeMounts": mounts,
    }
    volumes: list[dict[str, Any]] = [
        {"name": x, "emptyDir": {}} for x in ("workspace", "tmp", "home")
    ]
    sources = [{"configMap": {"name": "files", "items": [{"key": "a", "path": "a"}]}}]
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "initContainers": [prepare],
        "containers": [agent],
        "volumes": [*volumes, {"name": "files", "projected": {"sources": sources}}],
    }
    labels = {"kubetask.io/batch-run": "run", "kubetask.io/task-index": "1"}
    disruption = {"type": "DisruptionTarget", "status": "True"}
    rules = [{"action": "Ignore", "onPodConditions": [disruption]}]
    body = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "podFailurePolicy": {"rules": rules},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
    return json.dumps(body, separators=(",", ":")).encode()


def requests(prefix: str, count: int) -> list[bytes]:
    """Creates of so many Jobs."""
    return [rawhttp.post(JOBS, job(f"{prefix}-{i}")) for i in range(count)]


async def creates(
    best: Best, server: Server, port: int, count: int, tls: ssl.SSLContext | None = None
) -> None:
    """One round."""
    best.round_ += 1
    kind = "tls" if tls else "plain"
    bodies = requests(f"{kind}-{id(best)}-{best.round_}", count)
    cpu = server.cpu
    seconds = await rawhttp.send(port, bodies, connections=CONNECTIONS, tls=tls)
    best.take(count / seconds, (server.cpu - cpu) / count)


async def watched(best: Best, server: Server, port: int, count: int) -> None:
    """One round with watchers, until each has seen everything."""
    best.round_ += 1
    bodies = requests(f"watched-{best.round_}", count)
    path = f"{JOBS}?watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan"
    watchers = await rawhttp.watch(port, path, watchers=WATCHERS, expected=count)
    cpu = server.cpu
    seconds = await rawhttp.send(port, bodies, connections=CONNECTIONS)
    started = time.perf_counter()
    await asyncio.gather(*(x.done for x in watchers))
    late = time.perf_counter() - started
    for watcher in watchers:
        watcher.close()
    best.take(count / (seconds + late), (server.cpu - cpu) / count)


def start(arguments: Sequence[str]) -> float:
    """Seconds until a server is ready, at best."""
    taken = []
    for _ in range(ROUNDS):
        with (
            tempfile.TemporaryDirectory() as directory,
            serving(*arguments, *(["--dir", directory] if "devcluster" in arguments else [])) as x,
        ):
            taken.append(x.seconds)
    return min(taken)


async def rates(directory: Path, count: int) -> None:
    """Creates a second."""
    with (
        serving(*_bare(directory), "--http-port", "0") as cluster,
        serving("hack.benchmarks.echo") as echo,
        serving("hack.benchmarks.echo", "--tls", *_certificate(directory)) as tls_echo,
    ):
        tls = _client_tls(directory)
        plain_port, tls_port = cluster.port("plain HTTP: "), cluster.port("ready: ")
        plain, with_tls, with_watchers, base, tls_base = (Best() for _ in range(5))
        for _ in range(ROUNDS):
            await creates(base, echo, echo.port("ready: "), count)
            await creates(plain, cluster, plain_port, count)
            await watched(with_watchers, cluster, plain_port, count)
            await creates(tls_base, tls_echo, tls_echo.port("ready: "), count, tls)
            await creates(with_tls, cluster, tls_port, count, tls)
    print(f"{'':<44} {'rate':>10} {'CPU':>10} {'ratio':>6}")
    base.show("a bare server, plain HTTP")
    plain.show("creates of a Job, plain HTTP", base)
    with_watchers.show(f"the same, seen by {WATCHERS} watchers (to creates)", plain)
    tls_base.show("a bare server, HTTPS")
    with_tls.show("creates of a Job, HTTPS", tls_base)


async def memory(directory: Path, count: int) -> None:
    """Memory of many objects."""
    with serving(*_bare(directory), "--http-port", "0") as cluster:
        before = cluster.rss
        port = cluster.port("plain HTTP: ")
        for at in range(0, count, 5000):
            size = min(5000, count - at)
            bodies = requests(f"kept-{at}", size)
            await rawhttp.send(port, bodies, connections=CONNECTIONS)
        print(
            f"{count} Jobs: {cluster.rss:.0f} MiB, {1024 * (cluster.rss - before) / count:.1f} KiB each"
        )


def _bare(directory: Path) -> list[str]:
    return ["devcluster", "--dir", str(directory), "--no-node", "--no-controllers"]


def _certificate(directory: Path) -> list[str]:
    return [str(directory / "pki" / x) for x in ("apiserver.crt", "apiserver.key")]


def _client_tls(directory: Path) -> ssl.SSLContext:
    from devcluster.connection import Connection

    context = Connection.from_kubeconfig(directory / "admin.kubeconfig").ssl_context
    assert context is not None
    return context


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m hack.benchmarks.devcluster",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--creates", type=int, default=4000, help="of a round")
    parser.add_argument("--objects", type=int, default=100_000, help="to keep in memory; 0: none")
    options = parser.parse_args()
    bare = start(["hack.benchmarks.echo"])
    whole = start(["devcluster"])
    print(f"start: {whole:.2f} s; of a bare server: {bare:.2f} s", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(rates(Path(directory), options.creates))
    if options.objects:
        with tempfile.TemporaryDirectory() as directory:
            asyncio.run(memory(Path(directory), options.objects))


if __name__ == "__main__":
    main()
