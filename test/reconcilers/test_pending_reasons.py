"""Why an agent has not started: what Job, Pod and Events say, as a reason and as a sentence that names what to change."""

from typing import Any

import pytest
from cluster import Cluster, server_error
from views import at, complete, container, exited, failed, job, pod, waiting

from kubetask_controller.api.constants import Reason
from kubetask_controller.client.errors import APIStatusError
from kubetask_controller.client.resources import CORE_EVENTS
from kubetask_controller.reconcilers.taskrun.pending_reasons import (
    REFRESH,
    PendingReason,
    from_event,
    is_silent,
    pending_reason,
    silence,
)

EVENT = PendingReason(Reason.VOLUME_NOT_READY, "claim is not bound")


@pytest.mark.parametrize(
    ("container_reason", "message", "expected", "words"),
    [
        ("ErrImagePull", "no such image", Reason.IMAGE_PULL_BACK_OFF, "no such image"),
        ("ImagePullBackOff", "Back-off", Reason.IMAGE_PULL_BACK_OFF, "Back-off"),
        ("ErrImageNeverPull", "", Reason.IMAGE_PULL_BACK_OFF, "ErrImageNeverPull"),
        ("RegistryUnavailable", "", Reason.IMAGE_PULL_BACK_OFF, ""),
        ("InvalidImageName", "couldn't parse", Reason.INVALID_IMAGE_NAME, "couldn't parse"),
        ("CreateContainerConfigError", 'secret "s" not found', Reason.CONTEXT_NOT_FOUND, '"s"'),
        (
            "CreateContainerConfigError",
            "couldn't find key k in Secret team/s",
            Reason.CONTEXT_NOT_FOUND,
            "key k",
        ),
        (
            "CreateContainerConfigError",
            "container has runAsNonRoot and image will run as root",
            Reason.CREATE_CONTAINER_CONFIG_ERROR,
            "set securityContext.runAsUser",
        ),
        ("RunContainerError", "no", Reason.CREATE_CONTAINER_CONFIG_ERROR, "no"),
        ("ContainerCreating", "", Reason.STARTING, "is starting"),
    ],
)
def test_a_waiting_container_gives_the_reason(
    container_reason: str, message: str, expected: Reason, words: str
) -> None:
    found = pending_reason(job(), pod(waiting(container_reason, message)), None)
    assert found.reason == expected
    assert words in found.message


def test_the_first_container_that_is_stuck_counts_those_that_prepare_first() -> None:
    found = pod(waiting("ErrImagePull"), waiting("InvalidImageName", name="workspace"))
    assert pending_reason(job(), found, None).reason == Reason.INVALID_IMAGE_NAME


@pytest.mark.parametrize(
    ("the_job", "the_pod", "event", "expected"),
    [
        (job(suspended=True), pod(), EVENT, Reason.QUEUED),
        (job(), None, None, Reason.STARTING),
        (job(), None, EVENT, Reason.VOLUME_NOT_READY),
        (job(), pod(exited(1)), None, Reason.STARTING),
        (job(), pod(exited(1)), EVENT, Reason.VOLUME_NOT_READY),
        (job(), pod(unschedulable="Insufficient memory"), EVENT, Reason.UNSCHEDULABLE),
        (
            job(),
            pod(unschedulable='persistentvolumeclaim "w" not found'),
            None,
            Reason.VOLUME_NOT_READY,
        ),
        (job(), pod(waiting("ErrImagePull")), EVENT, Reason.IMAGE_PULL_BACK_OFF),
        (job(), pod(waiting()), EVENT, Reason.VOLUME_NOT_READY),
    ],
)
def test_what_job_and_pod_say_goes_before_what_an_event_says(
    the_job: Any, the_pod: Any, event: Any, expected: Reason
) -> None:
    assert pending_reason(the_job, the_pod, event).reason == expected


@pytest.mark.parametrize(
    ("reason", "message", "expected"),
    [
        (
            "FailedCreate",
            "Error creating: pods is forbidden: exceeded quota: q",
            Reason.QUOTA_EXCEEDED,
        ),
        ("FailedCreate", "Error creating: failed quota: q", Reason.QUOTA_EXCEEDED),
        ("FailedCreate", "maximum memory usage per Container is 1Gi", Reason.QUOTA_EXCEEDED),
        (
            "FailedCreate",
            'error looking up service account a/b: serviceaccount "b" not found',
            Reason.SERVICE_ACCOUNT_NOT_FOUND,
        ),
        ("FailedCreate", "Error creating: violates PodSecurity", Reason.ADMISSION_DENIED),
        ("FailedMount", 'configmap "c" not found', Reason.CONTEXT_NOT_FOUND),
        ("FailedMount", "references non-existent secret key: k", Reason.CONTEXT_NOT_FOUND),
        ("FailedMount", "timed out", Reason.VOLUME_NOT_READY),
        ("FailedAttachVolume", "Multi-Attach error", Reason.VOLUME_NOT_READY),
        ("ProvisioningFailed", "no class", Reason.VOLUME_NOT_READY),
        ("FailedScheduling", "0/3 nodes are available", Reason.UNSCHEDULABLE),
        ("FailedScheduling", "unbound immediate PersistentVolumeClaims", Reason.VOLUME_NOT_READY),
        ("FailedCreatePodSandBox", "cni", Reason.CREATE_CONTAINER_CONFIG_ERROR),
        ("Failed", "Error: container has runAsNonRoot", Reason.CREATE_CONTAINER_CONFIG_ERROR),
        ("Failed", 'Error: secret "s" not found', Reason.CONTEXT_NOT_FOUND),
        ("Failed", "Error: ErrImagePull", None),
        ("BackoffLimitExceeded", "x", None),
    ],
)
def test_a_warning_event_means_a_reason(reason: str, message: str, expected: Reason | None) -> None:
    found = from_event(reason, message)
    assert (found.reason if found else None) == expected
    assert found is None or "Error creating" not in found.message


@pytest.mark.parametrize(
    ("the_job", "the_pod", "silent"),
    [
        (job(), None, True),
        (job(), pod(waiting()), True),
        (job(), pod(exited(name="workspace", init=True), waiting()), True),
        (job(), pod(container("workspace"), waiting()), False),
        (job(), pod(waiting("ErrImagePull")), False),
        (job(), pod(container()), False),
        (job(), pod(exited(1)), False),
        (job(suspended=True), None, False),
        (job(deleting=True), None, False),
        (job(failed=failed()), None, False),
        (job(complete=complete()), None, False),
    ],
)
def test_only_what_gives_no_reason_by_itself_is_looked_up(
    the_job: Any, the_pod: Any, silent: bool
) -> None:
    assert is_silent(the_job, the_pod) == silent


async def test_silence_counts_from_the_last_change() -> None:
    clock = Cluster().clock
    assert silence(job(started=at(-40)), None, clock) == 40
    prepared = exited(name="workspace", init=True, finished_at=at(-3))
    assert silence(job(), pod(prepared, waiting(), created=at(-30)), clock) == 3


# Reading Events ------------------------------------------------------------------------------------


@pytest.fixture
async def cluster() -> Cluster:
    cluster = Cluster()
    cluster.run(tasks=5)
    await cluster.settle()
    # What was looked up so far is not used again.
    cluster.clock.passed += REFRESH
    cluster.requests.clear()
    return cluster


def uids(cluster: Cluster, count: int) -> list[str]:
    return [cluster.job(f"r-task-{i}")["metadata"]["uid"] for i in range(count)]


@pytest.mark.parametrize(("count", "lists"), [(1, 1), (2, 2), (5, 1)])
async def test_many_objects_are_explained_by_one_list(
    cluster: Cluster, count: int, lists: int
) -> None:
    for name in cluster.jobs():
        cluster.tell(name, "FailedCreate", "Error creating: exceeded quota: q")
    asked = uids(cluster, count)
    found = await cluster.context.lookup.explain("team", asked)
    assert {x: y.reason for x, y in found.items()} == dict.fromkeys(asked, Reason.QUOTA_EXCEEDED)
    assert len(cluster.sent("list", CORE_EVENTS)) == lists


async def test_an_answer_is_used_again_for_a_while(cluster: Cluster) -> None:
    asked = uids(cluster, 1)
    for passed in (0.0, REFRESH / 2, REFRESH / 2):
        cluster.clock.passed += passed
        assert await cluster.context.lookup.explain("team", asked) == {}
    assert len(cluster.sent("list", CORE_EVENTS)) == 2


async def test_the_latest_event_that_explains_something_counts(cluster: Cluster) -> None:
    cluster.tell("r-task-0", "FailedCreate", "exceeded quota: q")
    cluster.clock.passed += 5
    cluster.tell("r-task-0", "FailedCreate", "violates PodSecurity")
    cluster.clock.passed += 5
    cluster.tell("r-task-0", "Unrelated", "x")
    asked = uids(cluster, 1)
    found = await cluster.context.lookup.explain("team", asked)
    assert found[asked[0]].reason == Reason.ADMISSION_DENIED


async def test_events_that_cannot_be_read_are_an_error(cluster: Cluster) -> None:
    cluster.refuse("list", CORE_EVENTS, server_error())
    with pytest.raises(APIStatusError):
        await cluster.context.lookup.explain("team", uids(cluster, 1))


async def test_answers_do_not_pile_up(cluster: Cluster) -> None:
    for batch in range(3):
        asked = [f"u-{batch}-{i}" for i in range(2000)]
        await cluster.context.lookup.explain("team", asked)
        cluster.clock.passed += REFRESH
    await cluster.context.lookup.explain("team", ["u-last"])
    assert len(cluster.context.lookup._answers) == 1


async def test_a_job_that_had_a_pod_is_known_by_its_event_and_no_other_is(cluster: Cluster) -> None:
    cluster.tell("r-task-0", "SuccessfulCreate", "Created pod", type="Normal")
    cluster.tell("r-task-1", "SuccessfulCreate", "Created pod", type="Normal")
    cluster.tell("r-task-2", "FailedCreate", "exceeded quota")
    look = cluster.context.lookup.jobs_that_had_pods
    assert set(await look("team", {"r-task-0", "r-task-2"}, at(-60))) == {"r-task-0"}
    assert set(await look("team", {"r-task-1"}, at(-60))) == {"r-task-1"}
    # Events of an earlier object of that name do not count.
    assert await look("team", {"r-task-1"}, at(3600)) == {}
