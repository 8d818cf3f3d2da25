"""Custom resource objects against their structural schema: pruning, defaulting, validation.

Wording and order follow the real server's kube-openapi validator (properties in name order, then required fields).
"""

from __future__ import annotations

import copy
import ipaddress
import re
from base64 import b64decode
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from . import decode as decoding
from .decode import Path, Unknown
from .errors import (
    FieldError,
    duplicate,
    invalid_value,
    not_supported,
    required,
    too_long,
    too_many,
)
from .gotime import parse_time
from .schema import NodeKind, SchemaNode

MISSING: Any = object()


def prune_and_default(node: SchemaNode, value: Any, unknown: Unknown, path: Path = None) -> Any:
    """A fresh copy of `value` without unknown fields (reported in `unknown`) and with defaults filled in."""
    if node.kind is NodeKind.STRUCT:
        return (
            _struct(node, value, unknown, path) if isinstance(value, dict) else copy.deepcopy(value)
        )
    if node.kind is NodeKind.MAP and isinstance(value, dict):
        return {
            key: prune_and_default(node.element, item, unknown, (path, key))
            for key, item in value.items()
        }
    if node.kind is NodeKind.LIST and isinstance(value, list):
        return [
            prune_and_default(node.element, item, unknown, (path, i))
            for i, item in enumerate(value)
        ]
    return copy.deepcopy(value) if isinstance(value, dict | list) else value


def _struct(
    node: SchemaNode, value: dict[str, Any], unknown: Unknown, path: Path
) -> dict[str, Any]:
    fields = node.fields
    result: dict[str, Any] = {}
    for key, item in value.items():
        child = fields.get(key)
        if child is None:
            if node.preserve:
                result[key] = copy.deepcopy(item)
            else:
                unknown.add(path, key)
        elif item is None and not child.nullable and "default" in child.raw:
            continue
        elif node.embedded and key == "metadata":
            result[key] = decoding.decode(child, item or {}, unknown, (path, key), "ObjectMeta")
        else:
            result[key] = prune_and_default(child, item, unknown, (path, key))
    if node.has_defaults:
        for key, child in fields.items():
            if key not in result and "default" in child.raw:
                result[key] = prune_and_default(child, child.default, Unknown(), (path, key))
    return result


class Validator:
    """Validates values against raw schemas. With `old`, problems of unchanged values are not reported (ratcheting)."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []

    def check(self, schema: dict[str, Any], value: Any, path: str, old: Any = MISSING) -> None:
        """Add the problems of `value`."""
        if old is not MISSING and old == value:
            return
        if value is None and schema.get("nullable"):
            return
        if not self._type(schema, value, path):
            return
        if isinstance(value, str):
            self._string(schema, value, path)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            self._number(schema, value, path)
        elif isinstance(value, list):
            self._list(schema, value, path, old)
        if "enum" in schema and value not in schema["enum"]:
            self.errors.append(
                not_supported(path, value, [_plain(each) for each in schema["enum"]])
            )
        if isinstance(value, dict):
            self._object(schema, value, path, old)
        self._combined(schema, value, path)

    def _type(self, schema: dict[str, Any], value: Any, path: str) -> bool:
        if schema.get("x-kubernetes-int-or-string"):
            wanted, ok = (
                "integer,string",
                isinstance(value, int | str) and not isinstance(value, bool),
            )
        else:
            wanted = schema.get("type", "")
            ok = not wanted or _is_type(wanted, value)
        if ok:
            return True
        actual = _type_name(value)
        message = (
            f'Invalid value: "{actual}": {_in_body(path)} must be of type {wanted}: "{actual}"'
        )
        self.errors.append(FieldError("FieldValueTypeInvalid", path, message))
        return False

    def _add(self, path: str, value: Any, what: str) -> None:
        self.errors.append(invalid_value(path, value, f"{_in_body(path)} {what}"))

    def _string(self, schema: dict[str, Any], value: str, path: str) -> None:
        if "maxLength" in schema and len(value) > schema["maxLength"]:
            self.errors.append(too_long(path, schema["maxLength"]))
        if "minLength" in schema and len(value) < schema["minLength"]:
            self._add(path, value, f"should be at least {schema['minLength']} chars long")
        pattern = schema.get("pattern")
        if pattern and not compile_pattern(pattern).search(value):
            self._add(path, value, f"should match '{pattern}'")
        form = schema.get("format")
        if form and not _has_format(form, value):
            self._add(path, value, f'must be of type {form}: "{value}"')

    def _number(self, schema: dict[str, Any], value: float, path: str) -> None:
        if "multipleOf" in schema and value % schema["multipleOf"]:
            self._add(path, value, f"should be a multiple of {schema['multipleOf']}")
        if "maximum" in schema:
            limit = schema["maximum"]
            if schema.get("exclusiveMaximum"):
                if value >= limit:
                    self._add(path, value, f"should be less than {limit}")
            elif value > limit:
                self._add(path, value, f"should be less than or equal to {limit}")
        if "minimum" in schema:
            limit = schema["minimum"]
            if schema.get("exclusiveMinimum"):
                if value <= limit:
                    self._add(path, value, f"should be greater than {limit}")
            elif value < limit:
                self._add(path, value, f"should be greater than or equal to {limit}")
        form = schema.get("format")
        if form in ("int32", "int64") and not -(
            1 << (31 if form == "int32" else 63)
        ) <= value < 1 << (31 if form == "int32" else 63):
            self._add(path, value, f"must be of type {form}: {value}")

    def _list(self, schema: dict[str, Any], value: list[Any], path: str, old: Any) -> None:
        items = schema.get("items") or {}
        if items:
            before = _correlate(schema, old)
            for index, item in enumerate(value):
                self.check(items, item, f"{path}[{index}]", before(index, item))
        if "minItems" in schema and len(value) < schema["minItems"]:
            self._add(path, len(value), f"should have at least {schema['minItems']} items")
        if "maxItems" in schema and len(value) > schema["maxItems"]:
            self.errors.append(too_many(path, len(value), schema["maxItems"]))
        if schema.get("uniqueItems") and _repeated(value):
            self._add(path, value, "shouldn't contain duplicates")
        self._list_type(schema, value, path)

    def _list_type(self, schema: dict[str, Any], value: list[Any], path: str) -> None:
        kind = schema.get("x-kubernetes-list-type")
        if kind not in ("set", "map"):
            return
        seen: list[Any] = []
        keys = schema.get("x-kubernetes-list-map-keys") or ()
        for index, item in enumerate(value):
            identity = (
                {key: item[key] for key in keys if key in item}
                if kind == "map" and isinstance(item, dict)
                else item
            )
            if identity in seen:
                self.errors.append(duplicate(f"{path}[{index}]", identity))
            seen.append(identity)

    def _object(self, schema: dict[str, Any], value: dict[str, Any], path: str, old: Any) -> None:
        if "minProperties" in schema and len(value) < schema["minProperties"]:
            self._add(
                path, len(value), f"should have at least {schema['minProperties']} properties"
            )
        if "maxProperties" in schema and len(value) > schema["maxProperties"]:
            self.errors.append(too_many(path, len(value), schema["maxProperties"]))
        properties = schema.get("properties") or {}
        additional = schema.get("additionalProperties")
        before = old if isinstance(old, dict) else {}
        for key in sorted(value):
            sub = properties.get(key)
            if sub is None and isinstance(additional, dict):
                sub = additional
            if sub is not None:
                self.check(
                    sub, value[key], f"{path}.{key}" if path else key, before.get(key, MISSING)
                )
        for key in schema.get("required") or ():
            if key not in value:
                self.errors.append(required(f"{path}.{key}" if path else key))

    def _combined(self, schema: dict[str, Any], value: Any, path: str) -> None:
        for sub in schema.get("allOf") or ():
            self.check(sub, value, path)
        if schema.get("anyOf") and not any(is_valid(sub, value) for sub in schema["anyOf"]):
            self._whole(path, "must validate at least one schema (anyOf)")
        if schema.get("oneOf"):
            matches = sum(is_valid(sub, value) for sub in schema["oneOf"])
            if matches != 1:
                found = "Found none valid" if not matches else f"Found {matches} valid alternatives"
                self._whole(path, f"must validate one and only one schema (oneOf). {found}")
        if schema.get("not") and is_valid(schema["not"], value):
            self._whole(path, "must not validate the schema (not)")

    def _whole(self, path: str, what: str) -> None:
        self.errors.append(
            FieldError("FieldValueInvalid", path or "<nil>", f'Invalid value: "": "{path}" {what}')
        )


def is_valid(schema: dict[str, Any], value: Any) -> bool:
    """Whether a value meets a schema."""
    validator = Validator()
    validator.check(schema, value, "")
    return not validator.errors


def _in_body(path: str) -> str:
    return f"{path} in body" if path else "in body"


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else str(value)


def _correlate(schema: dict[str, Any], old: Any) -> Any:
    """A function from an item of a list to its old value: by key in map lists, by position otherwise."""
    if not isinstance(old, list):
        return lambda index, item: MISSING
    keys = schema.get("x-kubernetes-list-map-keys")
    if schema.get("x-kubernetes-list-type") != "map" or not keys:
        return lambda index, item: MISSING
    known = {
        tuple(str(each.get(key)) for key in keys): each for each in old if isinstance(each, dict)
    }
    return lambda index, item: (
        known.get(tuple(str(item.get(key)) for key in keys), MISSING)
        if isinstance(item, dict)
        else MISSING
    )


def _is_type(wanted: str, value: Any) -> bool:
    if wanted == "string":
        return isinstance(value, str)
    if wanted == "boolean":
        return isinstance(value, bool)
    if wanted == "integer":
        return (isinstance(value, int) and not isinstance(value, bool)) or (
            isinstance(value, float) and value.is_integer()
        )
    if wanted == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, list if wanted == "array" else dict)


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def _repeated(items: list[Any]) -> bool:
    return any(item in items[:index] for index, item in enumerate(items))


_PATTERN_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\$", re.DOTALL)


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    r"""A Go (RE2) pattern in Python's syntax.

    In RE2 `$` is the end of the text, in Python also the place before a line feed at the end; RE2 writes `\z`, Python `\Z`.
    With the flag `m` both mean the end of a line.
    """
    end = "$" if pattern.startswith(("(?m", "(?im", "(?sm")) else r"\Z"

    def translate(token: re.Match[str]) -> str:
        return {"$": end, r"\z": r"\Z"}.get(token.group(), token.group())

    return re.compile(_PATTERN_TOKEN.sub(translate, pattern), re.ASCII)


def _has_format(form: str, value: str) -> bool:
    check = _FORMATS.get(form)
    if check is None:
        return True
    try:
        return bool(check(value))
    except ValueError:
        return False


def _bytes(value: str) -> bool:
    b64decode(value, validate=True)
    return True


_DURATION = re.compile(r"^-?(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+\Z|^0\Z")
_DATE = re.compile(r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])\Z")
_FORMATS: dict[str, Any] = {
    "date-time": parse_time,
    "date": _DATE.match,
    "duration": _DURATION.match,
    "byte": _bytes,
    "uuid": UUID,
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
    "ip": ipaddress.ip_address,
    "cidr": ipaddress.ip_network,
    "uri": lambda value: urlsplit(value).scheme,
    "email": lambda value: re.match(r"^[^@\s]+@[^@\s]+\Z", value),
    "hostname": lambda value: re.match(
        r"^[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*\.?\Z",
        value,
    ),
}
