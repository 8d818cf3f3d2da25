"""The served resources: the built-in ones, from a recording of a real server's discovery, and those of CRDs.

`ResourceInfo` is one resource in one version. Versions and groups that share objects (core and events.k8s.io events, versions
of a CRD) share a `storage_key`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic_core import from_json

from .errors import qualified

CORE_VERSION = "v1"
EVENTS_KEY = "events"


@dataclass(frozen=True, slots=True)
class Subresource:
    """A subresource of a resource; group, version and kind where they are not the parent's."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ResourceInfo:
    """One resource in one version. `custom` is the compiled CRD version (a `crd.CustomVersion`), None for built-ins."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    singular: str
    list_kind: str
    verbs: tuple[str, ...]
    storage_key: str
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: Mapping[str, Subresource] = field(default_factory=dict)
    custom: Any = None

    @property
    def api_version(self) -> str:
        """`batch/v1`, or `v1` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`jobs.batch`, as messages name it."""
        return qualified(self.plural, self.group)

    @property
    def storage_version_hash(self) -> str:
        """The hash of the storage version, as discovery shows it."""
        group = "" if self.storage_key == EVENTS_KEY else self.group
        digest = hashlib.sha256(f"{group}/{self.version}/{self.kind}".encode()).digest()
        return base64.b64encode(digest[:8]).decode()


@dataclass(slots=True)
class GroupVersions:
    """The versions of a group, most preferred first, with their resources by plural."""

    group: str
    versions: dict[str, dict[str, ResourceInfo]] = field(default_factory=dict)


@cache
def _builtin_data() -> list[dict[str, Any]]:
    raw = files(__package__).joinpath("data/resources.json").read_bytes()
    data: list[dict[str, Any]] = from_json(raw)
    return data


def _builtin(group: str, version: str, raw: dict[str, Any]) -> ResourceInfo:
    plural = raw["plural"]
    return ResourceInfo(
        group=group,
        version=version,
        plural=plural,
        kind=raw["kind"],
        namespaced=raw["namespaced"],
        singular=raw["singular"],
        list_kind=raw["kind"] + "List",
        verbs=tuple(raw["verbs"]),
        storage_key=EVENTS_KEY if plural == EVENTS_KEY else qualified(plural, group),
        short_names=tuple(raw.get("shortNames", ())),
        categories=tuple(raw.get("categories", ())),
        subresources={
            sub["name"]: Subresource(
                sub["name"], sub["kind"], tuple(sub["verbs"]), sub["group"], sub["version"]
            )
            for sub in raw.get("subresources", ())
        },
    )


class Catalog:
    """All served resources. CRDs add and remove theirs while the server runs; `changes` counts that."""

    def __init__(self) -> None:
        self.groups: dict[str, GroupVersions] = {}
        self.changes = 0
        for raw_group in _builtin_data():
            group = self.groups[raw_group["group"]] = GroupVersions(raw_group["group"])
            for raw_version in raw_group["versions"]:
                version = raw_version["version"]
                group.versions[version] = {
                    raw["plural"]: _builtin(group.group, version, raw)
                    for raw in raw_version["resources"]
                }
        self._builtin_groups = frozenset(self.groups)

    def find(self, group: str, version: str, plural: str) -> ResourceInfo | None:
        """The resource at /apis/<group>/<version>/<plural>, or None."""
        found = self.groups.get(group)
        resources = found.versions.get(version) if found is not None else None
        return resources.get(plural) if resources is not None else None

    def find_kind(self, group: str, version: str, kind: str) -> ResourceInfo | None:
        """The resource whose objects have this kind, or None."""
        found = self.groups.get(group)
        for info in (found.versions.get(version) or {}).values() if found is not None else ():
            if info.kind == kind:
                return info
        return None

    def by_storage_key(self, key: str) -> ResourceInfo | None:
        """A resource (its preferred version) whose objects are stored under `key`."""
        return next((info for info in self if info.storage_key == key), None)

    def __iter__(self) -> Iterator[ResourceInfo]:
        for group in self.groups.values():
            for resources in group.versions.values():
                yield from resources.values()

    def is_builtin(self, group: str) -> bool:
        """Whether a group comes with the server."""
        return group in self._builtin_groups

    def replace_custom(self, group: str, plural: str, infos: list[ResourceInfo]) -> None:
        """Serve `infos` (versions of one CRD, most preferred first), and nothing else, as <plural>.<group>."""
        found = self.groups.setdefault(group, GroupVersions(group))
        for resources in found.versions.values():
            resources.pop(plural, None)
        for info in infos:
            found.versions.setdefault(info.version, {})[plural] = info
        kept = {version: res for version, res in found.versions.items() if res}
        found.versions = dict(sorted(kept.items(), key=lambda item: version_priority(item[0])))
        if not found.versions and not self.is_builtin(group):
            del self.groups[group]
        self.changes += 1


def version_priority(version: str) -> tuple[int, int, int, str]:
    """Sort key of Kubernetes' version order: v2, v1, v1beta2, v1beta1, v1alpha1, others by name."""
    rest = version[1:] if version.startswith("v") else ""
    major = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    if not major:
        return (3, 0, 0, version)
    suffix = rest[len(major) :]
    if not suffix:
        return (0, -int(major), 0, "")
    for rank, name in ((1, "beta"), (2, "alpha")):
        number = suffix.removeprefix(name)
        if suffix.startswith(name) and number.isdigit():
            return (rank, -int(major), -int(number), "")
    return (3, 0, 0, version)
