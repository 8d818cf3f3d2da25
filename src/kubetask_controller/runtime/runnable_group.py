"""Runnables that start and stop together: one stage of a manager.

Guarantees: a runnable that is added before the start waits for it, one that is added later starts at
once, and one that is added after the stop is refused; the failure of one is reported once, and the
others run on: the owner of the group decides whether to stop them.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

logger = structlog.get_logger("manager")


class Runnable(Protocol):
    """A part of the process that a manager runs."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish and return.

        Cancellation means to end at once. Returning early is allowed; an exception stops the manager.
        """


class GroupStoppedError(RuntimeError):
    """The group is stopping, or has stopped."""


class RunnableGroup:
    """One stage; see the module."""

    def __init__(self, name: str, *, on_error: Callable[[BaseException], None]) -> None:
        self.name = name
        self._on_error = on_error
        self._queued: list[Runnable] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._started = False

    def add(self, runnable: Runnable) -> None:
        """Add a runnable.

        Raises:
            GroupStoppedError: the group is stopping, or has stopped.
        """
        if self._stop.is_set():
            raise GroupStoppedError(f"cannot add a runnable to {self.name}: the group is stopping")
        if self._started:
            self._launch(runnable)
        else:
            self._queued.append(runnable)

    def start(self) -> None:
        """Start the runnables; may be called again, and does nothing after the stop."""
        if self._stop.is_set():
            return
        self._started = True
        queued, self._queued = self._queued, []
        for runnable in queued:
            self._launch(runnable)

    @property
    def running(self) -> bool:
        """Whether a runnable has not returned."""
        return bool(self._tasks)

    async def stop(self) -> None:
        """Set the stop event, and wait until all runnables have returned."""
        self._stop.set()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def abort(self, *, within: float) -> list[str]:
        """Cancel the remaining runnables; returns the names of those that still run after `within` seconds."""
        self._stop.set()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within)
        return [task.get_name() for task in self._tasks]

    def _launch(self, runnable: Runnable) -> None:
        name = getattr(runnable, "name", type(runnable).__name__)
        task = asyncio.create_task(runnable.run(self._stop), name=f"{self.name}/{name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            logger.error("Runnable failed", runnable=task.get_name(), error=str(error))
            self._on_error(error)
