from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from kubetask_controller.app.options import parse
from kubetask_controller.app.wiring import settings
from kubetask_controller.reconcilers.ttl import TTLAfterFinished

NOW = datetime(2026, 1, 8, 12, tzinfo=UTC)


class Cluster:
    """An ended BatchRun with one finished Job, and what was deleted of them."""

    def __init__(self, default_ttl):
        self.deleted = []
        job = SimpleNamespace(name="run-task-0", deleting=False, finished=True)

        async def delete_job(one):
            self.deleted.append(one.name)

        async def delete(resource, namespace, name, **_):
            self.deleted.append(name)

        self.context = SimpleNamespace(
            default_ttl=default_ttl,
            listers=SimpleNamespace(owned_jobs=lambda view, kind: [job]),
            jobs=SimpleNamespace(delete=delete_job),
            client=SimpleNamespace(delete=delete),
            events=SimpleNamespace(event=lambda *_, **__: None),
            now=lambda: NOW,
        )

    async def finished(self, *, hours, **spec):
        ended = (NOW - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")
        view = SimpleNamespace(
            name="run", namespace="team", uid="u", spec=spec, status={"completionTime": ended}
        )
        return await TTLAfterFinished(self.context, "BatchRun").finished(view)


async def test_jobs_are_deleted_after_the_default_and_the_run_stays():
    cluster = Cluster(3600)
    waits = await cluster.finished(hours=0.5)
    assert waits.requeue_after == pytest.approx(1800)
    assert cluster.deleted == []
    await cluster.finished(hours=2)
    assert cluster.deleted == ["run-task-0"]


async def test_a_policy_of_all_without_a_time_of_its_own_keeps_the_run():
    cluster = Cluster(3600)
    await cluster.finished(hours=2, ttlPolicy="All")
    assert cluster.deleted == ["run-task-0"]


async def test_what_the_run_says_counts_before_the_default():
    cluster = Cluster(3600)
    assert (await cluster.finished(hours=2, ttlSecondsAfterFinished=10_800)).requeue_after > 0
    await cluster.finished(hours=2, ttlSecondsAfterFinished=0, ttlPolicy="All")
    assert cluster.deleted == ["run-task-0", "run"]


async def test_without_a_default_jobs_stay():
    cluster = Cluster(None)
    assert (await cluster.finished(hours=10_000)).requeue_after == 0
    assert cluster.deleted == []


@pytest.mark.parametrize(
    ("flags", "ttl"),
    [
        ([], 7 * 24 * 3600),
        (["--default-ttl-seconds-after-finished=60"], 60),
        (["--default-ttl-seconds-after-finished=-1"], None),
    ],
)
def test_the_default_is_a_week_unless_the_flag_says_otherwise(flags, ttl):
    assert settings(parse(flags, {})).default_ttl == ttl
