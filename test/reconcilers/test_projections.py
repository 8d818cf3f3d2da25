"""What is read of a watch event by its shape gives the same view as the whole event does."""

import json
from pathlib import Path
from typing import Any

import pytest

from kubetask_controller.client.streams import event_decoder
from kubetask_controller.reconcilers.projections import (
    PartialJob,
    PartialPod,
    project_job,
    project_pod,
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


def test_what_is_no_json_is_an_error() -> None:
    with pytest.raises(ValueError, match="EOF"):
        event_decoder(PartialJob)(b'{"type": ')
