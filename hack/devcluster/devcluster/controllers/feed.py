"""What the controllers see of the cluster: every write, told as it happens, after a replay of what is there already.

It hangs on the registry's own hooks instead of watches: nothing is kept of the objects, nothing lags and nothing is
missed when watches break. Handlers get (new, old): None for what is no more, or was not. They must only take notes; the
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
        """Tell `handler` of the writes of one resource, e.g. `jobs.batch`."""
        self._handlers.setdefault(storage_key, []).append(handler)

    def on_any(self, handler: AnyHandler) -> None:
        """Tell `handler` of the writes of every resource."""
        self._any.append(handler)

    def start(self) -> None:
        """Tell of all that is there, then of each write."""
        self._registry.after_write.append(self._written)
        told: set[str] = set()
        for info in list(self._registry.catalog):
            if info.storage_key in told:
                continue
            told.add(info.storage_key)
            codec = codec_for(info)
            for stored in self._registry.storage.list(info.storage_key):
                self._written(info, codec.from_storage(stored.object), None)

    def stop(self) -> None:
        """Tell nothing any more."""
        if self._written in self._registry.after_write:
            self._registry.after_write.remove(self._written)

    def _written(self, info: ResourceInfo, new: Object | None, old: Object | None) -> None:
        for handler in self._handlers.get(info.storage_key, ()):
            handler(new, old)
        for each in self._any:
            each(info, new, old)
