"""Who holds which token, and what the API server answers them. Requests are dry runs: an attack that works does no harm."""

from dataclasses import dataclass
from typing import Any

from devcluster.base import Cluster
from devcluster.connection import ApiError, Connection

from support.integration.objects import batch, config, run, task

JSON = dict[str, Any]
KUBETASK = "/apis/kubetask.io/v1alpha1"
STRATEGIC, MERGE = "application/strategic-merge-patch+json", "application/merge-patch+json"


@dataclass(frozen=True)
class Holder:
    """A ServiceAccount of a namespace, by its own token."""

    connection: Connection
    namespace: str

    def code(self, method: str, path: str, body: JSON | None = None) -> int:
        """The status code of a request; ``{ns}`` in the path is the holder's namespace."""
        url = path.replace("{ns}", self.namespace)
        if method != "GET":
            url += "?dryRun=All"
        kind = _patch_type(path) if method == "PATCH" else "application/json"
        try:
            self.connection.call(method, url, body, content_type=kind)
        except ApiError as error:
            return error.code
        return 200


def _patch_type(path: str) -> str:
    """As kubectl patches: kinds of our own have no strategic merge patch."""
    return MERGE if path.startswith(KUBETASK) else STRATEGIC


def holder(cluster: Cluster, namespace: str, name: str, *cluster_roles: str) -> Holder:
    """A new ServiceAccount, bound to ClusterRoles in its namespace."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    cluster.connection.post(f"/api/v1/namespaces/{namespace}/serviceaccounts", account)
    group = "rbac.authorization.k8s.io"
    for role in cluster_roles:
        binding = {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": f"{name}-{role}"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        }
        cluster.connection.post(f"/apis/{group}/v1/namespaces/{namespace}/rolebindings", binding)
    return existing(cluster, namespace, name)


def existing(cluster: Cluster, namespace: str, name: str) -> Holder:
    """A ServiceAccount that is there."""
    kubeconfig = cluster.service_account_kubeconfig(namespace, name)
    return Holder(Connection.from_kubeconfig(kubeconfig), namespace)


def secret(name: str = "s") -> JSON:
    """A Secret."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}


def config_map(name: str = "c") -> JSON:
    """A ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


def pod(**spec: Any) -> JSON:
    """A Pod."""
    containers = [{"name": "c", "image": "registry.example/evil:1"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": containers, **spec},
    }


def job(name: str = "j", **spec: Any) -> JSON:
    """A Job."""
    template = {"spec": {**pod()["spec"], "restartPolicy": "Never", **spec}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": template},
    }


STATUS = {"status": {"phase": "Succeeded"}}
NS = "/api/v1/namespaces/{ns}"
JOBS = "/apis/batch/v1/namespaces/{ns}/jobs"
OURS = KUBETASK + "/namespaces/{ns}"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}"

READS = {
    "reads Batches": ("GET", f"{OURS}/batches"),
    "reads runs": ("GET", f"{OURS}/batchruns"),
    "reads Tasks": ("GET", f"{OURS}/tasks"),
    "reads WorkspaceConfigs": ("GET", f"{OURS}/workspaceconfigs"),
}
RUNS = {
    "creates a run": ("POST", f"{OURS}/batchruns", run("new")),
    "creates a Task": ("POST", f"{OURS}/tasks", task("new")),
    "suspends a run": ("PATCH", f"{OURS}/batchruns/r", {"spec": {"suspend": True}}),
    "cancels a Task": ("PATCH", f"{OURS}/tasks/t", {"spec": {"cancel": True}}),
    "deletes a run": ("DELETE", f"{OURS}/batchruns/r"),
}
CONFIGURES = {
    "creates a Batch": ("POST", f"{OURS}/batches", batch("new")),
    "changes a Batch": ("PATCH", f"{OURS}/batches/b", {"metadata": {"labels": {"a": "b"}}}),
    "creates a WorkspaceConfig": ("POST", f"{OURS}/workspaceconfigs", config("new")),
    "changes a WorkspaceConfig": (
        "PATCH",
        f"{OURS}/workspaceconfigs/default",
        {"spec": {"allowedSecrets": None}},
    ),
    "deletes a WorkspaceConfig": ("DELETE", f"{OURS}/workspaceconfigs/default"),
}
NOBODY = {
    "writes the status of a run": ("PATCH", f"{OURS}/batchruns/r/status", STATUS),
    "writes the status of a Task": ("PATCH", f"{OURS}/tasks/t/status", STATUS),
    "reads runs of another namespace": ("GET", f"{KUBETASK}/namespaces/kube-system/batchruns"),
    "reads runs of all namespaces": ("GET", f"{KUBETASK}/batchruns"),
    "creates a Task in another namespace": (
        "POST",
        f"{KUBETASK}/namespaces/kube-system/tasks",
        task("t"),
    ),
}
BESIDE = {
    "reads a Secret": ("GET", f"{NS}/secrets/s"),
    "lists Secrets": ("GET", f"{NS}/secrets"),
    "creates a Secret": ("POST", f"{NS}/secrets", secret("new")),
    "reads a ConfigMap": ("GET", f"{NS}/configmaps/c"),
    "creates a ConfigMap": ("POST", f"{NS}/configmaps", config_map("new")),
    "creates a Pod": ("POST", f"{NS}/pods", pod()),
    "runs a command in a Pod": ("POST", f"{NS}/pods/p/exec"),
    "creates a Job": ("POST", JOBS, job()),
    "changes a Job": ("PATCH", f"{JOBS}/j", {"metadata": {"labels": {"a": "b"}}}),
    "deletes a Job": ("DELETE", f"{JOBS}/j"),
    "takes a token of the agent's account": (
        "POST",
        f"{NS}/serviceaccounts/kubetask-agent/token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
    ),
    "grants a role": ("GET", f"{RBAC}/rolebindings"),
}
