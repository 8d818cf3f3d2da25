"""The store of the development cluster: every object, its history, and who watches it.

What `etcd` and the watch cache are to a real API server: one resourceVersion for all resources that only grows, optimistic
concurrency, an event history that can be compacted, and watches fed from it. It has no code for HTTP, kinds or validation.
"""

from __future__ import annotations

from .events import Event, EventType, History, Watch
from .records import Stored, is_stored
from .store import (
    AlreadyExistsError,
    CompactedError,
    ConflictError,
    NotFoundError,
    Storage,
    TooLargeError,
)

__all__ = [
    "AlreadyExistsError",
    "CompactedError",
    "ConflictError",
    "Event",
    "EventType",
    "History",
    "NotFoundError",
    "Storage",
    "Stored",
    "TooLargeError",
    "Watch",
    "is_stored",
]
