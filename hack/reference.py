"""The API reference as Markdown, from the CRDs: every field with its type, its bounds and its
description."""

from collections.abc import Iterator
from typing import Any

JSON = dict[str, Any]

_INTRODUCTION = """# API reference

<!-- Generated from src/kubetask_controller/api by `make generate`. Do not edit. -->

The four kinds of `kubetask.io/v1alpha1`, field by field. `kubectl explain batchrun.spec --recursive` shows the same from
a cluster. Fields are optional unless marked *required*. Objects refer only to objects in the same namespace.
"""


def render_reference(crds: list[JSON]) -> str:
    """One page for all kinds."""
    return "\n".join([_INTRODUCTION, *(_kind(crd) for crd in crds)])


def _kind(crd: JSON) -> str:
    names = crd["spec"]["names"]
    version = crd["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    lines = [
        f"## {names['kind']}",
        "",
        f"`{crd['metadata']['name']}`, short name `{names['shortNames'][0]}`.",
        "",
        schema.get("description", ""),
        "",
        "| field | type | description |",
        "|---|---|---|",
    ]
    for part in ("spec", "status"):
        if part in schema["properties"]:
            lines += list(_rows(part, schema["properties"][part], required=part == "spec"))
    rules = [rule["message"] for rule in _rules(schema)]
    if rules:
        lines += ["", "What the API server refuses, beyond types and bounds:", ""]
        lines += [f"- {message}" for message in dict.fromkeys(rules)]
    return "\n".join([*lines, ""])


def _rows(path: str, node: JSON, *, required: bool) -> Iterator[str]:
    text = node.get("description", "").replace("|", "\\|")
    if required:
        text = f"*required.* {text}"
    yield f"| `{path}` | {_type(node)} | {text} |"
    inner, suffix = _inner(node)
    for name, child in inner.get("properties", {}).items():
        yield from _rows(
            f"{path}{suffix}.{name}", child, required=name in inner.get("required", ())
        )


def _inner(node: JSON) -> tuple[JSON, str]:
    suffix = ""
    while "items" in node:
        node, suffix = node["items"], f"{suffix}[]"
    return node, suffix


def _type(node: JSON) -> str:
    if node.get("x-kubernetes-int-or-string"):
        return "quantity"
    if "items" in node:
        low, high = node.get("minItems", 0), node.get("maxItems")
        return f"list of {_type(node['items'])}, {low} to {high}"
    if "additionalProperties" in node:
        return f"map of {_type(node['additionalProperties'])}"
    if "enum" in node:
        return " \\| ".join(f"`{value}`" for value in node["enum"])
    if node["type"] == "integer" and "minimum" in node:
        return f"integer, from {node['minimum']}"
    if node["type"] == "string" and node.get("format") == "date-time":
        return "time"
    return str(node["type"])


def _rules(node: JSON) -> Iterator[JSON]:
    yield from node.get("x-kubernetes-validations", ())
    children = [
        *node.get("properties", {}).values(),
        node.get("items"),
        node.get("additionalProperties"),
    ]
    for child in children:
        if isinstance(child, dict):
            yield from _rules(child)
