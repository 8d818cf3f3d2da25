"""The Node object: created when the node starts, and recreated if it is deleted."""

from __future__ import annotations

import os
import platform
from typing import Any

from devcluster.apiserver.errors import StatusError
from devcluster.apiserver.local import NODES, LocalClient

from .options import NodeOptions

Object = dict[str, Any]

KUBELET_VERSION = "v1.36.0"
_CONDITIONS = (
    (
        "MemoryPressure",
        "False",
        "KubeletHasSufficientMemory",
        "kubelet has sufficient memory available",
    ),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)


def register(client: LocalClient, options: NodeOptions) -> None:
    """Create the Node if it is not there, and write its status."""
    labels = {
        "beta.kubernetes.io/arch": _arch(),
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": _arch(),
        "kubernetes.io/hostname": options.name,
        "kubernetes.io/os": "linux",
        **options.labels,
    }
    if client.find(NODES, None, options.name) is None:
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": options.name, "labels": labels},
        }
        client.create(NODES, None, node)
    now = client.registry.now()

    def change(current: Object) -> Object:
        return {**current, "status": {**(current.get("status") or {}), **_status(options, now)}}

    try:
        client.mutate(NODES, None, options.name, change, subresource="status")
    except StatusError as error:
        if error.code != 404:
            raise


def _status(options: NodeOptions, now: str) -> Object:
    return {
        "capacity": dict(options.capacity),
        "allocatable": dict(options.capacity),
        "conditions": [
            {
                "type": kind,
                "status": status,
                "lastHeartbeatTime": now,
                "lastTransitionTime": now,
                "reason": reason,
                "message": message,
            }
            for kind, status, reason, message in _CONDITIONS
        ],
        "addresses": [
            {"type": "InternalIP", "address": options.host_ip},
            {"type": "Hostname", "address": options.name},
        ],
        "nodeInfo": {
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
            "kernelVersion": platform.release(),
            "osImage": "Processes of this machine",
            "containerRuntimeVersion": "devcluster://0.1.0",
            "kubeletVersion": KUBELET_VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": _arch(),
        },
    }


def _arch() -> str:
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
