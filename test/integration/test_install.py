"""What config/ holds is admitted by a cluster, in a namespace with the restricted Pod Security Standard too."""

import subprocess
from pathlib import Path

import pytest
import yaml
from devcluster.base import Cluster

from support.integration.kubectl import KUBECTL, Kubectl

CONFIG = Path(__file__).resolve().parents[2] / "config"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
WHOLE = ("overlays/one-namespace", "overlays/metrics-certificate", "overlays/network-policy")


def _rendered(folder: str) -> str:
    command = [KUBECTL, "kustomize", CONFIG / folder]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def test_one_file_installs_everything(installed: Kubectl) -> None:
    file = str(CONFIG / "install.yaml")
    installed("apply", "--server-side", "--force-conflicts", "-f", file)
    # As users without server-side apply do it: the annotation of kubectl has to hold each object.
    installed("apply", "-f", file, "--dry-run=server")
    assert installed.get("deployment", "kubetask-controller")["spec"]["replicas"] == 2
    installed("delete", "deployment", "kubetask-controller")


@pytest.mark.parametrize("folder", WHOLE)
def test_an_overlay_is_admitted(installed: Kubectl, folder: str) -> None:
    flags = ("--server-side", "--force-conflicts", "--dry-run=server")
    said = installed("apply", *flags, "-k", str(CONFIG / folder))
    assert "deployment.apps/kubetask-controller serverside-applied" in said


def test_a_tenants_namespace_is_set_up(cluster: Cluster, installed: Kubectl) -> None:
    with cluster.namespace("tenant") as name:
        tenant = Kubectl(cluster.admin_kubeconfig, name)
        tenant("apply", "--server-side", "-k", str(CONFIG / "overlays" / "tenant-network-policy"))
        tenant("apply", "-f", str(CONFIG / "tenant" / "workspace-setup.yaml"))
        assert tenant.get("workspaceconfig", "default")["spec"]["agentImage"]
        assert tenant.items("pvc") == []
        assert tenant.get("serviceaccount", "kubetask-agent")


def test_the_samples_are_admitted(cluster: Cluster, installed: Kubectl) -> None:
    with cluster.namespace("samples") as name:
        samples = Kubectl(cluster.admin_kubeconfig, name)
        samples("apply", "-k", str(CONFIG / "samples"))


@pytest.mark.parametrize("folder", ["default", *WHOLE])
def test_the_controllers_pod_is_admitted_where_pod_security_is_restricted(
    cluster: Cluster, installed: Kubectl, folder: str
) -> None:
    found = yaml.load_all(_rendered(folder), Loader=yaml.CSafeLoader)
    (deployment,) = [x for x in found if x["kind"] == "Deployment"]
    with cluster.namespace("restricted", labels=RESTRICTED) as name:
        restricted = Kubectl(cluster.admin_kubeconfig, name)
        restricted("create", "serviceaccount", "kubetask-controller")
        metadata = deployment["spec"]["template"]["metadata"] | {"name": "controller"}
        pod = {"apiVersion": "v1", "kind": "Pod"}
        pod |= {"metadata": metadata, "spec": deployment["spec"]["template"]["spec"]}
        restricted("apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(pod))


EVERYTHING = ("create", "get", "list", "watch", "update", "patch", "delete")


@pytest.mark.parametrize(
    ("role", "verbs"),
    [("view", ("get", "list", "watch")), ("edit", EVERYTHING), ("admin", EVERYTHING)],
)
def test_the_clusters_own_roles_have_our_kinds(
    cluster: Cluster, installed: Kubectl, role: str, verbs: tuple[str, ...]
) -> None:
    with cluster.namespace("people") as name:
        people = Kubectl(cluster.admin_kubeconfig, name)
        people("create", "rolebinding", "ana", f"--clusterrole={role}", "--user=ana")
        ana = Kubectl(cluster.kubeconfig_for("ana"), name)
        listed = ana("auth", "can-i", "--list", "--no-headers")
        granted: dict[str, set[str]] = {}
        for line in listed.splitlines():
            resource, _, rest = line.partition(" ")
            granted.setdefault(resource, set()).update(rest.rpartition("[")[2].strip("]").split())
        for kind in ("batches", "batchruns", "tasks", "workspaceconfigs"):
            assert granted[f"{kind}.kubetask.io"] >= set(verbs)
        if role == "view":
            assert granted["batchruns.kubetask.io"] == set(verbs)
        assert "batchruns.kubetask.io/status" not in granted
