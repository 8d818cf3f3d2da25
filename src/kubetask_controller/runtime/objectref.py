"""How an Event names the object that it is about."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ObjectReference:
    """``corev1.ObjectReference`` without the resourceVersion.

    With the resourceVersion in it no two Events about an object whose status moves would ever be
    the same.
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

    def to_dict(self) -> dict[str, Any]:
        """As it stands in an Event; empty fields are left out."""
        fields = {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "uid": self.uid,
        }
        return {name: value for name, value in fields.items() if value}
