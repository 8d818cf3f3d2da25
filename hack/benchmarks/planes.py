"""A fresh control plane of real binaries for one measurement, with stand-ins for kubelets that are never the bottleneck."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from devcluster.real import ControlPlane
from hack.benchmarks.running import ROOT, cpu

MANAGER_FLAGS = (
    "--kube-api-qps=1000",
    "--kube-api-burst=2000",
    "--concurrent-job-syncs=20",
    "--concurrent-gc-syncs=20",
)
"""Without them the Job controller creates 20 Pods a second, and everything else waits for it."""
SERVERS = ("kube-apiserver", "etcd", "kube-controller-manager")
_QUIET_LIMIT, _QUIET_SECONDS, _QUIET_CPU = 60.0, 2.0, 0.3
ASSETS = "KUBEBUILDER_ASSETS"
STARTS = "starts.txt"
"""In the directory of a plane: a line ``namespace/job/pod`` for each Pod that has run."""


@dataclass(frozen=True, slots=True)
class Plane:
    """A running control plane.

    Attributes:
        cluster: the connection to it.
        directory: its logs, and the logs of the programs that run against it.
    """

    cluster: ControlPlane
    directory: Path

    async def quiet(self) -> None:
        """Return once the servers have done the work of their start: less than a third of a core for two seconds."""
        async with asyncio.timeout(_QUIET_LIMIT):
            while True:
                before = sum(self.cpu().values())
                await asyncio.sleep(_QUIET_SECONDS)
                if sum(self.cpu().values()) - before < _QUIET_CPU * _QUIET_SECONDS:
                    return

    def cpu(self) -> dict[str, float]:
        """Seconds of processor time of its processes, by name."""
        return {name: cpu(self.cluster.pids[name]) for name in SERVERS}


@contextmanager
def plane(
    *, run_seconds: float | None = 0.2, flags: Mapping[str, tuple[str, ...]] | None = None
) -> Iterator[Plane]:
    """Start a control plane and its kubelets, and stop them at the end.

    Args:
        run_seconds: how long each Pod runs; None for no kubelets.
        flags: further flags, by the name of the binary.

    Raises:
        SystemExit: KUBEBUILDER_ASSETS names no folder.
    """
    assets = os.environ.get(ASSETS)
    if not assets:
        raise SystemExit(
            f"{ASSETS} must name a folder with etcd, kube-apiserver and kube-controller-manager"
        )
    every = {"kube-controller-manager": MANAGER_FLAGS, **(flags or {})}
    with (
        tempfile.TemporaryDirectory(prefix="kubetask-benchmark-") as name,
        ControlPlane(Path(assets).resolve(), Path(name), standin=False, flags=every) as cluster,
        ExitStack() as kubelets_too,
    ):
        if run_seconds is not None:
            kubelets_too.enter_context(kubelets(cluster, Path(name), run_seconds))
        yield Plane(cluster, Path(name))


@contextmanager
def kubelets(
    cluster: ControlPlane, directory: Path, run_seconds: float
) -> Iterator[subprocess.Popen[bytes]]:
    """The stand-ins for kubelets, in a process of their own, whose output is in ``kubelets.log`` of the directory."""
    with (directory / "kubelets.log").open("wb") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "hack.benchmarks.kubelets",
                f"--kubeconfig={cluster.admin_kubeconfig}",
                f"--run-seconds={run_seconds}",
                f"--starts={directory / STARTS}",
            ],
            stdout=log,
            stderr=log,
            cwd=ROOT,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
