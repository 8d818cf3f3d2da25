"""What a controller listens to."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from kubetask_controller.runtime.handler import EnqueueRequests, MapFunction
from kubetask_controller.runtime.informer import Informer, Registration
from kubetask_controller.runtime.predicate import Predicate
from kubetask_controller.runtime.reconcile import Request
from kubetask_controller.runtime.store import Object
from kubetask_controller.runtime.workqueue import WorkQueue

T = TypeVar("T", bound=Object)


class Source(Protocol):
    """Puts requests into a controller's queue."""

    async def start(self, queue: WorkQueue[Request]) -> Callable[[], None]:
        """Begin; returns how to end."""

    def laggards(self) -> list[str]:
        """Names what this source waits for before everything that exists is in the queue."""


@dataclass(frozen=True, slots=True)
class InformerSource(Generic[T]):
    """The objects of an informer.

    Started on a filled informer, it has enqueued what exists when start() returns; so a standby that
    becomes the leader needs no warming up.
    """

    informer: Informer[T]
    mapping: MapFunction[T]
    predicate: Predicate[T] = field(default_factory=Predicate)
    delay: float = 0.0

    async def start(self, queue: WorkQueue[Request]) -> Callable[[], None]:
        """Follow the informer."""
        handler = EnqueueRequests(queue, self.mapping, self.predicate, self.delay)
        registration: Registration[T] = await self.informer.follow(handler)
        return lambda: self.informer.remove_event_handler(registration)

    def laggards(self) -> list[str]:
        """The informer, until its handlers have been called for the whole first list."""
        return [] if self.informer.has_synced else [self.informer.name]
