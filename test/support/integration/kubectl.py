"""kubectl as a test uses it: what a user types, and its output.

Reads and waits send the requests that kubectl sends, without a process: each start of kubectl takes 0.1 s of processor time.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml
from devcluster.connection import ApiError, Connection

KUBECTL = Path(sys.executable).with_name("kubectl")
PATIENCE = 30
"""Seconds that a wait may take; a slow machine is no failure, a hang is one."""

PAUSE = 0.2
"""Seconds until a wait reads again after an error."""

RESOURCES = {
    name: (prefix, plural)
    for prefix, names in {
        "/api/v1": "configmap/configmaps event/events pod/pods serviceaccount/serviceaccounts",
        "/apis/batch/v1": "job/jobs",
        "/apis/kubetask.io/v1alpha1": (
            "batch/batches batchrun/batchruns task/tasks workspaceconfig/workspaceconfigs"
        ),
    }.items()
    for pair in names.split()
    for singular, plural in [pair.split("/")]
    for name in (singular, plural)
}
"""Kinds by their names for kubectl: the path of the API, and the resource. All have namespaces."""


class KubectlError(AssertionError):
    """kubectl failed, or its request; the message is that of the answer."""


class Kubectl:
    """kubectl with a kubeconfig and a namespace."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.namespace = namespace
        self._kubeconfig = kubeconfig
        # Its life is short: collecting garbage takes a third of it.
        self._environ = {**os.environ, "KUBECONFIG": str(kubeconfig), "GOGC": "off"}

    def __call__(self, *arguments: str, stdin: str = "", patience: float = 2 * PATIENCE) -> str:
        """The standard output of kubectl; KubectlError where it fails."""
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
        """Create an object, as generateName needs it; the object that the API server created."""
        text = yaml.safe_dump(manifest, sort_keys=False)
        return json.loads(self("create", "-f", "-", "-o", "json", stdin=text))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """An object."""
        if kind in RESOURCES:
            return self._read(f"{self._path(kind)}/{name}")
        return json.loads(self("get", kind, name, "-o", "json"))

    def items(self, kind: str, *arguments: str) -> list[dict[str, Any]]:
        """Objects of a kind."""
        if kind in RESOURCES and not arguments:
            return self._read(self._path(kind))["items"]
        return json.loads(self("get", kind, *arguments, "-o", "json"))["items"]

    @cached_property
    def _connection(self) -> Connection:
        return Connection.from_kubeconfig(self._kubeconfig)

    def _path(self, kind: str) -> str:
        prefix, plural = RESOURCES[kind]
        return f"{prefix}/namespaces/{self.namespace}/{plural}"

    def _read(self, path: str) -> dict[str, Any]:
        try:
            return self._connection.get(path)
        except (ApiError, OSError) as error:
            raise KubectlError(f"{path}: {error}") from error

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
        """As ``kubectl wait --for=jsonpath``: a list of the one object, then a watch from the version of the list."""
        kind, _, name = target.partition("/")
        query = {"fieldSelector": f"metadata.name={name}"}
        deadline = time.monotonic() + timeout
        while True:
            listed = self._read(f"{self._path(kind)}?{urlencode(query)}")
            if not listed["items"]:
                raise KubectlError(f"{target} does not exist in namespace {self.namespace}")
            found = listed["items"][0]
            if _status(found).get(field) == value:
                return found
            left = deadline - time.monotonic()
            if left <= 0:
                status = json.dumps(_status(found), indent=1)
                raise KubectlError(
                    f"timed out after {timeout:g} s: the {field} of {target} is not {value}; its status: {status}"
                )
            since = {
                "watch": "1",
                "resourceVersion": listed["metadata"]["resourceVersion"],
                "timeoutSeconds": max(1, round(left)),
            }
            path = f"{self._path(kind)}?{urlencode(query | since)}"
            try:
                with closing(self._connection.watch(path, timeout=left)) as events:
                    for event in events:
                        if _status(event["object"]).get(field) == value:
                            return event["object"]
            except (ApiError, OSError):
                # The connection is lost, or no event came in time: the next list decides. An outage must not make it a loop.
                time.sleep(PAUSE)

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


def _status(found: dict[str, Any]) -> dict[str, Any]:
    return found.get("status") or {}
