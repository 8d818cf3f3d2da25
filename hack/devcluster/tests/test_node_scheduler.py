"""Which Pods are bound to the node, and the messages for the others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from devcluster.apiserver.errors import StatusError
from devcluster.apiserver.local import NODES
from devcluster.node.fit import misfit
from devcluster.node.podsubresources import bind
from node_lab import NAMESPACE, PODS, NodeLab, open_lab

Object = dict[str, Any]
HEAD = "0/1 nodes are available: "
NO_CLAIMS = ". no new claims to deallocate, preemption: 0/1 nodes are available: 1 "
HELPLESS = NO_CLAIMS + "Preemption is not helpful for scheduling."
NO_VICTIMS = NO_CLAIMS + "No preemption victims found for incoming pod."


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[NodeLab]:
    capacity = {"cpu": "2", "memory": "1Gi", "pods": "3"}
    async with open_lab(tmp_path, capacity=capacity, labels={"disk": "fast"}) as lab:
        yield lab


def asking(**requests: str) -> Object:
    return {"resources": {"requests": requests}}


async def refusal(lab: NodeLab, name: str) -> str:
    await lab.event(name, "FailedScheduling")
    (condition,) = lab.client.get(PODS, NAMESPACE, name)["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == (
        "PodScheduled",
        "False",
        "Unschedulable",
    )
    assert lab.events(name) == [("FailedScheduling", condition["message"])]
    return str(condition["message"])


async def test_a_pod_that_never_fits_is_told_why(lab: NodeLab) -> None:
    lab.run("p", "true", **asking(cpu="3", memory="100Mi"))
    assert await refusal(lab, "p") == f"{HEAD}1 Insufficient cpu{HELPLESS}"


async def test_a_pod_waits_for_room_and_gets_it(lab: NodeLab) -> None:
    lab.run(
        "first", "while [ ! -f /w/go ]; do sleep 0.02; done", **asking(cpu="1500m"), **shared(lab)
    )
    await lab.running("first")
    lab.run("second", "true", **asking(cpu="1"))
    assert await refusal(lab, "second") == f"{HEAD}1 Insufficient cpu{NO_VICTIMS}"
    (lab.folder / "shared" / "go").touch()
    assert (await lab.ended("second"))["status"]["phase"] == "Succeeded"


def shared(lab: NodeLab) -> Object:
    folder = {"path": str(lab.folder / "shared"), "type": "DirectoryOrCreate"}
    return {
        "pod": {"volumes": [{"name": "w", "hostPath": folder}]},
        "volumeMounts": [{"name": "w", "mountPath": "/w"}],
    }


async def test_a_tainted_node_takes_those_that_tolerate_it(lab: NodeLab) -> None:
    taint = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
    lab.client.patch(NODES, None, "node1", {"spec": {"taints": [taint]}})
    lab.run("refused", "true")
    assert await refusal(lab, "refused") == f"{HEAD}1 node(s) had untolerated taint(s){HELPLESS}"
    lab.run("taken", "true", pod={"tolerations": [{"key": "gpu", "operator": "Exists"}]})
    await lab.ended("taken")
    lab.client.patch(NODES, None, "node1", {"spec": {"taints": None}})
    await lab.ended("refused")


async def test_a_cordoned_node_takes_nothing_new(lab: NodeLab) -> None:
    lab.client.patch(NODES, None, "node1", {"spec": {"unschedulable": True}})
    lab.run("p", "true")
    assert await refusal(lab, "p") == f"{HEAD}1 node(s) were unschedulable{HELPLESS}"
    lab.client.patch(NODES, None, "node1", {"spec": {"unschedulable": None}})
    await lab.ended("p")


async def test_a_pod_with_scheduling_gates_waits_until_they_are_gone(lab: NodeLab) -> None:
    lab.run("p", "true", pod={"schedulingGates": [{"name": "queue"}]})
    pod = await lab.until("p", lambda pod: pod["status"].get("conditions"))
    assert pod["status"]["conditions"][0]["reason"] == "SchedulingGated"
    lab.put({**pod, "spec": {**pod["spec"], "schedulingGates": []}})
    await lab.ended("p")


async def test_a_pod_that_names_its_node_runs_without_scheduling(lab: NodeLab) -> None:
    lab.run("p", "true", pod={"nodeName": "node1"})
    await lab.ended("p")
    assert "Scheduled" not in [reason for reason, _ in lab.events("p")]


async def test_pods_of_other_schedulers_and_nodes_are_left_alone(lab: NodeLab) -> None:
    lab.run("other", "true", pod={"schedulerName": "volcano"})
    lab.run("elsewhere", "true", pod={"nodeName": "standin"})
    lab.run("ours", "true")
    await lab.ended("ours")
    for name in ("other", "elsewhere"):
        assert not lab.client.get(PODS, NAMESPACE, name)["status"].get("conditions")


async def test_a_pod_is_bound_once(lab: NodeLab) -> None:
    lab.run("p", "true", pod={"schedulerName": "mine"})
    with pytest.raises(StatusError, match="Precondition failed: UID"):
        bind(lab.registry, NAMESPACE, "p", "node1", uid="another")
    bind(lab.registry, NAMESPACE, "p", "node1")
    with pytest.raises(StatusError, match='pod p is already assigned to node "node1"'):
        bind(lab.registry, NAMESPACE, "p", "node1")
    await lab.ended("p")


async def test_the_node_is_ready_and_says_what_it_has(lab: NodeLab) -> None:
    node = lab.client.get(NODES, None, "node1")
    assert node["metadata"]["labels"]["disk"] == "fast"
    assert node["status"]["allocatable"] == {"cpu": "2", "memory": "1Gi", "pods": "3"}
    assert [each["status"] for each in node["status"]["conditions"]] == [
        "False",
        "False",
        "False",
        "True",
    ]


# --- predicates


def node(**labels: str) -> Object:
    status = {"allocatable": {"cpu": "4", "memory": "1Gi", "pods": "2"}}
    return {"metadata": {"name": "n", "labels": labels}, "spec": {}, "status": status}


def pod(**spec: Any) -> Object:
    return {"metadata": {"name": "p"}, "spec": {"containers": [], **spec}}


def affinity(*expressions: Object, fields: list[Object] | None = None) -> Object:
    term = {"matchExpressions": list(expressions), "matchFields": fields or []}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"affinity": {"nodeAffinity": required}}


def needs(operator: str, *values: str) -> Object:
    return {"key": "zone", "operator": operator, "values": list(values)}


@pytest.mark.parametrize(
    ("spec", "fits"),
    [
        ({"nodeSelector": {"zone": "7"}}, True),
        ({"nodeSelector": {"zone": "8"}}, False),
        (affinity(needs("In", "6", "7")), True),
        (affinity(needs("NotIn", "7")), False),
        (affinity(needs("Exists")), True),
        (affinity(needs("DoesNotExist")), False),
        (affinity(needs("Gt", "6")), True),
        (affinity(needs("Lt", "7")), False),
        (affinity(needs("In", "7"), needs("Gt", "9")), False),
        (affinity(fields=[{"key": "metadata.name", "operator": "In", "values": ["n"]}]), True),
    ],
)
def test_a_node_is_chosen_by_its_labels(spec: Object, fits: bool) -> None:
    assert (misfit(pod(**spec), node(zone="7"), []) is None) is fits


def test_an_init_container_counts_where_it_wants_more_than_all_others_together() -> None:
    def wanting(cpu: str) -> Object:
        return {"name": cpu, "resources": {"requests": {"cpu": cpu}}}

    containers = [wanting("1"), wanting("1500m")]
    found = misfit(pod(containers=containers, initContainers=[wanting("5")]), node(), [])
    assert found is not None
    assert found.reason == "Insufficient cpu"
    assert misfit(pod(containers=containers, initContainers=[wanting("4")]), node(), []) is None
    sidecar = {**wanting("2"), "restartPolicy": "Always"}
    assert misfit(pod(containers=containers, initContainers=[sidecar]), node(), []) is not None


def test_a_node_takes_so_many_pods_and_no_more() -> None:
    found = misfit(pod(), node(), [pod(), pod()])
    assert found is not None
    assert (found.reason, found.helpless) == ("Too many pods", False)
