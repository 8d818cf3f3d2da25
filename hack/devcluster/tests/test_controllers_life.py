"""Starting and stopping the controllers, their speed, Jobs that end by time, Pods of lost nodes."""

import asyncio

from controllers_lab import JOBS, PODS, ControllersLab, conditions, job, open_lab
from devcluster.apiserver.local import NODES
from devcluster.controllers import ControllerOptions, JobSettings

COMPLETE = [
    ("SuccessCriteriaMet", "True", "CompletionsReached"),
    ("Complete", "True", "CompletionsReached"),
]


async def finish(lab: ControllersLab, name: str, **spec: object) -> None:
    """A Job that is complete."""
    lab.client.create(JOBS, "team", job(name, **spec))
    await lab.settle()
    lab.end_pod(lab.pod("team", name))
    await lab.pass_time(1.5)


async def test_stopped_controllers_do_nothing_and_leave_nothing() -> None:
    before = asyncio.all_tasks()
    async with open_lab("team") as lab:
        await lab.controllers.stop()
        await lab.controllers.stop()
        assert asyncio.all_tasks() == before
        lab.client.create(JOBS, "team", job("j"))
        await lab.pass_time(5)
        assert lab.pods("team") == []


async def test_started_again_they_take_up_what_happened_meanwhile() -> None:
    async with open_lab("team") as lab:
        lab.client.create(JOBS, "team", job("j"))
        await lab.settle()
        await lab.controllers.stop()
        lab.end_pod(lab.pod("team", "j"))
        await lab.controllers.start()
        await lab.pass_time(1)
        assert conditions(lab.get(JOBS, "team", "j")) == COMPLETE


async def test_count_that_was_interrupted_is_taken_up_without_counting_twice() -> None:
    async with open_lab("team") as lab:
        lab.client.create(JOBS, "team", job("j", backoffLimit=3))
        await lab.settle()
        await lab.controllers.stop()
        pod = lab.pod("team", "j")
        lab.end_pod(pod, 1)
        # As it stands after the uid was noted, before the Pod was released.
        noted = {"uncountedTerminatedPods": {"failed": [pod["metadata"]["uid"]]}, "active": None}
        lab.client.patch_status(JOBS, "team", "j", {"status": noted})
        await lab.controllers.start()
        await lab.pass_time(1)
        status = lab.client.get(JOBS, "team", "j")["status"]
        assert status["failed"] == 1
        assert status["uncountedTerminatedPods"] == {}


async def test_pod_that_lost_its_finalizer_before_it_was_counted_is_counted_once() -> None:
    async with open_lab("team") as lab:
        lab.client.create(JOBS, "team", job("j", backoffLimit=3))
        await lab.settle()
        await lab.controllers.stop()
        pod = lab.pod("team", "j")
        lab.end_pod(pod)
        noted = {"uncountedTerminatedPods": {"succeeded": [pod["metadata"]["uid"]]}, "active": None}
        lab.client.patch_status(JOBS, "team", "j", {"status": noted})
        lab.client.patch(PODS, "team", pod["metadata"]["name"], {"metadata": {"finalizers": None}})
        await lab.controllers.start()
        await lab.pass_time(1)
        assert lab.client.get(JOBS, "team", "j")["status"]["succeeded"] == 1
        assert conditions(lab.get(JOBS, "team", "j")) == COMPLETE


async def test_finished_job_goes_when_its_time_is_up() -> None:
    async with open_lab("team") as lab:
        await finish(lab, "j", ttlSecondsAfterFinished=30)
        await lab.pass_time(27)
        assert lab.exists(JOBS, "team", "j")
        await lab.pass_time(3)
        assert not lab.exists(JOBS, "team", "j")
        assert lab.pods("team") == []


async def test_time_to_live_may_be_set_when_the_job_has_ended_long_ago() -> None:
    async with open_lab("team") as lab:
        await finish(lab, "j")
        await lab.pass_time(100)
        lab.client.patch(JOBS, "team", "j", {"spec": {"ttlSecondsAfterFinished": 60}})
        await lab.settle()
        assert not lab.exists(JOBS, "team", "j")


async def test_time_to_live_may_be_made_longer() -> None:
    async with open_lab("team") as lab:
        await finish(lab, "j", ttlSecondsAfterFinished=10)
        lab.client.patch(JOBS, "team", "j", {"spec": {"ttlSecondsAfterFinished": 100}})
        await lab.pass_time(90)
        assert lab.exists(JOBS, "team", "j")
        await lab.pass_time(11)
        assert not lab.exists(JOBS, "team", "j")


async def test_back_off_grows_to_its_limit() -> None:
    async with open_lab("team") as lab:
        lab.client.create(JOBS, "team", job("j", backoffLimit=20))
        await lab.settle()
        waits = []
        for _ in range(9):
            pod = lab.pods("team", "j")[-1]
            lab.end_pod(pod, 1)
            failed_at = lab.elapsed
            while len(lab.pods("team", "j")) == len(waits) + 1:
                await lab.pass_time(1)
            waits.append(round(lab.elapsed - failed_at))
        assert waits == [10, 20, 40, 80, 160, 320, 600, 600, 600]


async def test_back_off_can_be_made_shorter() -> None:
    settings = JobSettings(batch=0.1, pod_failure_backoff=0.5)
    async with open_lab("team", options=ControllerOptions(job=settings)) as lab:
        lab.client.create(JOBS, "team", job("j"))
        await lab.settle()
        lab.end_pod(lab.pod("team", "j"), 1)
        await lab.pass_time(0.4)
        assert len(lab.pods("team")) == 1
        await lab.pass_time(0.2)
        assert len(lab.pods("team")) == 2


async def test_success_ends_the_counting_of_failures() -> None:
    async with open_lab("team") as lab:
        lab.client.create(JOBS, "team", job("j", completions=3))
        await lab.settle()
        lab.end_pod(lab.pods("team")[-1], 1)
        await lab.pass_time(11)
        lab.end_pod(lab.pods("team")[-1])
        await lab.pass_time(1)
        assert len(lab.pods("team")) == 3
        await lab.pass_time(1)
        lab.end_pod(lab.pods("team")[-1], 1)
        await lab.pass_time(11)
        assert len(lab.pods("team")) == 4


async def test_pods_of_a_node_that_is_gone_are_ended() -> None:
    async with open_lab("team") as lab:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
        lab.client.create(NODES, None, node)
        lab.client.create(JOBS, "team", job("lost", backoffLimit=0))
        lab.client.create(JOBS, "team", job("standin", backoffLimit=0))
        await lab.settle()
        lab.bind(lab.pod("team", "lost"), "n1")
        lab.bind(lab.pod("team", "standin"), "never-was")
        for name in ("lost", "standin"):
            lab.run_pod(lab.pod("team", name))
        await lab.pass_time(2)
        lab.client.delete(NODES, None, "n1")
        await lab.pass_time(30)
        assert len(lab.pods("team", "lost")) == 1
        await lab.pass_time(15)
        assert lab.pods("team", "lost") == []
        assert conditions(lab.get(JOBS, "team", "lost"))[-1] == (
            "Failed",
            "True",
            "BackoffLimitExceeded",
        )
        assert lab.pod("team", "standin")["status"]["phase"] == "Running"


async def test_pods_of_a_node_that_comes_back_stay() -> None:
    async with open_lab("team") as lab:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
        lab.client.create(NODES, None, node)
        lab.client.create(JOBS, "team", job("j"))
        await lab.settle()
        lab.bind(lab.pod("team", "j"), "n1")
        lab.run_pod(lab.pod("team", "j"))
        lab.client.delete(NODES, None, "n1")
        await lab.pass_time(20)
        lab.client.create(NODES, None, node)
        await lab.pass_time(60)
        assert lab.pod("team", "j")["status"]["phase"] == "Running"
