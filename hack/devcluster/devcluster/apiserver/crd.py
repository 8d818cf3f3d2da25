"""The lifecycle of CustomResourceDefinitions: established, served, updated, deleted with their objects.

Follows the writes of CRDs through the registry. A CRD becomes Established, and its resource served, a moment after it was
created, as in a real server; without a running event loop that moment is now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import deletion
from .catalog import ResourceInfo, Subresource, version_priority
from .context import DeleteOptions, WriteContext
from .custom import CustomVersion
from .errors import StatusError

if TYPE_CHECKING:
    from .registry import Registry

Object = dict[str, Any]
CRD_KEY = "customresourcedefinitions.apiextensions.k8s.io"
CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
# The order in which the real server lists the verbs of a custom resource.
CUSTOM_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
SUBRESOURCE_VERBS = ("get", "patch", "update")


class CustomResources:
    """Keeps the catalog in step with the stored CRDs."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        registry.after_write.append(self._written)
        for stored in registry.storage.list(CRD_KEY):
            self._serve(stored.object)

    def _written(self, info: ResourceInfo, obj: Object | None, old: Object | None) -> None:
        if info.storage_key != CRD_KEY:
            crd = self._going(info)
            if obj is None and crd is not None:
                self._soon(lambda: self._clean(crd["metadata"]["name"]))
            return
        if obj is None:
            if old is not None:
                self._withdraw(old)
        elif "deletionTimestamp" in obj["metadata"]:
            self._soon(lambda: self._clean(obj["metadata"]["name"]))
        elif _condition(obj, "Established") != "True":
            self._soon(lambda: self._establish(obj["metadata"]["name"]))
        elif old is None or obj["spec"] != old["spec"]:
            self._serve(obj)

    def _going(self, info: ResourceInfo) -> Object | None:
        """The CRD of a resource, when it is being deleted."""
        if info.custom is None:
            return None
        stored = self.registry.storage.get(CRD_KEY, "", f"{info.plural}.{info.group}")
        if stored is None or "deletionTimestamp" not in stored.object["metadata"]:
            return None
        return stored.object

    @staticmethod
    def _soon(action: Callable[[], None]) -> None:
        try:
            asyncio.get_running_loop().call_soon(action)
        except RuntimeError:
            action()

    def _crd_info(self) -> ResourceInfo:
        info = self.registry.catalog.find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
        assert info is not None
        return info

    def _context(self) -> WriteContext:
        return WriteContext(manager="kube-apiserver", field_validation="Ignore")

    def _establish(self, name: str) -> None:
        stored = self.registry.storage.get(CRD_KEY, "", name)
        if stored is None or _condition(stored.object, "Established") == "True":
            return
        crd = stored.object
        now = self.registry.now()
        taken = self._conflict(crd)
        accepted = {
            "type": "NamesAccepted",
            "status": "False" if taken else "True",
            "lastTransitionTime": now,
            "reason": taken[0] if taken else "NoConflicts",
            "message": taken[1] if taken else "no conflicts found",
        }
        established = {
            "type": "Established",
            "status": "False" if taken else "True",
            "lastTransitionTime": now,
            "reason": "NotAccepted" if taken else "InitialNamesAccepted",
            "message": "not all names are accepted"
            if taken
            else "the initial names have been accepted",
        }
        status = {**(crd.get("status") or {}), "conditions": [accepted, established]}
        if not taken:
            status["acceptedNames"] = crd["spec"]["names"]
            self._serve(crd)
        self.registry.update(
            self._crd_info(), "", name, {**crd, "status": status}, self._context(), "status"
        )

    def _conflict(self, crd: Object) -> tuple[str, str] | None:
        """(reason, message) when another resource of the group has one of the names."""
        spec = crd["spec"]
        group, names = spec["group"], spec["names"]
        for info in self.registry.catalog:
            if info.group != group or info.plural == names["plural"]:
                continue
            if info.kind == names["kind"]:
                return "KindConflict", f'"{names["kind"]}" is already in use'
            taken = {info.plural, info.singular, *info.short_names}
            for name in (names["plural"], names["singular"], *(names.get("shortNames") or ())):
                if name in taken:
                    return "ShortNamesConflict", f'"{name}" is already in use'
        return None

    def _serve(self, crd: Object) -> None:
        spec = crd["spec"]
        names, group = spec["names"], spec["group"]
        infos = [
            self._info(crd, version)
            for version in sorted(spec["versions"], key=lambda each: version_priority(each["name"]))
            if version.get("served")
        ]
        self.registry.catalog.replace_custom(group, names["plural"], infos)
        self.registry.storage.begin(f"{names['plural']}.{group}")

    @staticmethod
    def _info(crd: Object, version: Object) -> ResourceInfo:
        spec = crd["spec"]
        names = spec["names"]
        custom = CustomVersion(crd, version)
        subresources: dict[str, Subresource] = {}
        if custom.has_status:
            subresources["status"] = Subresource("status", names["kind"], SUBRESOURCE_VERBS)
        return ResourceInfo(
            group=spec["group"],
            version=version["name"],
            plural=names["plural"],
            kind=names["kind"],
            namespaced=spec["scope"] == "Namespaced",
            singular=names.get("singular") or names["kind"].lower(),
            list_kind=names.get("listKind") or names["kind"] + "List",
            verbs=CUSTOM_VERBS,
            storage_key=f"{names['plural']}.{spec['group']}",
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            subresources=subresources,
            custom=custom,
        )

    def _withdraw(self, crd: Object) -> None:
        spec = crd["spec"]
        self.registry.catalog.replace_custom(spec["group"], spec["names"]["plural"], [])
        self.registry.storage.forget(f"{spec['names']['plural']}.{spec['group']}")

    def _clean(self, name: str) -> None:
        """Delete the objects of a terminating CRD; the CRD is removed with the last of them."""
        stored = self.registry.storage.get(CRD_KEY, "", name)
        if stored is None or CLEANUP_FINALIZER not in (
            stored.object["metadata"].get("finalizers") or ()
        ):
            return
        crd = stored.object
        key = f"{crd['spec']['names']['plural']}.{crd['spec']['group']}"
        info = self.registry.catalog.by_storage_key(key)
        if info is not None:
            for item in self.registry.storage.list(key):
                if "deletionTimestamp" not in item.object["metadata"]:
                    try:
                        deletion.delete(
                            self.registry,
                            info,
                            item.namespace,
                            item.name,
                            DeleteOptions(),
                            self._context(),
                        )
                    except StatusError:
                        continue
        if self.registry.storage.count(key):
            return
        fresh = self.registry.current(self._crd_info(), "", name)
        finalizers = [
            each for each in fresh["metadata"].get("finalizers") or () if each != CLEANUP_FINALIZER
        ]
        body = {**fresh, "metadata": {**fresh["metadata"], "finalizers": finalizers}}
        self.registry.update(self._crd_info(), "", name, body, self._context())


def _condition(crd: Object, type_: str) -> str:
    for each in (crd.get("status") or {}).get("conditions") or ():
        if each["type"] == type_:
            return str(each["status"])
    return ""
