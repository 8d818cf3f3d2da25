"""The work of a run, settled once: a later change or deletion of the Batch does not reach a run that has started.

A run with an inline batchSpec needs no copy, because its spec cannot change. A run with a batchRef gets a
ControllerRevision, Kubernetes' own object for the history of a spec; so does a run with retryOf, whose work is that of
the other run's snapshot, cut down to the tasks that are to be tried again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kubetask_controller.api import constants as c
from kubetask_controller.client.errors import APIStatusError, is_already_exists, is_not_found
from kubetask_controller.client.resources import CONTROLLERREVISIONS
from kubetask_controller.client.rest import Client
from kubetask_controller.reconcilers import names
from kubetask_controller.reconcilers.contexts import merged
from kubetask_controller.reconcilers.projections import ResourceView, controller_of

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a run does.

    Attributes:
        common: contexts of every task.
        variable: the contexts of each task.
        workspace_config_ref: what the Batch says, empty where it says nothing.
        origin: the index that each task had in the run it is retried from; empty for a run that is no retry.
    """

    common: Sequence[JSON]
    variable: Sequence[Sequence[JSON]]
    workspace_config_ref: str = ""
    origin: Sequence[int] = ()

    @property
    def total(self) -> int:
        """Tasks of the run."""
        return len(self.variable)

    def contexts(self, index: int) -> list[JSON]:
        """All contexts of a task, merged."""
        return merged(self.common, self.variable[index])

    def cut(self, indexes: Sequence[int]) -> "Snapshot":
        """The same work for some of its tasks, which get new indexes from 0."""
        origin = [self.origin[i] if self.origin else i for i in indexes]
        return Snapshot(
            self.common, [self.variable[i] for i in indexes], self.workspace_config_ref, origin
        )


def from_batch_spec(spec: JSON) -> Snapshot:
    """The snapshot that a BatchSpec amounts to."""
    return Snapshot(
        spec.get("commonContext") or [],
        spec["variableContexts"],
        spec.get("workspaceConfigRef") or "",
    )


def revision_name(run: ResourceView) -> str:
    """The ControllerRevision of a run: its name follows from the run's name and uid."""
    return names.owned_name(run.name, run.uid, "snapshot")


class SnapshotStore:
    """Keeps snapshots as ControllerRevisions owned by their runs."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def load(self, run: ResourceView) -> Snapshot | None:
        """The snapshot of a run, None where none was taken yet."""
        inline = run.spec.get("batchSpec")
        if inline:
            return from_batch_spec(inline)
        try:
            revision = await self._client.get(
                CONTROLLERREVISIONS, run.namespace, revision_name(run)
            )
        except APIStatusError as error:
            if is_not_found(error):
                return None
            raise
        return _read(revision, run)

    async def save(self, run: ResourceView, snapshot: Snapshot, source: str) -> Snapshot:
        """Write the snapshot, or take the one that is already there: the first one written counts.

        Args:
            run: the owner.
            snapshot: the work.
            source: where it came from, for people: ``Batch/name generation 3``.
        """
        body: JSON = {
            "apiVersion": CONTROLLERREVISIONS.api_version,
            "kind": CONTROLLERREVISIONS.kind,
            "metadata": {
                "name": revision_name(run),
                "namespace": run.namespace,
                "labels": {
                    c.LABEL_MANAGED_BY: c.LABEL_MANAGED_BY_VALUE,
                    c.LABEL_BATCH_RUN: names.label_value(run.name),
                },
                "annotations": {c.ANNOTATION_SOURCE: source},
                "ownerReferences": [
                    {
                        "apiVersion": c.API_VERSION,
                        "kind": c.KIND_BATCH_RUN,
                        "name": run.name,
                        "uid": run.uid,
                        "controller": True,
                        "blockOwnerDeletion": True,
                    }
                ],
            },
            "data": {
                "commonContext": snapshot.common,
                "variableContexts": snapshot.variable,
                "workspaceConfigRef": snapshot.workspace_config_ref,
                "origin": list(snapshot.origin),
            },
            "revision": 1,
        }
        try:
            await self._client.create(CONTROLLERREVISIONS, run.namespace, body)
        except APIStatusError as error:
            if not is_already_exists(error):
                raise
            existing = await self._client.get(
                CONTROLLERREVISIONS, run.namespace, body["metadata"]["name"]
            )
            return _read(existing, run)
        return snapshot


def _read(revision: JSON, run: ResourceView) -> Snapshot:
    owner = controller_of(revision["metadata"])
    if owner is None or owner.uid != run.uid:
        name = revision["metadata"]["name"]
        raise ForeignSnapshotError(f"ControllerRevision {name} belongs to another object")
    data = revision["data"]
    return Snapshot(
        data.get("commonContext") or [],
        data["variableContexts"],
        data.get("workspaceConfigRef") or "",
        tuple(data.get("origin") or ()),
    )


class ForeignSnapshotError(Exception):
    """Raised when an object that is not the run's bears the name of its snapshot."""
