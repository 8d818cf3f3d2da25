"""A mesh that injects its proxy by a webhook: what a task's Pod becomes, and how the task ends beside the proxy."""

from pathlib import Path
from typing import Any

import pytest
from devcluster.base import Capability, Cluster

from support.integration.injector import injector
from support.integration.kubectl import Kubectl, KubectlError
from support.integration.objects import config, run, scripted, task

pytestmark = pytest.mark.slow

JSON = dict[str, Any]
QUOTA = "--hard=requests.cpu=4,requests.memory=4Gi,limits.cpu=8,limits.memory=8Gi"
RUNS_ON = "trap 'exit 0' TERM; while true; do sleep 0.1; done"


@pytest.fixture(autouse=True)
def _reachable(cluster: Cluster) -> None:
    # The API server calls the test; one of a cluster elsewhere does so at the address for Pods.
    if Capability.SCRIPTED_PODS not in cluster.capabilities:
        cluster.require("loopback")


def proxy(cluster: Cluster, script: str = RUNS_ON, **fields: Any) -> JSON:
    """A mesh's proxy, as the meshes harden it."""
    return {
        "name": "mesh-proxy",
        "image": cluster.test_image,
        "command": ["sh", "-c", script],
        "resources": {
            "requests": {"cpu": "10m", "memory": "16Mi"},
            "limits": {"cpu": "1", "memory": "128Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
        },
        **fields,
    }


def ordinary(container: JSON) -> list[JSON]:
    """How Istio and Linkerd add one: in front of the others, with a mark."""
    return [
        {"op": "add", "path": "/metadata/labels/mesh.example.com~1injected", "value": "true"},
        {"op": "add", "path": "/spec/containers/0", "value": container},
    ]


def native(container: JSON) -> list[JSON]:
    sidecar = {**container, "restartPolicy": "Always"}
    return [{"op": "add", "path": "/spec/initContainers/0", "value": sidecar}]


def names(pod: JSON, field: str) -> list[str]:
    return [x["name"] for x in pod["spec"][field]]


@pytest.fixture
def restricted(kubectl: Kubectl) -> Kubectl:
    label = "pod-security.kubernetes.io/enforce=restricted"
    kubectl("label", "namespace", kubectl.namespace, label)
    kubectl("create", "quota", "q", QUOTA)
    return kubectl


# --- admission: the same on each kind of cluster


def test_an_injected_pod_is_admitted_to_a_restricted_namespace_with_a_quota(
    restricted: Kubectl, cluster: Cluster, tmp_path: Path
) -> None:
    small = {"limits": {"cpu": "1", "memory": "1Gi"}}
    objects = scripted(outcome={"runSeconds": 1}, resources=small), run("r")
    patch = native(proxy(cluster))
    with injector(restricted, cluster.test_address, tmp_path, patch) as mesh:
        restricted.apply(*objects)
        restricted.wait_phase("batchrun/r", "Succeeded", timeout=45)
    (pod,) = restricted.items("pods")
    assert names(pod, "initContainers") == ["mesh-proxy", "workspace"]
    # What an injector can go by. The API server may ask it more than once.
    seen = mesh.seen[0]
    assert seen["operation"] == "CREATE"
    assert seen["object"]["metadata"]["labels"]["kubetask.io/batch-run"] == "r"
    assert names(seen["object"], "containers") == ["agent"]
    assert seen["object"]["metadata"]["generateName"] == "r-task-0-"
    assert "uid" not in seen["object"]["metadata"]


def test_a_limit_range_gives_an_injected_container_its_defaults(
    restricted: Kubectl, cluster: Cluster, tmp_path: Path
) -> None:
    bounds = {
        "type": "Container",
        "default": {"cpu": "1", "memory": "1Gi"},
        "defaultRequest": {"cpu": "100m", "memory": "64Mi"},
    }
    restricted.apply(
        {
            "apiVersion": "v1",
            "kind": "LimitRange",
            "metadata": {"name": "l"},
            "spec": {"limits": [bounds]},
        }
    )
    with injector(
        restricted, cluster.test_address, tmp_path, ordinary(proxy(cluster, resources={}))
    ):
        restricted.apply(scripted(outcome={"runSeconds": None}), task("t"))
        restricted.wait_phase("task/t", "Running", timeout=45)
    (pod,) = restricted.items("pods")
    assert names(pod, "containers") == ["mesh-proxy", "agent"]
    for container in pod["spec"]["containers"]:
        assert container["resources"]["limits"] == {"cpu": "1", "memory": "1Gi"}


@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
def test_an_injector_that_is_down_holds_tasks_back_where_its_policy_says_so(
    kubectl: Kubectl, cluster: Cluster, tmp_path: Path, policy: str
) -> None:
    webhook = {"failurePolicy": policy, "timeoutSeconds": 2}
    with injector(kubectl, cluster.test_address, tmp_path, [], **webhook) as mesh:
        mesh.shutdown()
        mesh.server_close()
        kubectl.apply(scripted(outcome={}), task("t"))
        if policy == "Fail":
            found = kubectl.wait_reason("task/t", "AdmissionDenied", timeout=45)
            assert found["status"]["phase"] == "Pending"
            assert 'failed calling webhook "injector.mesh' in found["status"]["message"]
    # Without the webhook, or where it is ignored, the task goes on.
    kubectl.wait_phase("task/t", "Succeeded", timeout=45)


def test_an_injected_container_that_is_forbidden_is_told(
    restricted: Kubectl, cluster: Cluster, tmp_path: Path
) -> None:
    capable = {"capabilities": {"add": ["NET_ADMIN"]}, "runAsNonRoot": True}
    bad = native(proxy(cluster, securityContext=capable))
    with injector(restricted, cluster.test_address, tmp_path, bad):
        restricted.apply(scripted(outcome={}), task("t"))
        status = restricted.wait_reason("task/t", "AdmissionDenied", timeout=45)["status"]
    assert "NET_ADMIN" in status["message"]
    assert "mesh-proxy" in status["message"]


def test_pods_without_the_label_of_the_mesh_are_left_alone(
    kubectl: Kubectl, cluster: Cluster, tmp_path: Path
) -> None:
    injected = {"matchExpressions": [{"key": "mesh.example.com/inject", "operator": "Exists"}]}
    only = {
        "objectSelector": injected,
        "matchConditions": [
            {"name": "no-system-pods", "expression": "request.namespace != 'kube-system'"}
        ],
    }
    with injector(kubectl, cluster.test_address, tmp_path, native(proxy(cluster)), **only) as mesh:
        labels = {"mesh.example.com/inject": "true"}
        kubectl.apply(
            scripted(outcome={}),
            scripted("meshed", outcome={}, podLabels=labels),
            task("inside", workspaceConfigRef="meshed"),
            task("outside"),
        )
        for name in ("inside", "outside"):
            kubectl.wait_phase(f"task/{name}", "Succeeded", timeout=45)
        tasks = {x["object"]["metadata"]["labels"]["kubetask.io/task"] for x in mesh.seen}
        assert tasks == {"inside"}
    for pod in kubectl.items("pods"):
        inside = pod["metadata"]["labels"]["kubetask.io/task"] == "inside"
        assert ("mesh-proxy" in names(pod, "initContainers")) == inside


def test_a_webhook_that_cannot_be_called_is_refused(kubectl: Kubectl, cluster: Cluster) -> None:
    bad = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": f"bad-{kubectl.namespace}"},
        "webhooks": [
            {
                "name": "short",
                "clientConfig": {"url": "http://127.0.0.1/x"},
                "admissionReviewVersions": ["v1"],
                "sideEffects": "Some",
            }
        ],
    }
    with pytest.raises(KubectlError) as refused:
        kubectl.apply(bad)
    for field in ("webhooks[0].name", "webhooks[0].clientConfig.url", "webhooks[0].sideEffects"):
        assert field in str(refused.value)


# --- with real processes


@pytest.fixture
def processes(cluster: Cluster) -> None:
    cluster.require("processes", "loopback")


@pytest.mark.usefixtures("processes")
def test_a_task_ends_as_its_agent_did_though_an_injected_proxy_runs_on(
    kubectl: Kubectl, cluster: Cluster, tmp_path: Path
) -> None:
    left = '{"summary": "Done beside a proxy"}'
    good = {"command": ["sh", "-c", f"echo worked; echo '{left}' > /dev/termination-log"]}
    bad = {"command": ["sh", "-c", "echo tests fail > /dev/termination-log; exit 3"]}
    with injector(kubectl, cluster.test_address, tmp_path, ordinary(proxy(cluster))) as mesh:
        kubectl.apply(config(**good), run("r"))
        kubectl.apply(config("bad", **bad), task("fails", workspaceConfigRef="bad"))
        found = kubectl.wait_phase("batchrun/r", "Succeeded", timeout=45)
        failed = kubectl.wait_phase("task/fails", "Failed", timeout=45)["status"]
        assert len({x["object"]["metadata"]["generateName"] for x in mesh.seen}) == 2
    (entry,) = found["status"]["tasks"]
    assert entry["result"] == {"summary": "Done beside a proxy"}
    assert entry.get("attempts", 1) == 1
    assert (failed["reason"], failed["message"]) == ("AgentError", "exit code 3: tests fail")
    # What becomes of the Pod, as docs/meshes.md says.
    (pod,) = kubectl.items("pods", "-l", "kubetask.io/batch-run=r")
    name = pod["metadata"]["name"]
    kubectl.wait(f"pod/{name}", "jsonpath={.status.phase}=Failed")
    assert kubectl.get("pod", name)["status"]["reason"] == "DeadlineExceeded"
    assert kubectl("logs", name, "-c", "agent").strip().endswith("worked")
    kubectl.wait("job/r-task-0", "condition=Failed")
    assert kubectl.get("batchrun", "r")["status"]["phase"] == "Succeeded"


@pytest.mark.usefixtures("processes")
def test_an_injected_proxy_that_fails_is_no_failure_of_the_task(
    kubectl: Kubectl, cluster: Cluster, tmp_path: Path
) -> None:
    agent = {"command": ["sh", "-c", "sleep 2"]}
    with injector(kubectl, cluster.test_address, tmp_path, ordinary(proxy(cluster, "exit 7"))):
        kubectl.apply(config(**agent), task("t", backoffLimit=2))
        status = kubectl.wait_phase("task/t", "Succeeded", timeout=45)["status"]
    assert status["attempts"] == 1


@pytest.mark.usefixtures("processes")
def test_an_injected_native_proxy_is_up_before_the_preparation_and_ends_after_the_agent(
    kubectl: Kubectl, cluster: Cluster, tmp_path: Path
) -> None:
    agent = {"command": ["sh", "-c", "sleep 1"]}
    with injector(kubectl, cluster.test_address, tmp_path, native(proxy(cluster))):
        kubectl.apply(config(**agent), task("t"))
        kubectl.wait_phase("task/t", "Succeeded", timeout=45)
    (pod,) = kubectl.items("pods")
    kubectl.wait(f"pod/{pod['metadata']['name']}", "jsonpath={.status.phase}=Succeeded")
    (pod,) = kubectl.items("pods")
    states = {x["name"]: x["state"]["terminated"] for x in pod["status"]["initContainerStatuses"]}
    (ended,) = [x["state"]["terminated"] for x in pod["status"]["containerStatuses"]]
    assert states["mesh-proxy"]["startedAt"] <= states["workspace"]["startedAt"]
    assert states["mesh-proxy"]["finishedAt"] >= ended["finishedAt"]
