"""A run of twenty tasks ends well, with one Job and one Pod a task, whatever the API server does."""

from collections import Counter
from collections.abc import Iterator

import pytest
from devcluster.base import Cluster
from devcluster.faultcontrol import FaultControl

from support.integration.controller import SYSTEM, ControllerProcess
from support.integration.kubectl import Kubectl
from support.integration.objects import run, scripted

pytestmark = pytest.mark.slow

TASKS = 20
CONTROLLER = [f"system:serviceaccount:{SYSTEM}:kubetask-controller"]
JOBS = ["jobs.batch"]
RUNS = ["batchruns.kubetask.io/status"]
WATCHED = ["jobs.batch", "pods", "batchruns.kubetask.io"]


@pytest.fixture
def faults(cluster: Cluster, kubectl: Kubectl) -> Iterator[FaultControl]:
    """Faults, gone after the test."""
    cluster.require("faults")
    yield cluster.faults
    cluster.faults.clear()


def _begin(kubectl: Kubectl, *, seconds: float = 0.3) -> None:
    kubectl.apply(
        scripted(outcome={"runSeconds": seconds}, maxConcurrentTasks=5), run("r", tasks=TASKS)
    )


def _ends_well(kubectl: Kubectl, *, timeout: float = 50) -> None:
    """Every task succeeded; each had one Job and that one Pod, now and at any time before."""
    status = kubectl.wait_phase("batchrun/r", "Succeeded", timeout=timeout)["status"]
    assert status["progress"]["completed"] == TASKS
    expected = Counter({f"r-task-{i}": 1 for i in range(TASKS)})
    assert Counter(x["metadata"]["name"] for x in kubectl.items("jobs")) == expected
    pods = kubectl.items("pods")
    assert Counter(x["metadata"]["labels"]["job-name"] for x in pods) == expected
    # The Job controller's Events outlive a Job that was deleted and made again.
    made: Counter[str] = Counter()
    for event in kubectl.items("events", "--field-selector=reason=SuccessfulCreate"):
        made[event["involvedObject"]["name"]] += event.get("count") or 1
    assert made == expected


def test_answers_to_job_creates_are_lost(kubectl: Kubectl, faults: FaultControl) -> None:
    fault = faults.inject(
        "lost-response", verbs=["create"], resources=JOBS, users=CONTROLLER, probability=0.5
    )
    _begin(kubectl)
    _ends_well(kubectl)
    assert fault.injected > 0


def test_job_creates_time_out_and_were_carried_out(kubectl: Kubectl, faults: FaultControl) -> None:
    fault = faults.inject(
        "server-error",
        code=504,
        carried_out=True,
        verbs=["create"],
        resources=JOBS,
        users=CONTROLLER,
        probability=0.5,
    )
    _begin(kubectl)
    _ends_well(kubectl)
    assert fault.injected > 0


@pytest.mark.long
def test_status_writes_meet_conflicts(kubectl: Kubectl, faults: FaultControl) -> None:
    fault = faults.inject(
        "conflict", verbs=["update", "patch"], resources=RUNS, users=CONTROLLER, probability=0.5
    )
    _begin(kubectl)
    _ends_well(kubectl)
    assert fault.injected > 0


@pytest.mark.long
def test_answers_to_status_writes_are_lost(kubectl: Kubectl, faults: FaultControl) -> None:
    fault = faults.inject(
        "lost-response",
        verbs=["update", "patch"],
        resources=RUNS,
        users=CONTROLLER,
        probability=0.5,
    )
    _begin(kubectl)
    _ends_well(kubectl)
    assert fault.injected > 0


@pytest.mark.long
def test_the_server_has_too_many_requests(kubectl: Kubectl, faults: FaultControl) -> None:
    fault = faults.inject(
        "too-many-requests",
        retry_after=1,
        resources=[*JOBS, *RUNS],
        users=CONTROLLER,
        probability=0.3,
    )
    _begin(kubectl)
    _ends_well(kubectl)
    assert fault.injected > 0


@pytest.mark.parametrize("code", [500, pytest.param(503, marks=pytest.mark.long)])
def test_the_server_fails(kubectl: Kubectl, faults: FaultControl, code: int) -> None:
    fault = faults.inject(
        "server-error",
        code=code,
        resources=[*JOBS, *RUNS],
        users=CONTROLLER,
        probability=0.3,
    )
    _begin(kubectl)
    _ends_well(kubectl)
    assert fault.injected > 0


def test_connections_are_cut_before_anything_is_done(
    kubectl: Kubectl, faults: FaultControl
) -> None:
    fault = faults.inject("refused", resources=[*JOBS, *RUNS], users=CONTROLLER, probability=0.3)
    _begin(kubectl)
    _ends_well(kubectl)
    assert fault.injected > 0


@pytest.mark.parametrize("mode", [pytest.param("end", marks=pytest.mark.long), "cut"])
def test_watches_are_closed_all_the_time(kubectl: Kubectl, faults: FaultControl, mode: str) -> None:
    # Watches of less than a second are met with patience, as those of client-go are.
    fault = faults.inject(
        "closed-watch", resources=WATCHED, users=CONTROLLER, seconds=1.2, mode=mode
    )
    _begin(kubectl)
    _ends_well(kubectl)
    assert fault.injected > 3


@pytest.mark.long
def test_watches_lag(kubectl: Kubectl, faults: FaultControl) -> None:
    faults.inject("lagging-watch", resources=WATCHED, users=CONTROLLER, seconds=1)
    _begin(kubectl)
    _ends_well(kubectl)


@pytest.mark.long
@pytest.mark.timeout(180)
def test_watches_fall_silent(kubectl: Kubectl, faults: FaultControl) -> None:
    _begin(kubectl, seconds=1)
    kubectl.wait("batchrun/r", "jsonpath={.status.progress.running}=5")
    faults.inject("silent-watch", resources=["jobs.batch", "pods"], users=CONTROLLER, count=2)
    _ends_well(kubectl, timeout=120)


def test_a_job_that_is_deleted_before_it_was_ever_heard_of_is_lost_and_the_run_ends(
    kubectl: Kubectl, faults: FaultControl
) -> None:
    kubectl.apply(scripted(outcome={"runSeconds": None}))
    with faults.inject("silent-watch", resources=[*JOBS, "pods"], users=CONTROLLER):
        kubectl.apply(run("r", tasks=3))
        for i in range(3):
            kubectl("wait", "--for=create", f"job/r-task-{i}", "--timeout=30s")
        kubectl("delete", "job", "r-task-1")
        faults.compact()
        faults.inject(
            "closed-watch", resources=[*JOBS, "pods"], users=CONTROLLER, count=2, mode="cut"
        )
    kubectl.wait("batchrun/r", "jsonpath={.status.failedIndexes}=1")
    kubectl("patch", "batchrun", "r", "--type=merge", "-p", '{"spec":{"cancel":true}}')
    status = kubectl.wait_phase("batchrun/r", "Failed")["status"]
    reasons = {x["index"]: x["reason"] for x in status["tasks"]}
    assert reasons == {0: "Cancelled", 1: "JobLost", 2: "Cancelled"}


def test_history_is_compacted_while_watches_break(kubectl: Kubectl, faults: FaultControl) -> None:
    _begin(kubectl)
    kubectl.wait("batchrun/r", "jsonpath={.status.phase}=Running")
    for round_ in range(3):
        with faults.inject("silent-watch", resources=WATCHED, users=CONTROLLER):
            kubectl("annotate", "batchrun", "r", f"seen={round_}", "--overwrite")
            faults.compact()
        faults.inject("closed-watch", resources=WATCHED, users=CONTROLLER, count=3, mode="cut")
    _ends_well(kubectl)


def test_the_server_is_restarted_and_has_lost_its_history(
    kubectl: Kubectl, faults: FaultControl, controller: ControllerProcess
) -> None:
    # After the failures of earlier tests its reflectors may wait for half a minute.
    controller.stop()
    controller.start()
    controller.wait_ready()
    _begin(kubectl, seconds=1.0)
    kubectl.wait("batchrun/r", "jsonpath={.status.phase}=Running")
    faults.restart(down_seconds=0.5)
    _ends_well(kubectl)


@pytest.mark.timeout(150)
def test_the_controller_is_cut_off_for_a_moment(kubectl: Kubectl, faults: FaultControl) -> None:
    _begin(kubectl, seconds=1.0)
    kubectl.wait("batchrun/r", "jsonpath={.status.phase}=Running")
    with faults.partition(user=CONTROLLER[0]):
        kubectl("wait", "--for=condition=Complete", "job/r-task-0", "--timeout=20s")
    # A watch that became silent is found out within 70 s.
    _ends_well(kubectl, timeout=100)


@pytest.mark.long
def test_the_clock_of_the_server_steps_forward_and_back(
    kubectl: Kubectl, faults: FaultControl
) -> None:
    _begin(kubectl)
    kubectl.wait("batchrun/r", "jsonpath={.status.phase}=Running")
    faults.step_clock(3600)
    try:
        kubectl.wait("batchrun/r", "jsonpath={.status.tasks[9].status}=Succeeded")
    finally:
        faults.step_clock(-3600)
    _ends_well(kubectl)
