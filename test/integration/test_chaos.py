"""A run of 200 tasks comes through whatever happens: each task runs once, and the status tells how each ended.

`make chaos` drives it through a hundred schedules; the suite through a few. KUBETASK_CHAOS says how many, and
KUBETASK_CHAOS_FIRST with which seed they begin.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from devcluster.base import Cluster

from support.integration.chaos import Chaos, Job, Schedule, schedule
from support.integration.controller import ControllerProcess
from support.integration.kubectl import Kubectl
from support.integration.objects import run, scripted

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

TASKS = 200
AT_ONCE = 60
FIRST = int(os.environ.get("KUBETASK_CHAOS_FIRST", "1"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("KUBETASK_CHAOS", "2")))


@pytest.fixture
def started(cluster: Cluster, namespace: str) -> Iterator[Counter[Job]]:
    """How often an agent was started for each Job: counted by what runs the Pods, by their uids."""
    cluster.require("scripted-pods", "job-controller")
    counter: Counter[Job] = Counter()
    seen: set[str] = set()

    def count(pod: dict[str, Any]) -> None:
        metadata = pod["metadata"]
        if metadata["namespace"] == namespace and metadata["uid"] not in seen:
            seen.add(metadata["uid"])
            (job,) = metadata["ownerReferences"]
            counter[Job(job["name"], job["uid"])] += 1

    forget = cluster.pods.decide(count)
    yield counter
    forget()


@pytest.mark.parametrize("seed", SEEDS)
def test_each_task_runs_once_whatever_happens(
    cluster: Cluster,
    kubectl: Kubectl,
    started: Counter[Job],
    controller: ControllerProcess,
    second: ControllerProcess,
    seed: int,
) -> None:
    plan = schedule(seed, server=not cluster.lacks("faults"))
    second.start()
    chaos = Chaos(cluster, kubectl, [controller, second], random.Random(seed))
    # The run is made on a good day: what befalls kubectl itself is another matter.
    kubectl.apply(scripted(outcome={"runSeconds": 0.2}, maxConcurrentTasks=AT_ONCE))
    kubectl.apply(run("r", tasks=TASKS))
    _carry_out(chaos, plan)
    try:
        status = _await_end(kubectl, chaos)
    except AssertionError as error:
        raise AssertionError(f"{plan}\n{error}") from None
    _compare(chaos, status, started, str(plan))


def _carry_out(chaos: Chaos, plan: Schedule) -> None:
    begun = time.monotonic()
    try:
        chaos.begin(plan)
        for deed in plan.deeds:
            while (left := begun + deed.at - time.monotonic()) > 0:
                time.sleep(min(left, 0.25))
                chaos.revive()
            chaos.do(deed)
    finally:
        chaos.end()


def _await_end(kubectl: Kubectl, chaos: Chaos) -> dict[str, Any]:
    deadline = time.monotonic() + 150
    while True:
        path = f"/apis/kubetask.io/v1alpha1/namespaces/{kubectl.namespace}/batchruns/r"
        status: dict[str, Any] = chaos.cluster.connection.get(path).get("status", {})
        if status.get("phase") in ("Succeeded", "Failed"):
            return status
        assert time.monotonic() < deadline, f"the run has not ended: {status.get('message')}"
        time.sleep(0.25)
        chaos.revive()


def _compare(chaos: Chaos, status: dict[str, Any], pods: Counter[Job], plan: str) -> None:
    names = [f"r-task-{i}" for i in range(TASKS)]
    deleted = {x.name for x in chaos.deleted}
    started: Counter[str] = Counter()
    for job, count in pods.items():
        started[job.name] += count
    twice = {k: v for k, v in started.items() if v > 1}
    assert not twice, f"{plan}: these ran more than once: {twice}"
    assert set(started) <= set(names), f"{plan}: nobody asked for {set(started) - set(names)}"
    ended = {x["jobName"]: (x["status"], x["reason"]) for x in status["tasks"]}
    assert sorted(ended) == sorted(names), plan
    for name in names:
        if name in deleted:
            # It may have ended before it was deleted. It may not have run again.
            assert ended[name] in (("Succeeded", "TaskSucceeded"), ("Failed", "JobLost")), plan
        else:
            assert ended[name] == ("Succeeded", "TaskSucceeded"), f"{plan}: {name} {ended[name]}"
        assert started[name] == 1 or (name in deleted and not started[name]), f"{plan}: {name}"
    progress = status["progress"]
    lost = sum(x == ("Failed", "JobLost") for x in ended.values())
    assert (progress["completed"], progress["failed"]) == (TASKS - lost, lost), plan
    jobs = set(chaos.jobs())
    # A create without an answer whose Job is deleted before its Pod starts has to be sent again.
    again = {x.name for x in jobs} & deleted
    left, ran = jobs & chaos.deleted, {x for x in chaos.deleted if x.name in again and pods[x]}
    assert not left, f"{plan}: these were deleted and are there: {left}"
    assert not ran, f"{plan}: these ran, were deleted, and have another Job: {ran}"
    assert {x.name for x in jobs} - again == set(names) - deleted, plan
