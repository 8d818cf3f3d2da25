"""The API without HTTP, for controllers and the node that run in the server's process.

Same semantics as over HTTP: validation, defaults, generation, finalizers, field ownership, admission; failures raise
StatusError. Reads and writes are synchronous: between a read and a write without an `await` nothing else happens. Objects
that come back are shared with the store: treat them as immutable and build changed copies.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from devcluster.storage import Stored

from . import deletion, fanout, recorder
from .catalog import ResourceInfo
from .codec import codec_for
from .context import DeleteOptions, WriteContext
from .errors import StatusError, resource_not_found
from .interfaces import User
from .patch import merge_patch
from .registry import Registry
from .selectors import Selection, parse_fields, parse_labels

Object = dict[str, Any]


class GVR(NamedTuple):
    """Group, version and plural of a resource."""

    group: str
    version: str
    plural: str


PODS = GVR("", "v1", "pods")
NODES = GVR("", "v1", "nodes")
NAMESPACES = GVR("", "v1", "namespaces")
CONFIGMAPS = GVR("", "v1", "configmaps")
SECRETS = GVR("", "v1", "secrets")
SERVICEACCOUNTS = GVR("", "v1", "serviceaccounts")
EVENTS = GVR("", "v1", "events")
PERSISTENTVOLUMECLAIMS = GVR("", "v1", "persistentvolumeclaims")
RESOURCEQUOTAS = GVR("", "v1", "resourcequotas")
JOBS = GVR("batch", "v1", "jobs")
CRONJOBS = GVR("batch", "v1", "cronjobs")
LEASES = GVR("coordination.k8s.io", "v1", "leases")
PRIORITYCLASSES = GVR("scheduling.k8s.io", "v1", "priorityclasses")

UPDATE_TRIES = 5


class LocalClient:
    """One in-process client. `manager` is its field manager, `user` what admission sees as the caller."""

    def __init__(
        self,
        registry: Registry,
        *,
        manager: str = "kube-controller-manager",
        user: User | None = None,
    ) -> None:
        self.registry = registry
        self.storage = registry.storage
        self.manager = manager
        self.user = user or User(
            f"system:{manager}", groups=("system:masters", "system:authenticated")
        )

    def info(self, resource: GVR) -> ResourceInfo:
        """The served resource. Raises StatusError 404 when there is none."""
        found = self.registry.catalog.find(*resource)
        if found is None:
            raise resource_not_found()
        return found

    def _context(self) -> WriteContext:
        return WriteContext(user=self.user, manager=self.manager, field_validation="Ignore")

    # --- reads

    def get(self, resource: GVR, namespace: str | None, name: str) -> Object:
        """The object. Raises StatusError 404."""
        return self.registry.current(self.info(resource), namespace or "", name)

    def find(self, resource: GVR, namespace: str | None, name: str) -> Object | None:
        """The object, or None."""
        info = self.info(resource)
        stored = self.storage.get(info.storage_key, namespace or "", name)
        return codec_for(info).from_storage(stored.object) if stored is not None else None

    def list(
        self,
        resource: GVR,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> list[Object]:
        """Objects of one namespace, or of all (None), that match."""
        info = self.info(resource)
        selection = self._selection(info, label_selector, field_selector)
        codec = codec_for(info)
        return [
            codec.from_storage(stored.object)
            for stored in self.storage.list(info.storage_key, namespace)
            if selection.matches(stored)
        ]

    @staticmethod
    def _selection(info: ResourceInfo, labels: str | None, fields: str | None) -> Selection:
        custom = info.custom.selectable_fields if info.custom is not None else None
        return Selection(
            parse_labels(labels) if labels else (),
            parse_fields(fields, info.storage_key, custom) if fields else (),
        )

    # --- writes

    def create(self, resource: GVR, namespace: str | None, body: Object) -> Object:
        """Create; generateName works. Raises StatusError."""
        return self.registry.create(self.info(resource), namespace or "", body, self._context())

    def update(self, resource: GVR, namespace: str | None, name: str, body: Object) -> Object:
        """Replace spec and metadata; optimistic when `body` carries a resourceVersion."""
        return self.registry.update(
            self.info(resource), namespace or "", name, body, self._context()
        )

    def update_status(
        self, resource: GVR, namespace: str | None, name: str, body: Object
    ) -> Object:
        """Replace the status (and, as the real server, metadata such as finalizers of the status subresource's strategy)."""
        return self.registry.update(
            self.info(resource), namespace or "", name, body, self._context(), "status"
        )

    def patch_status(
        self, resource: GVR, namespace: str | None, name: str, patch: Object
    ) -> Object:
        """Merge patch (RFC 7386) of the status subresource; `patch` is a whole body such as {"status": {...}}."""
        return self._patch(resource, namespace, name, patch, "status")

    def patch(self, resource: GVR, namespace: str | None, name: str, patch: Object) -> Object:
        """Merge patch (RFC 7386)."""
        return self._patch(resource, namespace, name, patch, "")

    def _patch(
        self, resource: GVR, namespace: str | None, name: str, patch: Object, subresource: str
    ) -> Object:
        current = self.get(resource, namespace, name)
        body = merge_patch(current, patch)
        return self.registry.update(
            self.info(resource), namespace or "", name, body, self._context(), subresource
        )

    def mutate(
        self,
        resource: GVR,
        namespace: str | None,
        name: str,
        change: Callable[[Object], Object | None],
        *,
        subresource: str = "",
    ) -> Object:
        """Read, change, write at once (no conflict is possible). `change` returns a changed copy, or None for no change."""
        current = self.get(resource, namespace, name)
        body = change(current)
        if body is None:
            return current
        return self.registry.update(
            self.info(resource), namespace or "", name, body, self._context(), subresource
        )

    def delete(
        self,
        resource: GVR,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: str | None = "Background",
        grace_period_seconds: int | None = None,
    ) -> Object:
        """Delete; returns the object as marked or as last seen. Raises StatusError 404, or 409 on a precondition."""
        options = DeleteOptions(uid, resource_version, propagation, grace_period_seconds)
        obj, _ = deletion.delete(
            self.registry, self.info(resource), namespace or "", name, options, self._context()
        )
        return obj

    # --- watch

    async def watch(
        self,
        resource: GVR,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        since: int | None = None,
    ) -> AsyncIterator[Object]:
        """Events {"type", "object"}, beginning with a synthetic ADDED for each present object (unless `since` is a revision).

        Ends when the store closes its watches (restart of the server) or the resource is removed; then watch again.
        """
        info = self.info(resource)
        selection = self._selection(info, label_selector, field_selector)
        codec = codec_for(info)
        present: list[Stored] = []
        if since is None:
            present = [
                each
                for each in self.storage.list(info.storage_key, namespace)
                if selection.matches(each)
            ]
        stream = self.storage.watch(info.storage_key, namespace, since=since)
        try:
            for stored in present:
                yield {"type": "ADDED", "object": codec.from_storage(stored.object)}
            async for event in stream:
                seen = fanout.select(event, selection)
                if seen is None:
                    continue
                type_, stored, left = seen
                obj = fanout.left_object(stored, event.revision) if left else stored.object
                yield {"type": type_.value, "object": codec.from_storage(obj)}
        finally:
            stream.close()

    # --- events

    def record_event(
        self,
        regarding: Object,
        *,
        type: str,
        reason: str,
        message: str,
        component: str,
        host: str = "",
        field_path: str = "",
    ) -> None:
        """Record a core/v1 Event about `regarding` (a whole object); a like one within ten minutes is counted up instead.

        An Event that the API refuses (its namespace may be terminating) is dropped, as client-go's recorder does.
        """
        what = {"type": type, "reason": reason, "message": message}
        source = {"component": component, **({"host": host} if host else {})}
        reference = recorder.reference_to(regarding, field_path)
        key = recorder.event_key(reference, what, source)
        now, correlator = self.storage.clock(), self.registry.correlator
        known = correlator.find(key, now)
        try:
            current = self.find(EVENTS, *known) if known is not None else None
            if current is not None:
                event = self.update(
                    EVENTS,
                    current["metadata"]["namespace"],
                    current["metadata"]["name"],
                    recorder.counted_event(current, now),
                )
            else:
                event = recorder.new_event(reference, what, source, now)
                event = self.create(EVENTS, event["metadata"]["namespace"], event)
        except StatusError:
            return
        correlator.remember(key, event["metadata"]["namespace"], event["metadata"]["name"], now)
