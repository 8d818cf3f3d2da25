"""One controller under its own ServiceAccount, on whatever cluster the tests are given; a fresh namespace for each test."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from devcluster.base import Capability, Cluster

from support.integration import objects
from support.integration.controller import SYSTEM, ControllerProcess
from support.integration.githost import GitHost
from support.integration.kubectl import Kubectl

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def installed(cluster: Cluster) -> Kubectl:
    """The CRDs and the controller's rights, as `kubectl apply -k` installs them."""
    kubectl = Kubectl(cluster.admin_kubeconfig, SYSTEM)
    kubectl("apply", "--server-side", "-k", str(ROOT / "config" / "crd"))
    kubectl("wait", "--for=condition=Established", "crd", "-l", "app.kubernetes.io/name=kubetask")
    namespace = kubectl("create", "namespace", SYSTEM, "--dry-run=client", "-o", "yaml")
    kubectl("apply", "-f", "-", stdin=namespace)
    kubectl("apply", "-k", str(ROOT / "config" / "rbac"))
    kubectl("apply", "-k", str(ROOT / "config" / "policy"))
    return kubectl


def _replica(cluster: Cluster, directory: Path, name: str) -> ControllerProcess:
    return ControllerProcess(
        cluster.service_account_kubeconfig(SYSTEM, "kubetask-controller"),
        directory / f"{name}.log",
        "--leader-elect",
        f"--leader-election-namespace={SYSTEM}",
        "--leader-elect-lease-duration=12s",
        "--leader-elect-renew-deadline=10s",
        "--leader-elect-retry-period=2s",
        "--metrics-bind-address=0",
        f"--agent-image={cluster.test_image}",
        f"--workspace-image={cluster.test_image}",
        "--log-level=debug",
    )


@pytest.fixture(scope="session")
def _controller(
    cluster: Cluster, installed: Kubectl, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControllerProcess]:
    process = _replica(cluster, tmp_path_factory.mktemp("controller"), "controller")
    yield process
    if process.running:
        process.stop()


@pytest.fixture
def second(cluster: Cluster, installed: Kubectl, tmp_path: Path) -> Iterator[ControllerProcess]:
    """A second replica, not started."""
    process = _replica(cluster, tmp_path, "second")
    yield process
    if process.running:
        process.stop()


@pytest.fixture
def controller(_controller: ControllerProcess) -> ControllerProcess:
    """The controller, running; a test may kill and start it."""
    if not _controller.running:
        _controller.start()
        _controller.wait_ready()
    return _controller


@pytest.fixture
def namespace(cluster: Cluster, installed: Kubectl) -> Iterator[str]:
    """A fresh namespace that has the account of tasks."""
    objects.real_nodes = {Capability.NODES, Capability.PROCESSES} <= cluster.capabilities and (
        Capability.SCRIPTED_PODS not in cluster.capabilities
    )
    with cluster.namespace("kubetask") as name:
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "kubetask-agent"},
        }
        cluster.connection.post(f"/api/v1/namespaces/{name}/serviceaccounts", account)
        yield name


@pytest.fixture(scope="session")
def git_host(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHost]:
    """A git server on loopback, real git over real HTTP."""
    cluster.require("processes", "loopback")
    directory = tmp_path_factory.mktemp("git")
    command = [
        sys.executable,
        "-m",
        "hack.gitserver",
        "--host",
        cluster.test_address,
        str(directory),
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield GitHost(process.stdout.readline().strip(), directory)
        finally:
            process.terminate()


@pytest.fixture
def kubectl(cluster: Cluster, namespace: str, controller: ControllerProcess) -> Kubectl:
    """kubectl in the test's namespace, with the controller at work."""
    return Kubectl(cluster.admin_kubeconfig, namespace)
