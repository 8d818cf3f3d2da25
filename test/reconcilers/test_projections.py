"""What is read of a watch event by its shape gives the same view as the whole event does."""

import gc
import json
import tracemalloc
from pathlib import Path
from typing import Any, TypedDict

import pytest

from kubetask_controller.client.streams import event_decoder
from kubetask_controller.reconcilers.batchrun.snapshot import Snapshot
from kubetask_controller.reconcilers.projections import (
    PartialBatch,
    PartialJob,
    PartialPod,
    project_job,
    project_owner,
    project_pod,
    project_resource,
)

OWNER = {
    "apiVersion": "kubetask.io/v1alpha1",
    "kind": "BatchRun",
    "name": "r",
    "uid": "o",
    "controller": True,
    "blockOwnerDeletion": True,
}
TRANSCRIPTS = Path(__file__).resolve().parents[2] / "hack/devcluster/tests/transcripts"


def _objects(kind: str) -> list[dict[str, Any]]:
    """Every state of the Jobs or Pods that a real kubelet and Job controller wrote, in objects as large as they are."""
    objects = []
    for line in (TRANSCRIPTS / "pods.jsonl").read_text().splitlines():
        scenario = json.loads(line)
        for event in scenario["job_watch" if kind == "Job" else "pod_watch"]:
            metadata = {
                **scenario["job"]["metadata"],
                "name": event["name"],
                "namespace": "team",
                "uid": "u",
                "resourceVersion": event["resourceVersion"],
                "creationTimestamp": "2026-01-02T10:00:00Z",
                "annotations": {"kubetask.io/workspace-config": "default"},
                "ownerReferences": [OWNER],
                "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}],
            }
            spec = scenario["job"]["spec"]
            if kind == "Pod":
                spec = {**spec["template"]["spec"], "nodeName": "n", "activeDeadlineSeconds": 9}
            rest = {k: v for k, v in event.items() if k in ("status", "deletionTimestamp")}
            if "deletionTimestamp" in rest:
                metadata["deletionTimestamp"] = rest.pop("deletionTimestamp")
            objects.append({"kind": kind, "metadata": metadata, "spec": spec, **rest})
    return objects


@pytest.mark.parametrize(
    ("kind", "shape", "project"),
    [("Job", PartialJob, project_job), ("Pod", PartialPod, project_pod)],
)
def test_a_shape_has_all_that_the_projection_reads(kind: str, shape: Any, project: Any) -> None:
    objects = _objects(kind)
    assert len(objects) > 20
    decode = event_decoder(shape)
    for each in objects:
        event = {"type": "MODIFIED", "object": each}
        read = decode(json.dumps(event).encode())
        assert project(read["object"]) == project(each)
        assert "managedFields" not in read["object"]["metadata"]


def test_what_does_not_fit_the_shape_is_read_as_a_whole() -> None:
    decode = event_decoder(PartialPod)
    error = {"type": "ERROR", "object": {"kind": "Status", "status": "Failure", "code": 410}}
    assert decode(json.dumps(error).encode()) == error
    bookmark = {
        "type": "BOOKMARK",
        "object": {"kind": "Pod", "metadata": {"resourceVersion": "7", "creationTimestamp": None}},
    }
    assert decode(json.dumps(bookmark).encode())["object"]["metadata"]["resourceVersion"] == "7"


def test_a_shape_hides_neither_the_end_of_a_list_nor_an_error() -> None:
    class Slim(TypedDict, total=False):
        kind: str
        metadata: dict[str, str]

    decode = event_decoder(Slim)
    end = {"resourceVersion": "7", "annotations": {"k8s.io/initial-events-end": "true"}}
    bookmark = {"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": end}}
    assert decode(json.dumps(bookmark).encode()) == bookmark
    error = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}
    assert decode(json.dumps(error).encode()) == error


def test_what_is_no_json_is_an_error() -> None:
    with pytest.raises(ValueError, match="EOF"):
        event_decoder(PartialJob)(b'{"type": ')


CONTEXTS = [{"type": "Repository", "repository": {"org": "acme", "repo": "service"}}]


def _run(phase: str) -> dict[str, Any]:
    entry = {"index": 0, "status": phase, "contexts": CONTEXTS, "jobName": "r-task-0"}
    return {
        "metadata": {"namespace": "team", "name": "r", "uid": "u", "resourceVersion": "1"},
        "spec": {"batchSpec": {"variableContexts": [CONTEXTS]}, "ttlSecondsAfterFinished": 60},
        "status": {"phase": phase, "tasks": [entry], "completionTime": "2026-01-02T10:00:00Z"},
    }


@pytest.mark.parametrize("phase", ["Pending", "Running"])
def test_the_cache_keeps_a_run_whole_until_it_has_ended(phase: str) -> None:
    assert project_owner(_run(phase)) == project_resource(_run(phase))


def test_the_work_of_many_runs_takes_little_more_memory_than_its_json() -> None:
    tiny = {"type": "File", "file": {"name": "a", "source": {"inline": ""}}}
    contexts = [[tiny] * 8] * 2000
    text = json.dumps(_run("Pending") | {"spec": {"batchSpec": {"variableContexts": contexts}}})
    tracemalloc.start()
    try:
        view = project_owner(json.loads(text))
        snapshot = Snapshot.of(json.loads(view.work))
        gc.collect()
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert snapshot.contexts(1999) == [tiny] * 8
    # Once in the cache, and once in the snapshot.
    assert used < 2.5 * len(text)


def test_the_cache_keeps_of_a_batch_its_metadata_alone() -> None:
    batch = _run("") | {"kind": "Batch", "spec": {"variableContexts": [CONTEXTS]}}
    event = json.dumps({"type": "ADDED", "object": batch}).encode()
    read = event_decoder(PartialBatch)(event)["object"]
    assert set(read) == {"kind", "metadata"}
    assert project_resource(read).spec == {}


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_the_cache_keeps_of_an_ended_run_what_time_to_live_and_webhook_need(phase: str) -> None:
    raw = _run(phase)
    kept, whole = project_owner(raw), project_resource(raw)
    assert kept.spec == {"ttlSecondsAfterFinished": 60}
    assert kept.status == {
        **whole.status,
        "tasks": [{"index": 0, "status": phase, "jobName": "r-task-0"}],
    }
    assert raw == _run(phase)


def test_the_cache_keeps_of_an_ended_task_no_contexts() -> None:
    raw = _run("Succeeded") | {"spec": {"contexts": CONTEXTS, "suspend": False}}
    assert project_owner(raw).spec == {"suspend": False}


def test_jobs_of_one_owner_share_what_is_equal() -> None:
    one, two = (project_job(x) for x in _objects("Job")[:2])
    assert one.owner is two.owner
    assert one.created is two.created
