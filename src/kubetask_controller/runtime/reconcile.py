"""The contract between a controller and what it drives.

A request names an object and not what happened to it: the reconciler reads the actual state, compares
it with the desired state, and acts on the difference. It must be idempotent, because a request is
repeated after errors, restarts and changes of leader.
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
    """The result of a reconcile without an error.

    Attributes:
        requeue_after: seconds after which the request is reconciled again even if nothing changes;
            0 for never. An earlier reconcile cancels it: return it each time.
        priority: of that requeue; None keeps the priority of the request.
    """

    requeue_after: float = 0.0
    priority: int | None = None


class Reconciler(Protocol):
    """Brings the actual state of an object closer to its desired state.

    The exception of ``reconcile`` decides what the controller does: TerminalError is logged and not
    repeated, StaleCacheError is repeated without a log line, any other exception is logged and
    repeated with a growing delay. CancelledError means that the time limit has passed, or that the
    process stops at once.
    """

    async def reconcile(self, request: Request) -> Result:
        """Reconcile one object. Never runs twice at once for the same request."""


class TerminalError(Exception):
    """A retry cannot help until something changes, so the request is not requeued.

    The number of failures stays: only a success resets it.
    """
