"""/openapi/v3: enough for kubectl explain, apply and validation. /openapi/v2 is not served; kubectl before 1.28 needs it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from aiohttp import web
from pydantic_core import to_json

from .catalog import Catalog, ResourceInfo
from .negotiation import JSON
from .schema import definition_name, definitions

Object = dict[str, Any]
_REF = "#/components/schemas/"
_STRATEGIC = "application/strategic-merge-patch+json"
_PATCH_TYPES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    _STRATEGIC,
)


def respond(catalog: Catalog, path: str) -> web.Response | None:
    """Answer a path of OpenAPI v3, or None when nothing is served there."""
    if path == "/openapi/v3":
        return web.Response(
            body=to_json({"paths": _index(catalog)}) + b"\n",
            headers={"Content-Type": "text/plain; charset=utf-8"},
        )
    parts = path.removeprefix("/openapi/v3/").split("/")
    group, version = ("", parts[1]) if parts[0] == "api" and len(parts) == 2 else ("", "")
    if parts[0] == "apis" and len(parts) == 3:
        group, version = parts[1], parts[2]
    found = catalog.groups.get(group)
    if not version or found is None or version not in found.versions:
        return None
    body = to_json(document(list(found.versions[version].values())))
    return web.Response(
        body=body,
        content_type=JSON,
        headers={"ETag": f'"{hashlib.sha256(body).hexdigest().upper()}"'},
    )


def _index(catalog: Catalog) -> Object:
    paths: Object = {}
    for group in catalog.groups.values():
        for version, resources in group.versions.items():
            path = f"apis/{group.group}/{version}" if group.group else f"api/{version}"
            seed = to_json(
                [
                    path,
                    [
                        [info.plural, info.custom.schema if info.custom else ""]
                        for info in resources.values()
                    ],
                ]
            )
            digest = hashlib.sha512(seed).hexdigest().upper()
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return paths


def schema_name(info: ResourceInfo) -> str:
    """The component that describes a resource's objects."""
    builtin = definition_name(info.group, info.version, info.kind) if info.custom is None else None
    return builtin or f"{'.'.join(reversed(info.group.split('.')))}.{info.version}.{info.kind}"


def document(infos: list[ResourceInfo]) -> Object:
    """The OpenAPI v3 document of a group version."""
    schemas: Object = {}
    paths: Object = {}
    for info in infos:
        name = schema_name(info)
        if info.custom is not None:
            schemas[name] = _custom_schema(info)
            _add(schemas, "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
        else:
            _add(schemas, name)
        paths.update(_paths(info, name))
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.2"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _add(schemas: Object, name: str) -> None:
    """Add a published definition and what it refers to."""
    if name in schemas or name not in definitions():
        return
    schemas[name] = _v3(definitions()[name])
    for ref in list(_refs(definitions()[name])):
        _add(schemas, ref)


def _refs(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        ref = schema.get("$ref")
        if isinstance(ref, str):
            yield ref.rsplit("/", 1)[1]
        for value in schema.values():
            yield from _refs(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _refs(value)


def _v3(schema: Any) -> Any:
    """A published JSON schema as OpenAPI v3: single types, references into components."""
    if isinstance(schema, list):
        return [_v3(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        ref = {"$ref": _REF + schema["$ref"].rsplit("/", 1)[1]}
        return (
            {"description": schema["description"], "allOf": [ref]}
            if "description" in schema
            else ref
        )
    result: Object = {}
    for key, value in schema.items():
        if key == "type" and isinstance(value, list):
            result["type"] = next(each for each in value if each != "null")
        elif key == "properties":
            result[key] = {name: _v3(sub) for name, sub in value.items()}
        elif key in ("items", "additionalProperties", "oneOf", "anyOf", "allOf"):
            result[key] = _v3(value)
        elif not (
            key.startswith("$") or (key == "enum" and "description" in schema and len(value) == 1)
        ):
            result[key] = value
    return result


def _custom_schema(info: ResourceInfo) -> Object:
    schema: Object = {**info.custom.schema, "type": "object"}
    properties = {
        "apiVersion": _described("APIVersion"),
        "kind": _described("Kind"),
        "metadata": {
            "description": "Standard object's metadata. More info: "
            "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
            "allOf": [{"$ref": _REF + "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}],
        },
    }
    schema["properties"] = {**(schema.get("properties") or {}), **properties}
    schema["x-kubernetes-group-version-kind"] = [
        {"group": info.group, "version": info.version, "kind": info.kind}
    ]
    return schema


def _described(name: str) -> Object:
    field = name[0].lower() + name[1:] if name == "Kind" else "apiVersion"
    status = definitions()["io.k8s.apimachinery.pkg.apis.meta.v1.Status"]["properties"]
    return {"type": "string", "description": status[field]["description"]}


def _paths(info: ResourceInfo, name: str) -> Object:
    root = f"/apis/{info.group}/{info.version}" if info.group else f"/api/{info.version}"
    base = (
        f"{root}/namespaces/{{namespace}}/{info.plural}"
        if info.namespaced
        else f"{root}/{info.plural}"
    )
    gvk = {"group": info.group, "version": info.version, "kind": info.kind}
    content = {JSON: {"schema": {"$ref": _REF + name}}}

    def operation(action: str, **more: Any) -> Object:
        body: Object = {"responses": {"200": {"description": "OK", "content": content}}}
        body |= {"x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk}
        body |= more
        return body

    parameters = [_query("dryRun"), _query("fieldManager"), _query("fieldValidation")]
    request = {"content": {"*/*": {"schema": {"$ref": _REF + name}}}}
    # Custom resources have no strategic merge; kubectl looks here for which patch to send.
    patches = [x for x in _PATCH_TYPES if info.custom is None or x != _STRATEGIC]
    patch_body: dict[str, Any] = {"content": {each: {"schema": {}} for each in patches}}
    return {
        base: {
            "get": operation("list"),
            "post": operation("post", parameters=parameters, requestBody=request),
        },
        base + "/{name}": {
            "get": operation("get"),
            "put": operation("put", parameters=parameters, requestBody=request),
            "patch": operation(
                "patch", parameters=[*parameters, _query("force")], requestBody=patch_body
            ),
            "delete": operation("delete", parameters=parameters),
        },
    }


def _query(name: str) -> Object:
    return {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
