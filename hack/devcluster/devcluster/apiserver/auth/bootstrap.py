"""The objects of a new cluster: namespaces, priority classes, the default RBAC.

The RBAC objects (data/rbac.json) are those of a 1.36 API server, cluster-admin, admin, edit, view and every system: role and
binding.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from pydantic_core import from_json

from devcluster.apiserver.catalog import ResourceInfo
from devcluster.apiserver.context import WriteContext
from devcluster.apiserver.errors import StatusError
from devcluster.apiserver.registry import Registry

SYSTEM_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
MANAGER = "kube-apiserver"
_PRIORITY_CLASSES = (
    (
        "system-node-critical",
        2000001000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2000000000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
)


def bootstrap(registry: Registry) -> None:
    """Create missing objects; existing ones stay as they are."""
    for name in SYSTEM_NAMESPACES:
        _ensure(registry, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    for name, value, description in _PRIORITY_CLASSES:
        _ensure(
            registry,
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": name},
                "value": value,
                "description": description,
            },
        )
    for obj in from_json(files(__package__).joinpath("data/rbac.json").read_bytes()):
        _ensure(registry, obj)


def _ensure(registry: Registry, obj: dict[str, Any]) -> None:
    info = _info(registry, obj)
    namespace = obj["metadata"].get("namespace", "")
    if registry.storage.get(info.storage_key, namespace, obj["metadata"]["name"]) is not None:
        return
    try:
        registry.create(info, namespace, obj, WriteContext(manager=MANAGER))
    except StatusError as error:
        raise RuntimeError(
            f"cannot create {obj['kind']} {obj['metadata']['name']}: {error}"
        ) from error


def _info(registry: Registry, obj: dict[str, Any]) -> ResourceInfo:
    group, _, version = obj["apiVersion"].rpartition("/")
    info = registry.catalog.find_kind(group, version, obj["kind"])
    assert info is not None, obj["kind"]
    return info
