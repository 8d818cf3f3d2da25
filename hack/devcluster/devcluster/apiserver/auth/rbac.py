"""The RBAC authorizer: Roles, ClusterRoles and their bindings, as they are stored at this moment.

`system:masters` may do everything. Decisions and their reasons are those of plugin/pkg/auth/authorizer/rbac. The effective
rules of a user in a namespace are kept until a Role, ClusterRole or binding changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from devcluster.apiserver.interfaces import Attributes, User
from devcluster.storage import Storage, Watch

from .identity import MASTERS
from .rules import RBACRule, decode_rules
from .serviceaccounts import USER_PREFIX

GROUP = "rbac.authorization.k8s.io"
ROLES = f"roles.{GROUP}"
CLUSTER_ROLES = f"clusterroles.{GROUP}"
ROLE_BINDINGS = f"rolebindings.{GROUP}"
CLUSTER_ROLE_BINDINGS = f"clusterrolebindings.{GROUP}"
KEPT_USERS = 4096


@dataclass(frozen=True, slots=True)
class Grant:
    """The rules that one binding gives to a user, and how a decision names it."""

    why: str
    rules: tuple[RBACRule, ...]


@dataclass(frozen=True, slots=True)
class Grants:
    """Everything a user has in one namespace (or cluster-wide), with bindings' errors (`clusterrole ... not found`)."""

    grants: tuple[Grant, ...]
    errors: tuple[str, ...]


class RBACAuthorizer:
    """Decides by the RBAC objects in `storage`."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._watches: list[Watch] = []
        self._grants: dict[tuple[str, tuple[str, ...], str], Grants] = {}
        self._bindings: dict[tuple[str, str], list[dict[str, Any]]] = {}

    def __call__(self, user: User, attributes: Attributes, /) -> tuple[bool, str]:
        """Whether `user` may do what `attributes` describe, and why."""
        if MASTERS in user.groups:
            return True, ""
        grants = self.grants(user, attributes.namespace if attributes.is_resource else "")
        for grant in grants.grants:
            for rule in grant.rules:
                if rule.allows(attributes):
                    return True, f"RBAC: allowed by {grant.why}"
        if not grants.errors:
            return False, ""
        errors = grants.errors
        return False, "RBAC: " + (errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]")

    def rules(self, user: User, namespace: str) -> list[RBACRule]:
        """Every rule that applies to a user in a namespace ('' for cluster-wide ones only)."""
        if MASTERS in user.groups:
            return [RBACRule(("*",), ("*",), ("*",)), RBACRule(("*",), non_resource_urls=("*",))]
        return [rule for grant in self.grants(user, namespace).grants for rule in grant.rules]

    def role_rules(self, kind: str, name: str, namespace: str) -> tuple[RBACRule, ...] | None:
        """The rules of a Role or ClusterRole, or None when it is not there."""
        resource, scope = (CLUSTER_ROLES, "") if kind == "ClusterRole" else (ROLES, namespace)
        stored = self._storage.get(resource, scope, name)
        return decode_rules(stored.object.get("rules")) if stored is not None else None

    def grants(self, user: User, namespace: str) -> Grants:
        """The grants of a user's bindings in a namespace."""
        self._refresh()
        key = (user.name, user.groups, namespace)
        found = self._grants.get(key)
        if found is None:
            if len(self._grants) >= KEPT_USERS:
                self._grants.clear()
            found = self._grants[key] = self._collect(user, namespace)
        return found

    def _refresh(self) -> None:
        """Discard cached grants if their objects have changed since."""
        watches = self._watches
        if watches and not any(watch.closed or watch.drain() for watch in watches):
            return
        if not watches or any(watch.closed for watch in watches):
            for watch in watches:
                watch.close()
            self._watches = [
                self._storage.watch(resource)
                for resource in (ROLES, CLUSTER_ROLES, ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS)
            ]
        self._grants.clear()
        self._bindings.clear()

    def close(self) -> None:
        """Stop following changes."""
        for watch in self._watches:
            watch.close()
        self._watches = []

    def _collect(self, user: User, namespace: str) -> Grants:
        grants: list[Grant] = []
        errors: list[str] = []
        for binding, cluster_wide in self._applicable(namespace):
            metadata, reference = binding["metadata"], binding["roleRef"]
            bound_in = "" if cluster_wide else metadata["namespace"]
            subject = _applies(binding, user, bound_in)
            if subject is None:
                continue
            kind, name = reference["kind"], reference["name"]
            rules = self.role_rules(kind, name, bound_in)
            if rules is None:
                errors.append(f'{kind.lower()}.{GROUP} "{name}" not found')
                continue
            if cluster_wide:
                said = f'ClusterRoleBinding "{metadata["name"]}"'
            else:
                said = f'RoleBinding "{metadata["name"]}/{bound_in}"'
            grants.append(
                Grant(f'{said} of {kind} "{name}" to {_describe(subject, bound_in)}', rules)
            )
        return Grants(tuple(grants), tuple(errors))

    def _applicable(self, namespace: str) -> Iterator[tuple[dict[str, Any], bool]]:
        for binding in self._list(CLUSTER_ROLE_BINDINGS, ""):
            yield binding, True
        if namespace:
            for binding in self._list(ROLE_BINDINGS, namespace):
                yield binding, False

    def _list(self, resource: str, namespace: str) -> list[dict[str, Any]]:
        key = (resource, namespace)
        found = self._bindings.get(key)
        if found is None:
            stored = self._storage.list(resource, namespace)
            found = self._bindings[key] = [each.object for each in stored]
        return found


def _applies(binding: dict[str, Any], user: User, namespace: str) -> dict[str, Any] | None:
    """The first subject of a binding that is this user."""
    for subject in binding.get("subjects") or ():
        kind, name = subject.get("kind"), subject.get("name", "")
        if kind == "User":
            matches = user.name == name
        elif kind == "Group":
            matches = name in user.groups
        else:
            scope = subject.get("namespace") or namespace
            matches = bool(scope) and user.name == f"{USER_PREFIX}{scope}:{name}"
        if matches:
            found: dict[str, Any] = subject
            return found
    return None


def _describe(subject: dict[str, Any], namespace: str) -> str:
    if subject["kind"] == "ServiceAccount":
        return f'ServiceAccount "{subject["name"]}/{subject.get("namespace") or namespace}"'
    return f'{subject["kind"]} "{subject["name"]}"'
