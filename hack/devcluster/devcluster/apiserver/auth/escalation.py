"""Nobody grants what they do not hold: checks on writes of Roles and bindings, as in pkg/registry/rbac.

An admission plugin, although the API server does it in its storage layer: what a caller sees is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from devcluster.apiserver.errors import forbidden, not_found
from devcluster.apiserver.interfaces import Attributes, Object, User

from .identity import MASTERS
from .rbac import GROUP, RBACAuthorizer
from .rules import RBACRule, compact, decode_rules, describe, quoted_list, uncovered

_ROLES = frozenset({"roles", "clusterroles"})
_BINDINGS = frozenset({"rolebindings", "clusterrolebindings"})


class EscalationCheck:
    """Refuses Roles and bindings that give more than their writer has, unless they may `escalate` or `bind`."""

    phase = "validating"

    def __init__(self, authorizer: RBACAuthorizer) -> None:
        self._authorizer = authorizer

    def __call__(
        self, attributes: Attributes, obj: Object | None, old: Object | None, /
    ) -> Object | None:
        """Admit a write, or raise StatusError 403 (404 for a binding to a role that is not there)."""
        user = attributes.user
        if attributes.group != GROUP or obj is None or user is None or MASTERS in user.groups:
            return obj
        if attributes.resource in _ROLES:
            self._check_role(attributes, user, obj, old)
        elif attributes.resource in _BINDINGS:
            self._check_binding(attributes, user, obj, old)
        return obj

    def _check_role(
        self, attributes: Attributes, user: User, obj: Object, old: Object | None
    ) -> None:
        same = old is not None and old.get("rules") == obj.get("rules")
        aggregates = old is not None and old.get("aggregationRule") == obj.get("aggregationRule")
        if same and (aggregates or not obj.get("aggregationRule")):
            return
        if self._allowed(user, replace(attributes, verb="escalate")):
            return
        if obj.get("aggregationRule"):
            self._confirm(
                attributes,
                user,
                (RBACRule(("*",), ("*",), ("*",)), RBACRule(("*",), non_resource_urls=("*",))),
            )
        self._confirm(attributes, user, decode_rules(obj.get("rules")))

    def _check_binding(
        self, attributes: Attributes, user: User, obj: Object, old: Object | None
    ) -> None:
        if old is not None and all(old.get(key) == obj.get(key) for key in ("roleRef", "subjects")):
            return
        reference = obj["roleRef"]
        kind, name = reference["kind"], reference["name"]
        bind = replace(
            attributes,
            verb="bind",
            resource="clusterroles" if kind == "ClusterRole" else "roles",
            name=name,
        )
        if self._allowed(user, bind):
            return
        rules = self._authorizer.role_rules(kind, name, attributes.namespace)
        if rules is None:
            raise not_found(GROUP, attributes.resource, name)
        self._confirm(attributes, user, rules)

    def _allowed(self, user: User, attributes: Attributes) -> bool:
        return self._authorizer(user, attributes)[0]

    def _confirm(self, attributes: Attributes, user: User, wanted: Sequence[RBACRule]) -> None:
        missing = uncovered(self._authorizer.rules(user, attributes.namespace), wanted)
        if not missing:
            return
        lines = sorted(describe(rule) for rule in compact(missing))
        why = (
            f'user "{user.name}" (groups={quoted_list(user.groups)}) is attempting to grant RBAC '
            "permissions not currently held:\n" + "\n".join(lines)
        )
        raise forbidden(GROUP, attributes.resource, attributes.name, why)
