"""The end of containers: stopping them, their exit code and reason, their termination message within the kubelet's limits.

Containers get SIGTERM, then SIGKILL when the grace period is over. The period may become shorter meanwhile.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

from .containers import RecordEvent
from .logfiles import last_bytes, read_end
from .podstate import ContainerState, PodState
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


class Stopper:
    """Ends the containers of one Pod within a common grace period, counted from `begin`. Call `close` at the end."""

    def __init__(self, state: PodState, record: RecordEvent) -> None:
        self._state = state
        self._record = record
        self._begun = 0.0
        self._grace = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._over = False

    def begin(self, grace: float) -> None:
        """The grace period, in seconds, starts now."""
        self._begun = asyncio.get_running_loop().time()
        self._arm(grace)

    def changed(self, grace: float) -> None:
        """The grace period is another one now; it never gets longer."""
        if self._timer is not None and grace < self._grace:
            self._arm(grace)

    async def stop(self, container: ContainerState) -> Exit:
        """End one container and return how it ended."""
        process = container.process
        assert process is not None
        message = f"Stopping container {container.name}"
        self._record(self._state, "Normal", "Killing", message, container)
        process.signal(signal.SIGKILL if self._over else signal.SIGTERM)
        return await asyncio.shield(process.exited)

    def close(self) -> None:
        """Cancel the rest of the grace period."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self, grace: float) -> None:
        self.close()
        self._grace = grace
        if grace <= 0:
            self._kill()
        self._timer = asyncio.get_running_loop().call_at(self._begun + grace, self._kill)

    def _kill(self) -> None:
        self._over = True
        for each in self._state.containers:
            if each.process is not None:
                each.process.signal(signal.SIGKILL)
