"""The operator in examples/namespace_info, as a process with the rights of its rbac.yaml."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from devcluster.base import Cluster

from support.integration.kubectl import Kubectl

ROOT = Path(__file__).resolve().parents[2]
RBAC = ROOT / "examples" / "namespace_info" / "rbac.yaml"
INFO = "configmap/namespace-info"
ANNOTATION = "example.com/publish-labels"


@pytest.fixture(scope="module")
def operator(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[subprocess.Popen[bytes]]:
    """The operator, under its own ServiceAccount."""
    kubectl = Kubectl(cluster.admin_kubeconfig, "namespace-info")
    kubectl("apply", "-f", str(RBAC))
    kubeconfig = cluster.service_account_kubeconfig("namespace-info", "namespace-info")
    environ = {**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONWARNINGS": "error"}
    log = tmp_path_factory.mktemp("operator") / "log"
    with (
        log.open("wb") as out,
        subprocess.Popen(
            [sys.executable, "-m", "examples.namespace_info"],
            cwd=ROOT,
            env=environ,
            stdout=out,
            stderr=out,
        ) as process,
    ):
        yield process
        process.kill()
    kubectl("delete", "--wait=false", "-f", str(RBAC))
    assert "Traceback" not in log.read_text()


def test_the_labels_of_annotated_namespaces_are_published_until_sigterm(
    cluster: Cluster, operator: subprocess.Popen[bytes]
) -> None:
    with cluster.namespace("published") as name:
        kubectl = Kubectl(cluster.admin_kubeconfig, name)
        kubectl("label", "namespace", name, "cost-center=41")
        kubectl("annotate", "namespace", name, f"{ANNOTATION}=true")
        kubectl("wait", "--for=create", INFO, "--timeout=30s")
        kubectl("label", "--overwrite", "namespace", name, "cost-center=42")
        kubectl("wait", "--for=jsonpath={.data.cost-center}=42", INFO, "--timeout=30s")
        uid = kubectl.get("configmap", "namespace-info")["metadata"]["uid"]
        kubectl("delete", INFO)
        kubectl("wait", "--for=create", INFO, "--timeout=30s")
        assert kubectl.get("configmap", "namespace-info")["metadata"]["uid"] != uid
        kubectl("annotate", "namespace", name, f"{ANNOTATION}-")
        kubectl("wait", "--for=delete", INFO, "--timeout=30s")
    # It has been at work, so it handles the signal.
    operator.send_signal(signal.SIGTERM)
    assert operator.wait(20) == 0
