"""What becomes of Pods that a former node was running when it ended: their processes are gone with it."""

from __future__ import annotations

from typing import Any

from . import termination
from .podworker import PodWorker

Object = dict[str, Any]


def recover(worker: PodWorker) -> bool:
    """End a Pod of which containers had run before this node started. False for one that may start afresh."""
    status = worker.state.pod.get("status") or {}
    told = {
        each["name"]: each
        for field in ("initContainerStatuses", "containerStatuses")
        for each in status.get(field) or ()
    }
    if not any(each.get("containerID") for each in told.values()):
        return False
    state = worker.state
    state.start_time = status.get("startTime") or state.start_time
    for container in state.containers:
        before = told.get(container.name, {})
        container.container_id = before.get("containerID", "")
        container.image_id = before.get("imageID", "")
        container.restarts = before.get("restartCount", 0)
        container.last_state = before.get("lastState") or {}
        if "terminated" in before.get("state", {}):
            container.state = before["state"]
        elif container.container_id:
            container.state = termination.lost()
    worker.close()
    return True
