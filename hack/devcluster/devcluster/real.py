"""Real clusters: a control plane of real binaries (KUBEBUILDER_ASSETS), and the cluster of a kubeconfig.

`ControlPlane` starts etcd, kube-apiserver and, if the folder has it, kube-controller-manager on loopback, with all files in
one directory; the kubelet stand-in updates Pods. `ExistingCluster` only connects. Both have the interface of the development
cluster, without the capabilities that they lack.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .apiserver.auth import kubeconfig
from .apiserver.auth.pki import CertificateAuthority, KeyPair
from .base import TEST_IMAGE, Capability, Cluster
from .connection import ApiError

if TYPE_CHECKING:
    from .kubelet_standin import StandIn

START_SECONDS = 120.0
STOP_SECONDS = 20.0
ADMIN = "kubernetes-admin"
MASTERS = "system:masters"
ISSUER = "https://kubernetes.default.svc.cluster.local"
TEST_IMAGE_VARIABLE = "KUBETASK_TEST_IMAGE"
TEST_ADDRESS_VARIABLE = "KUBETASK_TEST_ADDRESS"
# Without nodes these would treat the stand-in's node and its Pods as lost.
DISABLED_CONTROLLERS = (
    "node-lifecycle-controller",
    "pod-garbage-collector-controller",
    "taint-eviction-controller",
)
NODE_NAME = "standin"


class ControlPlane(Cluster):
    """etcd, kube-apiserver and perhaps kube-controller-manager from a folder of binaries. Use as a context manager.

    `standin`: whether the kubelet stand-in updates Pods. `flags`: further flags of a binary, by its name.
    """

    name = "control plane of KUBEBUILDER_ASSETS"

    def __init__(
        self,
        assets: Path,
        directory: Path,
        *,
        standin: bool = True,
        flags: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._assets = assets
        self._with_standin = standin
        self._flags = flags or {}
        self._directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []
        self._standin: StandIn | None = None
        self._ports = {name: _free_port() for name in ("apiserver", "etcd", "etcd-peer", "manager")}
        found = {Capability.SCRIPTED_PODS}
        if (assets / "kube-controller-manager").exists():
            found.add(Capability.JOB_CONTROLLER)
        self.capabilities = frozenset(found)

    def __enter__(self) -> ControlPlane:
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
        return f"https://127.0.0.1:{self._ports['apiserver']}"

    @property
    def directory(self) -> Path:
        """Keys, data, logs and kubeconfigs."""
        return self._directory

    @property
    def admin_kubeconfig(self) -> Path:
        """The kubeconfig of system:masters."""
        return self._directory / "admin.kubeconfig"

    @cached_property
    def _authority(self) -> CertificateAuthority:
        return CertificateAuthority.load_or_create(self._directory / "pki")

    @property
    def ca(self) -> bytes:
        """The CA's certificate."""
        return self._authority.pem

    @property
    def pods(self) -> StandIn:
        """The kubelet stand-in."""
        assert self._standin is not None, "the control plane is not running"
        return self._standin

    @property
    def etcd_url(self) -> str:
        """The URL of etcd."""
        return f"http://127.0.0.1:{self._ports['etcd']}"

    @property
    def pids(self) -> dict[str, int]:
        """The running processes, by the name of their binary."""
        return {Path(str(x.args[0])).name: x.pid for x in self._processes}  # type: ignore[index]

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig with a client certificate."""
        file = self._directory / f"{re.sub('[^A-Za-z0-9.-]', '-', user)}.kubeconfig"
        server = kubeconfig.Server(self.url, self.ca)
        return kubeconfig.write_certificate(
            file, server, user, self._authority.client(user, groups)
        )

    # --- life

    def start(self) -> None:
        """Start everything; returns when it can be used. Raises RuntimeError with the end of the log."""
        pki = self._directory / "pki"
        pki.mkdir(parents=True, exist_ok=True)
        self._authority.server().write(pki, "apiserver")
        _service_account_keys(pki)
        kubeconfig.write_certificate(
            self.admin_kubeconfig,
            kubeconfig.Server(self.url, self.ca),
            ADMIN,
            self._authority.client(ADMIN, [MASTERS]),
        )
        self._spawn("etcd", self._etcd_flags())
        self._spawn("kube-apiserver", self._apiserver_flags(pki))
        self._await("kube-apiserver to be ready", self._ready)
        if Capability.JOB_CONTROLLER in self.capabilities:
            self._start_manager(pki)
        self._make_node()
        if not self._with_standin:
            return
        from .kubelet_standin import StandIn

        self._standin = StandIn(self.connection)
        self._standin.start()

    def _start_manager(self, pki: Path) -> None:
        user = "system:kube-controller-manager"
        file = self._directory / "controller-manager.kubeconfig"
        pair = self._authority.client(user)
        kubeconfig.write_certificate(file, kubeconfig.Server(self.url, self.ca), user, pair)
        self._spawn("kube-controller-manager", self._manager_flags(pki, file))
        self._await(
            "the default ServiceAccount",
            lambda: self.connection.get("/api/v1/namespaces/default/serviceaccounts/default"),
        )

    def _make_node(self) -> None:
        """A Node for the stand-in's Pods to be bound to."""
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE_NAME}}
        self.connection.post("/api/v1/nodes", node)
        condition = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "stand-in",
        }
        self.connection.merge_patch(
            f"/api/v1/nodes/{NODE_NAME}/status", {"status": {"conditions": [condition]}}
        )

    def stop(self) -> None:
        """Stop everything, last started first."""
        if self._standin is not None:
            self._standin.stop()
            self._standin = None
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def _spawn(self, binary: str, flags: Sequence[str]) -> None:
        with (self._directory / f"{binary}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    [str(self._assets / binary), *flags, *self._flags.get(binary, ())],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    def _ready(self) -> None:
        self.connection.get("/readyz")
        # Ready comes before the last of the default roles and namespaces.
        self.connection.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/view")
        self.connection.get("/api/v1/namespaces/default")

    def _await(self, what: str, probe: Any) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                probe()
            except (OSError, ApiError) as error:
                for process in self._processes:
                    if process.poll() is not None:
                        binary = Path(str(process.args[0])).name  # type: ignore[index]
                        raise RuntimeError(f"{binary} ended: {self._log_end(binary)}") from error
                if time.monotonic() > deadline:
                    raise RuntimeError(f"timed out waiting for {what}: {error}") from error
                time.sleep(0.1)
            else:
                return

    def _log_end(self, binary: str) -> str:
        text = (self._directory / f"{binary}.log").read_text(errors="replace")
        return text[-2000:]

    # --- flags

    def _etcd_flags(self) -> list[str]:
        client, peer = (f"http://127.0.0.1:{self._ports[name]}" for name in ("etcd", "etcd-peer"))
        return [
            f"--data-dir={self._directory / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=warn",
        ]

    def _apiserver_flags(self, pki: Path) -> list[str]:
        return [
            f"--etcd-servers=http://127.0.0.1:{self._ports['etcd']}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self._ports['apiserver']}",
            "--endpoint-reconciler-type=none",
            f"--tls-cert-file={pki / 'apiserver.crt'}",
            f"--tls-private-key-file={pki / 'apiserver.key'}",
            f"--client-ca-file={pki / 'ca.crt'}",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={pki / 'sa.pub'}",
            f"--service-account-signing-key-file={pki / 'sa.key'}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=RBAC",
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
            "--allow-privileged=true",
        ]

    def _manager_flags(self, pki: Path, config: Path) -> list[str]:
        return [
            f"--kubeconfig={config}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._ports['manager']}",
            f"--cert-dir={self._directory / 'manager-certs'}",
            f"--root-ca-file={pki / 'ca.crt'}",
            f"--service-account-private-key-file={pki / 'sa.key'}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            "--controllers=*," + ",".join(f"-{each}" for each in DISABLED_CONTROLLERS),
        ]


class ExistingCluster(Cluster):
    """The cluster of a kubeconfig, as a context manager. Other users are impersonated."""

    name = "cluster of KUBECONFIG"

    def __init__(self, config: Path, directory: Path) -> None:
        self._config = config
        self._directory = directory
        self.capabilities = frozenset({Capability.JOB_CONTROLLER, Capability.NODES})
        if os.environ.get(TEST_IMAGE_VARIABLE):
            self.capabilities |= {Capability.PROCESSES}
            if os.environ.get(TEST_ADDRESS_VARIABLE):
                self.capabilities |= {Capability.LOOPBACK}
        self._standin: StandIn | None = None

    def __enter__(self) -> ExistingCluster:
        """Connect. A cluster without nodes is a bare control plane: the kubelet stand-in updates its Pods."""
        if not self.connection.get("/api/v1/nodes?limit=1")["items"]:
            from .kubelet_standin import StandIn

            self.capabilities = frozenset({Capability.JOB_CONTROLLER, Capability.SCRIPTED_PODS})
            self._standin = StandIn(self.connection)
            self._standin.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._standin is not None:
            self._standin.stop()

    @property
    def pods(self) -> StandIn:
        """The stand-in, on a cluster without nodes."""
        return super().pods if self._standin is None else self._standin

    @property
    def url(self) -> str:
        """The server of the kubeconfig."""
        return self.connection.url

    @property
    def directory(self) -> Path:
        """Directory for further kubeconfigs."""
        return self._directory

    @property
    def admin_kubeconfig(self) -> Path:
        """The kubeconfig itself."""
        return self._config

    @property
    def test_image(self) -> str:
        """The value of KUBETASK_TEST_IMAGE."""
        return os.environ.get(TEST_IMAGE_VARIABLE) or TEST_IMAGE

    @property
    def test_address(self) -> str:
        """The value of KUBETASK_TEST_ADDRESS."""
        return os.environ.get(TEST_ADDRESS_VARIABLE) or super().test_address

    @cached_property
    def ca(self) -> bytes:
        """The CA that ServiceAccounts get."""
        found = self.connection.get("/api/v1/namespaces/default/configmaps/kube-root-ca.crt")
        return str(found["data"]["ca.crt"]).encode()

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """A copy of the kubeconfig that impersonates `user`."""
        text = self._config.read_text()
        config = json.loads(text) if text.lstrip().startswith("{") else _yaml(text)
        for entry in config["users"]:
            entry["user"]["as"] = user
            entry["user"]["as-groups"] = list(groups)
        file = self._directory / f"{re.sub('[^A-Za-z0-9.-]', '-', user)}.kubeconfig"
        file.write_text(json.dumps(config))
        file.chmod(0o600)
        return file


def _yaml(text: str) -> dict[str, Any]:
    import yaml

    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _service_account_keys(pki: Path) -> None:
    """sa.key and sa.pub, with which ServiceAccount tokens are signed and checked."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (pki / "sa.pub").write_bytes(public)
    KeyPair(public, private).write(pki, "sa")
