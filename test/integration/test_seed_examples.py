"""Every YAML example of the design that creates a resource does what the design says of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from devcluster.base import Cluster

from support.integration.githost import GitHost
from support.integration.kubectl import Kubectl
from support.integration.objects import config

SEED = Path(__file__).parents[1] / "api" / "testdata" / "seed.yaml"
EXAMPLES: list[dict[str, Any]] = [x for x in yaml.safe_load_all(SEED.read_text()) if x]
BATCHES = {x["metadata"]["name"]: x for x in EXAMPLES if x["kind"] == "Batch"}

SOURCES = """
apiVersion: v1
kind: ConfigMap
metadata: {name: workflow-guides}
data: {standard-pr-workflow.md: One pull request a change.}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: dep-configs}
data: {service-a.json: '{}', service-b.json: '{}', service-c.json: '{}'}
---
apiVersion: v1
kind: Secret
metadata: {name: private-credentials}
stringData: {service-b-creds.json: '{}'}
"""


def _title(example: dict[str, Any]) -> str:
    metadata = example["metadata"]
    name = metadata.get("name") or metadata["generateName"]
    return f"{EXAMPLES.index(example)}-{example['kind']}-{name}"


def _here(example: dict[str, Any]) -> dict[str, Any]:
    """The example without its namespace: nothing else of it may be changed."""
    metadata = {k: v for k, v in example["metadata"].items() if k != "namespace"}
    return {**example, "metadata": metadata}


def _examples(kind: str) -> list[Any]:
    return [pytest.param(x, id=_title(x)) for x in EXAMPLES if x["kind"] == kind]


@pytest.fixture
def prepared(kubectl: Kubectl) -> Kubectl:
    """What the examples refer to: files and credentials."""
    kubectl.apply(SOURCES)
    return kubectl


@pytest.fixture
def workspaces(prepared: Kubectl, cluster: Cluster, request: pytest.FixtureRequest) -> Kubectl:
    """The workspaces that they refer to. Where Pods really run, the repositories are there too, and fetched."""
    git: dict[str, Any] = {}
    if not cluster.lacks("processes"):
        host: GitHost = request.getfixturevalue("git_host")
        for found in _repositories(EXAMPLES):
            host.make(found["org"], found["repo"], branch=found.get("branch", "main"))
        git = {"git": {"urlTemplate": host.template}}
    elif not cluster.lacks("nodes"):
        pytest.skip("its node runs other images than these tests have")
    for name in ("claude-workspace", "gemini-workspace", "default"):
        image = f"quay.io/myorg/{name.removesuffix('-workspace')}-agent:v1.0"
        prepared.apply(config(name, agentImage=image, **git))
    return prepared


def _repositories(value: Any) -> Iterator[dict[str, Any]]:
    """Every repository context in the examples."""
    if isinstance(value, dict):
        if "repository" in value:
            yield value["repository"]
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _repositories(each)


@pytest.mark.parametrize("example", _examples("WorkspaceConfig"))
def test_a_workspace_config_is_listed_with_its_image(
    prepared: Kubectl, example: dict[str, Any]
) -> None:
    prepared.apply(_here(example))
    name, image = example["metadata"]["name"], example["spec"]["agentImage"]
    listed = prepared("get", "workspaceconfigs").splitlines()
    assert listed[0].split() == ["NAME", "IMAGE", "AGE"]
    assert [x.split()[:2] for x in listed if x.startswith(f"{name} ")] == [[name, image]]


@pytest.mark.parametrize("example", _examples("Batch"))
def test_a_batch_is_a_template_and_runs_nothing(prepared: Kubectl, example: dict[str, Any]) -> None:
    prepared.apply(_here(example))
    assert example["metadata"]["name"] in prepared("get", "batches")
    assert prepared.items("jobs") == []


@pytest.mark.slow
@pytest.mark.parametrize("example", _examples("Task"))
def test_a_task_runs_one_job(workspaces: Kubectl, example: dict[str, Any]) -> None:
    workspaces.apply(_here(example))
    name = example["metadata"]["name"]
    status = workspaces.wait_phase(f"task/{name}", "Succeeded")["status"]
    (job,) = workspaces.items("jobs")
    assert status["jobName"] == job["metadata"]["name"]
    assert status["jobName"].startswith(f"{name}-")
    assert status["startTime"] <= status["completionTime"]
    config_name = example["spec"].get("workspaceConfigRef")
    used = workspaces.get("workspaceconfig", config_name or "default")
    (agent,) = job["spec"]["template"]["spec"]["containers"]
    assert agent["name"] == "agent"
    assert agent["image"] == used["spec"]["agentImage"]


@pytest.mark.slow
@pytest.mark.parametrize("example", _examples("BatchRun"))
def test_a_run_makes_one_job_a_task(workspaces: Kubectl, example: dict[str, Any]) -> None:
    template = BATCHES[example["spec"]["batchRef"]]
    workspaces.apply(_here(template))
    made = workspaces.create(_here(example))
    name = made["metadata"]["name"]
    total = len(template["spec"]["variableContexts"])
    status = workspaces.wait_phase(f"batchrun/{name}", "Succeeded")["status"]
    assert status["progress"] == {
        "total": total,
        "pending": 0,
        "running": 0,
        "completed": total,
        "failed": 0,
    }
    expected = [f"{name}-task-{i}" for i in range(total)]
    assert [x["jobName"] for x in status["tasks"]] == expected
    assert sorted(x["metadata"]["name"] for x in workspaces.items("jobs")) == expected
    assert [x["status"] for x in status["tasks"]] == ["Succeeded"] * total
