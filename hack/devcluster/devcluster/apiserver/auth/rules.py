"""RBAC rules: what one rule allows.

Pure functions over `RBACRule`, as rbac/v1 PolicyRule with its lists as tuples. Source:
pkg/apis/rbac/v1/evaluation_helpers.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from devcluster.apiserver.interfaces import Attributes

ALL = "*"


@dataclass(frozen=True, slots=True)
class RBACRule:
    """One PolicyRule. Immutable; equal rules compare equal."""

    verbs: tuple[str, ...] = ()
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = ()

    @classmethod
    def decode(cls, raw: Mapping[str, Any]) -> RBACRule:
        """From its JSON form."""
        return cls(
            tuple(raw.get("verbs") or ()),
            tuple(raw.get("apiGroups") or ()),
            tuple(raw.get("resources") or ()),
            tuple(raw.get("resourceNames") or ()),
            tuple(raw.get("nonResourceURLs") or ()),
        )

    def encode(self) -> dict[str, Any]:
        """Its JSON form, without empty lists."""
        raw = {
            "verbs": list(self.verbs),
            "apiGroups": list(self.api_groups),
            "resources": list(self.resources),
            "resourceNames": list(self.resource_names),
            "nonResourceURLs": list(self.non_resource_urls),
        }
        return {key: value for key, value in raw.items() if value or key == "verbs"}

    def allows(self, attributes: Attributes) -> bool:
        """Whether this rule alone allows a request."""
        if not _matches(self.verbs, attributes.verb):
            return False
        if not attributes.is_resource:
            return any(_url_covers(url, attributes.path) for url in self.non_resource_urls)
        return (
            _matches(self.api_groups, attributes.group)
            and _resource_matches(self.resources, attributes.resource, attributes.subresource)
            and (not self.resource_names or attributes.name in self.resource_names)
        )


def decode_rules(raw: Iterable[Mapping[str, Any]] | None) -> tuple[RBACRule, ...]:
    """The `rules` of a Role or ClusterRole."""
    return tuple(RBACRule.decode(each) for each in raw or ())


def _matches(allowed: Sequence[str], wanted: str) -> bool:
    return wanted in allowed or ALL in allowed


def _resource_matches(allowed: Sequence[str], resource: str, subresource: str) -> bool:
    if ALL in allowed:
        return True
    if not subresource:
        return resource in allowed
    return f"{resource}/{subresource}" in allowed or f"*/{subresource}" in allowed


def _url_covers(owned: str, wanted: str) -> bool:
    if owned in (ALL, wanted):
        return True
    return owned.endswith(ALL) and wanted.startswith(owned.rstrip(ALL))
