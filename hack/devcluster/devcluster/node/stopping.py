"""Ends containers: SIGTERM, then SIGKILL when the grace period is over. The period may become shorter meanwhile."""

from __future__ import annotations

import asyncio
import signal

from .containers import Tell
from .podstate import ContainerState, PodState
from .runtime import Exit


class Stopper:
    """Ends the containers of one Pod within a common grace period, counted from `begin`. Call `close` at last."""

    def __init__(self, state: PodState, tell: Tell) -> None:
        self._state = state
        self._tell = tell
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
        self._tell(self._state, "Normal", "Killing", message, container)
        process.signal(signal.SIGKILL if self._over else signal.SIGTERM)
        return await asyncio.shield(process.exited)

    def close(self) -> None:
        """Forget what is left of the grace period."""
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
