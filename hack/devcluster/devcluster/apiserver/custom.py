"""One version of a CustomResourceDefinition, compiled: its type graph, rules, columns, and how its objects are written."""

from __future__ import annotations

from typing import Any

from . import cel, structural
from .decode import Unknown
from .errors import FieldError
from .schema import SchemaNode, custom_node
from .strategy import Object, Strategy

BLOCKED_MESSAGE = (
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors "
    "to complete validation"
)
_BLOCKING = frozenset(
    {
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    }
)


class CustomVersion:
    """One version of a CRD, as the server uses it."""

    def __init__(self, crd: Object, version: Object) -> None:
        spec = crd["spec"]
        storage = next(each["name"] for each in spec["versions"] if each.get("storage"))
        self.storage_api_version = f"{spec['group']}/{storage}"
        self.schema: Object = (version.get("schema") or {}).get("openAPIV3Schema") or {
            "type": "object"
        }
        self.node: SchemaNode = custom_node(self.schema, root=True)
        if spec.get("preserveUnknownFields"):
            self.node.preserve = True
        self.rules = cel.collect(self.node)
        self.printer_columns: list[Object] = version.get("additionalPrinterColumns") or []
        self.selectable_fields = tuple(
            each["jsonPath"].lstrip(".") for each in version.get("selectableFields") or ()
        )
        subresources = version.get("subresources") or {}
        self.has_status = "status" in subresources
        self.strategy = CustomStrategy(self)

    def decode(self, body: Object, unknown: Unknown) -> Object:
        """A pruned and defaulted copy of an object. Raises DecodeError for bad metadata."""
        result: Object = structural.prune_and_default(self.node, body, unknown)
        return result

    def validate(self, obj: Object, old: Object | None) -> list[FieldError]:
        """Schema problems, then those of CEL rules."""
        validator = structural.Validator()
        validator.check(
            _without_meta(self.schema), obj, "", old if old is not None else structural.MISSING
        )
        errors = validator.errors
        if self.rules is None:
            return errors
        if any(error.reason in _BLOCKING for error in errors):
            return [*errors, FieldError("FieldValueInvalid", "<nil>", BLOCKED_MESSAGE)]
        return errors + cel.validate(self.rules, obj, old)


_META_FIELDS = frozenset({"apiVersion", "kind", "metadata"})


def _without_meta(schema: Object) -> Object:
    properties = schema.get("properties") or {}
    if not _META_FIELDS.intersection(properties):
        return schema
    kept = {key: value for key, value in properties.items() if key not in _META_FIELDS}
    metadata = (properties.get("metadata") or {}).get("properties")
    if metadata:
        kept["metadata"] = {"type": "object", "properties": metadata}
    return {**schema, "properties": kept}


class CustomStrategy(Strategy):
    """Writes of custom resources."""

    generation = True

    def __init__(self, version: CustomVersion) -> None:
        self.version = version
        self.unconditional_update = False
        self.create_on_update = False
        self.status_fields = ("status",) if version.has_status else ()

    def prepare_create(self, obj: Object) -> None:
        """A status is dropped where there is a status subresource, though its default stays."""
        if self.version.has_status:
            obj.pop("status", None)
            default = self.version.node.fields.get("status")
            if default is not None and "default" in default.raw:
                obj["status"] = structural.prune_and_default(default, default.default, Unknown())
        obj["metadata"]["generation"] = 1

    def spec_of(self, obj: Object) -> Any:
        """Everything but metadata and status counts."""
        ignored = ("metadata", "apiVersion", "kind", *self.status_fields)
        return {key: value for key, value in obj.items() if key not in ignored}

    def prepare_status(self, new: Object, old: Object) -> None:
        """Nothing but the status is taken from a status write, metadata included."""
        managed = new["metadata"].get("managedFields")
        new["metadata"] = {
            **old["metadata"],
            "resourceVersion": new["metadata"].get("resourceVersion", ""),
        }
        new["metadata"].pop("managedFields", None)
        if managed:
            new["metadata"]["managedFields"] = managed
        super().prepare_status(new, old)

    def validate(self, obj: Object) -> list[FieldError]:
        """Schema and rules."""
        return self.version.validate(obj, None)

    def validate_update(self, new: Object, old: Object) -> list[FieldError]:
        """Schema and rules, transition rules included."""
        return self.version.validate(new, old)

    def validate_status(self, new: Object, old: Object) -> list[FieldError]:
        """The whole object is validated on status writes too."""
        return self.version.validate(new, old)
