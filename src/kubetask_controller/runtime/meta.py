"""Object metadata: references to objects, owner references, and the order of resourceVersions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cmp_to_key
from typing import Any

from kubetask_controller.types import JSON


@dataclass(frozen=True, slots=True)
class ObjectReference:
    """``corev1.ObjectReference`` without the resourceVersion: the subject of an Event.

    With the resourceVersion no two Events about an object whose status changes would be equal.
    """

    api_version: str
    kind: str
    name: str
    namespace: str = ""
    uid: str = ""

    @classmethod
    def to(cls, obj: Mapping[str, Any]) -> "ObjectReference":
        """A reference to an object given as JSON."""
        metadata = obj["metadata"]
        return cls(
            api_version=obj["apiVersion"],
            kind=obj["kind"],
            name=metadata["name"],
            namespace=metadata.get("namespace", ""),
            uid=metadata.get("uid", ""),
        )

    def to_dict(self) -> JSON:
        """As an Event contains it; empty fields are left out."""
        fields = {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "uid": self.uid,
        }
        return {name: value for name, value in fields.items() if value}


@dataclass(frozen=True, slots=True)
class OwnerReference:
    """``metav1.OwnerReference`` of the controlling owner."""

    api_version: str
    kind: str
    name: str
    uid: str

    def to_dict(self) -> JSON:
        """As ``metadata.ownerReferences`` contains it.

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


@dataclass(frozen=True, slots=True)
class Unstructured:
    """A view that keeps the whole object: for kinds with few objects. Do not modify `raw`."""

    raw: JSON

    @property
    def namespace(self) -> str:
        """metadata.namespace."""
        return str(self.raw["metadata"].get("namespace", ""))

    @property
    def name(self) -> str:
        """metadata.name."""
        return str(self.raw["metadata"]["name"])

    @property
    def uid(self) -> str:
        """metadata.uid."""
        return str(self.raw["metadata"].get("uid", ""))

    @property
    def resource_version(self) -> str:
        """metadata.resourceVersion."""
        return str(self.raw["metadata"].get("resourceVersion", ""))

    @property
    def labels(self) -> Mapping[str, str]:
        """metadata.labels."""
        return self.raw["metadata"].get("labels") or {}

    @property
    def annotations(self) -> Mapping[str, str]:
        """metadata.annotations."""
        return self.raw["metadata"].get("annotations") or {}

    @property
    def deleting(self) -> bool:
        """Whether metadata.deletionTimestamp is set."""
        return bool(self.raw["metadata"].get("deletionTimestamp"))

    @property
    def owner(self) -> OwnerReference | None:
        """The controlling owner."""
        return controller_of(self.raw)

    def as_owner(self) -> OwnerReference:
        """A reference to this object, as the owner of another one."""
        return OwnerReference(self.raw["apiVersion"], self.raw["kind"], self.name, self.uid)


class AlreadyOwnedError(Exception):
    """The object has another controller, which would revert our changes."""


class MalformedResourceVersionError(ValueError):
    """A resourceVersion is not a decimal number without a leading zero."""


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


def set_controller_reference(obj: JSON, owner: OwnerReference, *, owner_namespace: str) -> None:
    """Make `owner` the controller of an object that is to be written.

    Args:
        obj: the object as JSON; changed in place.
        owner: its new controller.
        owner_namespace: "" for a cluster-scoped owner, which may own objects in every namespace.

    Raises:
        AlreadyOwnedError: it has another controller.
        ValueError: the owner is in another namespace, which the garbage collector does not support.
    """
    metadata = obj.setdefault("metadata", {})
    if owner_namespace and metadata.get("namespace") != owner_namespace:
        raise ValueError(
            f"an owner in namespace {owner_namespace!r} cannot own an object in "
            f"{metadata.get('namespace')!r}"
        )
    current = controller_of(obj)
    if current is not None and current.uid != owner.uid:
        raise AlreadyOwnedError(f"{current.kind} {current.name} already controls the object")
    others = [r for r in metadata.get("ownerReferences") or () if r.get("uid") != owner.uid]
    metadata["ownerReferences"] = [*others, owner.to_dict()]


def compare(a: str, b: str) -> int:
    """-1, 0 or 1 when the resourceVersion `a` is older than, the same as, or newer than `b`.

    KEP-5504 (Kubernetes 1.35) defines the order: of two strings of digits without a leading zero the longer one is newer,
    and of two equally long ones the one that sorts later.

    Raises:
        MalformedResourceVersionError: one of the two is not such a string.
    """
    for version in (a, b):
        # isdigit() alone would accept the digits of other scripts.
        if not version.isascii() or not version.isdigit() or version[0] == "0":
            raise MalformedResourceVersionError(f"{version!r} is not a comparable resourceVersion")
    left, right = (len(a), a), (len(b), b)
    return (left > right) - (left < right)


def oldest(versions: Iterable[str]) -> str:
    """The oldest of one or more resourceVersions; "" when they cannot be compared."""
    try:
        return min(versions, key=cmp_to_key(compare))
    except MalformedResourceVersionError:
        return ""


def micro_time(moment: datetime) -> str:
    """A time in UTC as ``metav1.MicroTime``."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
