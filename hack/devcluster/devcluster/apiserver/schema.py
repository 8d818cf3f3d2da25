"""Types of objects as a graph of `SchemaNode`s, built from published schemas (built-ins) or from a CRD's structural schema.

One graph serves decoding, pruning, defaulting, field ownership, server-side apply and strategic merge patches. Graphs of
built-in kinds are built on first use, from the JSON schemas that the `kubernetes_validate` package ships; which fields Go
always writes (`emitted`) comes from data/emitted.json.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic_core import from_json

SCHEMA_RELEASE = "v1.36.0-local"
META_PREFIX = "io.k8s.apimachinery.pkg.apis.meta.v1."
ANY_JSON = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON"
JSON_SCHEMA_PROPS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"

_GO_TYPES = {"int32": "int32", "int64": "int64", "double": "float64", "byte": "[]uint8"}
_SPECIAL = {
    META_PREFIX + "Time": "time",
    META_PREFIX + "MicroTime": "microtime",
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "intstr",
}
_ANY = frozenset(
    {
        META_PREFIX + "FieldsV1",
        META_PREFIX + "Patch",
        "io.k8s.apimachinery.pkg.runtime.RawExtension",
    }
)


class NodeKind(IntEnum):
    """The shape of a value."""

    ANY = 0
    SCALAR = 1
    STRUCT = 2
    MAP = 3
    LIST = 4


class SchemaNode:
    """One type. Only the attributes of its `kind` mean anything.

    STRUCT: `fields`, `emitted` (field -> zero value that is always written), `name` (of the Go type), `preserve` (unknown
    fields stay), `embedded` (holds an object with metadata). MAP and LIST: `element`. LIST: `list_type` (atomic, set, map)
    and `keys`; `patch_merge_key`, `patch_strategy` for strategic merge. SCALAR: `scalar` (string, integer, number, boolean,
    bytes, time, microtime, quantity, intstr) and `go_type`. `raw` is the schema it came from.
    """

    __slots__ = (
        "atomic",
        "default",
        "element",
        "embedded",
        "emitted",
        "fields",
        "go_type",
        "has_defaults",
        "keys",
        "kind",
        "list_type",
        "name",
        "nullable",
        "patch_merge_key",
        "patch_strategy",
        "preserve",
        "raw",
        "scalar",
    )

    def __init__(self, kind: NodeKind, raw: dict[str, Any]) -> None:
        self.kind = kind
        self.raw = raw
        self.fields: dict[str, SchemaNode] = {}
        self.emitted: dict[str, Any] = {}
        self.element: SchemaNode = self
        self.name = ""
        self.list_type = "atomic"
        self.keys: tuple[str, ...] = ()
        self.patch_merge_key = ""
        self.patch_strategy = ""
        self.scalar = ""
        self.go_type = ""
        self.atomic = False
        self.preserve = False
        self.embedded = False
        self.nullable = False
        self.default: Any = None
        self.has_defaults = False


@cache
def definitions() -> dict[str, dict[str, Any]]:
    """The published schemas by definition name, e.g. `io.k8s.api.batch.v1.Job`."""
    # Found and not imported: the package's own code would take longer than reading the schemas.
    package = find_spec("kubernetes_validate")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).parent.joinpath(
        f"kubernetes-json-schema/{SCHEMA_RELEASE}/_definitions.json"
    )
    data: dict[str, dict[str, dict[str, Any]]] = from_json(path.read_bytes())
    return data["$defs"]


@cache
def _emitted() -> dict[str, dict[str, Any]]:
    raw = files(__package__).joinpath("data/emitted.json").read_bytes()
    data: dict[str, dict[str, Any]] = from_json(raw)
    return data


@cache
def _definitions_by_kind() -> dict[tuple[str, str, str], str]:
    found: dict[tuple[str, str, str], str] = {}
    for name, schema in definitions().items():
        for gvk in schema.get("x-kubernetes-group-version-kind", ()):
            found.setdefault((gvk["group"], gvk["version"], gvk["kind"]), name)
    return found


def definition_name(group: str, version: str, kind: str) -> str | None:
    """The definition of a built-in kind, or None."""
    return _definitions_by_kind().get((group, version, kind))


_nodes: dict[str, SchemaNode] = {}


def builtin_node(name: str) -> SchemaNode:
    """The graph of a definition."""
    node = _nodes.get(name)
    return node if node is not None else _build_definition(name)


def _build_definition(name: str) -> SchemaNode:
    schema = definitions().get(name, {})
    if name in _SPECIAL:
        node = SchemaNode(NodeKind.SCALAR, schema)
        node.scalar, node.go_type = _SPECIAL[name], name.rsplit(".", 1)[1]
        _nodes[name] = node
        return node
    if name == ANY_JSON or name.startswith(JSON_SCHEMA_PROPS + "Or"):
        return _nodes.setdefault(name, SchemaNode(NodeKind.ANY, schema))
    if name in _ANY or not schema.get("properties"):
        plain = "string" in _types(schema)
        node = SchemaNode(NodeKind.SCALAR if plain else NodeKind.STRUCT, schema)
        if plain:
            node.scalar = node.go_type = "string"
        node.name = name.rsplit(".", 1)[1]
        node.preserve = name in _ANY
        _nodes[name] = node
        return node
    node = _nodes[name] = SchemaNode(NodeKind.STRUCT, schema)
    node.name = name.rsplit(".", 1)[1]
    node.emitted = _emitted().get(name, {})
    node.atomic = schema.get("x-kubernetes-map-type") == "atomic"
    node.fields = {key: _build(sub) for key, sub in schema["properties"].items()}
    return node


def _types(schema: dict[str, Any]) -> tuple[str, ...]:
    types = schema.get("type", ())
    return (types,) if isinstance(types, str) else tuple(types)


def _build(schema: dict[str, Any]) -> SchemaNode:
    ref = schema.get("$ref")
    if ref is not None:
        return builtin_node(ref.rsplit("/", 1)[1])
    types = _types(schema)
    if "array" in types:
        node = SchemaNode(NodeKind.LIST, schema)
        node.element = _build(schema.get("items", {}))
        list_options(node, schema)
        return node
    if "object" in types and "additionalProperties" in schema:
        node = SchemaNode(NodeKind.MAP, schema)
        node.element = _build(schema["additionalProperties"])
        node.atomic = schema.get("x-kubernetes-map-type") == "atomic"
        return node
    for scalar in ("string", "integer", "number", "boolean"):
        if scalar in types:
            node = SchemaNode(NodeKind.SCALAR, schema)
            format_ = schema.get("format", "")
            node.scalar = "bytes" if format_ == "byte" else scalar
            node.go_type = _GO_TYPES.get(
                format_,
                {"integer": "int64", "boolean": "bool", "number": "float64"}.get(scalar, scalar),
            )
            return node
    return SchemaNode(NodeKind.ANY, schema)


def list_options(node: SchemaNode, schema: dict[str, Any]) -> None:
    """Take a list's merge behaviour from its schema's extensions."""
    node.list_type = schema.get("x-kubernetes-list-type", "atomic")
    node.keys = tuple(schema.get("x-kubernetes-list-map-keys", ()))
    node.patch_merge_key = schema.get("x-kubernetes-patch-merge-key", "")
    node.patch_strategy = schema.get("x-kubernetes-patch-strategy", "")


def object_meta() -> SchemaNode:
    """The graph of ObjectMeta."""
    return builtin_node(META_PREFIX + "ObjectMeta")


def custom_node(schema: dict[str, Any], *, root: bool = False) -> SchemaNode:
    """The graph of a structural schema (spec.versions[].schema.openAPIV3Schema of a CRD, or a part of it)."""
    if schema.get("x-kubernetes-int-or-string"):
        node = SchemaNode(NodeKind.SCALAR, schema)
        node.scalar = "intstr"
    elif schema.get("type") == "array":
        node = SchemaNode(NodeKind.LIST, schema)
        node.element = custom_node(schema.get("items") or {})
        list_options(node, schema)
    elif schema.get("type") == "object":
        node = _custom_object(schema, root=root)
    elif schema.get("type"):
        node = SchemaNode(NodeKind.SCALAR, schema)
        node.scalar = schema["type"]
    else:
        node = SchemaNode(NodeKind.ANY, schema)
    node.preserve = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    node.nullable = bool(schema.get("nullable"))
    if "default" in schema:
        node.default = schema["default"]
    children = [*node.fields.values(), *([node.element] if node.element is not node else [])]
    node.has_defaults = "default" in schema or any(child.has_defaults for child in children)
    return node


def _custom_object(schema: dict[str, Any], *, root: bool) -> SchemaNode:
    additional = schema.get("additionalProperties")
    properties = schema.get("properties") or {}
    if additional and not properties:
        node = SchemaNode(NodeKind.MAP, schema)
        node.element = (
            custom_node(additional)
            if isinstance(additional, dict)
            else SchemaNode(NodeKind.ANY, {})
        )
    else:
        node = SchemaNode(NodeKind.STRUCT, schema)
        node.fields = {key: custom_node(sub) for key, sub in properties.items()}
    node.atomic = schema.get("x-kubernetes-map-type") == "atomic"
    if root or schema.get("x-kubernetes-embedded-resource"):
        node.embedded = True
        node.fields = {
            **node.fields,
            "apiVersion": _string(),
            "kind": _string(),
            "metadata": object_meta(),
        }
    return node


def _string() -> SchemaNode:
    node = SchemaNode(NodeKind.SCALAR, {})
    node.scalar = node.go_type = "string"
    return node
