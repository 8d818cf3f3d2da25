"""What fills one scope of an informer: raw objects in, projections stored, handlers told.

Guarantees: every object is projected once for each version that arrives, and its JSON can be
dropped at once; the store is changed before handlers hear of it; a new list is delivered in slices,
so that the event loop never waits long; deletions come first. An object that cannot be projected is
logged and counted, and what was known of it stays.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic

import structlog

from kubetask_controller.runtime.delivery import Delivery
from kubetask_controller.runtime.informermetrics import InformerMetrics
from kubetask_controller.runtime.slicing import TimeSlices
from kubetask_controller.runtime.store import Shard, Store, T

JSON = dict[str, Any]
DELETED = "DELETED"

logger = structlog.get_logger("informer")


@dataclass(frozen=True, slots=True)
class FeedContext(Generic[T]):
    """What the feeds of one informer share."""

    name: str
    store: Store[T]
    delivery: Delivery[T]
    project: Callable[[JSON], T]
    metrics: InformerMetrics
    heard: Callable[[str], None]
    """Called with the scope when anything was heard from the server."""
    synced: Callable[[str], None]
    """Called with the scope when a whole list has been delivered."""


class Draft(Generic[T]):
    """A list on its way into the store."""

    def __init__(self, context: FeedContext[T]) -> None:
        self._context = context
        self.shard: Shard[T] = context.store.draft()

    def put(self, raw: JSON) -> None:
        """Add an object, or replace it by a newer version."""
        obj = project(self._context, raw)
        if obj is None:
            obj = self._known(raw)
        if obj is not None:
            self.shard.put(obj)

    def remove(self, raw: JSON) -> None:
        """Take an object out that was deleted while the list was streamed."""
        namespace, name = key_of(raw)
        self.shard.remove(namespace, name)

    def clear(self) -> None:
        """Start anew."""
        self.shard.clear()

    def _known(self, raw: JSON) -> T | None:
        # Leaving it out would tell everybody that it was deleted.
        return self._context.store.get(*key_of(raw))


class Feed(Generic[T]):
    """The reflector's end of an informer."""

    def __init__(self, context: FeedContext[T], scope: str) -> None:
        self._context = context
        self._scope = scope
        self._initial = True

    def draft(self) -> Draft[T]:
        """An empty list to fill; nobody sees it before replace()."""
        return Draft(self._context)

    async def replace(self, draft: Draft[T], resource_version: str) -> None:
        """Take a whole list over, and return once all handlers know."""
        context, initial = self._context, self._initial
        # A handler that is added from here on finds everything in the store.
        listeners = context.delivery.registrations
        changes = context.store.replace(self._scope, draft.shard, resource_version)
        context.heard(self._scope)
        slices = TimeSlices()
        for obj in changes.deleted:
            context.delivery.deleted(obj, unknown=True, to=listeners)
            if slices.used_up():
                await slices.rest()
        for obj in changes.added:
            context.delivery.added(obj, initial=initial, to=listeners)
            if slices.used_up():
                await slices.rest()
        for old, new in changes.updated:
            context.delivery.updated(old, new, to=listeners)
            if slices.used_up():
                await slices.rest()
        self._initial = False
        context.synced(self._scope)

    def apply(self, event_type: str, raw: JSON) -> None:
        """Take a watch event over: ADDED, MODIFIED or DELETED."""
        context = self._context
        obj = project(context, raw)
        listeners = context.delivery.registrations
        if event_type == DELETED:
            known = context.store.remove(self._scope, *key_of(raw))
            last = known if obj is None else obj
            if last is not None:
                context.delivery.deleted(last, unknown=obj is None, to=listeners)
        elif obj is not None:
            known = context.store.put(self._scope, obj)
            if known is None:
                context.delivery.added(obj, initial=False, to=listeners)
            else:
                context.delivery.updated(known, obj, to=listeners)

    def advance(self, resource_version: str) -> None:
        """Note that all changes up to this resourceVersion have been applied."""
        self._context.store.set_resource_version(self._scope, resource_version)
        self._context.heard(self._scope)


def project(context: FeedContext[T], raw: JSON) -> T | None:
    """What is kept of an object, or None when it cannot be understood."""
    try:
        return context.project(raw)
    except Exception:
        context.metrics.event_dropped(context.name)
        namespace, name = key_of(raw)
        logger.exception(
            "Object cannot be projected", type=context.name, namespace=namespace, name=name
        )
        return None


def key_of(raw: JSON) -> tuple[str, str]:
    """Namespace and name of an object; empty where it has none."""
    metadata = raw.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    return metadata.get("namespace") or "", metadata.get("name") or ""
