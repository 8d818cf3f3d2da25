"""The controllers' source of events: every write as it happens, after a replay of the objects that exist already.

It uses the registry's hooks instead of watches: it stores no objects, has no lag, and misses nothing when watches break.
Handlers get (new, old): None for an object that is gone, or was not there. They must return at once (enqueue a key); the
objects are shared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from devcluster.apiserver.catalog import ResourceInfo
from devcluster.apiserver.codec import codec_for
from devcluster.apiserver.registry import Registry

Object = dict[str, Any]
Handler = Callable[[Object | None, Object | None], None]
AnyHandler = Callable[[ResourceInfo, Object | None, Object | None], None]


class Feed:
    """Hands each write to the handlers of its resource, then to those of all resources, in the order in which they came."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._handlers: dict[str, list[Handler]] = {}
        self._any: list[AnyHandler] = []

    def on(self, storage_key: str, handler: Handler) -> None:
        """Call `handler` for the writes of one resource, e.g. `jobs.batch`."""
        self._handlers.setdefault(storage_key, []).append(handler)

    def on_any(self, handler: AnyHandler) -> None:
        """Call `handler` for the writes of every resource."""
        self._any.append(handler)

    def start(self) -> None:
        """Deliver every present object, then each write."""
        self._registry.after_write.append(self._written)
        delivered: set[str] = set()
        for info in list(self._registry.catalog):
            if info.storage_key in delivered:
                continue
            delivered.add(info.storage_key)
            codec = codec_for(info)
            for stored in self._registry.storage.list(info.storage_key):
                self._written(info, codec.from_storage(stored.object), None)

    def stop(self) -> None:
        """Stop delivering."""
        if self._written in self._registry.after_write:
            self._registry.after_write.remove(self._written)

    def _written(self, info: ResourceInfo, new: Object | None, old: Object | None) -> None:
        for handler in self._handlers.get(info.storage_key, ()):
            handler(new, old)
        for each in self._any:
            each(info, new, old)
