"""From a pydantic model to the structural OpenAPI v3 schema of a CustomResourceDefinition.

Structural means: every node has one type, references are inlined, nothing is nullable, and each
node contains its own value validations. This module converts the parts that pydantic writes
differently (``$ref``, ``anyOf`` with null, titles, defaults) and keeps ``x-kubernetes-*``
extensions from ``json_schema_extra``.

Raises ``ValueError`` for a schema without a structural form, so that such a model fails when the CRD
is generated.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from kubetask_controller.api.common import MAX_INT32
from kubetask_controller.types import JSON

_ORDER = (
    "description",
    "type",
    "format",
    "anyOf",
    "enum",
    "default",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "maxProperties",
    "required",
    "properties",
    "additionalProperties",
    "items",
)
_DROPPED = ("title", "default", "$defs")
_INT_OR_STRING = "x-kubernetes-int-or-string"


def structural_schema(model: type[BaseModel]) -> JSON:
    """The schema of ``model`` for ``openAPIV3Schema``."""
    schema = model.model_json_schema(by_alias=True)
    return _convert(schema, schema.get("$defs", {}))


def _convert(node: Mapping[str, Any], definitions: Mapping[str, JSON]) -> JSON:
    flat = _flatten(node, definitions)
    if flat.pop("additionalProperties", None) not in (None, True, False):
        flat["additionalProperties"] = _convert(
            _flatten(node, definitions)["additionalProperties"], definitions
        )
    if "properties" in flat:
        flat["properties"] = {
            name: _convert(child, definitions) for name, child in flat["properties"].items()
        }
    if "items" in flat:
        flat["items"] = _convert(flat["items"], definitions)
    if "description" in flat:
        flat["description"] = " ".join(flat["description"].split())
    if flat.get("type") == "integer":
        flat["format"] = "int32" if flat.get("maximum", MAX_INT32 + 1) <= MAX_INT32 else "int64"
        _drop_int64_bounds(flat)
    if "type" not in flat and _INT_OR_STRING not in flat:
        raise ValueError(f"no structural type for {dict(node)}")
    return _ordered(flat)


def _flatten(node: Mapping[str, Any], definitions: Mapping[str, JSON]) -> JSON:
    """The node with its reference and its optional union resolved; keys of the outer node win."""
    outer = {key: value for key, value in node.items() if key not in _DROPPED}
    inner: JSON = {}
    if "$ref" in outer:
        inner = _flatten(definitions[outer.pop("$ref").rpartition("/")[2]], definitions)
    elif "anyOf" in outer and _INT_OR_STRING not in outer:
        choices = [choice for choice in outer.pop("anyOf") if choice.get("type") != "null"]
        if len(choices) != 1:
            raise ValueError(f"a union has no structural form: {choices}")
        inner = _flatten(choices[0], definitions)
    rules = "x-kubernetes-validations"
    if rules in inner and rules in outer:
        outer[rules] = [*inner[rules], *outer[rules]]
    return inner | outer


def _drop_int64_bounds(node: JSON) -> None:
    """Remove bounds that the format int64 implies."""
    for key, bound in (("minimum", -(2**63)), ("maximum", 2**63 - 1)):
        if node.get(key) == bound:
            del node[key]


def _ordered(node: JSON) -> JSON:
    known = {key: node[key] for key in _ORDER if key in node}
    return known | {key: value for key, value in sorted(node.items()) if key not in known}
