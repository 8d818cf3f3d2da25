"""The Job controller's rules one by one: index lists, podFailurePolicy, who goes first, back-off, the queue."""

import asyncio
from typing import Any

from controllers_lab import JOBS, job, open_lab
from devcluster.apiserver.local import NAMESPACES, PODS
from devcluster.controllers.job import backoff, policy
from devcluster.controllers.job import pods as podlib
from devcluster.controllers.workqueue import WorkQueue
from devcluster.node.podsubresources import PodSubresources

Object = dict[str, Any]


def ended(*codes: int, init: bool = False, name: str = "p") -> Object:
    containers = [
        {"name": f"c{index}", "state": {"terminated": {"exitCode": code}}}
        for index, code in enumerate(codes)
    ]
    field = "initContainerStatuses" if init else "containerStatuses"
    return {
        "metadata": {"name": name, "namespace": "team"},
        "status": {"phase": "Failed", field: containers},
    }


async def test_a_pod_elsewhere_that_names_a_job_as_its_owner_counts_for_nothing() -> None:
    async with open_lab("team-a", "team-b") as lab:
        lab.client.create(JOBS, "team-a", job("j"))
        await lab.pass_time(2)
        real = lab.pod("team-a", "j")
        references = real["metadata"]["ownerReferences"]
        forged = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "forged", "labels": {}, "ownerReferences": references},
            "spec": {"containers": [{"name": "agent", "image": "x"}]},
        }
        lab.end_pod(lab.client.create(PODS, "team-b", forged))
        lab.run_pod(real)
        await lab.pass_time(3)
        status = lab.client.get(JOBS, "team-a", "j")["status"]
        assert (status["active"], status.get("succeeded"), status.get("conditions")) == (
            1,
            None,
            None,
        )


async def test_a_pod_that_is_deleted_before_it_has_a_node_fails_at_last() -> None:
    async with open_lab("team") as lab:
        rule = {
            "action": "FailJob",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        }
        made = job("j")
        made["spec"]["podFailurePolicy"] = {"rules": [rule]}
        lab.client.create(JOBS, "team", made)
        await lab.pass_time(2)
        PodSubresources(lab.registry).evict("team", lab.pod("team", "j")["metadata"]["name"])
        await lab.pass_time(10)
        assert lab.client.get(JOBS, "team", "j")["status"]["terminating"] == 1
        await lab.pass_time(15)
        conditions = lab.client.get(JOBS, "team", "j")["status"]["conditions"]
        assert [each["reason"] for each in conditions] == ["PodFailurePolicy"] * 2


def with_rules(*rules: Object) -> Object:
    return {"spec": {"podFailurePolicy": {"rules": list(rules)}}}


def exit_code_rule(action: str, operator: str, *values: int, container: str = "") -> Object:
    rule: Object = {"operator": operator, "values": list(values)}
    if container:
        rule["containerName"] = container
    return {"action": action, "onExitCodes": rule}


def test_first_rule_that_matches_decides() -> None:
    rules = with_rules(exit_code_rule("Ignore", "In", 1), exit_code_rule("FailJob", "NotIn", 2, 3))
    assert policy.judge(rules, ended(1)).action == "Ignore"
    assert policy.judge(rules, ended(4)).action == "FailJob"
    assert policy.judge(rules, ended(2)).action == ""


def test_containers_that_succeeded_match_no_rule() -> None:
    rules = with_rules(exit_code_rule("FailJob", "NotIn", 5))
    assert policy.judge(rules, ended(0)).action == ""
    assert policy.judge(rules, ended(0, 4)).sentence == (
        "Container c1 for pod team/p failed with exit code 4 matching FailJob rule at index 0"
    )


def test_rule_may_name_a_container_and_counts_init_containers() -> None:
    rules = with_rules(exit_code_rule("FailJob", "In", 4, container="c1"))
    assert policy.judge(rules, ended(4, 0)).action == ""
    assert policy.judge(rules, ended(0, 4)).action == "FailJob"
    assert policy.judge(rules, ended(0, 4, init=True)).action == "FailJob"


def test_rule_may_ask_for_a_condition() -> None:
    pattern = {"type": "DisruptionTarget"}
    rules = with_rules({"action": "FailJob", "onPodConditions": [pattern]})
    pod = ended(0)
    assert policy.judge(rules, pod).action == ""
    pod["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True"}]
    assert policy.judge(rules, pod).sentence == (
        "Pod team/p has condition DisruptionTarget matching FailJob rule at index 0"
    )


def test_pods_that_lose_least_go_first() -> None:
    def pod(
        name: str, *, age: int, node: str = "n", phase: str = "Running", ready: str = ""
    ) -> Object:
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": ready}]
        return {
            "metadata": {"name": name, "creationTimestamp": f"2026-01-01T00:00:{60 - age}Z"},
            "spec": {"nodeName": node} if node else {},
            "status": {"phase": phase, "conditions": conditions if ready else []},
        }

    pods = [
        pod("old and ready", age=40, ready="2026-01-01T00:01:00Z"),
        pod("ready lately", age=40, ready="2026-01-01T00:05:00Z"),
        pod("unready", age=40),
        pod("young and unready", age=20),
        pod("pending", age=40, phase="Pending"),
        pod("unscheduled", age=40, phase="Pending", node=""),
    ]
    assert [each["metadata"]["name"] for each in podlib.first_to_go(pods)] == [
        "unscheduled",
        "pending",
        "young and unready",
        "unready",
        "ready lately",
        "old and ready",
    ]


def test_failures_before_a_success_do_not_delay() -> None:
    def pod(stamp: str) -> Object:
        conditions = [{"type": "Ready", "status": "False", "lastTransitionTime": stamp}]
        return {"metadata": {}, "status": {"conditions": conditions}}

    before, success, after = (pod(f"2026-01-01T00:00:{second}Z") for second in (10, 20, 30))
    record = backoff.Record().after([success], [before, after])
    assert record.failures == 1
    assert record.remaining(backoff.Delays(), record.last + 4) == 6
    assert backoff.Record(5, 1.0).after([success], [before]) == backoff.Record()


async def test_pods_refused_by_a_namespace_that_goes_are_not_complained_of() -> None:
    async with open_lab("team") as lab:
        lab.client.create(JOBS, "team", job("j", suspend=True))
        await lab.pass_time(2)
        lab.client.delete(NAMESPACES, None, "team")
        lab.client.patch(JOBS, "team", "j", {"spec": {"suspend": False}})
        await lab.pass_time(2)
        assert lab.pods("team") == []
        assert [reason for _, reason, _, _ in lab.events("team", "j")] == ["Suspended"]


async def test_queue_hands_out_a_key_once_and_again_when_it_was_added_meanwhile() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    queue.add("a")
    assert await queue.get() == "a"
    assert len(queue) == 0
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert await queue.get() == "a"


async def test_queue_keeps_the_earliest_of_several_delays() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 0.03)
    queue.add_after("a", 30)
    async with asyncio.timeout(5):
        assert await queue.get() == "a"
    queue.close()


async def test_queue_waits_longer_after_each_failure_until_it_is_forgotten() -> None:
    async with open_lab() as lab:
        queue: WorkQueue[str] = WorkQueue(base_delay=1, max_delay=4)
        waited = []
        for _ in range(4):
            queue.add_rate_limited("a")
            begin = lab.elapsed
            while not len(queue):
                await lab.pass_time(0.5)
            waited.append(lab.elapsed - begin)
            queue.done(await queue.get())
        assert waited == [1, 2, 4, 4]
        queue.forget("a")
        queue.add_rate_limited("a")
        await lab.pass_time(1)
        assert len(queue) == 1
