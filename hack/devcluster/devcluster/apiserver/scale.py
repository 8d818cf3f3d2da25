"""The scale subresource of built-in workloads and of CRDs that declare it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from .errors import bad_request
from .jsonpath import compile_path, find
from .patch import JSON_PATCH, json_patch, merge_patch
from .printers import format_selector

if TYPE_CHECKING:
    from .handlers import Call

Object = dict[str, Any]
_BUILTIN = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}


def _value(path: str, obj: Object) -> Any:
    return next(find(compile_path(path), obj), None)


def scale_of(call: Call, obj: Object) -> Object:
    """The autoscaling/v1 Scale of an object."""
    custom = call.resource.custom
    paths = custom.scale if custom is not None else _BUILTIN
    if custom is None:
        selector = format_selector((obj.get("spec") or {}).get("selector"))
    else:
        selector = _value(paths["labelSelectorPath"], obj) if paths.get("labelSelectorPath") else ""
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: Object = {"replicas": _value(paths["statusReplicasPath"], obj) or 0}
    if selector:
        status["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": {"replicas": _value(paths["specReplicasPath"], obj) or 0},
        "status": status,
    }


async def handle(call: Call) -> web.Response:
    """get, update and patch of <resource>/<name>/scale."""
    from .handlers import check_patch_type
    from .negotiation import load_json

    registry, info = call.server.registry, call.info
    current = registry.current(call.resource, info.namespace, info.name)
    if info.verb == "get":
        return call.respond(scale_of(call, current))
    context = call.context()
    if info.verb == "update":
        wanted = await call.object()
    else:
        media = check_patch_type(call)
        patch = load_json(await call.body(), "Scale")
        before = scale_of(call, current)
        wanted = json_patch(before, patch) if media == JSON_PATCH else merge_patch(before, patch)
    replicas = ((wanted or {}).get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int):
        raise bad_request("spec.replicas must be an integer")
    custom = call.resource.custom
    path = (custom.scale if custom is not None else _BUILTIN)["specReplicasPath"]
    change: Any = replicas
    for step in reversed(path.strip(".").split(".")):
        change = {step: change}
    version = ((wanted or {}).get("metadata") or {}).get("resourceVersion")
    if version:
        change["metadata"] = {"resourceVersion": version}
    obj = registry.update(
        call.resource, info.namespace, info.name, merge_patch(current, change), context, ""
    )
    return call.respond(scale_of(call, obj), context)
