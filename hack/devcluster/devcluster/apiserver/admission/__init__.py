"""Admission plugins of the development cluster, and the chain in which the API server runs them."""

from __future__ import annotations

from devcluster.apiserver.auth.rbac import RBACAuthorizer
from devcluster.apiserver.interfaces import AdmissionPlugin
from devcluster.apiserver.registry import Registry

from .lifecycle import OwnerReferencesPermission, protect_namespaces
from .limits import LimitRanger
from .pods import (
    PriorityAdmission,
    RuntimeClassAdmission,
    ServiceAccountAdmission,
    default_tolerations,
)
from .podsecurity import PodSecurity
from .policies import AdmissionPolicies
from .quota import QuotaAdmission
from .webhooks import Webhooks, with_answers

__all__ = ["install", "with_answers"]


def install(
    registry: Registry,
    authorizer: RBACAuthorizer,
    *,
    owner_references_permission: bool = True,
    seed: int | None = None,
) -> None:
    """Put every plugin into `registry`, in the API server's order, and the quota's usage into its hooks."""
    storage = registry.storage
    quota = QuotaAdmission(registry)
    plugins: list[AdmissionPlugin] = [
        protect_namespaces,
        LimitRanger(storage),
        ServiceAccountAdmission(storage, seed=seed),
        PriorityAdmission(storage),
        default_tolerations,
        RuntimeClassAdmission(storage),
        Webhooks(registry, "mutating"),
        PodSecurity(storage),
    ]
    if owner_references_permission:
        plugins.append(OwnerReferencesPermission(authorizer, registry.catalog))
    plugins += [AdmissionPolicies(storage), Webhooks(registry, "validating"), quota]
    registry.admission.extend(plugins)
    registry.after_write.append(quota.after_write)
