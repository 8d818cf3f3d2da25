"""RBAC rules: what one rule allows, and whether rules cover other rules.

Pure functions over `RBACRule`, as rbac/v1 PolicyRule with its lists as tuples. Sources:
pkg/apis/rbac/v1/evaluation_helpers.go and pkg/registry/rbac/validation (policy_comparator.go, policy_compact.go).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
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


def uncovered(held: Sequence[RBACRule], wanted: Iterable[RBACRule]) -> list[RBACRule]:
    """What of `wanted` the rules `held` do not give, as single permissions."""
    return [
        single
        for rule in wanted
        for single in _break_down(rule)
        if not any(_covers(each, single) for each in held)
    ]


def _break_down(rule: RBACRule) -> Iterator[RBACRule]:
    """A rule as rules of one group, resource (or URL), name and verb each."""
    for group in rule.api_groups:
        for resource in rule.resources:
            for verb in rule.verbs:
                if not rule.resource_names:
                    yield RBACRule((verb,), (group,), (resource,))
                for name in rule.resource_names:
                    yield RBACRule((verb,), (group,), (resource,), (name,))
    for url in rule.non_resource_urls:
        for verb in rule.verbs:
            yield RBACRule((verb,), non_resource_urls=(url,))


def _covers(held: RBACRule, single: RBACRule) -> bool:
    if not _matches(held.verbs, single.verbs[0]):
        return False
    if single.non_resource_urls:
        wanted_url = single.non_resource_urls[0]
        return any(_url_covers(url, wanted_url) for url in held.non_resource_urls)
    resource, _, subresource = single.resources[0].partition("/")
    return (
        _matches(held.api_groups, single.api_groups[0])
        and _resource_matches(held.resources, resource, subresource)
        and (
            not held.resource_names
            or (bool(single.resource_names) and single.resource_names[0] in held.resource_names)
        )
    )


def compact(singles: Iterable[RBACRule]) -> list[RBACRule]:
    """Single permissions with those that differ only in their verb as one rule."""
    verbs: dict[RBACRule, list[str]] = {}
    for single in singles:
        key = RBACRule(
            (), single.api_groups, single.resources, single.resource_names, single.non_resource_urls
        )
        known = verbs.setdefault(key, [])
        if single.verbs[0] not in known:
            known.append(single.verbs[0])
    return [
        RBACRule(
            tuple(each), key.api_groups, key.resources, key.resource_names, key.non_resource_urls
        )
        for key, each in verbs.items()
    ]


def describe(rule: RBACRule) -> str:
    """A rule as the API server prints it: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`."""
    parts = (
        ("APIGroups", rule.api_groups),
        ("Resources", rule.resources),
        ("NonResourceURLs", rule.non_resource_urls),
        ("ResourceNames", rule.resource_names),
        ("Verbs", rule.verbs),
    )
    said = (f"{name}:{quoted_list(values)}" for name, values in parts if values)
    return "{" + ", ".join(said) + "}"


def quoted_list(values: Iterable[str]) -> str:
    """Strings as Go's %q prints a slice: `["a" "b"]`."""
    return "[" + " ".join(json.dumps(each, ensure_ascii=False) for each in values) + "]"
