"""Every command in docs/ is run, page by page, on a cluster of its own on which the controller runs as its manifests say."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from devcluster.base import Cluster
from devcluster.process import DevClusterProcess

from support.integration.controller import SYSTEM, free_port
from support.integration.documents import DOCS, Block, blocks
from support.integration.kubectl import KUBECTL, Kubectl
from support.integration.objects import batch, config, run, scripted, task
from support.integration.plugin import install

pytestmark = [pytest.mark.slow(10), pytest.mark.timeout(240)]

ROOT = DOCS.parent
FOREVER = {"runSeconds": None}
BATCH = "update-dependencies"
WITHOUT_A_TOOL = """
"quay.io/kubetask/kubetask-agent:*":
  path: ["${BIN}"]
  entrypoint: ["kubetask-agent"]
  user: "65532:65532"
"""
"""The agent image of config/tenant as the Dockerfile makes it. Elsewhere in the tests every image runs `true`."""
NOTHING_TO_DO = ["--agent", "command", "--", "true"]
"""Arguments of an agent that needs no tool: what a reader sets who has no model."""


@dataclass
class Place:
    """Where a reader of the pages sits: a folder with the repository's config/, a kubeconfig, a path."""

    folder: Path
    environ: dict[str, str]
    kubectl: Kubectl
    printed: dict[int, str] = field(default_factory=dict)

    def read(self, page: str) -> dict[int, str]:
        """Run a page's commands in order; what each block printed, by its line."""
        return {x.line: self.run(x) for x in blocks(page) if x.language == "sh"}

    def run(self, block: Block) -> str:
        """Run one block as a shell does that stops at the first failure."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.text],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=120,
        )
        where = f"docs/{block.page}:{block.line}"
        assert done.returncode == 0, f"{where}\n{block.text}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def _pods(deployment: dict[str, object]) -> Iterator[str]:
    """What a Deployment's controller would make. Pods share the machine's network here, so each gets ports of its own."""
    template = deployment["spec"]["template"]  # type: ignore[index]
    for number in range(deployment["spec"]["replicas"]):  # type: ignore[index]
        spec = json.loads(json.dumps(template["spec"]))
        (container,) = spec["containers"]
        address = f"127.0.0.1:{free_port()}"
        container["args"] = [x for x in container["args"] if "health-probe" not in x]
        container["args"].append(f"--health-probe-bind-address=127.0.0.1:{free_port()}")
        for each in container["env"]:
            if each["name"] == "KUBETASK_METRICS_BIND_ADDRESS":
                each["value"] = address
        for probe in ("livenessProbe", "readinessProbe"):
            container.pop(probe)
        # Here the programs are those of whoever runs the tests, not an image's.
        spec["securityContext"] = {"runAsUser": os.getuid()}
        name = f"kubetask-controller-{number}"
        metadata = {**template["metadata"], "name": name, "namespace": SYSTEM}
        yield yaml.safe_dump(
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        )


def run_deployment(kubectl: Kubectl) -> None:
    """Be the Deployment's controller: its Pods, and its status. Returns once one of them leads."""
    deployment = kubectl.get("deployment", "kubetask-controller")
    for pod in _pods(deployment):
        kubectl("apply", "-f", "-", stdin=pod)
    replicas = deployment["spec"]["replicas"]
    counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    status = dict.fromkeys(counts, replicas) | {"observedGeneration": 1}
    patch = json.dumps({"status": status})
    kubectl(
        *("patch", "deployment", "kubetask-controller", "--subresource=status"),
        *("--type=merge", "-p", patch),
    )
    kubectl("wait", "--for=create", "lease/controller.kubetask.io", "--timeout=40s")


def images(folder: Path) -> Path:
    """The images of the tests, but that of the agents as it is."""
    path = folder / "images.yaml"
    path.write_text((ROOT / "test" / "images.yaml").read_text() + WITHOUT_A_TOOL)
    return path


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    cluster.require("processes")
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "config", folder / "config")
    own_images = images(tmp_path_factory.mktemp("images"))
    with DevClusterProcess(tmp_path_factory.mktemp("own"), images=own_images) as own:
        kubeconfig = folder / "kubeconfig"
        shutil.copy(own.admin_kubeconfig, kubeconfig)
        tools = tmp_path_factory.mktemp("bin")
        install(tools)
        (tools / "python3").symlink_to(sys.executable)
        path = os.pathsep.join([str(tools), str(KUBECTL.parent), os.environ["PATH"]])
        environ = {**os.environ, "KUBECONFIG": str(kubeconfig), "PATH": path}
        system = Kubectl(kubeconfig, SYSTEM)
        system("apply", "--server-side", "-f", str(ROOT / "config" / "install.yaml"))
        run_deployment(system)
        reader = Place(folder, environ, Kubectl(kubeconfig, "team-a"))
        # Every other page is for somebody who has read this one.
        reader.printed |= reader.read("install.md")
        # They go on with an agent of their own, and with a Batch that the other pages name.
        reader.kubectl.apply(config(args=NOTHING_TO_DO), batch(BATCH, tasks=2))
        yield reader


def test_install(place: Place) -> None:
    printed = place.printed
    assert any("Hello from task 0" in x for x in printed.values())
    table = next(x for x in printed.values() if "PHASE" in x).splitlines()[-2:]
    shown = next(x.text for x in blocks("install.md") if x.language == "text").splitlines()
    # All but the age.
    assert [x.split()[:-1] for x in table] == [x.split()[:-1] for x in shown]


@pytest.mark.long
def test_operations(place: Place) -> None:
    kubectl = place.kubectl
    kubectl.apply(
        scripted("stuck", outcome={}, serviceAccountName="nobody"),
        config("flaky", command=["sh", "-c", "echo tests fail; exit 3"]),
        run("stuck", workspaceConfigRef="stuck"),
        run("broken", tasks=2, workspaceConfigRef="flaky"),
        run("large", tasks=8),
    )
    kubectl.wait_reason("batchrun/stuck", "ServiceAccountNotFound")
    kubectl.wait_phase("batchrun/broken", "Failed")
    kubectl.wait_phase("batchrun/large", "Succeeded")
    printed = "\n".join(place.read("operations.md").values())
    assert "AgentError" in printed
    assert "Pending ServiceAccountNotFound" in printed
    for resource in ("batches.kubetask.io", "pods"):
        assert f"{resource} yes" in printed
    shown = next(x.text.strip() for x in blocks("operations.md") if x.language == "text")
    assert shown in printed


def test_gitops(place: Place) -> None:
    printed = "\n".join(place.read("gitops.md").values())
    assert "Succeeded" in printed
    assert "kueue.x-k8s.io/queue-name=agents" in printed


def test_migration(place: Place) -> None:
    printed = "\n".join(place.read("migration.md").values())
    (shown,) = [x.text for x in blocks("migration.md") if x.language == "yaml"]
    assert shown in printed


def test_access(place: Place) -> None:
    printed = "\n".join(place.read("access.md").values())
    (shown,) = [x.text for x in blocks("access.md") if x.language == "text"]
    assert shown in printed


@pytest.mark.long
def test_upgrade_and_uninstall(place: Place) -> None:
    kubectl = place.kubectl
    kubectl.apply(
        scripted("lasts", outcome=FOREVER),
        run("under-way", tasks=2, parallelism=1, workspaceConfigRef="lasts"),
        run("held", workspaceConfigRef="lasts", suspend=True),
        run("waits", workspaceConfigRef="missing"),
        task("single", workspaceConfigRef="missing"),
    )
    kubectl.wait_phase("batchrun/under-way", "Running")
    kubectl.wait_reason("batchrun/waits", "WorkspaceConfigNotFound")
    open_ones = ("batchrun/under-way", "batchrun/waits", "task/single")
    for block in [x for x in blocks("upgrade.md") if x.language == "sh"]:
        place.run(block)
        if "rollout" in block.text:
            assert kubectl.get("batchrun", "under-way")["status"]["phase"] == "Running"
        if "kubetask suspend" in block.text or "kubetask resume" in block.text:
            suspended = "kubetask suspend" in block.text
            for each in open_ones:
                assert kubectl.get(*each.split("/"))["spec"]["suspend"] is suspended, each
            assert kubectl.get("batchrun", "held")["spec"]["suspend"] is True
    kept = {x["metadata"]["name"] for x in kubectl.items("batches")}
    assert kept == {"hello", BATCH}
    assert (place.folder / "results-team-a-first.csv").read_text()
    assert "kubetask.io" not in kubectl("get", "jobs", "-A", "-o", "name")


def test_every_page_that_has_commands_is_run() -> None:
    named = {"install.md", "operations.md", "gitops.md", "migration.md", "access.md", "upgrade.md"}
    with_commands = {
        str(x.relative_to(DOCS))
        for x in DOCS.rglob("*.md")
        if any(b.language == "sh" for b in blocks(str(x.relative_to(DOCS))))
    }
    assert with_commands == named


def test_links_between_pages_lead_somewhere() -> None:
    import re

    for page in DOCS.rglob("*.md"):
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
            if target.startswith("https://"):
                continue
            file, _, anchor = target.partition("#")
            path = (page.parent / file).resolve() if file else page
            assert path.exists(), f"{page.name}: {target}"
            if anchor:
                headings = [x for x in path.read_text().splitlines() if x.startswith("#")]
                slugs = {
                    x.lstrip("# ").lower().replace(" ", "-").replace(",", "") for x in headings
                }
                assert anchor in slugs, f"{page.name}: {target}"
