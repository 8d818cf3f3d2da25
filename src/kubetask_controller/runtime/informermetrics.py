"""What informers tell about themselves; the caller decides which metrics these become.

Methods are called on the event loop and must return at once. `resource` is ``jobs.batch``, as
kubectl takes it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class WatchEnd(StrEnum):
    """Why a watch ended: the `reason` in metrics."""

    CLOSED = "closed"
    SHORT = "short"
    SILENT = "silent"
    BROKEN = "broken"
    REFUSED = "refused"
    TOO_MANY_REQUESTS = "too_many_requests"
    EXPIRED = "expired"
    INTERNAL_ERROR = "internal_error"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class InformerStatistics:
    """A look at an informer.

    Attributes:
        synced: its first lists have been handed to all handlers.
        objects: how many it holds.
        last_event_age: seconds since anything was heard from the server, bookmarks included; the
            oldest of its streams counts; None before the first list.
        resource_version: of the store; the oldest of its streams counts; "" before the first list.
    """

    synced: bool
    objects: int
    last_event_age: float | None
    resource_version: str


class InformerMetrics(Protocol):
    """Receives what happens, and is given a way to look."""

    def track(self, resource: str, statistics: Callable[[], InformerStatistics]) -> None:
        """An informer exists; call `statistics` whenever metrics are scraped."""

    def listed(self, resource: str) -> None:
        """A whole list was taken over, as a stream or in pages."""

    def watch_ended(self, resource: str, reason: str) -> None:
        """A watch ended and will be opened again; see WatchEnd for the reasons."""

    def handler_failed(self, resource: str) -> None:
        """A handler raised; the notification is lost to it, and delivery goes on."""

    def event_dropped(self, resource: str) -> None:
        """An event or object could not be understood."""


class NoInformerMetrics:
    """Counts nothing."""

    def track(self, resource: str, statistics: Callable[[], InformerStatistics]) -> None:
        """Ignored."""

    def listed(self, resource: str) -> None:
        """Ignored."""

    def watch_ended(self, resource: str, reason: str) -> None:
        """Ignored."""

    def handler_failed(self, resource: str) -> None:
        """Ignored."""

    def event_dropped(self, resource: str) -> None:
        """Ignored."""
