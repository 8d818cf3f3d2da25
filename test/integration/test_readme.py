"""The commands of README for a cluster, as written: the first run on a cluster with policies, bounds and no storage class."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from devcluster.base import Cluster
from devcluster.process import DevClusterProcess
from test_documents import NOTHING_TO_DO, Place, images, run_deployment

from support.integration.controller import SYSTEM
from support.integration.documents import DOCS, Block, blocks
from support.integration.githost import GitHost
from support.integration.kubectl import KUBECTL, Kubectl

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ROOT = DOCS.parent
NAMESPACE = "team-a"
RUN = "update-dependencies-001"


def _block(words: str) -> Block:
    """The block of README with these words."""
    (found,) = [x for x in blocks("../README.md") if words in x.text]
    return found


def _bounds() -> str:
    """The bounds that docs/install.md gives as an example: Pod Security, a quota, a LimitRange."""
    (found,) = [x.text for x in blocks("install.md") if "pod-security" in x.text]
    return found


@pytest.fixture
def place(cluster: Cluster, git_host: GitHost, tmp_path: Path) -> Iterator[Place]:
    """A reader with a checkout, on a cluster of their own, with an agent and a git server of their own."""
    cluster.require("processes", "loopback")
    folder, tools = tmp_path / "checkout", tmp_path / "bin"
    tools.mkdir()
    (tools / "python3").symlink_to(sys.executable)
    shutil.copytree(ROOT / "config", folder / "config")
    (folder / "batch.yaml").write_text(_block("kind: BatchRun").text)
    tenant = folder / "config" / "tenant" / "workspace-setup.yaml"
    account, settings, quota = yaml.safe_load_all(tenant.read_text())
    settings["spec"] |= {"git": {"urlTemplate": git_host.template}, "args": NOTHING_TO_DO}
    tenant.write_text(yaml.safe_dump_all([account, settings, quota]))
    for repo in ("service-a", "service-b"):
        git_host.make("myorg", repo)
    with DevClusterProcess(tmp_path / "own", images=images(tmp_path)) as own:
        kubeconfig = folder / "kubeconfig"
        shutil.copy(own.admin_kubeconfig, kubeconfig)
        path = os.pathsep.join([str(tools), str(KUBECTL.parent), os.environ["PATH"]])
        environ = {**os.environ, "KUBECONFIG": str(kubeconfig), "PATH": path}
        yield Place(folder, environ, Kubectl(kubeconfig, NAMESPACE))


def _shell(place: Place, text: str) -> str:
    command = ["bash", "-euo", "pipefail", "-c", text]
    done = subprocess.run(
        command, cwd=place.folder, env=place.environ, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_first_run_of_readme_succeeds_on_a_cluster_with_policies_and_without_storage(
    place: Place,
) -> None:
    kubectl = place.kubectl
    assert kubectl.items("storageclasses") == []
    install = _block("kubectl apply -k config/default").text
    commands = [x for x in install.splitlines() if x.strip()]
    assert len(commands) == 4
    for command in commands:
        _shell(place, command)
        if "config/default" in command:
            run_deployment(Kubectl(Path(place.environ["KUBECONFIG"]), SYSTEM))
        if "create namespace" in command:
            _shell(place, _bounds())
    found = kubectl.wait_phase(f"batchrun/{RUN}", "Succeeded", timeout=90)
    assert found["status"]["progress"]["completed"] == 2
    label = kubectl.get("namespace", NAMESPACE)["metadata"]["labels"]
    assert label["pod-security.kubernetes.io/enforce"] == "restricted"
    assert kubectl.items("persistentvolumeclaims") == []
    for pod in kubectl.items("pods"):
        for container in (*pod["spec"]["containers"], *pod["spec"]["initContainers"]):
            assert set(container["resources"]["limits"]) == {"cpu", "memory"}
    _watch_and_steer(place)


def _watch_and_steer(place: Place) -> None:
    """What README shows next; a watch has no end, so it gets one."""
    for command in _block("kubectl get batchruns -w").text.splitlines():
        endless = command.startswith("kubectl get batchruns -w")
        printed = _shell(place, f"set +e\ntimeout 2 {command}\ntrue" if endless else command)
        if endless:
            assert "Succeeded" in printed
        if command.startswith("kubectl describe"):
            assert "TasksSucceeded" in printed
