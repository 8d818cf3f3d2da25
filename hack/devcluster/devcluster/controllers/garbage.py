"""The garbage collector: deletes objects without a remaining owner, in the background or foreground, or orphans them.

As in pkg/controller/garbagecollector, for every resource, custom ones too. Owners are read from the store, so an owner that
never existed counts as deleted. An object's owners must be in its namespace or cluster-scoped; a cluster-scoped object with a
namespaced owner is ignored.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from devcluster.apiserver.catalog import ResourceInfo
from devcluster.apiserver.deletion import FOREGROUND, ORPHAN
from devcluster.apiserver.local import GVR

from .base import Key, Machinery, QueueController, ignore_missing, is_deleting, without_finalizer

Object = dict[str, Any]


class Ref(NamedTuple):
    """An object: where it is and which it is."""

    group: str
    plural: str
    namespace: str
    name: str
    uid: str


class GarbageCollector(QueueController):
    """Keys are Refs of objects to process: their owner was removed, or they are being deleted themselves."""

    name = "garbage-collector"

    def __init__(self, machinery: Machinery) -> None:
        super().__init__(machinery)
        self._catalog = machinery.client.registry.catalog
        self._dependents: dict[str, set[Ref]] = {}
        machinery.feed.on_any(self._written)

    # --- events

    def _written(self, info: ResourceInfo, new: Object | None, old: Object | None) -> None:
        obj = new or old
        assert obj is not None
        ref = _ref(info, obj)
        before, after = _owner_uids(old), _owner_uids(new)
        for uid in before - after:
            self._forget(uid, ref)
        for uid in after - before:
            self._dependents.setdefault(uid, set()).add(ref)
        if new is None:
            self._gone(obj, ref)
        elif after - before or _ends_with_dependents(new):
            self.queue.add(ref)

    def _forget(self, uid: str, ref: Ref) -> None:
        known = self._dependents.get(uid, set())
        known.discard(ref)
        if not known:
            self._dependents.pop(uid, None)

    def _gone(self, obj: Object, ref: Ref) -> None:
        """Enqueue the dependents of a removed object, and owners that wait for its removal."""
        for dependent in self._dependents.get(ref.uid, ()):
            self.queue.add(dependent)
        for reference in obj["metadata"].get("ownerReferences") or ():
            owner = self._owner(ref.namespace, reference)
            if owner is not None and _ends_with_dependents(owner[1]):
                self.queue.add(owner[0])

    # --- sync

    def sync(self, key: Key) -> None:
        """Delete the object if its owners are gone; process its dependents if it waits for them."""
        ref = Ref(*key)
        obj = self._find(ref)
        if obj is None:
            return
        finalizers = obj["metadata"].get("finalizers") or ()
        if is_deleting(obj):
            if ORPHAN in finalizers:
                self._orphan(ref)
            elif FOREGROUND in finalizers:
                self._end_with_dependents(ref)
            return
        self._collect(ref, obj)

    def _orphan(self, ref: Ref) -> None:
        for dependent in self._present_dependents(ref.uid):
            self._drop_references(dependent, {ref.uid})
        self._change(ref, lambda obj: without_finalizer(obj, ORPHAN))

    def _end_with_dependents(self, ref: Ref) -> None:
        """Delete the dependents; once no blocking one remains, remove the owner's finalizer."""
        blocked = False
        for dependent in self._present_dependents(ref.uid):
            self.queue.add(dependent)
            obj = self._find(dependent)
            blocked |= obj is not None and _blocks(obj, ref.uid)
        if not blocked:
            self._change(ref, lambda obj: without_finalizer(obj, FOREGROUND))

    def _collect(self, ref: Ref, obj: Object) -> None:
        references = obj["metadata"].get("ownerReferences") or ()
        if not references:
            return
        solid, absent, waiting = self._classify(ref, references)
        if solid:
            if absent or waiting:
                self._drop_references(ref, absent | waiting)
            return
        chained = bool(waiting) and bool(self._present_dependents(ref.uid))
        policy = "Foreground" if chained else _policy_of(obj)
        with ignore_missing():
            self.client.delete(
                self._resource(ref),
                ref.namespace,
                ref.name,
                uid=ref.uid,
                propagation=policy,
            )

    def _classify(
        self, ref: Ref, references: Iterable[Object]
    ) -> tuple[set[str], set[str], set[str]]:
        """Uids of owners that are there, that are gone, and that are being deleted in the foreground."""
        solid: set[str] = set()
        absent: set[str] = set()
        waiting: set[str] = set()
        for reference in references:
            uid = reference["uid"]
            info = self._owner_info(reference)
            if info is None or (info.namespaced and not ref.namespace):
                solid.add(uid)  # its kind is not served, so it may exist
                continue
            owner = self._owner(ref.namespace, reference)
            if owner is None:
                absent.add(uid)
            elif (
                _ends_with_dependents(owner[1]) and FOREGROUND in owner[1]["metadata"]["finalizers"]
            ):
                waiting.add(uid)
            else:
                solid.add(uid)
        return solid, absent, waiting

    # --- objects

    def _owner_info(self, reference: Object) -> ResourceInfo | None:
        group, _, version = reference["apiVersion"].rpartition("/")
        return self._catalog.find_kind(group, version, reference["kind"])

    def _owner(self, namespace: str, reference: Object) -> tuple[Ref, Object] | None:
        """The owner that a reference of an object in `namespace` names, if it is there."""
        info = self._owner_info(reference)
        if info is None:
            return None
        where = namespace if info.namespaced else ""
        ref = Ref(info.group, info.plural, where, reference["name"], reference["uid"])
        owner = self._find(ref)
        return (ref, owner) if owner is not None else None

    def _resource(self, ref: Ref) -> GVR:
        group = self._catalog.groups.get(ref.group)
        for version, resources in group.versions.items() if group is not None else ():
            if ref.plural in resources:
                return GVR(ref.group, version, ref.plural)
        return GVR(ref.group, "", ref.plural)

    def _find(self, ref: Ref) -> Object | None:
        resource = self._resource(ref)
        if not resource.version:
            return None
        obj = self.client.find(resource, ref.namespace, ref.name)
        return obj if obj is not None and obj["metadata"]["uid"] == ref.uid else None

    def _present_dependents(self, uid: str) -> list[Ref]:
        return sorted(each for each in self._dependents.get(uid, ()) if self._find(each))

    def _drop_references(self, ref: Ref, uids: set[str]) -> None:
        self._change(ref, lambda obj: _without_references(obj, uids))

    def _change(self, ref: Ref, change: Any) -> None:
        """Write a changed copy of the object, if it is still there."""
        if self._find(ref) is None:
            return
        with ignore_missing():
            self.client.mutate(self._resource(ref), ref.namespace, ref.name, change)


def _ref(info: ResourceInfo, obj: Object) -> Ref:
    metadata = obj["metadata"]
    namespace = metadata.get("namespace", "")
    return Ref(info.group, info.plural, namespace, metadata["name"], metadata["uid"])


def _owner_uids(obj: Object | None) -> set[str]:
    references = obj["metadata"].get("ownerReferences") if obj is not None else None
    return {each["uid"] for each in references or ()}


def _ends_with_dependents(obj: Object) -> bool:
    """Whether the object is being deleted and waits for its dependents."""
    finalizers = obj["metadata"].get("finalizers") or ()
    return is_deleting(obj) and (FOREGROUND in finalizers or ORPHAN in finalizers)


def _blocks(obj: Object, owner_uid: str) -> bool:
    return any(
        each["uid"] == owner_uid and each.get("blockOwnerDeletion")
        for each in obj["metadata"].get("ownerReferences") or ()
    )


def _policy_of(obj: Object) -> str:
    finalizers = obj["metadata"].get("finalizers") or ()
    if ORPHAN in finalizers:
        return "Orphan"
    return "Foreground" if FOREGROUND in finalizers else "Background"


def _without_references(obj: Object, uids: set[str]) -> Object | None:
    references = obj["metadata"].get("ownerReferences") or []
    kept = [each for each in references if each["uid"] not in uids]
    if len(kept) == len(references):
        return None
    metadata = {**obj["metadata"], "ownerReferences": kept}
    if not kept:
        del metadata["ownerReferences"]
    return {**obj, "metadata": metadata}
