"""The contract between a controller and what it drives.

A reconciler is told *which* object needs a look, never what happened to it: it reads the world as
it is now, compares it with what is wanted, and brings it nearer. It must be idempotent, because a
request is repeated after errors, restarts and changes of leader.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, order=True)
class Request:
    """The name of an object to reconcile; the namespace is "" when it has none."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class Result:
    """What a reconciler asks for after it succeeded.

    Attributes:
        requeue_after: seconds after which the request is wanted again even if nothing changes;
            0 for not at all. A change that is seen earlier replaces it: ask anew each time.
        priority: of that requeue; None keeps the one the request had.
    """

    requeue_after: float = 0.0
    priority: int | None = None


class Reconciler(Protocol):
    """Brings the world nearer to what an object asks for.

    What ``reconcile`` raises decides what follows: TerminalError is reported and not repeated,
    StaleCacheError is repeated quietly, any other exception is reported and repeated with a growing
    delay. CancelledError comes when its time is up, or when the process must stop at once.
    """

    async def reconcile(self, request: Request) -> Result:
        """Look at one object. Never called for the same request twice at the same time."""


class TerminalError(Exception):
    """Trying again cannot help until something changes, so the request is not requeued.

    The number of failures is kept: only a success forgets it.
    """
