"""Base of the controllers: event handlers that fill a queue, and one synchronous sync per key.

The API is in the same process and synchronous, so a step sees the newest state and needs no expectations; the loop yields
between steps. A step that raises is tried again later; one that needs a webhook's answer, as soon as that has come.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from devcluster.apiserver.admission import with_answers
from devcluster.apiserver.errors import StatusError
from devcluster.apiserver.local import LocalClient

from .clock import Clock
from .feed import Feed
from .workqueue import WorkQueue

log = logging.getLogger("devcluster.controllers")
Object = dict[str, Any]
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Machinery:
    """Dependencies of controllers."""

    client: LocalClient
    feed: Feed
    clock: Clock


class QueueController:
    """A controller with a queue. Subclasses subscribe to the feed, call `self.queue.add` in handlers and implement `sync`."""

    name = "controller"

    def __init__(
        self, machinery: Machinery, *, base_delay: float = 0.05, max_delay: float = 60.0
    ) -> None:
        self.client = machinery.client
        self.clock = machinery.clock
        self.queue: WorkQueue[Key] = WorkQueue(base_delay=base_delay, max_delay=max_delay)

    def sync(self, key: Key) -> None:
        """Bring one key to what it should be."""
        raise NotImplementedError

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                key = await self.queue.get()
                await self._step(key)
                self.queue.done(key)
                await asyncio.sleep(0)
        finally:
            self.queue.close()

    async def _step(self, key: Key) -> None:
        async def attempt() -> None:
            self.sync(key)

        try:
            await with_answers(attempt)
        except StatusError as error:
            log.debug("%s %s: %s", self.name, "/".join(key), error.message)
            self.queue.add_rate_limited(key)
        except Exception:
            log.exception("%s %s", self.name, "/".join(key))
            self.queue.add_rate_limited(key)
        else:
            self.queue.forget(key)


@contextmanager
def ignore_missing() -> Iterator[None]:
    """Treat a 404 or 409 (another client was faster) as success."""
    try:
        yield
    except StatusError as error:
        if error.code not in (404, 409):
            raise


def key_of(obj: Object) -> tuple[str, str]:
    """(namespace, name); the namespace of cluster-scoped objects is ''."""
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def is_deleting(obj: Object) -> bool:
    """Whether the object is marked for deletion."""
    return "deletionTimestamp" in obj["metadata"]


def controller_of(obj: Object) -> Object | None:
    """The owner reference with `controller: true`."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return dict(reference)
    return None


def without_finalizer(obj: Object, finalizer: str) -> Object | None:
    """A copy of the object without a finalizer, or None when it has none such."""
    finalizers = obj["metadata"].get("finalizers") or []
    if finalizer not in finalizers:
        return None
    kept = [each for each in finalizers if each != finalizer]
    metadata = {**obj["metadata"], "finalizers": kept}
    if not kept:
        del metadata["finalizers"]
    return {**obj, "metadata": metadata}
