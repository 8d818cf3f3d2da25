"""Settings of the node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

OUTCOME_ANNOTATION = "devcluster.dev/outcome"
"""The kubelet stand-in of tests updates Pods with this annotation; the node's scheduler and kubelet ignore them."""

CAPACITY = {"cpu": "64", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "500"}
"""Capacity of the node: the same on every machine, so that the same Pods are scheduled everywhere."""


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """`api` (host, port) is where Pods find the API server; `speed` divides the node's own delays (never an object's)."""

    name: str = "node1"
    labels: Mapping[str, str] = field(default_factory=dict)
    capacity: Mapping[str, str] = field(default_factory=lambda: dict(CAPACITY))
    host_ip: str = "127.0.0.1"
    api: tuple[str, int] | None = None
    speed: float = 1.0

    def service_environment(self) -> dict[str, str]:
        """The variables by which clients in Pods find the API server."""
        if self.api is None:
            return {}
        host, port = self.api
        address = f"tcp://{host}:{port}"
        return {
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": str(port),
            "KUBERNETES_SERVICE_PORT_HTTPS": str(port),
            "KUBERNETES_PORT": address,
            f"KUBERNETES_PORT_{port}_TCP": address,
            f"KUBERNETES_PORT_{port}_TCP_PROTO": "tcp",
            f"KUBERNETES_PORT_{port}_TCP_PORT": str(port),
            f"KUBERNETES_PORT_{port}_TCP_ADDR": host,
        }
