"""The demo is the first thing that a newcomer sees: it ends well, and a killed controller changes nothing about it."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hack.demo import scenes
from hack.demo.environment import Environment, environment, start_controller
from hack.demo.kubectl import Kubectl
from hack.demo.processes import Program

pytestmark = [pytest.mark.slow(25), pytest.mark.integration]

ROOT = Path(__file__).resolve().parents[2]
RUN = "update-requests-001"
SERVICES = ("billing", "catalog", "payments", "search", "storefront")


async def git(repository: Path, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *("git", "--git-dir", str(repository), *arguments), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


@pytest.mark.timeout(180)
def test_the_demo_ends_with_a_branch_in_every_repository_and_says_why_tasks_failed(
    tmp_path: Path,
) -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("KUBE")}
    ended = subprocess.run(
        [sys.executable, "-m", "hack.demo", "--dir", str(tmp_path / "demo")],
        cwd=ROOT,
        env={**environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    for index, service in enumerate(SERVICES):
        assert f"main..kubetask/{RUN}-{index}" in ended.stdout
        assert f"acme/{service} " in ended.stdout
    assert ended.stdout.count("requests==2.32.4") == len(SERVICES)
    assert "AgentError: exit code 1: requests is pinned nowhere in acme/handbook" in ended.stdout
    assert "CloneFailed: acme/no-such-repository" in ended.stdout
    assert "3 tasks wait: taskLimit allows only the first 2 tasks to start." in ended.stdout
    assert "batchrun/canary-001 promoted" in ended.stdout
    assert "5 open" in ended.stdout
    assert "chore(billing): Bump requests to 2.32.4 (#1)" in ended.stdout
    assert "1 merged, 4 closed" in ended.stdout
    assert (tmp_path / "demo/burndown.svg").exists()


async def follow_with_kills(env: Environment) -> Program:
    """Kill the controller twice while the run goes on, once before its first task has ended; the last one started."""
    admin, controller = Kubectl(env.kubeconfig, "kubetask-system"), env.controller
    states = env.kubectl.watch("batchrun", RUN)
    seen = 0
    async for run in states:
        progress = run.get("status", {}).get("progress", {})
        if seen < 1 + bool(progress.get("completed")) and progress.get("running"):
            seen += 1
            await controller.kill()
            controller = await start_controller(env.directory, admin)
        if run.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            break
    await states.aclose()
    assert seen == 2
    return controller


@pytest.mark.long
async def test_killing_the_controller_ends_with_the_same_branches_and_one_job_a_task(
    tmp_path: Path,
) -> None:
    async with environment(tmp_path / "demo") as env:
        await scenes.apply(env, "workspace.yaml", "batch.yaml", "batchrun.yaml")
        controller = await follow_with_kills(env)
        found = json.loads(await env.kubectl.run("get", "batchrun", RUN, "-o", "json"))
        assert found["status"]["phase"] == "Succeeded"
        pods = json.loads(await env.kubectl.run("get", "pods", "-o", "json"))["items"]
        owners = Counter(x["metadata"]["ownerReferences"][0]["name"] for x in pods)
        assert owners == Counter({f"{RUN}-task-{i}": 1 for i in range(len(SERVICES))})
        for index, service in enumerate(SERVICES):
            repository = env.bare / f"{service}.git"
            (branch,) = (await git(repository, "branch", "--list", "kubetask/*")).split()
            assert branch.startswith(f"kubetask/{RUN}-{index}-")
            assert await git(repository, "rev-list", "--count", f"main..{branch}") == "1\n"
            diff = await git(repository, "diff", "--unified=0", f"main...{branch}")
            assert "requests==2.32.4" in diff
        await controller.stop()
