"""kubectl as a client of the cluster under test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from devcluster.base import Cluster
from kubectl_lab import Kubectl, config_map, default_kubectl, definition

GROUP = "kubectl.devcluster.dev"


@pytest.fixture(scope="session")
def kubectl_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache directory of kubectl."""
    return tmp_path_factory.mktemp("kubectl")


def _binary() -> Path:
    found = default_kubectl()
    if found is None:
        pytest.skip("no kubectl")
    return found


@pytest.fixture
def kubectl(cluster: Cluster, kubectl_home: Path) -> Iterator[Kubectl]:
    """kubectl in a fresh namespace."""
    with cluster.namespace("kubectl") as namespace:
        yield Kubectl(_binary(), cluster.admin_kubeconfig, namespace, kubectl_home)


@pytest.fixture(scope="session")
def widgets(cluster: Cluster, kubectl_home: Path) -> Iterator[str]:
    """The group of a custom resource `widgets`, which is served."""
    kubectl = Kubectl(_binary(), cluster.admin_kubeconfig, "default", kubectl_home)
    kubectl("create", "-f", "-", stdin=definition(GROUP))
    kubectl("wait", "--for=condition=Established", "crd", f"widgets.{GROUP}")
    yield GROUP
    kubectl("delete", "crd", f"widgets.{GROUP}", "--wait=false")


@pytest.fixture
def settings(kubectl: Kubectl) -> Kubectl:
    """kubectl, with two ConfigMaps: `a` with a label and `b`."""
    both = [config_map("a", {"app": "x"}, one="1", two="2"), config_map("b", None, one="0")]
    kubectl("create", "-f", "-", stdin=both)
    return kubectl
