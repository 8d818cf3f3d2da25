"""kubectl as the tests' hands: what a user types, and what it answers."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

KUBECTL = Path(sys.executable).with_name("kubectl")
PATIENCE = 30
"""Seconds that a wait may take; a slow machine is no failure, a hang is one."""


class KubectlError(AssertionError):
    """kubectl failed; the message is what it said."""


class Kubectl:
    """kubectl with a kubeconfig and a namespace."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.namespace = namespace
        # Its life is short: collecting garbage takes a third of it.
        self._environ = {**os.environ, "KUBECONFIG": str(kubeconfig), "GOGC": "off"}

    def __call__(self, *arguments: str, stdin: str = "", patience: float = 2 * PATIENCE) -> str:
        """What kubectl prints on stdout; KubectlError where it fails."""
        done = subprocess.run(
            self._command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            env=self._environ,
            timeout=patience,
            check=False,
        )
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, *manifests: str | dict[str, Any]) -> str:
        """Apply YAML texts or objects."""
        texts = [x if isinstance(x, str) else yaml.safe_dump(x, sort_keys=False) for x in manifests]
        return self("apply", "-f", "-", stdin="\n---\n".join(texts))

    def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Create an object, as generateName needs it; the object that was made."""
        text = yaml.safe_dump(manifest, sort_keys=False)
        return json.loads(self("create", "-f", "-", "-o", "json", stdin=text))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """An object."""
        return json.loads(self("get", kind, name, "-o", "json"))

    def items(self, kind: str, *arguments: str) -> list[dict[str, Any]]:
        """Objects of a kind."""
        return json.loads(self("get", kind, *arguments, "-o", "json"))["items"]

    def wait(self, target: str, condition: str, *arguments: str, timeout: float = PATIENCE) -> str:
        """``kubectl wait --for=condition target``."""
        return self(
            "wait",
            f"--for={condition}",
            target,
            f"--timeout={timeout:g}s",
            *arguments,
            patience=timeout + PATIENCE,
        )

    def wait_phase(self, target: str, phase: str, *, timeout: float = PATIENCE) -> dict[str, Any]:
        """Wait until the object is in a phase; the object."""
        return self._wait_status(target, "phase", phase, timeout)

    def wait_reason(self, target: str, reason: str, *, timeout: float = PATIENCE) -> dict[str, Any]:
        """Wait until the object has a reason; the object."""
        return self._wait_status(target, "reason", reason, timeout)

    def _wait_status(self, target: str, field: str, value: str, timeout: float) -> dict[str, Any]:
        condition = f"jsonpath={{.status.{field}}}={value}"
        try:
            return json.loads(self.wait(target, condition, "--output=json", timeout=timeout))
        except KubectlError as error:
            kind, _, name = target.partition("/")
            status = json.dumps(self.get(kind, name).get("status"), indent=1)
            raise KubectlError(f"{error}\nits status: {status}") from None

    @contextmanager
    def watching(self, *arguments: str) -> Iterator[Iterator[str]]:
        """The lines of a kubectl that goes on: ``get -w``, ``logs -f``. It is ended after the block."""
        process = subprocess.Popen(
            self._command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self._environ,
        )
        assert process.stdout is not None
        try:
            yield iter(process.stdout)
        finally:
            process.terminate()
            process.stdout.close()
            process.wait()

    def _command(self, *arguments: str) -> list[str]:
        return [str(KUBECTL), "--namespace", self.namespace, *arguments]
