"""What a Job says of itself: which WorkspaceConfig it follows, which Job it replaces, and how many tries it has left."""

from dataclasses import replace

import pytest

from kubetask_controller.api import constants as c
from kubetask_controller.reconcilers.taskrun.runner import config_digest_of, tries_left
from support.reconcilers import runs
from support.reconcilers.cluster import JOBS, Cluster
from support.reconcilers.views import repository


@pytest.mark.parametrize(
    ("limit", "attempts", "disruptions", "left"),
    [(3, 1, 1, 3), (3, 2, 1, 2), (3, 0, 0, 3), (1, 5, 0, 0), (None, 1, 1, 0)],
)
def test_tries_that_failed_stay_used_up_and_disrupted_ones_do_not_count(
    limit: int | None, attempts: int, disruptions: int, left: int
) -> None:
    state = replace(runs.STARTING, replacements=1, attempts=attempts, disruptions=disruptions)
    assert tries_left(limit, state) == left


def test_the_first_job_has_all_tries_of_the_spec() -> None:
    assert tries_left(3, None) is None
    assert tries_left(3, runs.STARTING) is None


def test_a_digest_follows_the_config_but_for_its_cap() -> None:
    one, other = (
        config_digest_of({"agentImage": "a", "args": ["x"]}),
        config_digest_of({"agentImage": "b"}),
    )
    assert one != other
    assert one == config_digest_of({"args": ["x"], "agentImage": "a", "maxConcurrentTasks": 9})
    assert len(one) == 16


@pytest.mark.parametrize("config", [None, {"agentImage": "a"}])
async def test_a_job_bears_the_digest_of_the_config_that_it_follows(config: dict | None) -> None:
    cluster = Cluster()
    if config:
        cluster.config(**config)
    cluster.run()
    await cluster.settle()
    annotations = cluster.job()["metadata"]["annotations"]
    assert annotations[c.ANNOTATION_CONFIG_DIGEST] == config_digest_of(config or {})  # type: ignore[arg-type]
    assert c.ANNOTATION_REPLACEMENT not in annotations


async def test_a_cap_that_changes_replaces_no_job() -> None:
    cluster = Cluster()
    cluster.config(maxConcurrentTasks=1)
    cluster.run()
    await cluster.settle()
    cluster.wait("r-task-0", "ErrImagePull")
    cluster.config(maxConcurrentTasks=5)
    await cluster.settle()
    assert len(cluster.sent("create", JOBS)) == 1


async def test_what_a_task_cannot_have_does_not_reach_its_neighbours() -> None:
    cluster = Cluster()
    broken = {"type": "Repository", "repository": {"org": "acme", "repo": "x", "host": "nowhere"}}
    cluster.run(batchSpec={"variableContexts": [[broken], [repository()]]})
    await cluster.settle()
    assert cluster.entries() == ["Failed/InvalidSpec", "Pending/Starting"]
    assert "host nowhere is no entry of git.hosts" in cluster.status()["tasks"][0]["message"]
