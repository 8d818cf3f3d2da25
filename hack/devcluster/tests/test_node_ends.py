"""How Pods end before they are done: deletion, deadline, eviction, the node's own end. Nothing is left running."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from devcluster.apiserver.errors import StatusError
from devcluster.images import ImageSpec
from devcluster.node import IsolationError, Node, isolation
from devcluster.node.runtime import Launcher, Runtime
from node_lab import NAMESPACE, PODS, NodeLab, has_ended, open_lab, processes_of, state_of

Object = dict[str, Any]
STUBBORN = "trap '' TERM; echo started; while :; do sleep 0.1; done"
OBEDIENT = "trap 'echo got TERM; exit 9' TERM; echo started; while :; do sleep 0.02; done"


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[NodeLab]:
    async with open_lab(tmp_path) as lab:
        yield lab


async def delete(lab: NodeLab, name: str, **options: Any) -> Object:
    """Delete a Pod; returns its last state when it is gone."""
    watching = asyncio.create_task(lab.gone(name))
    await asyncio.sleep(0)
    lab.client.delete(PODS, NAMESPACE, name, **options)
    return await watching


async def test_a_deleted_pod_gets_term_and_is_gone_when_it_has_ended(lab: NodeLab) -> None:
    lab.run("p", OBEDIENT)
    await lab.running("p")
    await lab.logged("p", "started\n")
    last = await delete(lab, "p")
    assert state_of(last)["terminated"]["exitCode"] == 9
    assert last["status"]["phase"] == "Failed"
    assert ("Killing", "Stopping container agent") in lab.events("p")
    await lab.quiet()
    assert not list((lab.folder / "logs").iterdir())


async def test_what_ignores_term_is_killed_after_the_grace_period(lab: NodeLab) -> None:
    lab.run("p", STUBBORN, pod={"terminationGracePeriodSeconds": 1})
    await lab.running("p")
    begun = time.monotonic()
    last = await delete(lab, "p")
    assert state_of(last)["terminated"]["exitCode"] == 137
    assert 0.9 < time.monotonic() - begun < 5


async def test_a_shorter_grace_period_counts_at_once(lab: NodeLab) -> None:
    lab.run("p", STUBBORN, pod={"terminationGracePeriodSeconds": 600})
    await lab.running("p")
    watching = asyncio.create_task(lab.gone("p"))
    lab.client.delete(PODS, NAMESPACE, "p")
    await lab.event("p", "Killing")
    lab.client.delete(PODS, NAMESPACE, "p", grace_period_seconds=1)
    assert state_of(await watching)["terminated"]["exitCode"] == 137


async def test_a_pod_removed_by_force_leaves_no_process(lab: NodeLab) -> None:
    lab.run("p", STUBBORN)
    await lab.running("p")
    assert processes_of(lab.folder)
    lab.client.delete(PODS, NAMESPACE, "p", grace_period_seconds=0)
    await lab.quiet()
    assert not processes_of(lab.folder)


async def test_a_pod_deleted_before_it_ran_fails(lab: NodeLab) -> None:
    lab.run("p", "true", image="registry.example.com/unknown:1")
    await lab.waiting("p", "ImagePullBackOff")
    last = await delete(lab, "p")
    assert last["status"]["phase"] == "Failed"
    assert state_of(last)["terminated"]["reason"] == "ContainerStatusUnknown"


async def test_a_pod_that_has_ended_is_removed_at_once(lab: NodeLab) -> None:
    lab.run("p", "true")
    await lab.ended("p")
    await lab.quiet()
    assert list((lab.folder / "logs").iterdir())
    await delete(lab, "p")
    await lab.quiet()
    assert not list((lab.folder / "logs").iterdir())


async def test_a_deadline_reaches_a_pod_that_waits_for_its_image(lab: NodeLab) -> None:
    lab.run("p", "true", image="registry.example.com/unknown:1", pod={"activeDeadlineSeconds": 1})
    pod = await lab.ended("p")
    assert pod["status"]["reason"] == "DeadlineExceeded"


async def test_a_pod_of_another_name_after_it_starts_clean(lab: NodeLab) -> None:
    lab.run("p", "echo first > /w/file", **workspace())
    await lab.ended("p")
    await delete(lab, "p")
    assert await lab.output("p", "ls /w", **workspace()) == ""


def workspace() -> Object:
    return {
        "pod": {"volumes": [{"name": "w", "emptyDir": {}}]},
        "volumeMounts": [{"name": "w", "mountPath": "/w"}],
    }


async def test_an_eviction_by_the_node_ends_a_pod_as_failed(lab: NodeLab) -> None:
    lab.run("p", STUBBORN)
    await lab.running("p")
    message = "The node was low on resource: ephemeral-storage. "
    lab.node.evict(NAMESPACE, "p", message)
    pod = await lab.ended("p")
    status = pod["status"]
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "Evicted", message)
    assert {
        key: status["conditions"][0].get(key) for key in ("type", "status", "reason", "message")
    } == {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "TerminationByKubelet",
        "message": message,
    }
    assert state_of(pod)["terminated"]["exitCode"] == 137
    assert ("Evicted", message) in lab.events("p")
    with pytest.raises(StatusError):
        lab.node.evict(NAMESPACE, "none", message)


# --- the node's own end


async def test_stopping_the_node_kills_what_runs_and_keeps_statuses(lab: NodeLab) -> None:
    for number in range(6):
        lab.run(f"p{number}", f"setsid sh -c '{OBEDIENT.replace(chr(39), chr(34))}' & {STUBBORN}")
    await lab.running("p0")
    await lab.node.stop()
    await lab.node.stop()
    assert not processes_of(lab.folder)
    assert lab.client.get(PODS, NAMESPACE, "p0")["status"]["phase"] == "Running"


async def test_the_node_can_be_stopped_while_containers_start(lab: NodeLab) -> None:
    for number in range(12):
        lab.run(f"p{number}", STUBBORN)
    await lab.event("p0", "Created")
    await lab.node.stop()
    assert not processes_of(lab.folder)


async def test_a_node_that_starts_again_ends_what_it_was_running_and_takes_up_the_rest(
    tmp_path: Path,
) -> None:
    async with open_lab(tmp_path) as lab:
        lab.run("ran", STUBBORN)
        lab.run("ended", "true")
        lab.run("waits", "true", image="registry.example.com/late:1")
        await lab.running("ran")
        await lab.ended("ended")
        await lab.waiting("waits", "ImagePullBackOff")
        await lab.node.stop()
        lab.images.register("registry.example.com/late:1", ImageSpec())
        await lab.node.start()
        lost = await lab.ended("ran")
        assert state_of(lost)["terminated"]["reason"] == "ContainerStatusUnknown"
        assert lost["status"]["phase"] == "Failed"
        assert (await lab.ended("waits"))["status"]["phase"] == "Succeeded"
        assert (await lab.ended("ended"))["status"]["phase"] == "Succeeded"


KILLED_LAB = """
import asyncio, sys
from pathlib import Path
from node_lab import open_lab

async def main():
    async with open_lab(Path(sys.argv[1])) as lab:
        lab.run("p", sys.argv[2])
        await lab.running("p")
        print("running", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_cluster_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_LAB, str(tmp_path), STUBBORN]
    path = os.pathsep.join(each for each in sys.path if each)
    cluster = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    )
    assert cluster.stdout is not None
    assert await cluster.stdout.readline() == b"running\n"
    assert processes_of(tmp_path)
    cluster.kill()
    await cluster.wait()
    async with asyncio.timeout(5):
        while processes_of(tmp_path):  # noqa: ASYNC110 (the kernel sends no event)
            await asyncio.sleep(0.05)


async def test_a_machine_that_cannot_isolate_containers_is_told_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path, *, user_namespace: bool) -> Object:
        return {**trial(folder, user_namespace=user_namespace), "base": "/proc/none"}

    trial = isolation.trial_process
    monkeypatch.setattr(isolation, "trial_process", broken)
    lab = NodeLab(tmp_path, speed=1.0)
    with pytest.raises(IsolationError, match=r"needs root .* or user namespaces.*mount /proc/none"):
        await lab.node.start()
    await lab.node.stop()


async def test_containers_run_in_user_namespaces_where_there_is_no_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def without_root(launcher: Launcher) -> Runtime:
        return Runtime(launcher, user_namespace=True)

    monkeypatch.setattr("devcluster.node.node.find_runtime", without_root)
    async with open_lab(tmp_path) as lab:
        text = await lab.output(
            "p",
            "id -u; echo x > /w/file; stat -c %u /w/file; touch /x 2>&- || echo read-only; hostname",
            **{
                **workspace(),
                "securityContext": {"runAsUser": 1234, "readOnlyRootFilesystem": True},
            },
        )
        assert text == "1234\n1234\nread-only\np\n"
        lab.run("q", STUBBORN)
        await lab.running("q")
    assert not has_ended(lab.client.get(PODS, NAMESPACE, "q"))


def test_the_node_is_what_the_package_exports() -> None:
    assert Node.__module__ == "devcluster.node.node"
