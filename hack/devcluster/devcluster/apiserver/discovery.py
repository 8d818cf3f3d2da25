"""Discovery of groups, versions and resources: /version, /api, /apis, plain and aggregated."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from aiohttp import web
from pydantic_core import to_json

from .catalog import ResourceInfo
from .negotiation import JSON

if TYPE_CHECKING:
    from .server import ApiServer

Object = dict[str, Any]
VERSION = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.2",
    "gitCommit": "$Format:%H$",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "go1.26.6",
    "compiler": "gc",
    "platform": "linux/amd64",
}
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"


def respond(server: ApiServer, request: web.Request, path: str) -> web.Response | None:
    """Answer a discovery path, or None when there is nothing there."""
    if path == "/version":
        return web.Response(body=to_json(VERSION, indent=2), content_type=JSON)
    parts = path.strip("/").split("/")
    if parts == ["api"] or parts == ["apis"]:
        aggregated = _aggregated_version(request.headers.get("Accept", ""))
        if aggregated:
            return _aggregated(server, request, parts[0], aggregated)
        return _json(_api_versions(server) if parts[0] == "api" else _group_list(server))
    if parts[0] == "api" and len(parts) == 2:
        return _resource_list(server, "", parts[1])
    if parts[0] == "apis" and len(parts) == 2:
        group = server.catalog.groups.get(parts[1]) if parts[1] else None
        return (
            _json({"kind": "APIGroup", "apiVersion": "v1", **_group(server, parts[1])})
            if group is not None
            else None
        )
    if parts[0] == "apis" and len(parts) == 3:
        return _resource_list(server, parts[1], parts[2])
    if parts == [""]:
        return _json({"paths": _root_paths(server)})
    return None


def _json(body: Object, content_type: str = JSON) -> web.Response:
    return web.Response(body=to_json(body) + b"\n", headers={"Content-Type": content_type})


def _root_paths(server: ApiServer) -> list[str]:
    paths = [
        "/api",
        "/api/v1",
        "/apis",
        "/healthz",
        "/livez",
        "/openapi/v3",
        "/readyz",
        "/version",
    ]
    for group in server.catalog.groups.values():
        if group.group:
            paths.append(f"/apis/{group.group}")
            paths += [f"/apis/{group.group}/{version}" for version in group.versions]
    return sorted(paths)


def _api_versions(server: ApiServer) -> Object:
    addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": server.options.advertise_address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}


def _group(server: ApiServer, name: str) -> Object:
    versions = [
        {"groupVersion": f"{name}/{version}", "version": version}
        for version in server.catalog.groups[name].versions
    ]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _group_list(server: ApiServer) -> Object:
    groups = [_group(server, name) for name in server.catalog.groups if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def _resource_list(server: ApiServer, group: str, version: str) -> web.Response | None:
    found = server.catalog.groups.get(group)
    resources = found.versions.get(version) if found is not None else None
    if resources is None:
        return None
    entries = [entry for info in resources.values() for entry in _entries(info)]
    head: Object = {"kind": "APIResourceList"}
    if group:
        head["apiVersion"] = "v1"
    return _json(
        {**head, "groupVersion": f"{group}/{version}" if group else version, "resources": entries}
    )


def _entries(info: ResourceInfo) -> list[Object]:
    entry: Object = {
        "name": info.plural,
        "singularName": info.singular,
        "namespaced": info.namespaced,
        "kind": info.kind,
        "verbs": list(info.verbs),
    }
    if info.short_names:
        entry["shortNames"] = list(info.short_names)
    if info.categories:
        entry["categories"] = list(info.categories)
    if "watch" in info.verbs:
        entry["storageVersionHash"] = info.storage_version_hash
    entries = [entry]
    for sub in info.subresources.values():
        item: Object = {
            "name": f"{info.plural}/{sub.name}",
            "singularName": "",
            "namespaced": info.namespaced,
        }
        if sub.group:
            item |= {"group": sub.group, "version": sub.version}
        entries.append({**item, "kind": sub.kind, "verbs": list(sub.verbs)})
    return entries


def _aggregated_version(accept: str) -> str:
    for clause in accept.split(","):
        if "apidiscovery.k8s.io" in clause and "as=APIGroupDiscoveryList" in clause:
            for version in ("v2beta1", "v2"):
                if f"v={version}" in clause.replace(" ", ""):
                    return version
        if clause.strip() in ("application/json", "*/*"):
            return ""
    return ""


def _aggregated(server: ApiServer, request: web.Request, root: str, version: str) -> web.Response:
    names = [name for name in server.catalog.groups if bool(name) == (root == "apis")]
    items = []
    for name in names:
        versions = [
            {
                "version": each,
                "resources": [_discovery(info) for info in resources.values()],
                "freshness": "Current",
            }
            for each, resources in server.catalog.groups[name].versions.items()
        ]
        items.append({"metadata": {"name": name} if name else {}, "versions": versions})
    body = to_json(
        {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": f"apidiscovery.k8s.io/{version}",
            "metadata": {},
            "items": items,
        }
    )
    etag = '"' + hashlib.sha256(body).hexdigest().upper() + '"'
    if request.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers={"ETag": etag})
    headers = {"Content-Type": AGGREGATED.format(version=version), "ETag": etag, "Vary": "Accept"}
    return web.Response(body=body + b"\n", headers=headers)


def _discovery(info: ResourceInfo) -> Object:
    """A resource as aggregated discovery shows it; group and version of a kind are given for custom resources only."""
    custom = info.custom is not None
    entry: Object = {
        "resource": info.plural,
        "responseKind": {
            "group": info.group if custom else "",
            "version": info.version if custom else "",
            "kind": info.kind,
        },
        "scope": "Namespaced" if info.namespaced else "Cluster",
        "singularResource": info.singular,
        "verbs": list(info.verbs),
    }
    if info.short_names:
        entry["shortNames"] = list(info.short_names)
    if info.categories:
        entry["categories"] = list(info.categories)
    if info.subresources:
        entry["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": {
                    "group": sub.group or (info.group if custom else ""),
                    "version": sub.version or (info.version if custom else ""),
                    "kind": sub.kind,
                },
                "verbs": list(sub.verbs),
            }
            for sub in info.subresources.values()
        ]
    return entry
