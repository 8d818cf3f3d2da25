"""Binds PersistentVolumeClaims: every claim gets a volume of its own, a folder that is deleted with the claim.

A claim that names a volume (`volumeName`) gets that one if it is a hostPath volume that no other claim uses.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path
from typing import Any

from devcluster.apiserver.errors import StatusError
from devcluster.apiserver.local import GVR, PERSISTENTVOLUMECLAIMS, LocalClient

Object = dict[str, Any]

log = logging.getLogger("devcluster.node")

PERSISTENTVOLUMES = GVR("", "v1", "persistentvolumes")
PROVISIONER = "devcluster.dev/folder"
BOUND_ANNOTATION = "pv.kubernetes.io/bind-completed"


class Claims:
    """Binds claims it is shown by `see`; folders lie beneath `folder`."""

    def __init__(self, client: LocalClient, folder: Path) -> None:
        self._client = client
        self._folder = folder
        self._changes: asyncio.Queue[tuple[Object | None, Object | None]] = asyncio.Queue()

    def see(self, new: Object | None, old: Object | None) -> None:
        """Enqueue a changed claim."""
        self._changes.put_nowait((new, old))

    async def run(self) -> None:
        """Bind and release until cancelled."""
        while True:
            new, old = await self._changes.get()
            try:
                if new is not None:
                    self._take_up(new)
                elif old is not None:
                    self._release(old)
            except StatusError as error:
                log.warning("claims: %s", error.message)

    def _take_up(self, seen: Object) -> None:
        metadata = seen["metadata"]
        claim = self._client.find(PERSISTENTVOLUMECLAIMS, metadata["namespace"], metadata["name"])
        if claim is None or "deletionTimestamp" in claim["metadata"]:
            return
        if (claim.get("status") or {}).get("phase") != "Bound":
            self._bind(claim)

    def folder_of(self, namespace: str, name: str) -> Path | None:
        """Directory of a bound claim's volume."""
        claim = self._client.find(PERSISTENTVOLUMECLAIMS, namespace, name)
        if claim is None or (claim.get("status") or {}).get("phase") != "Bound":
            return None
        volume = self._client.find(PERSISTENTVOLUMES, None, claim["spec"].get("volumeName", ""))
        path = ((volume or {}).get("spec") or {}).get("hostPath", {}).get("path")
        return Path(path) if path else None

    def problem(self, namespace: str, name: str) -> str:
        """Why a Pod cannot be scheduled with a claim, in the scheduler's message; '' if it can."""
        claim = self._client.find(PERSISTENTVOLUMECLAIMS, namespace, name)
        if claim is None:
            return f'persistentvolumeclaim "{name}" not found'
        if "deletionTimestamp" in claim["metadata"]:
            return f'persistentvolumeclaim "{name}" is being deleted'
        if self.folder_of(namespace, name) is None:
            return "pod has unbound immediate PersistentVolumeClaims"
        return ""

    def _bind(self, claim: Object) -> None:
        metadata, spec = claim["metadata"], claim["spec"]
        named = spec.get("volumeName")
        if not named and spec.get("storageClassName") == "":
            self._client.record_event(
                claim,
                type="Normal",
                reason="FailedBinding",
                message="no persistent volumes available for this claim and no storage class is set",
                component="persistentvolume-controller",
            )
            return
        volume = (
            self._client.find(PERSISTENTVOLUMES, None, named) if named else self._provision(claim)
        )
        if volume is None:
            return
        owner = (volume["spec"].get("claimRef") or {}).get("uid")
        if owner not in (None, metadata["uid"]):
            return
        self._take(volume, claim)

        def bound(current: Object) -> Object:
            annotations = {
                **(current["metadata"].get("annotations") or {}),
                BOUND_ANNOTATION: "yes",
            }
            return {
                **current,
                "metadata": {**current["metadata"], "annotations": annotations},
                "spec": {**current["spec"], "volumeName": volume["metadata"]["name"]},
            }

        def filled(current: Object) -> Object:
            status = {
                "phase": "Bound",
                "accessModes": spec.get("accessModes") or [],
                "capacity": volume["spec"].get("capacity") or {},
            }
            return {**current, "status": status}

        where = (metadata["namespace"], metadata["name"])
        self._client.mutate(PERSISTENTVOLUMECLAIMS, *where, bound)
        self._client.mutate(PERSISTENTVOLUMECLAIMS, *where, filled, subresource="status")

    def _provision(self, claim: Object) -> Object:
        """A new volume for a claim."""
        metadata, spec = claim["metadata"], claim["spec"]
        name = f"pvc-{metadata['uid']}"
        known = self._client.find(PERSISTENTVOLUMES, None, name)
        if known is not None:
            return known
        path = self._folder / metadata["namespace"] / f"{metadata['name']}-{metadata['uid'][:8]}"
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o777)
        volume = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {
                "name": name,
                "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER},
            },
            "spec": {
                "accessModes": spec.get("accessModes") or ["ReadWriteOnce"],
                "capacity": {
                    "storage": ((spec.get("resources") or {}).get("requests") or {}).get(
                        "storage", "1Gi"
                    )
                },
                "hostPath": {"path": str(path), "type": ""},
                "persistentVolumeReclaimPolicy": "Delete",
                "storageClassName": spec.get("storageClassName") or "",
                "volumeMode": "Filesystem",
            },
        }
        return self._client.create(PERSISTENTVOLUMES, None, volume)

    def _take(self, volume: Object, claim: Object) -> None:
        """Bind a volume to the claim."""
        metadata, name = claim["metadata"], volume["metadata"]["name"]
        reference = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        }

        def owned(current: Object) -> Object:
            return {**current, "spec": {**current["spec"], "claimRef": reference}}

        def filled(current: Object) -> Object:
            return {**current, "status": {"phase": "Bound"}}

        self._client.mutate(PERSISTENTVOLUMES, None, name, owned)
        self._client.mutate(PERSISTENTVOLUMES, None, name, filled, subresource="status")

    def _release(self, claim: Object) -> None:
        """Delete the volume that was created for a removed claim; any other volume becomes Released."""
        name = claim["spec"].get("volumeName")
        volume = self._client.find(PERSISTENTVOLUMES, None, name) if name else None
        if volume is None:
            return
        assert name is not None
        made = (volume["metadata"].get("annotations") or {}).get("pv.kubernetes.io/provisioned-by")
        if made == PROVISIONER and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete":
            self._client.delete(PERSISTENTVOLUMES, None, name)
            shutil.rmtree(volume["spec"]["hostPath"]["path"], ignore_errors=True)
            return

        def released(current: Object) -> Object:
            return {**current, "status": {"phase": "Released"}}

        self._client.mutate(PERSISTENTVOLUMES, None, name, released, subresource="status")
