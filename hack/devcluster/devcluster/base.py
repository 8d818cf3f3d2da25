"""The interface of clusters for tests: address, users, capabilities.

`DevCluster` (here, in this process), `DevClusterProcess` (in its own), `ControlPlane` (real binaries) and `ExistingCluster`
(any kubeconfig) are clusters. A test declares what it needs with `require`.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from .connection import ApiError, Connection

if TYPE_CHECKING:
    from .faultcontrol import FaultControl
    from .kubelet_standin import StandIn

TOKEN_SECONDS = 24 * 3600
TEST_IMAGE = "registry.example.com/agent:1"
NAMESPACE_LABEL = "devcluster.dev/test-namespace"
LACKS = "the cluster lacks "


class Capability(StrEnum):
    """Capabilities of a cluster."""

    PROCESSES = "processes"
    """Containers are really run, with their command, volumes and logs."""
    FAULTS = "faults"
    """Latency, lost answers, errors, restarts … on demand (`cluster.faults`)."""
    JOB_CONTROLLER = "job-controller"
    """Controllers create Pods for Jobs, collect garbage and delete the content of terminating namespaces."""
    NODES = "nodes"
    """There is a node, so Pods are scheduled."""
    LOOPBACK = "loopback"
    """Containers reach servers that a test runs on `cluster.test_address`."""
    IMAGES = "images"
    """A test sets the content and the user of an image."""
    SCRIPTED_PODS = "scripted-pods"
    """A test sets the result of a Pod (`cluster.pods`)."""


class CapabilityMissingError(Exception):
    """The cluster does not support the operation."""


class Cluster(ABC):
    """One cluster, running. Paths are of kubeconfigs with everything inline."""

    name: str
    capabilities: frozenset[Capability]

    @property
    @abstractmethod
    def url(self) -> str:
        """`https://host:port` of the API server."""

    @property
    @abstractmethod
    def admin_kubeconfig(self) -> Path:
        """A kubeconfig that may do everything."""

    @property
    @abstractmethod
    def directory(self) -> Path:
        """Directory for kubeconfigs."""

    @abstractmethod
    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig with the credentials of `user`, a member of `groups`."""

    @property
    def test_image(self) -> str:
        """An image that test Pods may use; it has a POSIX shell, git and Python where Pods run as processes."""
        return TEST_IMAGE

    @property
    def test_address(self) -> str:
        """The address of this machine at which Pods reach servers that a test runs."""
        return "127.0.0.1"

    @cached_property
    def connection(self) -> Connection:
        """A blocking connection as admin."""
        return Connection.from_kubeconfig(self.admin_kubeconfig)

    @cached_property
    def version(self) -> str:
        """The server's version, e.g. `v1.36.2`."""
        return str(self.connection.get("/version")["gitVersion"])

    @property
    def pods(self) -> StandIn:
        """The kubelet stand-in, which writes the states of Pods for a test."""
        raise CapabilityMissingError(LACKS + Capability.SCRIPTED_PODS)

    @property
    def faults(self) -> FaultControl:
        """The fault injection of the cluster."""
        raise CapabilityMissingError(LACKS + Capability.FAULTS)

    def service_account_kubeconfig(
        self, namespace: str, name: str, *, seconds: int = TOKEN_SECONDS
    ) -> Path:
        """A kubeconfig with a fresh token of a ServiceAccount that exists. Raises ApiError 404 when it does not."""
        from .apiserver.auth import kubeconfig

        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        token = self.connection.post(path, request)["status"]["token"]
        file = self.directory / f"{namespace}-{name}.kubeconfig"
        server = kubeconfig.Server(self.url, self.ca)
        return kubeconfig.write_token(file, server, name, token, namespace=namespace)

    @property
    @abstractmethod
    def ca(self) -> bytes:
        """The CA's certificate, in PEM."""

    def lacks(self, *capabilities: str) -> list[str]:
        """Those of `capabilities` that this cluster does not have."""
        return [each for each in capabilities if Capability(each) not in self.capabilities]

    def require(self, *capabilities: str) -> None:
        """Skip the running test unless the cluster has every one of `capabilities`."""
        missing = self.lacks(*capabilities)
        if missing:
            import pytest

            pytest.skip(LACKS + ", ".join(missing))

    @contextmanager
    def namespace(
        self, prefix: str = "test", *, labels: dict[str, str] | None = None
    ) -> Iterator[str]:
        """A fresh namespace with its default ServiceAccount; deleted (not waited for) at the end."""
        name = f"{prefix}-{secrets.token_hex(4)}"
        metadata = {"name": name, "labels": {NAMESPACE_LABEL: "true", **(labels or {})}}
        self.connection.post(
            "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        )
        try:
            if Capability.JOB_CONTROLLER in self.capabilities:
                self._await_default_account(name)
            else:
                self._make_default_account(name)
            yield name
        finally:
            self._discard(name)

    def _await_default_account(self, namespace: str) -> None:
        import time

        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
        for attempt in range(200):
            try:
                self.connection.get(path)
            except ApiError as error:
                if error.code != 404:
                    raise
                time.sleep(min(0.005 * (attempt + 1), 0.1))
            else:
                return
        raise TimeoutError(f"namespace {namespace} got no default ServiceAccount")

    def _make_default_account(self, namespace: str) -> None:
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        self.connection.post(f"/api/v1/namespaces/{namespace}/serviceaccounts", account)

    def _discard(self, namespace: str) -> None:
        try:
            self.connection.delete(f"/api/v1/namespaces/{namespace}")
        except ApiError as error:
            if error.code != 409:  # it is being deleted already
                raise

    def summary(self) -> str:
        """One line about the cluster."""
        able = ", ".join(sorted(self.capabilities)) or "nothing beyond its API"
        return f"{self.name}, Kubernetes {self.version} ({able})"
