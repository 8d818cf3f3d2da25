"""Decoding a built-in object as Go does: unknown fields dropped and reported, types checked, nulls and empty lists left out.

Returns new containers, so that the input and the stored object share nothing.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from . import gotime, quantity
from .schema import NodeKind, SchemaNode

Path = tuple[Any, ...] | None  # linked from the inside out: (parent, step)


@dataclass(slots=True)
class Unknown:
    """Fields that the type does not have, as paths."""

    fields: list[str] = field(default_factory=list)

    def add(self, path: Path, key: str) -> None:
        """Note `key` inside `path`."""
        self.fields.append(show((path, key)))


class DecodeError(ValueError):
    """A value that the type cannot hold; the message is Go's."""


def show(path: Path) -> str:
    """`spec.containers[0].name`."""
    steps: list[Any] = []
    while path is not None:
        path, step = path
        steps.append(step)
    text = ""
    for step in reversed(steps):
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _go_path(path: Path) -> str:
    steps: list[str] = []
    while path is not None:
        path, step = path
        if isinstance(step, str):
            steps.append(step)
    return ".".join(reversed(steps))


def json_type(value: Any) -> str:
    """Go's name of a JSON value's type."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return "number"
    return "array" if isinstance(value, list) else "object"


def _mismatch(value: Any, owner: str, path: Path, go_type: str) -> DecodeError:
    shown = json_type(value)
    if shown == "number" and go_type.startswith("int"):
        shown = f"number {value}"
    where = f"Go struct field {owner}.{_go_path(path)}" if path else "Go value"
    return DecodeError(f"json: cannot unmarshal {shown} into {where} of type {go_type}")


def decode(
    node: SchemaNode, value: Any, unknown: Unknown, path: Path = None, owner: str = ""
) -> Any:
    """`value` decoded by its schema `node`. Raises DecodeError."""
    kind = node.kind
    if kind is NodeKind.STRUCT:
        return _decode_struct(node, value, unknown, path, owner)
    if kind is NodeKind.SCALAR:
        return _decode_scalar(node, value, path, owner)
    if kind is NodeKind.LIST:
        if not isinstance(value, list):
            raise _mismatch(value, owner, path, f"[]{go_type(node.element)}")
        element = node.element
        return [
            decode(element, item, unknown, (path, index), owner)
            if item is not None
            else zero(element)
            for index, item in enumerate(value)
        ]
    if kind is NodeKind.MAP:
        if not isinstance(value, dict):
            raise _mismatch(value, owner, path, f"map[string]{go_type(node.element)}")
        element = node.element
        if element.scalar == "string":
            for item in value.values():
                if type(item) is not str and item is not None:
                    raise _mismatch(item, owner, path, "string")
            return {key: item or "" for key, item in value.items()}
        return {
            key: decode(element, item, unknown, (path, key), owner)
            for key, item in value.items()
            if item is not None
        }
    return copied(value)


def copied(value: Any) -> Any:
    """A deep copy of JSON."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value


def zero(node: SchemaNode) -> Any:
    """The value of an absent list element."""
    if node.kind in (NodeKind.STRUCT, NodeKind.MAP):
        return {}
    return {"integer": 0, "number": 0, "boolean": False}.get(node.scalar, "")


def go_type(node: SchemaNode) -> str:
    """The name of a type in Go's messages."""
    if node.kind is NodeKind.STRUCT:
        return f"v1.{node.name}"
    if node.kind is NodeKind.LIST:
        return f"[]{go_type(node.element)}"
    if node.kind is NodeKind.MAP:
        return f"map[string]{go_type(node.element)}"
    return node.go_type


def _decode_struct(node: SchemaNode, value: Any, unknown: Unknown, path: Path, owner: str) -> Any:
    if not isinstance(value, dict):
        raise _mismatch(value, owner, path, f"v1.{node.name}")
    if node.preserve:
        return copied(value)
    fields = node.fields
    result: dict[str, Any] = {}
    for key, item in value.items():
        child = fields.get(key)
        if child is None:
            unknown.add(path, key)
            continue
        if item is None:
            continue
        decoded = decode(child, item, unknown, (path, key), node.name)
        if decoded or not isinstance(decoded, list | dict) or child.kind is NodeKind.STRUCT:
            result[key] = decoded
    for key, empty in node.emitted.items():
        if key not in result:
            result[key] = emit(node.fields[key], empty) if key in fields else empty
    return result


def emit(node: SchemaNode, empty: Any) -> Any:
    """A value that Go writes even if it is not set, with its content."""
    if isinstance(empty, dict):
        return {key: emit(node.fields[key], value) for key, value in node.emitted.items()}
    return empty


def _decode_scalar(node: SchemaNode, value: Any, path: Path, owner: str) -> Any:
    scalar = node.scalar
    if scalar == "string":
        if type(value) is not str:
            raise _mismatch(value, owner, path, node.go_type)
        return value
    if scalar == "integer":
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int:
            raise _mismatch(value, owner, path, node.go_type)
        bits = 31 if node.go_type == "int32" else 63
        if not -(1 << bits) <= value < (1 << bits):
            raise _mismatch(value, owner, path, node.go_type)
        return value
    if scalar == "boolean":
        if type(value) is not bool:
            raise _mismatch(value, owner, path, "bool")
        return value
    return _decode_special(scalar, value, path, owner, node.go_type)


def _decode_special(scalar: str, value: Any, path: Path, owner: str, type_name: str) -> Any:
    if scalar == "intstr":
        if not isinstance(value, int | str) or isinstance(value, bool):
            raise _mismatch(value, owner, path, "intstr.IntOrString")
        return value
    if scalar == "number":
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise _mismatch(value, owner, path, "float64")
        return value
    if scalar == "quantity":
        if not isinstance(value, int | float | str) or isinstance(value, bool):
            raise DecodeError(quantity.FORM_MESSAGE)
        return _said(quantity.canonical, str(value))
    if type(value) is not str:
        raise _mismatch(value, owner, path, type_name)
    if scalar == "time":
        return _said(gotime.canonical_time, value)
    if scalar == "microtime":
        return _said(gotime.canonical_micro_time, value)
    return decode_bytes(value)


def decode_bytes(value: str) -> str:
    """Base64, as it was given. Raises DecodeError."""
    try:
        base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        at = next(
            (i for i, char in enumerate(value) if not (char.isalnum() or char in "+/=\n")),
            len(value) // 4 * 4,
        )
        raise DecodeError(f"illegal base64 data at input byte {at}") from None
    return value


def _said(function: Any, text: str) -> str:
    try:
        result: str = function(text)
    except ValueError as error:
        raise DecodeError(str(error)) from None
    return result
