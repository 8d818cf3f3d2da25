"""/openapi/v2: one document of all resources, which kubectl up to 1.27 asks for before it sends anything.

It is made of the documents of v3 and served as JSON or as gnostic's protobuf, which is all that clients written in Go
accept. Operations have what clients look for there: the kind, the parameters, the patch types.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import web
from pydantic_core import to_json

from . import openapi
from .catalog import Catalog
from .negotiation import JSON

Object = dict[str, Any]
PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_OLD_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
_V3_REF = "#/components/schemas/"
_REF = "#/definitions/"
_KEPT = ("description", "type", "format", "required", "enum", "uniqueItems", "default")


class Documents:
    """The document of the resources that are served now, made when it is asked for."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._changes = -1
        self._bodies: dict[str, bytes] = {}

    def respond(self, accept: str) -> web.Response:
        """Answer what `accept` asks for, 406 without a body if that is not to be had."""
        media = _negotiate(accept)
        if media is None:
            return web.Response(status=406)
        body = self._body(media)
        digest = hashlib.sha512(body).hexdigest().upper()
        return web.Response(
            body=body, headers={"Content-Type": media, "ETag": f'"{digest}"', "Vary": "Accept"}
        )

    def _body(self, media: str) -> bytes:
        if self._changes != self._catalog.changes:
            self._bodies.clear()
            self._changes = self._catalog.changes
        if media not in self._bodies:
            whole = document(self._catalog)
            self._bodies[media] = to_json(whole) if media == JSON else encode(whole)
        return self._bodies[media]


def _negotiate(accept: str) -> str | None:
    for clause in accept.split(",") if accept else ("*/*",):
        media = clause.split(";", 1)[0].strip()
        if media in (PROTOBUF, _OLD_PROTOBUF):
            return PROTOBUF
        if media in (JSON, "*/*", "application/*"):
            return JSON
    return None


# --- the document


def document(catalog: Catalog) -> Object:
    """The document as JSON has it."""
    paths: Object = {}
    schemas: Object = {}
    for group in catalog.groups.values():
        for resources in group.versions.values():
            part = openapi.document(list(resources.values()))
            schemas.update(part["components"]["schemas"])
            for path, operations in part["paths"].items():
                paths[path] = {verb: _operation(each) for verb, each in operations.items()}
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.36.2"},
        "paths": paths,
        "definitions": {name: _schema(each) for name, each in schemas.items()},
    }


def _operation(operation: Object) -> Object:
    """Of v3 in the terms of v2."""
    result = {key: value for key, value in operation.items() if key.startswith("x-")}
    parameters = [
        {"name": each["name"], "in": each["in"], **each["schema"]}
        for each in operation.get("parameters", ())
    ]
    body = (operation.get("requestBody") or {}).get("content")
    if body:
        result["consumes"] = list(body)
        schema = _schema(next(iter(body.values()))["schema"])
        parameters.insert(0, {"name": "body", "in": "body", "required": True, "schema": schema})
    responses = {
        code: {
            "description": each["description"],
            "schema": _schema(next(iter(each["content"].values()))["schema"]),
        }
        for code, each in operation["responses"].items()
    }
    return {**result, "parameters": parameters, "responses": responses}


def _schema(schema: Object) -> Object:
    """Of v3 in the terms of v2, which knows neither alternatives nor null."""
    if "$ref" in schema:
        return {"$ref": schema["$ref"].replace(_V3_REF, _REF)}
    result = {
        key: value
        for key, value in schema.items()
        if key in _KEPT or key.startswith("x-kubernetes-")
    }
    references: list[Object] = schema.get("allOf") or []
    if len(references) == 1 and "$ref" in references[0]:
        result["$ref"] = references[0]["$ref"].replace(_V3_REF, _REF)
    if isinstance(schema.get("items"), dict):
        result["items"] = _schema(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = _schema(schema["additionalProperties"])
    if schema.get("properties"):
        result["properties"] = {key: _schema(each) for key, each in schema["properties"].items()}
    return result


# --- protobuf, with the field numbers of gnostic's OpenAPIv2.proto


def encode(whole: Object) -> bytes:
    """The document as gnostic's Document."""
    return (
        _text(1, whole["swagger"])
        + _bytes(2, _text(1, whole["info"]["title"]) + _text(2, whole["info"]["version"]))
        + _bytes(8, _named(2, whole["paths"], _encode_path))
        + _bytes(9, _named(1, whole["definitions"], _encode_schema))
    )


def _encode_path(operations: Object) -> bytes:
    numbers = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}
    return b"".join(
        _bytes(numbers[verb], _encode_operation(each)) for verb, each in operations.items()
    )


def _encode_operation(operation: Object) -> bytes:
    return (
        _texts(7, operation.get("consumes", ()))
        + b"".join(_bytes(8, _bytes(1, _encode_parameter(x))) for x in operation["parameters"])
        + _bytes(9, _named(1, operation["responses"], _encode_response))
        + _extensions(13, operation)
    )


def _encode_parameter(parameter: Object) -> bytes:
    if parameter["in"] == "body":
        schema = _encode_schema(parameter["schema"])
        return _bytes(1, _text(2, "body") + _text(3, "body") + _number(4, 1) + _bytes(5, schema))
    unique = int(parameter.get("uniqueItems", False))
    query = _text(2, "query") + _text(4, parameter["name"]) + _text(6, parameter["type"])
    return _bytes(2, _bytes(3, query + _number(20, unique)))


def _encode_response(response: Object) -> bytes:
    schema = _bytes(1, _encode_schema(response["schema"]))
    return _bytes(1, _text(1, response["description"]) + _bytes(2, schema))


def _encode_schema(schema: Object) -> bytes:
    parts = [
        _text(1, schema.get("$ref", "")),
        _text(2, schema.get("format", "")),
        _text(4, schema.get("description", "")),
        _texts(19, schema.get("required", ())),
        *(_bytes(20, _any(each)) for each in schema.get("enum", ())),
    ]
    if "default" in schema:
        parts.append(_bytes(5, _any(schema["default"])))
    if "additionalProperties" in schema:
        parts.append(_bytes(21, _bytes(1, _encode_schema(schema["additionalProperties"]))))
    if "type" in schema:
        parts.append(_bytes(22, _text(1, schema["type"])))
    if "items" in schema:
        parts.append(_bytes(23, _bytes(1, _encode_schema(schema["items"]))))
    if "properties" in schema:
        parts.append(_bytes(25, _named(1, schema["properties"], _encode_schema)))
    parts.append(_extensions(31, schema))
    return b"".join(parts)


def _named(number: int, values: Mapping[str, Any], write: Callable[[Any], bytes]) -> bytes:
    """A map, as gnostic has them: a list of names with values."""
    return b"".join(
        _bytes(number, _text(1, name) + _bytes(2, write(value))) for name, value in values.items()
    )


def _extensions(number: int, values: Object) -> bytes:
    found = {key: value for key, value in values.items() if key.startswith("x-")}
    return _named(number, found, _any)


def _any(value: Any) -> bytes:
    """Any value, as YAML: JSON is YAML too."""
    return _bytes(2, to_json(value))


def _texts(number: int, values: Sequence[str]) -> bytes:
    return b"".join(_bytes(number, each.encode()) for each in values)


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode()) if value else b""


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value) if value else b""


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
