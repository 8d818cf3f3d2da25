"""Aggregated ClusterRoles: their rules are those of every ClusterRole that their selectors match.

What the clusterrole-aggregation-controller does, at once instead of some milliseconds later.
"""

from __future__ import annotations

from devcluster.apiserver.catalog import ResourceInfo
from devcluster.apiserver.interfaces import Object
from devcluster.apiserver.local import GVR, LocalClient
from devcluster.apiserver.registry import Registry

from .rbac import CLUSTER_ROLES, GROUP

MANAGER = "clusterrole-aggregation-controller"
_CLUSTER_ROLES = GVR(GROUP, "v1", "clusterroles")


class ClusterRoleAggregation:
    """Keeps the rules of aggregated ClusterRoles; add it to `Registry.after_write`."""

    def __init__(self, registry: Registry) -> None:
        self._client = LocalClient(registry, manager=MANAGER)
        self._busy = False

    def __call__(self, info: ResourceInfo, obj: Object | None, old: Object | None) -> None:
        """React to a write of any object."""
        if info.storage_key == CLUSTER_ROLES and not self._busy:
            self.aggregate()

    def aggregate(self) -> None:
        """Bring every aggregated ClusterRole up to date; they may aggregate one another."""
        self._busy = True
        try:
            changed = True
            while changed:
                changes = [self._update(role) for role in self._aggregated()]
                changed = any(changes)
        finally:
            self._busy = False

    def _aggregated(self) -> list[Object]:
        roles = self._client.list(_CLUSTER_ROLES)
        return [role for role in roles if role.get("aggregationRule")]

    def _update(self, role: Object) -> bool:
        rules: list[Object] = []
        for selector in role["aggregationRule"].get("clusterRoleSelectors") or ():
            for other in self._client.list(_CLUSTER_ROLES):
                if other["metadata"]["name"] == role["metadata"]["name"]:
                    continue
                if _selects(selector, other["metadata"].get("labels") or {}):
                    rules += [rule for rule in other.get("rules") or () if rule not in rules]
        if rules == (role.get("rules") or []):
            return False
        self._client.update(
            _CLUSTER_ROLES, None, role["metadata"]["name"], {**role, "rules": rules}
        )
        return True


def _selects(selector: Object, labels: dict[str, str]) -> bool:
    """metav1.LabelSelector; an empty one selects everything."""
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    for expression in selector.get("matchExpressions") or ():
        value, values = labels.get(expression["key"]), expression.get("values") or ()
        matches = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not matches.get(expression["operator"], False):
            return False
    return True
