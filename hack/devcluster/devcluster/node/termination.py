"""How a container's end is told: exit code, reason, and its termination message within the kubelet's limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .logfiles import last_bytes, read_end
from .runtime import Exit

Object = dict[str, Any]

MESSAGE_BYTES = 4096
POD_MESSAGE_BYTES = 12288
LOG_MESSAGE_BYTES = 2048
LOG_MESSAGE_LINES = 80
START_ERROR_CODE = 128
EPOCH = "1970-01-01T00:00:00Z"
LOST = "The container could not be located when the pod was terminated"


def message_of(spec: Object, exit_code: int, *, file: Path, log: Path, containers: int) -> str:
    """The termination message; one Pod's messages share POD_MESSAGE_BYTES."""
    limit = min(MESSAGE_BYTES, POD_MESSAGE_BYTES // containers)
    data = read_end(file, limit)
    if (
        not data
        and exit_code != 0
        and spec.get("terminationMessagePolicy") == "FallbackToLogsOnError"
    ):
        data = last_bytes(log, lines=LOG_MESSAGE_LINES, limit=min(LOG_MESSAGE_BYTES, limit))
    return data.decode(errors="replace")


def terminated(
    end: Exit, message: str, *, started: str, finished: str, container_id: str
) -> Object:
    """The API's state of a container that has run."""
    reason = "OOMKilled" if end.oom else "Error" if end.code else "Completed"
    state: Object = {"exitCode": end.code, "reason": reason}
    if message:
        state["message"] = message
    return {
        "terminated": {
            **state,
            "startedAt": started,
            "finishedAt": finished,
            "containerID": container_id,
        }
    }


def start_error(message: str, *, finished: str, container_id: str) -> Object:
    """The state of a container whose program never ran."""
    return {
        "terminated": {
            "exitCode": START_ERROR_CODE,
            "reason": "StartError",
            "message": message,
            "startedAt": EPOCH,
            "finishedAt": finished,
            "containerID": container_id,
        }
    }


def lost() -> Object:
    """The state of a container that is to have ended but of which nothing was found."""
    return {
        "terminated": {
            "exitCode": 137,
            "reason": "ContainerStatusUnknown",
            "message": LOST,
            "startedAt": None,
            "finishedAt": None,
        }
    }
