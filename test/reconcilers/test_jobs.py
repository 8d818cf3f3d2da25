"""Each way in which a create can end, how Jobs are ended, and how many requests that takes."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Reason
from kubetask_controller.client.errors import APIStatusError, TransportError
from kubetask_controller.reconcilers.concurrency import UNANSWERED_LIFE
from kubetask_controller.reconcilers.projections import JobView, PodView
from kubetask_controller.reconcilers.taskrun.jobs import (
    Created,
    CreatePendingError,
    JobControl,
    in_parallel,
    ramp_up,
)
from support.reconcilers.cluster import JOBS, NAMESPACE, PODS, Cluster, server_error
from support.reconcilers.views import at

Json = dict[str, Any]
DENIED = (Created.REFUSED, Reason.ADMISSION_DENIED)


@pytest.fixture
async def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def control(cluster: Cluster) -> JobControl:
    return cluster.context.jobs


def body(*, uid: str = "u-r", kind: str = "BatchRun", name: str = "r", **metadata: Any) -> Json:
    ref = {"apiVersion": c.API_VERSION, "kind": kind, "name": name, "uid": uid, "controller": True}
    labels = {c.LABEL_MANAGED_BY: c.LABEL_MANAGED_BY_VALUE}
    common = {"name": "r-task-0", "namespace": NAMESPACE, "labels": labels, "annotations": {}}
    return {"metadata": common | {"ownerReferences": [ref]} | metadata, "spec": {"backoffLimit": 0}}


def replacing(number: int) -> Json:
    return {c.ANNOTATION_REPLACEMENT: str(number)}


# Create ------------------------------------------------------------------------------------------


async def test_a_created_job_is_ours(control: JobControl) -> None:
    outcome = await control.create(body())
    assert (outcome.how, outcome.ours) == (Created.CREATED, True)
    assert outcome.job is not None
    assert outcome.job.name == "r-task-0"


@pytest.mark.parametrize(
    ("there", "wanted", "how"),
    [
        (body(), body(), Created.EXISTED),
        (body(uid="u-else", name="else"), body(), Created.FOREIGN),
        (body(ownerReferences=[]), body(), Created.FOREIGN),
        (body(uid="u-earlier"), body(), Created.PREDECESSOR),
        (body(deletionTimestamp=at(0)), body(), Created.EXISTED),
        (body(uid="u-earlier", deletionTimestamp=at(0)), body(), Created.PREDECESSOR),
        (body(), body(annotations=replacing(1)), Created.PREDECESSOR),
        (body(annotations=replacing(1)), body(annotations=replacing(1)), Created.EXISTED),
    ],
    ids=[
        "ours",
        "another owner's",
        "nobody's",
        "of an earlier run of this name",
        "ours, on its way out",
        "of an earlier run, on its way out",
        "to be replaced",
        "the replacement itself",
    ],
)
async def test_a_job_that_bears_the_name_already_is_told_apart(
    cluster: Cluster, control: JobControl, there: Json, wanted: Json, how: Created
) -> None:
    cluster.store(JOBS, there)
    outcome = await control.create(wanted)
    assert (outcome.how, outcome.ours) == (how, how is Created.EXISTED)
    assert (outcome.reason is None) == (how is not Created.PREDECESSOR)


async def test_a_predecessor_that_goes_in_between_is_waited_for(
    cluster: Cluster, control: JobControl
) -> None:
    cluster.refuse("create", JOBS, APIStatusError(code=409, reason="AlreadyExists"))
    assert (await control.create(body())).how is Created.PREDECESSOR


@pytest.mark.parametrize(
    ("code", "text", "how", "reason"),
    [
        (403, "exceeded quota: q", Created.REFUSED, Reason.QUOTA_EXCEEDED),
        (403, "violates PodSecurity", Created.REFUSED, Reason.ADMISSION_DENIED),
        (
            422,
            "spec.template.spec.containers[0].image: Required",
            Created.REFUSED,
            Reason.INVALID_SPEC,
        ),
        (400, "bad", Created.REFUSED, Reason.INVALID_SPEC),
        # Webhooks and policies choose the code of their answer.
        (400, 'admission webhook "w" denied the request: no', *DENIED),
        (422, "is forbidden: ValidatingAdmissionPolicy 'p' denied request: no", *DENIED),
        (
            422,
            'admission webhook "w" denied the request: exceeded quota: q',
            Created.REFUSED,
            Reason.QUOTA_EXCEEDED,
        ),
        (404, 'namespaces "team" not found', Created.REFUSED, Reason.ADMISSION_DENIED),
        (413, "too much", Created.TOO_LARGE, Reason.TOO_LARGE),
        (500, "etcdserver: request is too large", Created.TOO_LARGE, Reason.TOO_LARGE),
        (500, "internal", Created.UNKNOWN, None),
        (429, "slow down", Created.UNKNOWN, None),
        (504, "timeout", Created.UNKNOWN, None),
    ],
)
async def test_an_answer_tells_whether_a_job_may_exist(
    cluster: Cluster,
    control: JobControl,
    code: int,
    text: str,
    how: Created,
    reason: Reason | None,
) -> None:
    cluster.refuse("create", JOBS, APIStatusError(code=code, message=text))
    outcome = await control.create(body())
    assert (outcome.how, outcome.reason.reason if outcome.reason else None) == (how, reason)
    assert outcome.concerns_all == (how in (Created.REFUSED, Created.UNKNOWN))
    assert (outcome.error is not None) == (how is Created.UNKNOWN)


async def test_a_create_is_not_sent_once_its_owner_has_changed(
    cluster: Cluster, control: JobControl
) -> None:
    outcome = await control.create(body(), lambda: False)
    assert (outcome.how, outcome.ours, outcome.concerns_all) == (Created.NOT_SENT, False, False)
    assert cluster.sent("create", JOBS) == []


async def test_a_create_without_an_answer_is_unknown(cluster: Cluster, control: JobControl) -> None:
    cluster.lose_answer("create", JOBS)
    assert (await control.create(body())).how is Created.UNKNOWN
    assert cluster.jobs() == ["r-task-0"]


async def test_a_name_that_cannot_be_looked_up_is_unknown(
    cluster: Cluster, control: JobControl
) -> None:
    cluster.store(JOBS, body())
    cluster.refuse("get", JOBS, TransportError("cut"))
    assert (await control.create(body())).how is Created.UNKNOWN


# End ---------------------------------------------------------------------------------------------


def observed(cluster: Cluster) -> tuple[JobView, list[PodView]]:
    job = cluster.context.listers.jobs.get(NAMESPACE, "r-task-0")
    assert job is not None
    return job, cluster.context.listers.pods_of(job)


async def test_a_pod_on_a_node_is_given_a_second_and_stays(
    cluster: Cluster, control: JobControl
) -> None:
    cluster.store(JOBS, body())
    cluster.start()
    await control.end(*observed(cluster))
    assert cluster.objects["pods", "r-task-0-pod"]["spec"]["activeDeadlineSeconds"] == 1
    assert cluster.sent("delete", JOBS) == []
    await control.end(*observed(cluster))
    assert len(cluster.sent("patch", PODS)) == 1


async def test_a_pod_that_is_being_deleted_is_left_alone_and_the_last_of_its_job(
    cluster: Cluster, control: JobControl
) -> None:
    stored = body()
    stored["spec"]["backoffLimit"] = 2
    cluster.store(JOBS, stored)
    cluster.start()
    job, pods = observed(cluster)
    await control.end(job, [replace(x, deleting=True) for x in pods])
    assert cluster.sent("patch", PODS) == []
    assert cluster.job()["spec"]["backoffLimit"] == 0


async def test_a_job_without_a_pod_on_a_node_is_deleted(
    cluster: Cluster, control: JobControl
) -> None:
    cluster.store(JOBS, body())
    await control.end(*observed(cluster))
    assert cluster.jobs() == []


async def test_the_tries_that_are_left_are_taken_before_the_pod_ends(
    cluster: Cluster, control: JobControl
) -> None:
    cluster.store(JOBS, body() | {"spec": {"backoffLimit": 4}, "status": {"failed": 1}})
    cluster.start()
    await control.end(*observed(cluster))
    assert cluster.job()["spec"]["backoffLimit"] == 1
    assert [r for v, r, _ in cluster.requests if v == "patch"] == ["jobs.batch", "pods"]


async def test_a_job_whose_pods_have_all_failed_is_left_to_fail_by_itself(
    cluster: Cluster, control: JobControl
) -> None:
    cluster.store(JOBS, body() | {"spec": {"backoffLimit": 4}, "status": {"failed": 1}})
    cluster.pod("r-task-0", phase="Failed")
    await control.end(*observed(cluster))
    assert (cluster.jobs(), cluster.job()["spec"]["backoffLimit"]) == (["r-task-0"], 0)


async def test_a_job_that_cannot_finish_is_deleted_once_the_end_of_its_task_is_recorded(
    cluster: Cluster, control: JobControl
) -> None:
    cluster.store(JOBS, body())
    cluster.start()
    job, pods = observed(cluster)
    lost = [replace(x, deleting=True) for x in pods]
    await control.end(job, lost)
    await control.end(job, [*lost, *pods], recorded=True)
    assert cluster.jobs() == ["r-task-0"]
    await control.end(job, lost, recorded=True)
    assert cluster.jobs() == []


async def test_a_suspended_job_whose_agent_has_ended_is_deleted_once_that_is_recorded(
    cluster: Cluster, control: JobControl
) -> None:
    cluster.store(JOBS, body() | {"spec": {"suspend": True}})
    cluster.pod("r-task-0", phase="Succeeded")
    await control.end(*observed(cluster))
    assert cluster.jobs() == ["r-task-0"]
    await control.end(*observed(cluster), recorded=True)
    assert cluster.jobs() == []


@pytest.mark.parametrize("code", [404, 409])
async def test_what_is_gone_already_needs_no_end(
    cluster: Cluster, control: JobControl, code: int
) -> None:
    cluster.store(JOBS, body())
    cluster.start()
    cluster.refuse("patch", PODS, APIStatusError(code=code))
    await control.end(*observed(cluster))
    cluster.refuse("delete", JOBS, APIStatusError(code=code))
    await control.delete(observed(cluster)[0])


async def test_an_end_that_is_refused_is_an_error(cluster: Cluster, control: JobControl) -> None:
    cluster.store(JOBS, body())
    cluster.refuse("delete", JOBS, APIStatusError(code=500))
    with pytest.raises(APIStatusError):
        await control.end(*observed(cluster))


async def test_a_job_recreated_under_the_name_is_not_deleted(
    cluster: Cluster, control: JobControl
) -> None:
    cluster.store(JOBS, body())
    job, _ = observed(cluster)
    cluster.vanish(JOBS, "r-task-0")
    cluster.store(JOBS, body())
    await control.delete(job)
    assert cluster.jobs() == ["r-task-0"]


async def test_a_job_whose_earlier_create_may_still_come_is_deleted_later(
    cluster: Cluster, control: JobControl
) -> None:
    cluster.refuse("create", JOBS, server_error(504))
    assert (await control.create(body())).how is Created.UNKNOWN
    assert (await control.create(body())).ours
    job, _ = observed(cluster)
    with pytest.raises(CreatePendingError):
        await control.delete(job)
    assert cluster.jobs() == ["r-task-0"]
    cluster.clock.passed += UNANSWERED_LIFE
    await control.delete(job)
    assert cluster.jobs() == []


async def test_a_suspended_job_that_is_deleted_later_starts_no_agent_until_then(
    cluster: Cluster, control: JobControl
) -> None:
    cluster.refuse("create", JOBS, server_error(504))
    assert (await control.create(body())).how is Created.UNKNOWN
    assert (await control.create(body())).ours
    cluster.store(JOBS, cluster.job() | {"spec": {"suspend": True}})
    with pytest.raises(CreatePendingError):
        await control.end(*observed(cluster), recorded=True)
    assert cluster.job()["spec"]["parallelism"] == 0
    cluster.clock.passed += UNANSWERED_LIFE
    await control.end(*observed(cluster), recorded=True)
    assert cluster.jobs() == []


async def test_a_job_that_is_gone_is_given_no_labels(cluster: Cluster, control: JobControl) -> None:
    cluster.store(JOBS, body())
    job, _ = observed(cluster)
    cluster.vanish(JOBS, "r-task-0")
    assert await control.restore_labels(job) is None


async def test_a_conflict_does_not_mean_that_a_job_without_labels_is_gone(
    cluster: Cluster, control: JobControl
) -> None:
    cluster.store(JOBS, body())
    job, _ = observed(cluster)
    cluster.refuse("patch", JOBS, APIStatusError(code=409, reason="Conflict"))
    with pytest.raises(APIStatusError):
        await control.restore_labels(job)
    cluster.vanish(JOBS, "r-task-0")
    for there in (False, True):
        if there:
            cluster.store(JOBS, body())
        cluster.refuse("patch", JOBS, APIStatusError(code=409, reason="Conflict"))
        assert await control.restore_labels(job) is None


# Hold back ---------------------------------------------------------------------------------------


async def test_a_pod_that_is_held_back_starts_no_agent(
    cluster: Cluster, control: JobControl
) -> None:
    cluster.store(JOBS, body())
    cluster.wait("r-task-0", "ErrImagePull")
    _, pods = observed(cluster)
    held = await control.hold_back(pods)
    assert held is not None
    assert [x.active_deadline_seconds for x in held] == [1]
    # Ending them costs no second request.
    assert await control.hold_back(held) is not None
    await control.end(observed(cluster)[0], held)
    assert len(cluster.sent("patch", PODS)) == 1


async def test_a_pod_whose_agent_starts_in_between_is_not_held_back(
    cluster: Cluster, control: JobControl
) -> None:
    cluster.store(JOBS, body())
    cluster.wait("r-task-0", "ErrImagePull")
    _, pods = observed(cluster)
    cluster.start()
    assert await control.hold_back(pods) is None
    assert await control.hold_back(observed(cluster)[1]) is None
    assert "activeDeadlineSeconds" not in cluster.objects["pods", "r-task-0-pod"]["spec"]


@pytest.mark.parametrize(("code", "held"), [(404, True), (409, False)])
async def test_a_pod_that_is_gone_is_held_back(
    cluster: Cluster, control: JobControl, code: int, held: bool
) -> None:
    cluster.store(JOBS, body())
    cluster.wait("r-task-0", "ErrImagePull")
    cluster.refuse("patch", PODS, APIStatusError(code=code))
    assert (await control.hold_back(observed(cluster)[1]) is not None) == held


async def test_a_pod_that_cannot_be_held_back_is_an_error(
    cluster: Cluster, control: JobControl
) -> None:
    cluster.store(JOBS, body())
    cluster.wait("r-task-0", "ErrImagePull")
    cluster.refuse("patch", PODS, APIStatusError(code=500))
    with pytest.raises(APIStatusError):
        await control.hold_back(observed(cluster)[1])


# Many at once ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bad", "most"), [(0, 1), (1, 3), (3, 7), (None, 100)])
async def test_nothing_new_begins_after_a_failure(bad: int | None, most: int) -> None:
    async def work(item: int) -> int:
        await asyncio.sleep(0)
        return item

    done = await ramp_up(range(100), work, failed=lambda x: x == bad, go_on=lambda: True)
    assert len(done) <= most
    assert bad is None or bad in done


async def test_what_is_under_way_ends_once_it_may_not_go_on() -> None:
    async def work(item: int) -> int:
        return item

    done = await ramp_up(range(100), work, failed=lambda _: False, go_on=lambda: False)
    assert done == [0]


async def test_no_more_than_a_few_requests_are_under_way_at_once() -> None:
    under_way = most = 0

    async def work(item: int) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1

    await in_parallel(range(200), work)
    assert 1 < most <= 32
    most = 0
    await ramp_up(range(200), work, failed=lambda _: False, go_on=lambda: True)
    assert 1 < most <= 32


async def test_what_fails_is_raised_after_the_others_were_tried() -> None:
    done = []

    async def work(item: int) -> None:
        if item in (2, 5):
            raise ValueError(item)
        done.append(item)

    with pytest.raises(ExceptionGroup) as caught:
        await in_parallel(range(8), work)
    assert len(caught.value.exceptions) == 2
    assert done == [0, 1, 3, 4, 6, 7]


async def test_a_cancellation_passes_through() -> None:
    async def work(item: int) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await in_parallel([1], work)
