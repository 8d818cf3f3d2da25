"""Gives a Pod its node, as the API server does for a Binding: node name and PodScheduled in one write."""

from __future__ import annotations

from typing import Any

from devcluster.apiserver.codec import codec_for
from devcluster.apiserver.errors import bad_request, conflict
from devcluster.apiserver.local import PODS, LocalClient
from devcluster.apiserver.registry import Registry

from .podstatus import merge_conditions

Object = dict[str, Any]


def bind(registry: Registry, namespace: str, name: str, node: str, *, uid: str = "") -> Object:
    """Bind a Pod that has no node yet. Raises StatusError 404, or 409 when it is bound, going, or another one."""
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
