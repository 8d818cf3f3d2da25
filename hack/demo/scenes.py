"""What the demo shows: a run that succeeds, and one that fails and says why."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from hack.demo import console
from hack.demo.environment import Environment
from hack.demo.progress import FINAL, follow

MANIFESTS = Path(__file__).with_name("manifests")
PULL_REQUESTS = "update-requests-003"
SCRIPT = Path(__file__).with_name("bump.sh")
CANARY = ("--canary", "2", "--max-cost", "5")


class DemoError(Exception):
    """The demo did not end as it should."""


async def update_dependencies(env: Environment) -> None:
    """Scene one: every repository gets a branch with the agent's commit."""
    console.scene("One change to five repositories")
    await apply(env, "workspace.yaml", "batch.yaml", "batchrun.yaml")
    run = await follow(env.kubectl.watch("batchrun", "update-requests-001"))
    if run.get("status", {}).get("phase") != "Succeeded":
        raise DemoError(f"the run ended as {run.get('status')}")
    console.console.print()
    await env.kubectl.show("get", "batchruns")
    await _show_branches(env, run)


async def a_task_that_fails(env: Environment) -> None:
    """Scene two: the messages that a user sees when a run fails."""
    console.scene("A run that fails, and the messages that its user sees")
    await apply(env, "failing.yaml")
    run = await follow(env.kubectl.watch("batchrun", "update-requests-002"))
    if run.get("status", {}).get("phase") not in FINAL[1:]:
        raise DemoError(f"the run ended as {run.get('status')}")
    console.console.print()
    await env.kubectl.show("get", "batchruns")
    template = '{range .status.tasks[*]}{.jobName}{": "}{.reason}{": "}{.message}{"\\n"}{end}'
    await env.kubectl.show("get", "batchrun", "update-requests-002", "-o", f"jsonpath={template}")
    await env.kubectl.show("logs", "job/update-requests-002-task-0", "--tail=5")
    await env.kubectl.show("events", "--for=batchrun/update-requests-002")


async def a_canary(env: Environment) -> None:
    """Scene three: the first repositories alone, then the others."""
    console.scene("A canary: two repositories first, then all")
    await env.kubectl.plugin("run", "update-requests", "--name", "canary-001", *CANARY)
    await _until(env, "canary-001", _waits_for_a_person)
    await env.kubectl.plugin("status", "canary-001")
    await env.kubectl.plugin("promote", "canary-001", "--all")
    run = await follow(env.kubectl.watch("batchrun", "canary-001"))
    if run.get("status", {}).get("phase") != "Succeeded":
        raise DemoError(f"the run ended as {run.get('status')}")


def _waits_for_a_person(run: dict[str, Any]) -> bool:
    status = run.get("status", {})
    ended = status.get("progress", {}).get("completed", 0)
    return bool(status.get("reason") == "TaskLimit" and ended)


async def _until(
    env: Environment, name: str, wanted: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """The run, once it is as wanted or has ended."""
    async with aclosing(env.kubectl.watch("batchrun", name)) as states:
        async for run in states:
            if wanted(run) or run.get("status", {}).get("phase") in FINAL:
                return run
    raise DemoError(f"the watch of {name} ended")


async def open_page(env: Environment, stop: asyncio.Event) -> None:
    """The runs in a browser, until `stop` is set."""
    console.scene("The runs in a browser")
    console.command("kubectl kubetask ui")
    page = await env.kubectl.attached("ui")
    stopping = asyncio.create_task(stop.wait())
    ended = asyncio.create_task(page.wait())
    await asyncio.wait((stopping, ended), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if page.returncode is None:
        page.terminate()
    await ended


async def pull_requests(env: Environment) -> None:
    """Scene four: a pull request in every repository, one of them merged, the others closed."""
    console.scene("Pull requests, to their end")
    await apply(env, "pullrequests.yaml")
    run = await follow(env.kubectl.watch("batchrun", PULL_REQUESTS))
    if run.get("status", {}).get("phase") != "Succeeded":
        raise DemoError(f"the run ended as {run.get('status')}")
    console.console.print()
    mine = {"GITEA_TOKEN": "demo-token"}
    await env.kubectl.plugin("prs", PULL_REQUESTS, **mine)
    await env.kubectl.plugin("prs", PULL_REQUESTS, "--select", "0", "--merge", "--yes", **mine)
    path = env.bare / "billing.git"
    console.command("git -C acme/billing.git log --oneline main")
    console.output(await _git(path, "log", "--oneline", "main"))
    picture = env.directory / "burndown.svg"
    close = ("--close", "--comment", "Only a demo.", "--yes")
    await env.kubectl.plugin("prs", PULL_REQUESTS, *close, **mine)
    await env.kubectl.plugin("prs", PULL_REQUESTS, "--burn-down", str(picture), **mine)


def look_around(env: Environment) -> None:
    """The commands to continue by hand."""
    console.scene("Look around")
    kubeconfig = (
        env.kubeconfig.relative_to(Path.cwd()) if _inside(env.kubeconfig) else env.kubeconfig
    )
    for line in (
        f"export KUBECONFIG=$PWD/{kubeconfig} PATH=$PWD/.venv/bin:$PATH",
        "kubectl config set-context --current --namespace=team-platform",
        "kubectl get batchruns -w",
        "kubectl describe batchrun update-requests-001",
        "kubectl logs job/update-requests-001-task-0",
        "kubectl get batchrun update-requests-001 -o yaml",
        "kubectl explain batchrun.spec",
        "kubectl delete batchrun update-requests-002",
    ):
        console.command(line)


async def apply(env: Environment, *names: str) -> None:
    """Apply manifests of the demo, and the agent's script that they refer to."""
    script = await env.kubectl.run(
        *("create", "configmap", "agent-scripts", f"--from-file={SCRIPT}"),
        *("--dry-run=client", "-o", "yaml"),
    )
    await env.kubectl.run("apply", "-f", "-", stdin=script)
    for name in names:
        console.command(f"kubectl apply -f hack/demo/manifests/{name}")
        text = (MANIFESTS / name).read_text().replace("$GIT_URL", env.git_url)
        console.output(await env.kubectl.run("apply", "-f", "-", stdin=text))
    console.console.print()


async def _show_branches(env: Environment, run: dict[str, object]) -> None:
    branches: dict[str, str] = {}
    for repository in env.repositories:
        listed = await _git(env.bare / f"{repository}.git", "branch", "--list", "kubetask/*")
        for branch in listed.split():
            branches[repository] = branch
    expected = len(run["status"]["tasks"])  # type: ignore[index]
    if len(branches) != expected:
        raise DemoError(f"{expected} repositories should have a branch, these have: {branches}")
    for repository, branch in branches.items():
        path = env.bare / f"{repository}.git"
        console.command(f"git -C acme/{repository}.git log --oneline main..{branch}")
        console.output(await _git(path, "log", "--oneline", f"main..{branch}"))
        console.diff(await _git(path, "diff", "--unified=0", f"main...{branch}"))


async def _git(repository: Path, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *("git", "--git-dir", str(repository), *arguments), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise DemoError(f"git {' '.join(arguments)} failed in {repository}")
    return out.decode()


def _inside(path: Path) -> bool:
    return path.is_relative_to(Path.cwd())
