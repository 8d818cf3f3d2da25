"""The development cluster in a process of its own, for tests and benchmarks, with blocking calls."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from .apiserver.auth import kubeconfig
from .apiserver.auth.pki import CertificateAuthority
from .base import Capability, Cluster

if TYPE_CHECKING:
    from .faultcontrol import FaultControl
    from .kubelet_standin import StandIn

START_SECONDS = 60.0
STOP_SECONDS = 20.0


class DevClusterProcess(Cluster):
    """`python -m devcluster`. Use as a context manager. `images` is a file as `--images` takes it; `seed` as in `--seed`."""

    name = "development cluster"

    def __init__(
        self, directory: Path, *, images: Path | None = None, seed: int | None = None
    ) -> None:
        self._directory = directory
        self._images = images
        self._seed = seed
        self._process: subprocess.Popen[bytes] | None = None
        self._url = ""
        self._standin: StandIn | None = None
        self.capabilities = frozenset(
            {
                Capability.PROCESSES,
                Capability.LOOPBACK,
                Capability.IMAGES,
                Capability.JOB_CONTROLLER,
                Capability.NODES,
                Capability.SCRIPTED_PODS,
                Capability.FAULTS,
            }
        )

    def __enter__(self) -> DevClusterProcess:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """`https://127.0.0.1:<port>`."""
        return self._url

    @property
    def directory(self) -> Path:
        """Keys, log, kubeconfigs, and the files of Pods."""
        return self._directory

    @property
    def admin_kubeconfig(self) -> Path:
        """The kubeconfig of system:masters."""
        return self._directory / "admin.kubeconfig"

    @property
    def log(self) -> Path:
        """The output of the process."""
        return self._directory / "devcluster.log"

    @cached_property
    def _authority(self) -> CertificateAuthority:
        return CertificateAuthority.load_or_create(self._directory / "pki")

    @property
    def ca(self) -> bytes:
        """The CA's certificate."""
        return self._authority.pem

    @property
    def pods(self) -> StandIn:
        """The kubelet stand-in for annotated Pods."""
        assert self._standin is not None, "the cluster is not running"
        return self._standin

    @cached_property
    def faults(self) -> FaultControl:
        """Faults on demand."""
        from .faultcontrol import FaultControl

        return FaultControl(self.connection)

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig with a client certificate."""
        file = self._directory / f"{re.sub('[^A-Za-z0-9.-]', '-', user)}.kubeconfig"
        server = kubeconfig.Server(self.url, self.ca)
        return kubeconfig.write_certificate(
            file, server, user, self._authority.client(user, groups)
        )

    def start(self) -> None:
        """Start it; returns once it can be used. Raises RuntimeError with its output."""
        self._directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "devcluster", "--dir", str(self._directory)]
        if self._images is not None:
            command += ["--images", str(self._images)]
        if self._seed is not None:
            command += ["--seed", str(self._seed)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        said = self._await_ready()
        self._url = re.search(r"ready: (\S+)", said)[1]  # type: ignore[index]
        if "Pods are not run" in said:
            self.capabilities -= {Capability.PROCESSES, Capability.LOOPBACK}
        from .kubelet_standin import StandIn

        self._standin = StandIn(self.connection, only_annotated=True)
        self._standin.start()

    def stop(self) -> None:
        """Stop it with all that its node runs."""
        if self._standin is not None:
            self._standin.stop()
            self._standin = None
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _await_ready(self) -> str:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            said = self.log.read_text(errors="replace")
            if re.search(r"^ready: \S+ .*\n", said, re.MULTILINE):
                return said
            if self._process.poll() is not None:
                raise RuntimeError(
                    f"the development cluster ended at once; {self.log}:\n{said[-4000:]}"
                )
            time.sleep(0.02)
        raise RuntimeError(
            f"the development cluster is not ready; {self.log}:\n{self.log.read_text()[-4000:]}"
        )
