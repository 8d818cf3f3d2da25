"""The controller as a process of its own, under its own ServiceAccount."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

BINARY = Path(sys.executable).with_name("kubetask-controller")
START_SECONDS = 30.0
SYSTEM = "kubetask-system"
"""Where it is installed."""


class ControllerProcess:
    """One replica. Its log lies beside its kubeconfig, and is shown when it does not come up."""

    def __init__(self, kubeconfig: Path, log: Path, *arguments: str) -> None:
        self._kubeconfig = kubeconfig
        self.log = log
        port = free_port()
        self._ready_url = f"http://127.0.0.1:{port}/readyz"
        self._arguments = (*arguments, f"--health-probe-bind-address=127.0.0.1:{port}")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; returns at once."""
        environ = {k: v for k, v in os.environ.items() if not k.startswith("KUBETASK_")}
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [BINARY, f"--kubeconfig={self._kubeconfig}", *self._arguments],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                env=environ | {"PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Return once its caches are filled; AssertionError with its log where it does not come up."""
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if not self.running or time.monotonic() > deadline:
                tail = "\n".join(self.log.read_text().splitlines()[-20:])
                raise AssertionError(f"the controller did not come up; {self.log}:\n{tail}")
            time.sleep(0.05)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(self._ready_url, timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def kill(self) -> None:
        """SIGKILL: what a node does that loses power."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: a node so busy that nothing of the process runs."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def wait_exit(self) -> int:
        """Its exit code, once it has ended by itself."""
        assert self._process is not None
        return self._process.wait(30)

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self.resume()
        try:
            return self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
