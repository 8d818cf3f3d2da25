"""The simulated Job controller and kubelet beside what a 1.36 control plane wrote, scenario by scenario."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic_core import to_json

from kubetask_controller.api import constants as c
from kubetask_controller.client.resources import JOBS, PODS
from simulation.kubelet import Behaviour
from simulation.schedule import Schedule
from simulation.virtualloop import VirtualLoop
from simulation.world import NAMESPACE, TASKS, World

TRANSCRIPTS = Path(__file__).parents[2] / "hack/devcluster/tests/transcripts/pods-with-init.jsonl"
IGNORE, FAIL = (
    {"rules": [{"action": x, "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]}
    for x in ("Ignore", "FailJob")
)
SCENARIOS = (
    ("init container done, then the agent's image does not exist", None, {"image": "img/missing"}, None),
    ("native sidecar first, agent succeeds", None, {}, None),
    (
        "agent evicted through the API after its init container, podFailurePolicy ignores DisruptionTarget",
        IGNORE,
        {},
        "evict",
    ),
    ("agent evicted, podFailurePolicy FailJob on DisruptionTarget", FAIL, {}, "evict"),
    ("running agent's Pod deleted by force", None, {}, "force"),
    ("sidecar runs on after the agent failed", None, {"exit_code": 3, "sidecar": 600.0}, None),
)


def transcript(note):
    for line in TRANSCRIPTS.read_text().splitlines():
        scenario = json.loads(line)
        if scenario["note"] == note:
            return scenario
    raise AssertionError(f"no scenario {note!r}")


def told_by_job(status):
    return tuple((x["type"], x["reason"]) for x in status.get("conditions") or () if x["status"] == "True")


def told_by_pod(status):
    """Phase, what the agent container is in, and whether the Pod was disrupted."""
    agent = next((x for x in status.get("containerStatuses") or () if x["name"] == "agent"), None)
    state = next(iter(agent["state"])) if agent else ""
    disrupted = any(x["type"] == "DisruptionTarget" for x in status.get("conditions") or ())
    return status.get("phase"), state, disrupted


def each_once(values):
    """In the order in which they first came."""
    return list(dict.fromkeys(values))


def play(policy, agent, deed):
    """Versions of a Job and its Pods in the model, while the deed is done to a running agent."""
    agent = dict(agent)
    spec = {
        "initContainers": [{"name": "workspace"}],
        "containers": [{"name": "agent", "image": agent.pop("image", "img/a")}],
    }
    job = {"metadata": {"name": "task-0"}, "spec": {"backoffLimit": 0, "template": {"metadata": {}, "spec": spec}}}
    job["spec"] |= {"podFailurePolicy": policy} if policy else {}
    loop = VirtualLoop()

    async def run():
        schedule = replace(Schedule(0, "model", replicas=0), tries=(("owner", 0, 0, Behaviour(run=10.0, **agent)),))
        world = World(schedule, loop)
        world.ignored = [".*"]
        owner = world.server.create(TASKS, NAMESPACE, to_json({"metadata": {"name": "owner"}, "spec": {}}), "test")
        ref = {"apiVersion": c.API_VERSION, "kind": "Task", "name": "owner", "uid": owner.uid, "controller": True}
        job["metadata"]["ownerReferences"] = [ref]
        world.server.create(JOBS, NAMESPACE, to_json(job), "test")
        await world.let_pass(3.0)
        pod = world.server.all(PODS)[0]
        if deed == "evict":
            world.kubelet.disrupt(pod, "EvictionByEvictionAPI")
        elif deed == "force":
            world.server.delete(PODS, NAMESPACE, pod.meta["name"], "test", grace=0)
        await world.let_pass(60.0)
        return [[x.new.obj.get("status") or {} for x in world.server.history[str(r)] if x.new] for r in (JOBS, PODS)]

    return loop.run(run())


@pytest.mark.parametrize(("note", "policy", "agent", "deed"), SCENARIOS, ids=[x[0] for x in SCENARIOS])
def test_jobs_and_pods_go_the_way_of_a_real_cluster(note, policy, agent, deed):
    real, (jobs, pods) = transcript(note), play(policy, agent, deed)
    assert each_once(map(told_by_job, jobs)) == each_once(
        told_by_job(x["status"]) for x in real["job_watch"] if x.get("status")
    )
    seen = each_once(map(told_by_pod, pods))
    wanted = each_once(told_by_pod(x["status"]) for x in real["pod_watch"] if x.get("status"))
    # A real kubelet misses an agent that ends within a second, and writes more on the way.
    assert set(seen) - {("Running", "running", False)} <= set(wanted)
    assert seen[-1] == wanted[-1]
