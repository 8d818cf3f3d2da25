"""Kubeconfig files: everything inline, so that a file can be copied elsewhere."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .pki import KeyPair, write_private

CLUSTER_NAME = "devcluster"


@dataclass(frozen=True, slots=True)
class Server:
    """Address of a cluster, and the CA of its certificate (PEM)."""

    url: str
    ca: bytes


def write_certificate(
    path: Path, server: Server, user: str, pair: KeyPair, *, namespace: str = "default"
) -> Path:
    """A kubeconfig by which a client certificate is used."""
    credentials = {
        "client-certificate-data": _encode(pair.certificate),
        "client-key-data": _encode(pair.key),
    }
    return _write(path, server, user, credentials, namespace)


def write_token(
    path: Path, server: Server, user: str, token: str, *, namespace: str = "default"
) -> Path:
    """A kubeconfig by which a bearer token is used."""
    return _write(path, server, user, {"token": token}, namespace)


def _write(
    path: Path, server: Server, user: str, credentials: dict[str, str], namespace: str
) -> Path:
    cluster = {"server": server.url, "certificate-authority-data": _encode(server.ca)}
    context = {"cluster": CLUSTER_NAME, "user": user, "namespace": namespace}
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CLUSTER_NAME, "cluster": cluster}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": CLUSTER_NAME, "context": context}],
        "current-context": CLUSTER_NAME,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    # JSON is YAML, and needs no YAML writer at start.
    write_private(path, json.dumps(config, indent=2).encode() + b"\n")
    return path


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()
