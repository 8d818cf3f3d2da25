"""kubectl as a client of the cluster under test: the default one, and the oldest and newest of the machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from devcluster.base import Cluster
from kubectl_lab import Kubectl, chosen_version, config_map, definition

GROUP = "kubectl.devcluster.dev"
OTHERS = [pytest.param(each, marks=pytest.mark.slow) for each in ("oldest", "newest")]


@pytest.fixture(scope="session")
def kubectl_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cache directories of kubectl, one for each version."""
    return tmp_path_factory.mktemp("kubectl")


def _kubectl(cluster: Cluster, which: str, home: Path) -> Iterator[Kubectl]:
    version = chosen_version(which)
    if version is None:
        pytest.skip(f"no kubectl that is the {which} and not the default one")
    with cluster.namespace("kubectl") as namespace:
        yield Kubectl(version, cluster.admin_kubeconfig, namespace, home / which)


@pytest.fixture
def kubectl(cluster: Cluster, kubectl_home: Path) -> Iterator[Kubectl]:
    """The default kubectl, in a fresh namespace."""
    yield from _kubectl(cluster, "default", kubectl_home)


@pytest.fixture(params=["default", *OTHERS])
def any_kubectl(
    cluster: Cluster, kubectl_home: Path, request: pytest.FixtureRequest
) -> Iterator[Kubectl]:
    """Each kubectl in turn, in a fresh namespace."""
    yield from _kubectl(cluster, request.param, kubectl_home)


@pytest.fixture(scope="session")
def widgets(cluster: Cluster, kubectl_home: Path) -> Iterator[str]:
    """The group of a custom resource `widgets`, which is served."""
    version = chosen_version("default")
    if version is None:
        pytest.skip("no kubectl")
    kubectl = Kubectl(version, cluster.admin_kubeconfig, "default", kubectl_home / "default")
    kubectl("create", "-f", "-", stdin=definition(GROUP))
    kubectl("wait", "--for=condition=Established", "crd", f"widgets.{GROUP}")
    yield GROUP
    kubectl("delete", "crd", f"widgets.{GROUP}", "--wait=false")


@pytest.fixture
def settings(any_kubectl: Kubectl) -> Kubectl:
    """Each kubectl, with two ConfigMaps: `a` with a label and `b`."""
    both = [config_map("a", {"app": "x"}, one="1", two="2"), config_map("b", None, one="0")]
    any_kubectl("create", "-f", "-", stdin=both)
    return any_kubectl
