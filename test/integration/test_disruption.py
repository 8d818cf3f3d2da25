"""Evictions through the API, as a drain and an autoscaler make them: what becomes of a task, and how many agents start."""

import json
from typing import Any

import pytest
from devcluster.base import Cluster

from support.integration.kubectl import Kubectl
from support.integration.objects import config, from_config_map, run, task

pytestmark = pytest.mark.slow

JSON = dict[str, Any]
AGENT = "trap 'exit 143' TERM; echo $HOSTNAME; sleep 1000 & wait $!"
WORKS: JSON = {"command": ["sh", "-c", AGENT]}


@pytest.fixture(autouse=True)
def _processes(cluster: Cluster) -> None:
    cluster.require("processes")


def running_pod(kubectl: Kubectl, *, but: str = "") -> str:
    """The name of the Pod whose agent runs, once there is one."""
    started = "jsonpath={.status.containerStatuses[0].started}=true"
    kubectl("wait", "--for=create", "pod", "-l", "kubetask.io/task", "--timeout=40s")
    pods = [x["metadata"]["name"] for x in kubectl.items("pods") if x["metadata"]["name"] != but]
    kubectl.wait(f"pod/{pods[-1]}", started)
    return str(pods[-1])


def evict(kubectl: Kubectl, pod: str) -> None:
    """What `kubectl drain` sends."""
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": kubectl.namespace},
    }
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods/{pod}/eviction"
    kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


def new_pod(kubectl: Kubectl, old: str) -> str:
    """The Pod that follows an evicted one, with its agent running."""
    kubectl.wait(f"pod/{old}", "delete")
    return running_pod(kubectl, but=old)


def test_a_disrupted_agent_is_not_started_again_unasked(kubectl: Kubectl) -> None:
    kubectl.apply(config(**WORKS), run("r"))
    evict(kubectl, running_pod(kubectl))
    status = kubectl.wait_phase("batchrun/r", "Failed", timeout=60)["status"]
    (entry,) = status["tasks"]
    assert entry["reason"] == "Disrupted"
    assert entry.get("attempts", 1) == 1
    assert len(kubectl.items("jobs")) <= 1


def test_max_disruptions_allows_so_many_further_tries(kubectl: Kubectl) -> None:
    kubectl.apply(config(**WORKS), task("t", maxDisruptions=1))
    first = running_pod(kubectl)
    evict(kubectl, first)
    second = new_pod(kubectl, first)
    assert kubectl.get("task", "t")["status"]["phase"] != "Failed"
    evict(kubectl, second)
    status = kubectl.wait_phase("task/t", "Failed", timeout=60)["status"]
    assert status["reason"] == "Disrupted"
    assert status["attempts"] == 2
    told = [x for x in kubectl.items("events") if x["involvedObject"].get("name") == "t"]
    assert "Retrying" in [x["reason"] for x in told]


def test_a_pod_that_is_disrupted_before_its_agent_starts_is_replaced(kubectl: Kubectl) -> None:
    waits = from_config_map("task.md", "later", "k")
    kubectl.apply(config(command=["sh", "-c", "grep -q v task.md"]), task("t", waits))
    kubectl("wait", "--for=create", "pod", "-l", "kubetask.io/task", "--timeout=40s")
    (pod,) = kubectl.items("pods")
    evict(kubectl, pod["metadata"]["name"])
    kubectl("create", "configmap", "later", "--from-literal=k=v")
    status = kubectl.wait_phase("task/t", "Succeeded", timeout=60)["status"]
    assert status["attempts"] == 1
