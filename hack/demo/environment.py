"""Everything that the demo starts: a cluster, a git server, the controller."""

import contextlib
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from hack.demo import console
from hack.demo.kubectl import Kubectl
from hack.demo.processes import Program, launch, running
from hack.demo.services import make_repositories
from hack.forge import ForgeServer

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "team-platform"
SYSTEM = "kubetask-system"
ORG = "acme"
BIN = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Environment:
    """What runs.

    Attributes:
        directory: where everything lies.
        kubectl: as the platform engineer, in the team's namespace.
        git_url: where the organisation's repositories are cloned from.
        repositories: their names, and `bare` the folder they lie in.
        controller: the controller's process.
    """

    directory: Path
    kubectl: Kubectl
    kubeconfig: Path
    git_url: str
    repositories: list[str]
    controller: Program

    @property
    def bare(self) -> Path:
        """The folder with the bare repositories."""
        return self.directory / "git" / ORG


@contextlib.asynccontextmanager
async def environment(
    directory: Path, *, metrics: str = "127.0.0.1:0"
) -> AsyncIterator[Environment]:
    """Start everything in a fresh folder, and stop it at the end; `metrics` is where the controller serves them."""
    _fresh(directory)
    kubeconfig = directory / "kubeconfig"
    async with contextlib.AsyncExitStack() as stack:
        started = time.monotonic()
        await stack.enter_async_context(running(await _cluster(directory, kubeconfig)))
        console.step(
            "development cluster: API server, Job controller, one node", seconds=_since(started)
        )

        started = time.monotonic()
        admin = Kubectl(kubeconfig, SYSTEM)
        await _install(admin)
        console.step("CRDs and RBAC, by kubectl apply -k", seconds=_since(started))

        started = time.monotonic()
        controller = await start_controller(directory, admin, metrics=metrics)
        await stack.enter_async_context(running(controller))
        console.step("controller, as ServiceAccount kubetask-controller", seconds=_since(started))

        started = time.monotonic()
        repositories = await make_repositories(directory / "git", org=ORG)
        server = await stack.enter_async_context(ForgeServer(directory / "git"))
        console.step(
            f"{len(repositories)} git repositories at {server.url}, with pull requests",
            seconds=_since(started),
        )
        kubectl = Kubectl(kubeconfig, NAMESPACE)
        yield Environment(directory, kubectl, kubeconfig, server.url, repositories, controller)


async def start_controller(
    directory: Path, admin: Kubectl, *, metrics: str = "127.0.0.1:0"
) -> Program:
    """Start the controller under its own account."""
    token = (await admin.run("create", "token", "kubetask-controller", "--duration=24h")).strip()
    kubeconfig = directory / "controller.kubeconfig"
    config = yaml.safe_load((directory / "kubeconfig").read_text())
    config["users"] = [{"name": x["name"], "user": {"token": token}} for x in config["users"]]
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(yaml.safe_dump(config))
    controller = await launch(
        "kubetask-controller",
        [
            BIN / "kubetask-controller",
            f"--kubeconfig={kubeconfig}",
            "--leader-elect",
            f"--leader-election-namespace={SYSTEM}",
            "--leader-elect-lease-duration=3s",
            "--leader-elect-renew-deadline=2s",
            "--leader-elect-retry-period=500ms",
            f"--metrics-bind-address={metrics}",
            "--health-probe-bind-address=127.0.0.1:0",
        ],
        log=directory / "controller.log",
        environ={k: v for k, v in os.environ.items() if not k.startswith(("KUBE", "KUBETASK_"))},
    )
    await controller.wait_for("Successfully acquired lease")
    return controller


def _fresh(directory: Path) -> None:
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(parents=True)


async def _cluster(directory: Path, kubeconfig: Path) -> Program:
    images = directory / "images.yaml"
    images.write_text(yaml.safe_dump(_images()))
    cluster = await launch(
        "devcluster",
        [
            *(BIN / "python", "-m", "devcluster"),
            *("--dir", directory / "cluster", "--kubeconfig", kubeconfig, "--images", images),
        ],
        log=directory / "cluster.log",
    )
    await cluster.wait_for("ready:")
    return cluster


def _images() -> dict[str, object]:
    """The images' programs, as processes find them here: the ones that the Dockerfile would put into the images."""
    programs = {"path": [str(BIN)], "user": "65532:65532"}
    return {
        "quay.io/kubetask/kubetask-workspace:v0.1.0": {
            "entrypoint": ["kubetask-workspace"],
            **programs,
        },
        "quay.io/kubetask/kubetask-agent:v0.1.0": {"entrypoint": ["kubetask-agent"], **programs},
    }


async def _install(admin: Kubectl) -> None:
    await admin.run("apply", "--server-side", "-k", ROOT / "config" / "crd")
    await admin.run("apply", "-f", ROOT / "config" / "manager" / "namespace.yaml")
    await admin.run("apply", "-k", ROOT / "config" / "rbac")
    await admin.run("create", "namespace", NAMESPACE)
    await admin.run("create", "serviceaccount", "kubetask-agent", "--namespace", NAMESPACE)
    crds = "app.kubernetes.io/name=kubetask"
    await admin.run("wait", "--for=condition=Established", "crd", "-l", crds, "--timeout=30s")


def _since(started: float) -> float:
    return time.monotonic() - started
