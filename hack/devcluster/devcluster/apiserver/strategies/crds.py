"""CustomResourceDefinitions: defaults, and what a definition must not be."""

from __future__ import annotations

from typing import Any

from ..errors import FieldError, invalid_value
from ..strategy import Strategy, keep
from .crdschema import check_schema

Object = dict[str, Any]

FINALIZER = "customresourcecleanup.apiextensions.k8s.io"


class Definitions(Strategy):
    """apiextensions.k8s.io/v1 CustomResourceDefinitions."""

    generation = True

    def default(self, obj: Object) -> None:
        """As pkg/apis/apiextensions/v1/defaults.go."""
        spec = obj.get("spec")
        if not isinstance(spec, dict):
            return
        spec.setdefault("scope", "Namespaced")
        names = spec.setdefault("names", {})
        kind = names.get("kind") or ""
        if kind:
            names.setdefault("singular", kind.lower())
            names.setdefault("listKind", f"{kind}List")
        spec.setdefault("conversion", {"strategy": "None"})

    def prepare_create(self, obj: Object) -> None:
        """A definition begins without accepted names."""
        super().prepare_create(obj)
        stored = [x["name"] for x in obj["spec"].get("versions") or () if x.get("storage")]
        obj["status"] = {
            "conditions": None,
            "acceptedNames": {"plural": "", "kind": ""},
            "storedVersions": stored,
        }

    def prepare_update(self, new: Object, old: Object) -> None:
        """Versions that are stored from now on are noted."""
        super().prepare_update(new, old)
        keep(new, old, "status")
        status = new.get("status") or {}
        known = status.get("storedVersions") or []
        more = [x["name"] for x in new["spec"].get("versions") or () if x.get("storage")]
        if any(x not in known for x in more):
            new["status"] = {
                **status,
                "storedVersions": [*known, *(x for x in more if x not in known)],
            }

    def validate(self, obj: Object) -> list[FieldError]:
        """The name, and each version's schema."""
        spec, name = obj["spec"], obj["metadata"].get("name", "")
        errors: list[FieldError] = []
        if name != f"{spec['names'].get('plural', '')}.{spec.get('group', '')}":
            detail = 'must be spec.names.plural+"."+spec.group'
            errors.append(invalid_value("metadata.name", name, detail))
        versions = spec.get("versions") or []
        for index, version in enumerate(versions):
            schema = (version.get("schema") or {}).get("openAPIV3Schema")
            if schema is not None:
                # One schema for all versions is shown as the one of v1beta1.
                path = "spec.validation" if len(versions) == 1 else f"spec.versions[{index}].schema"
                errors += check_schema(schema, f"{path}.openAPIV3Schema")
        return errors

    def validate_update(self, new: Object, old: Object) -> list[FieldError]:
        """An unchanged schema is not validated again."""
        return self.validate(new) if new["spec"] != old["spec"] else []
