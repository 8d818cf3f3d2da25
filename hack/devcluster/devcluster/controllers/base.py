"""What every controller here is: informers that fill a queue, and one synchronous step per key.

The API is in the same process and synchronous, so a step sees the newest state and needs no expectations; the loop yields between
steps. A step that raises is tried again later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from devcluster.apiserver.errors import StatusError

from .informer import Informer
from .workqueue import WorkQueue

log = logging.getLogger("devcluster.controllers")


class Controller(Protocol):
    """Something that runs until cancelled."""

    async def run(self) -> None:
        """Work until cancelled; cancelling it leaves no task behind."""


class QueueController:
    """A controller with a queue. Subclasses give `informers`, call `self.queue.add` in handlers and implement `sync`."""

    name = "controller"

    def __init__(self, *, base_delay: float = 0.05, max_delay: float = 60.0) -> None:
        self.queue: WorkQueue[tuple[str, ...]] = WorkQueue(
            base_delay=base_delay, max_delay=max_delay
        )

    def informers(self) -> Sequence[Informer]:
        """What to watch."""
        return ()

    def sync(self, key: tuple[str, ...]) -> None:
        """Bring one key to what it should be."""
        raise NotImplementedError

    async def run(self) -> None:
        """Watch and work until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for informer in self.informers():
                    group.create_task(informer.run())
                group.create_task(work(self.queue, self))
        finally:
            self.queue.close()


async def work(queue: WorkQueue[tuple[str, ...]], controller: QueueController) -> None:
    """Handle keys one after the other."""
    while True:
        key = await queue.get()
        try:
            controller.sync(key)
        except StatusError as error:
            log.debug("%s %s: %s", controller.name, "/".join(key), error.message)
            queue.add_rate_limited(key)
        except Exception:
            log.exception("%s %s", controller.name, "/".join(key))
            queue.add_rate_limited(key)
        else:
            queue.forget(key)
        finally:
            queue.done(key)
        await asyncio.sleep(0)


@contextmanager
def ignore_missing() -> Iterator[None]:
    """Take a 404 or 409 (somebody else was faster) for success."""
    try:
        yield
    except StatusError as error:
        if error.code not in (404, 409):
            raise
