"""Owner references: who made an object, and who therefore may change it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class OwnerReference:
    """``metav1.OwnerReference`` of the controlling owner."""

    api_version: str
    kind: str
    name: str
    uid: str

    def to_dict(self) -> dict[str, Any]:
        """As it stands in ``metadata.ownerReferences``; deletion of the owner waits for the object.

        ``blockOwnerDeletion`` is set as controller-runtime sets it; where the admission plugin
        OwnerReferencesPermissionEnforcement is on, that needs the right to update the owner's
        finalizers.
        """
        return {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


class AlreadyOwnedError(Exception):
    """The object has another controller, which would undo what we do to it."""


def group_of(api_version: str) -> str:
    """The group of ``group/version``; "" for the core group."""
    return api_version.rpartition("/")[0]


def controller_of(obj: Mapping[str, Any]) -> OwnerReference | None:
    """The owner that controls an object given as JSON; there is at most one."""
    for reference in obj.get("metadata", {}).get("ownerReferences") or ():
        if reference.get("controller"):
            return OwnerReference(
                api_version=reference["apiVersion"],
                kind=reference["kind"],
                name=reference["name"],
                uid=reference["uid"],
            )
    return None


def set_controller_reference(
    obj: dict[str, Any], owner: OwnerReference, *, owner_namespace: str
) -> None:
    """Make `owner` the controller of an object that is about to be written.

    Args:
        obj: the object as JSON; changed in place.
        owner: its controller to be.
        owner_namespace: "" for a cluster-scoped owner, which may own objects anywhere.

    Raises:
        AlreadyOwnedError: it has another controller.
        ValueError: the owner lives in another namespace, where garbage collection does not look.
    """
    metadata = obj.setdefault("metadata", {})
    if owner_namespace and metadata.get("namespace") != owner_namespace:
        raise ValueError(
            f"an owner in namespace {owner_namespace!r} cannot own an object in "
            f"{metadata.get('namespace')!r}"
        )
    current = controller_of(obj)
    if current is not None and current.uid != owner.uid:
        raise AlreadyOwnedError(f"controlled by {current.kind} {current.name} already")
    others = [r for r in metadata.get("ownerReferences") or () if r.get("uid") != owner.uid]
    metadata["ownerReferences"] = [*others, owner.to_dict()]
