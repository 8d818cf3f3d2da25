"""The controller as a process of its own, for benchmarks: install, start, query, measure."""

import asyncio
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from devcluster.base import Cluster

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SYSTEM = "kubetask-system"
TICKS = os.sysconf("SC_CLK_TCK")


def install(cluster: Cluster, checkout: Path | None = None) -> None:
    """The controller's CRDs and rights, from this checkout or another one."""
    environ = {**os.environ, "KUBECONFIG": str(cluster.admin_kubeconfig)}
    for arguments in (
        ("apply", "--server-side", "-k", "config/crd"),
        ("apply", "-f", "config/manager/namespace.yaml"),
        ("apply", "-n", SYSTEM, "-k", "config/rbac"),
        ("wait", "--for=condition=Established", "crd", "-l", "app.kubernetes.io/name=kubetask"),
    ):
        subprocess.run(
            [BIN / "kubectl", *arguments],
            env=environ,
            cwd=checkout or ROOT,
            check=True,
            capture_output=True,
        )


@dataclass(frozen=True, slots=True)
class Running:
    """A controller's process, and the ports of its metrics and health endpoints."""

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

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """Within the block the process runs.

        Raises:
            RuntimeError: it has ended; its log says why.
        """

        async def look() -> None:
            await wait_for(lambda: self.process.poll() is not None, seconds=None)
            raise RuntimeError("the controller has ended; see its log")

        async with asyncio.TaskGroup() as group:
            looking = group.create_task(look())
            yield
            looking.cancel()

    def leads(self) -> bool:
        """Whether it reports that it is the leader."""
        try:
            return 1.0 in self.samples("leader_election_master_status").values()
        except OSError:
            return False

    def samples(self, name: str) -> dict[str, float]:
        """The series of a metric: the labels in braces, and the value."""
        url = f"http://127.0.0.1:{self.metrics}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        found = (x.rpartition(" ") for x in lines if x.startswith(f"{name}{{"))
        return {series[len(name) :]: float(value) for series, _, value in found}

    def stop(self) -> None:
        """End it as the kubelet does, and wait for its exit."""
        self.process.terminate()
        self.process.wait(60)

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        return cpu(self.process.pid)


@contextmanager
def controller(
    cluster: Cluster,
    directory: Path,
    *,
    command: Sequence[str | Path] = (BIN / "kubetask-controller",),
) -> Iterator[Running]:
    """A controller with leader election; killed at the end if it still runs. ``command`` gets its flags as arguments."""
    kubeconfig = cluster.service_account_kubeconfig(SYSTEM, "kubetask-controller")
    metrics, health = _port(), _port()
    with (directory / "controller.log").open("ab") as log:
        process = subprocess.Popen(
            [
                *command,
                f"--kubeconfig={kubeconfig}",
                f"--metrics-bind-address=127.0.0.1:{metrics}",
                f"--health-probe-bind-address=127.0.0.1:{health}",
                "--leader-elect",
                f"--leader-election-namespace={SYSTEM}",
            ],
            stdout=log,
            stderr=log,
            cwd=ROOT,
        )
    try:
        yield Running(process, metrics, health)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def cpu(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_rss(pid: int) -> float:
    """The most memory that a process has used, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


async def wait_for(done: Callable[[], bool], *, seconds: float | None = 60.0) -> None:
    """Return once `done()` is true."""
    async with asyncio.timeout(seconds):
        while not done():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
