"""Deletes the content of terminating namespaces, Pods first, and then the namespaces themselves.

As in pkg/controller/namespace: the namespace's conditions list the remaining content. Instead of retrying after an estimated
time, the controller syncs a namespace again when one of its objects is removed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from devcluster.apiserver.catalog import ResourceInfo
from devcluster.apiserver.codec import codec_for
from devcluster.apiserver.local import GVR, NAMESPACES

from .base import Key, Machinery, QueueController, ignore_missing, is_deleting
from .clock import unix

Object = dict[str, Any]
FINALIZER = "kubernetes"


class NamespaceController(QueueController):
    """Keys are (namespace,)."""

    name = "namespace"

    def __init__(self, machinery: Machinery, grace: float) -> None:
        super().__init__(machinery)
        self._grace = machinery.clock.scaled(grace)
        self._registry = machinery.client.registry
        machinery.feed.on("namespaces", self._namespace_written)
        machinery.feed.on_any(self._written)
        self._going: set[str] = set()

    def _namespace_written(self, new: Object | None, old: Object | None) -> None:
        if new is None and old is not None:
            self._going.discard(old["metadata"]["name"])
        elif new is not None and is_deleting(new):
            self._going.add(new["metadata"]["name"])
            self.queue.add((new["metadata"]["name"],))

    def _written(self, info: ResourceInfo, new: Object | None, old: Object | None) -> None:
        namespace = (old or {}).get("metadata", {}).get("namespace", "")
        if new is None and namespace in self._going:
            self.queue.add((namespace,))

    def sync(self, key: Key) -> None:
        """Delete the content of a terminating namespace; finalize the namespace when it is empty."""
        (name,) = key
        namespace = self.client.find(NAMESPACES, None, name)
        if namespace is None or not is_deleting(namespace):
            return
        if FINALIZER not in (namespace.get("spec") or {}).get("finalizers", ()):
            return
        began = unix(namespace["metadata"]["deletionTimestamp"])
        left = began + self._grace - self.clock.now()
        if left > 0:
            self.queue.add_after(key, left)
            return
        infos = self._infos()
        pods = [info for info in infos if info.storage_key == "pods"]
        if self._delete_all(name, pods).instances:
            # While Pods remain, the real controller deletes nothing else and reports no problem.
            self._report(namespace, Remaining(Counter(), Counter()))
            return
        remaining = self._delete_all(name, [info for info in infos if info.storage_key != "pods"])
        self._report(namespace, remaining)
        if not remaining.instances:
            self._finalize(name)

    def _infos(self) -> list[ResourceInfo]:
        """Every namespaced resource that can be listed and deleted, once."""
        found: dict[str, ResourceInfo] = {}
        for info in self._registry.catalog:
            if info.namespaced and {"list", "delete"} <= set(info.verbs):
                found.setdefault(info.storage_key, info)
        return list(found.values())

    def _delete_all(self, namespace: str, infos: Iterable[ResourceInfo]) -> Remaining:
        remaining = Remaining(Counter(), Counter())
        for info in infos:
            resource = GVR(info.group, info.version, info.plural)
            for stored in self._registry.storage.list(info.storage_key, namespace):
                with ignore_missing():
                    self.client.delete(resource, namespace, stored.name, uid=stored.uid)
            for stored in self._registry.storage.list(info.storage_key, namespace):
                remaining.instances[f"{info.plural}.{info.group}"] += 1
                for finalizer in stored.object["metadata"].get("finalizers") or ():
                    remaining.finalizers[finalizer] += 1
        return remaining

    def _report(self, namespace: Object, remaining: Remaining) -> None:
        status = dict(namespace.get("status") or {})
        known = {each["type"]: each for each in status.get("conditions") or ()}
        conditions = []
        for wanted in remaining.conditions():
            before = known.pop(wanted["type"], None)
            same = before is not None and all(before.get(key) == wanted[key] for key in wanted)
            stamp = self.clock.stamp()
            conditions.append(before if same else {**wanted, "lastTransitionTime": stamp})
        status["conditions"] = [*known.values(), *conditions]
        if status != namespace.get("status"):
            name = namespace["metadata"]["name"]
            with ignore_missing():
                self.client.update_status(NAMESPACES, None, name, {**namespace, "status": status})

    def _finalize(self, name: str) -> None:
        """Remove the namespace's own finalizer, as the `finalize` subresource does, and the namespace with the last one."""
        namespace = self.client.find(NAMESPACES, None, name)
        if namespace is None:
            return
        codec = codec_for(self.client.info(NAMESPACES))
        spec = dict(namespace["spec"])
        kept = [each for each in spec["finalizers"] if each != FINALIZER]
        spec["finalizers"] = kept
        if not kept:
            del spec["finalizers"]
        if not kept and not namespace["metadata"].get("finalizers"):
            self._registry.remove(codec, namespace)
            return
        changed = {**namespace, "metadata": dict(namespace["metadata"]), "spec": spec}
        self._registry.put_raw(codec, changed, namespace)


@dataclass(frozen=True, slots=True)
class Remaining:
    """The remaining content of a namespace: objects by resource, and objects by finalizer."""

    instances: Counter[str]
    finalizers: Counter[str]

    def conditions(self) -> list[Object]:
        """The namespace's conditions, without times."""
        left = ", ".join(
            f"{each} has {n} resource instances" for each, n in _sorted(self.instances)
        )
        held = ", ".join(
            f"{each} in {n} resource instances" for each, n in _sorted(self.finalizers)
        )
        return [
            _condition(
                "NamespaceDeletionDiscoveryFailure",
                "ResourcesDiscovered",
                "All resources successfully discovered",
            ),
            _condition(
                "NamespaceDeletionGroupVersionParsingFailure",
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed",
            ),
            _condition(
                "NamespaceDeletionContentFailure",
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
            _condition(
                "NamespaceContentRemaining",
                "SomeResourcesRemain" if left else "ContentRemoved",
                f"Some resources are remaining: {left}"
                if left
                else "All content successfully removed",
                holds=bool(left),
            ),
            _condition(
                "NamespaceFinalizersRemaining",
                "SomeFinalizersRemain" if held else "ContentHasNoFinalizers",
                f"Some content in the namespace has finalizers remaining: {held}"
                if held
                else "All content-preserving finalizers finished",
                holds=bool(held),
            ),
        ]


def _sorted(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items())


def _condition(kind: str, reason: str, message: str, *, holds: bool = False) -> Object:
    status = "True" if holds else "False"
    return {"type": kind, "status": status, "reason": reason, "message": message}
