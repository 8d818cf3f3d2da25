"""Admission of deletions and owner references: protected namespaces, and owners whose deletion a writer may not block.

The registry itself refuses new objects in a terminating namespace. Sources:
plugin/pkg/admission/namespace/lifecycle and plugin/pkg/admission/gc.
"""

from __future__ import annotations

from dataclasses import replace

from devcluster.apiserver.catalog import Catalog
from devcluster.apiserver.errors import forbidden
from devcluster.apiserver.interfaces import Attributes, Authorizer, Object, User

IMMORTAL_NAMESPACES = frozenset({"default", "kube-system", "kube-public"})


def protect_namespaces(
    attributes: Attributes, obj: Object | None, old: Object | None, /
) -> Object | None:
    """Refuse to delete the namespaces that every cluster needs."""
    if (
        attributes.operation == "DELETE"
        and attributes.resource == "namespaces"
        and attributes.name in IMMORTAL_NAMESPACES
    ):
        raise forbidden("", "namespaces", attributes.name, "this namespace may not be deleted")
    return obj


class OwnerReferencesPermission:
    """OwnerReferencesPermissionEnforcement, which OpenShift has on and kubeadm off.

    Who changes owner references must be allowed to delete the object; who sets blockOwnerDeletion must be allowed to update
    the finalizers of the owner.
    """

    phase = "validating"

    def __init__(self, authorizer: Authorizer, catalog: Catalog) -> None:
        self._authorizer = authorizer
        self._catalog = catalog

    def __call__(
        self, attributes: Attributes, obj: Object | None, old: Object | None, /
    ) -> Object | None:
        """Admit a write, or raise StatusError 403."""
        user = attributes.user
        if obj is None or user is None:
            return obj
        references = _references(obj)
        previous = _references(old)
        if references == previous:
            return obj
        if old is not None:
            self._check_delete(attributes, user)
        blocking = [
            each for each in references if each.get("blockOwnerDeletion") and each not in previous
        ]
        for reference in blocking:
            self._check_owner(attributes, user, reference)
        return obj

    def _check_delete(self, attributes: Attributes, user: User) -> None:
        allowed, reason = self._authorizer(user, replace(attributes, verb="delete", subresource=""))
        if not allowed:
            why = f"cannot set an ownerRef on a resource you can't delete: {reason}, <nil>"
            raise forbidden(attributes.group, attributes.resource, attributes.name, why)

    def _check_owner(self, attributes: Attributes, user: User, reference: Object) -> None:
        api_version, kind = reference.get("apiVersion", ""), reference.get("kind", "")
        group, _, version = api_version.rpartition("/")
        info = self._catalog.find_kind(group, version, kind)
        if info is None:
            why = (
                "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for "
                f'APIVersion {api_version} Kind {kind}: no matches for kind "{kind}" in version "{api_version}"'
            )
            raise forbidden(attributes.group, attributes.resource, attributes.name, why)
        finalizers = Attributes(
            verb="update",
            group=group,
            version=version,
            resource=info.plural,
            subresource="finalizers",
            namespace=attributes.namespace if info.namespaced else "",
            name=reference.get("name", ""),
        )
        allowed, reason = self._authorizer(user, finalizers)
        if not allowed:
            why = (
                "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set "
                f"finalizers on: {reason}, <nil>"
            )
            raise forbidden(attributes.group, attributes.resource, attributes.name, why)


def _references(obj: Object | None) -> list[Object]:
    return list((obj or {}).get("metadata", {}).get("ownerReferences") or ())
