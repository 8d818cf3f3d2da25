"""kubectl, as a client of the cluster under test."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import yaml

PATIENCE = 40
"""Seconds that a command may take."""


@cache
def default_kubectl() -> Path | None:
    """The one that comes with the tests' environment, else the first of PATH."""
    own = Path(sys.executable).with_name("kubectl")
    found = str(own) if own.exists() else shutil.which("kubectl")
    return Path(found) if found else None


class Kubectl:
    """One kubectl with a kubeconfig and a namespace."""

    def __init__(self, binary: Path, kubeconfig: Path, namespace: str, home: Path) -> None:
        self._binary = binary
        self.namespace = namespace
        # Each has its own cache of discovery: another cluster may have had the same address.
        self._environ = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "HOME": str(home),
            "GOGC": "off",  # its life is short: collecting garbage takes a third of it
        }

    def __call__(self, *arguments: str, stdin: Any = "", environ: Any = None) -> str:
        """Its stdout. AssertionError with its stderr if it fails."""
        done = self.run(*arguments, stdin=stdin, environ=environ)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}{done.stdout}"
        return done.stdout

    def fails(self, *arguments: str, stdin: Any = "") -> str:
        """Its stderr; AssertionError if it succeeds."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode != 0, f"kubectl {' '.join(arguments)}: {done.stdout}"
        return done.stderr

    def run(
        self, *arguments: str, stdin: Any = "", environ: Any = None
    ) -> subprocess.CompletedProcess[str]:
        """The whole outcome. `stdin` is a text or objects."""
        return subprocess.run(
            self._command(*arguments),
            input=stdin if isinstance(stdin, str) else manifests(stdin),
            capture_output=True,
            text=True,
            env={**self._environ, **(environ or {})},
            timeout=PATIENCE,
            check=False,
        )

    def get(self, *arguments: str) -> Any:
        """As JSON."""
        return json.loads(self("get", *arguments, "-o", "json"))

    @contextmanager
    def watching(self, *arguments: str) -> Iterator[Iterator[str]]:
        """The lines of a command that follows: `get -w`, `logs -f`. It is terminated after the block."""
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
        return [str(self._binary), "--namespace", self.namespace, *arguments]


def manifests(objects: Any) -> str:
    """One object or several as YAML."""
    several = objects if isinstance(objects, list) else [objects]
    return "\n---\n".join(yaml.safe_dump(each, sort_keys=False) for each in several)


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    """A ConfigMap."""
    metadata: dict[str, Any] = {"name": name}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def job(name: str, image: str, *command: str, **spec: Any) -> dict[str, Any]:
    """A Job of one container, which ends when its command does."""
    container: dict[str, Any] = {"name": "agent", "image": image}
    if command:
        container["command"] = list(command)
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, **spec, "template": {"spec": pod}},
    }


def definition(group: str) -> dict[str, Any]:
    """A CustomResourceDefinition of Widgets, with columns, a status and a description for `explain`."""
    text = {"type": "string"}
    spec = {
        "type": "object",
        "description": "What the widget should be.",
        "required": ["color"],
        "properties": {
            "color": {"type": "string", "enum": ["red", "blue"], "description": "Its color."},
            "size": {"type": "integer", "minimum": 1, "default": 3},
        },
    }
    schema = {
        "type": "object",
        "description": "A thing.",
        "properties": {
            "spec": spec,
            "status": {"type": "object", "properties": {"phase": text}},
        },
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": [
            {"name": "Color", "type": "string", "jsonPath": ".spec.color"},
            {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size", "priority": 1},
        ],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {
                "plural": "widgets",
                "singular": "widget",
                "kind": "Widget",
                "shortNames": ["wdg"],
                "categories": ["things"],
            },
            "versions": [version],
        },
    }


def widget(group: str, name: str, color: str = "red", **spec: Any) -> dict[str, Any]:
    """A Widget of that definition."""
    return {
        "apiVersion": f"{group}/v1",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": {"color": color, **spec},
    }


def columns(table: str) -> list[str]:
    """The headings of a table."""
    return table.splitlines()[0].split()


def rows(table: str) -> list[list[str]]:
    """The cells of a table, less those that are empty."""
    return [line.split() for line in table.splitlines()[1:]]


def names(table: str) -> list[str]:
    """The first cells; without the CAs that clusters put into every namespace."""
    return [row[0] for row in rows(table) if "-ca.crt" not in row[0]]
