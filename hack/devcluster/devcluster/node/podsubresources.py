"""`pods/binding` and `pods/eviction`, which schedulers and drains use; they work whether or not the node runs."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic_core import to_json

from devcluster.apiserver.codec import codec_for
from devcluster.apiserver.errors import bad_request, conflict
from devcluster.apiserver.interfaces import SubresourceRegistry, SubresourceRequest
from devcluster.apiserver.local import PODS, LocalClient
from devcluster.apiserver.registry import Registry

from .podstatus import DISRUPTION_TARGET, FINAL_PHASES, merge_conditions

Object = dict[str, Any]

EVICTION = {
    "type": DISRUPTION_TARGET,
    "status": "True",
    "reason": "EvictionByEvictionAPI",
    "message": "Eviction API: evicting",
}


class PodSubresources:
    """Handlers of the Pod's subresources."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._client = LocalClient(registry, manager="kube-apiserver")

    def register(self, subresources: SubresourceRegistry) -> None:
        """Register each subresource that has no handler yet."""
        for name, handler in (("binding", self._bind), ("eviction", self._evict)):
            if subresources.find("", "pods", name) is None:
                subresources.register("", "pods", name, handler)

    async def _bind(self, request: SubresourceRequest) -> web.StreamResponse:
        body, attributes = request.body or {}, request.attributes
        target = body.get("target") or {}
        uid = (body.get("metadata") or {}).get("uid", "")
        bind(self._registry, attributes.namespace, attributes.name, target.get("name", ""), uid=uid)
        return _created()

    async def _evict(self, request: SubresourceRequest) -> web.StreamResponse:
        attributes, body = request.attributes, request.body or {}
        if (body.get("metadata") or {}).get("name", attributes.name) != attributes.name:
            raise bad_request("name in URL does not match name in Eviction object")
        options = body.get("deleteOptions") or {}
        self.evict(attributes.namespace, attributes.name, grace=options.get("gracePeriodSeconds"))
        return _created()

    def evict(self, namespace: str, name: str, *, grace: int | None = None) -> None:
        """Evict a Pod: mark it as disrupted, and delete it. Raises StatusError 404."""
        pod = self._client.get(PODS, namespace, name)
        if (pod.get("status") or {}).get("phase") not in FINAL_PHASES:
            self._client.mutate(PODS, namespace, name, self._marked, subresource="status")
        self._client.delete(
            PODS, namespace, name, uid=pod["metadata"]["uid"], grace_period_seconds=grace
        )

    def _marked(self, current: Object) -> Object:
        status = current.get("status") or {}
        old = status.get("conditions") or ()
        others = [each for each in old if each["type"] != DISRUPTION_TARGET]
        mark = merge_conditions([EVICTION], old, None, self._registry.now())[-1]
        return {**current, "status": {**status, "conditions": [*others, mark]}}


def _created() -> web.Response:
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "code": 201,
    }
    return web.Response(status=201, body=to_json(status), content_type="application/json")


def bind(registry: Registry, namespace: str, name: str, node: str, *, uid: str = "") -> Object:
    """Bind a Pod that has no node yet. Raises StatusError 404, or 409 when it is bound, being deleted, or another one."""
    info = LocalClient(registry).info(PODS)
    old = registry.current(info, namespace, name)
    metadata, spec = old["metadata"], old["spec"]
    if not node:
        raise bad_request("Required value")
    if uid and uid != metadata["uid"]:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata['uid']}"
        raise conflict("", "pods/binding", name, why)
    if "deletionTimestamp" in metadata:
        raise conflict(
            "", "pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host"
        )
    if spec.get("nodeName"):
        why = f'pod {name} is already assigned to node "{spec["nodeName"]}"'
        raise conflict("", "pods/binding", name, why)
    if spec.get("schedulingGates"):
        raise conflict("", "pods/binding", name, f"pod {name} has non-empty .spec.schedulingGates")
    status = dict(old.get("status") or {})
    scheduled = {"type": "PodScheduled", "status": "True"}
    before = status.get("conditions") or ()
    others = [each for each in before if each["type"] != "PodScheduled"]
    status["conditions"] = [
        *others,
        *merge_conditions([scheduled], before, None, registry.now())[-1:],
    ]
    bound = {
        **old,
        "metadata": dict(metadata),
        "spec": {**spec, "nodeName": node},
        "status": status,
    }
    return registry.put_raw(codec_for(info), bound, old)
