"""The work of a run, settled once: a later change or deletion of the Batch does not reach a run that has started.

A run with an inline batchSpec needs no copy, because its spec cannot change. A run with a batchRef gets a
ControllerRevision, Kubernetes' own object for the history of a spec; so does a run with retryOf, whose work is that of
the other run's snapshot, cut down to the tasks that are to be tried again.

Once the status names the snapshot, it is never taken again: if its ControllerRevision is deleted or has other data, running
tasks continue, and pending tasks end as SnapshotLost.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

from pydantic_core import from_json, to_json

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Phase, Reason
from kubetask_controller.api.indexes import parse_indexes
from kubetask_controller.api.typed import BatchSpecJSON, ContextJSON
from kubetask_controller.client.errors import APIStatusError, is_already_exists, is_not_found
from kubetask_controller.client.resources import CONTROLLERREVISIONS
from kubetask_controller.reconcilers.context import ReconcilerContext
from kubetask_controller.reconcilers.projections import RunView, controller_ref_of
from kubetask_controller.reconcilers.taskrun import files, names
from kubetask_controller.reconcilers.taskrun.contexts import merged
from kubetask_controller.reconcilers.taskrun.jobs import is_refusal, is_too_large, refusal
from kubetask_controller.reconcilers.taskrun.pending_reasons import PendingReason
from kubetask_controller.reconcilers.taskrun.recorded import read_run
from kubetask_controller.types import JSON

SELECT_FAILED = "Failed"

REFUSED = 30.0
"""Seconds until a refused ControllerRevision is tried again."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a run does. Take it with ``of``.

    Attributes:
        batch: the Batch's spec without its variableContexts.
        parts: the contexts of each task that are its own, as JSON; empty where the work is not known any more. Parsed,
            those of 10,000 tasks are ten times as large in memory.
        origin: the index that each task had in the run it is retried from; empty for a run that is no retry.
        name: of the ControllerRevision, empty for a run with an inline batchSpec.
        digest: of its data.
        lost: why tasks that have not started never do; None while the work is known.
        lost_total: the number of tasks where the work is not known any more.
    """

    batch: BatchSpecJSON
    parts: Sequence[bytes] = ()
    origin: Sequence[int] = ()
    name: str = ""
    digest: str = ""
    lost: PendingReason | None = None
    lost_total: int = 0

    @property
    def total(self) -> int:
        """Tasks of the run."""
        return len(self.parts) or self.lost_total

    @staticmethod
    def of(
        spec: BatchSpecJSON, origin: Sequence[int] = (), name: str = "", digest: str = ""
    ) -> "Snapshot":
        """The work of a Batch's spec."""
        parts = tuple(to_json(x) for x in spec.get("variableContexts") or ())
        rest = {k: v for k, v in spec.items() if k != "variableContexts"}
        return Snapshot(cast(BatchSpecJSON, rest), parts, origin, name, digest)

    @property
    def data(self) -> JSON:
        """The data of its ControllerRevision."""
        variable = [from_json(x) for x in self.parts]
        return {**self.batch, "variableContexts": variable, "origin": list(self.origin)}

    def variable(self, index: int) -> list[ContextJSON]:
        """The contexts of a task that are its own; none where the work is not known any more."""
        return cast(list[ContextJSON], from_json(self.parts[index])) if self.parts else []

    @property
    def workspace_config_ref(self) -> str:
        """The value in the Batch, empty where it is not set."""
        return self.batch.get("workspaceConfigRef") or ""

    def everything(self) -> Iterator[ContextJSON]:
        """All contexts, each once."""
        yield from self.batch.get("commonContext") or []
        for index in range(len(self.parts)):
            yield from self.variable(index)

    def is_of(self, run: RunView) -> bool:
        """Whether the status of the run records this snapshot, or none yet. Another leader may have recorded its own."""
        return run.status.get("snapshotDigest") in (None, self.digest)

    def contexts(self, index: int) -> list[ContextJSON]:
        """All contexts of a task, merged."""
        return merged(self.batch.get("commonContext") or [], self.variable(index))

    def cut(self, indexes: Sequence[int]) -> "Snapshot":
        """The same work for some of its tasks, which get new indexes from 0."""
        origin = [self.origin[i] if self.origin else i for i in indexes]
        return Snapshot(self.batch, [self.parts[i] for i in indexes], origin)


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a run has no work yet.

    Attributes:
        reason: what it waits for.
        final: nothing can change that: the run ends.
        retry_after: seconds until it is worth another try, 0 where an event follows.
    """

    reason: PendingReason
    final: bool = False
    retry_after: float = 0.0


def revision_name(run: RunView) -> str:
    """The ControllerRevision of a run: its name follows from the run's name and uid."""
    return names.owned_name(run.name, run.uid, "snapshot")


class SnapshotResolver:
    """Finds or takes the snapshot of a run."""

    def __init__(self, context: ReconcilerContext) -> None:
        self._context = context

    async def resolve(self, run: RunView) -> Snapshot | Missing:
        """The work of a run, or why it is not known.

        Raises:
            ClientError: the API server gave no answer.
        """
        if run.work:
            return Snapshot.of(from_json(run.work))
        if recorded := run.status.get("batchSnapshot"):
            return await self._recorded(run, recorded)
        if run.spec.get("cancel"):
            return Missing(PendingReason(Reason.CANCELLED, "cancelled before it began"))
        if retry_of := run.spec.get("retryOf"):
            found = await self._retry(run, retry_of)
            source = (
                f"{c.KIND_BATCH_RUN}/{retry_of} select {run.spec.get('select') or SELECT_FAILED}"
            )
        else:
            found = await self._batch(run, run.spec.get("batchRef") or "")
            source = f"{c.KIND_BATCH}/{run.spec.get('batchRef')}"
        if isinstance(found, Missing):
            return found
        try:
            return await self._save(run, found, source)
        except APIStatusError as error:
            if is_too_large(error):
                text = f"the work does not fit into a ControllerRevision: {error.message}"
                return Missing(PendingReason(Reason.TOO_LARGE, text), final=True)
            if not is_refusal(error):
                raise
            return Missing(refusal(error), retry_after=REFUSED)

    async def _batch(self, run: RunView, name: str) -> Snapshot | Missing:
        batch = await self._context.fresh.batch(run.namespace, name)
        if batch is None:
            text = f"Batch {name} does not exist in namespace {run.namespace}"
            return Missing(PendingReason(Reason.BATCH_NOT_FOUND, text))
        return Snapshot.of(batch.spec)

    async def _retry(self, run: RunView, name: str) -> Snapshot | Missing:
        other = await self._context.fresh.run(run.namespace, name)
        if other is None:
            text = f"BatchRun {name} does not exist in namespace {run.namespace}"
            return Missing(PendingReason(Reason.RETRY_OF_NOT_FOUND, text))
        if other.status.get("phase") not in (Phase.SUCCEEDED, Phase.FAILED):
            text = f"BatchRun {name} has not ended yet"
            return Missing(PendingReason(Reason.RETRY_OF_NOT_FINISHED, text))
        snapshot = Snapshot.of(from_json(other.work)) if other.work else await self._load(other)
        if snapshot is None:
            text = f"BatchRun {name} has no snapshot of its work, so nothing of it can be retried"
            return Missing(PendingReason(Reason.INVALID_SPEC, text), final=True)
        indexes = select_indexes(run.spec.get("select") or SELECT_FAILED, other, snapshot.total)
        if isinstance(indexes, Missing):
            return indexes
        return snapshot.cut(indexes)

    async def _recorded(self, run: RunView, name: str) -> Snapshot:
        """The snapshot that the status names. It is never taken again."""
        found = await self._load(run)
        expected = run.status.get("snapshotDigest")
        if found is not None and (not expected or found.digest == expected):
            return found
        what = "is gone" if found is None else "has other data than the run recorded"
        text = (
            f"ControllerRevision {name}, which holds the work of this run, {what}: start a new run"
        )
        total = (run.status.get("progress") or {}).get("total") or 0
        lost = PendingReason(Reason.SNAPSHOT_LOST, text)
        return Snapshot(
            BatchSpecJSON(), name=name, digest=expected or "", lost=lost, lost_total=total
        )

    async def _load(self, run: RunView) -> Snapshot | None:
        try:
            revision = await self._context.client.get(
                CONTROLLERREVISIONS, run.namespace, revision_name(run)
            )
        except APIStatusError as error:
            if is_not_found(error):
                return None
            raise
        return _read(revision, run)

    async def _save(self, run: RunView, snapshot: Snapshot, source: str) -> Snapshot | Missing:
        """Write the snapshot. One that exists is that of an earlier try, of another leader, or forged.

        It is used if it has the same content, or if the run as it is now records it. Otherwise it is replaced: no Job is
        created before the status records the snapshot.
        """
        client, owner = (
            self._context.client,
            files.Owner(c.KIND_BATCH_RUN, run.namespace, run.name, run.uid),
        )
        data = snapshot.data
        name, digest = revision_name(run), digest_of(data)
        body: JSON = {
            "apiVersion": CONTROLLERREVISIONS.api_version,
            "kind": CONTROLLERREVISIONS.kind,
            "metadata": {
                "name": name,
                "namespace": run.namespace,
                "labels": {
                    c.LABEL_MANAGED_BY: c.LABEL_MANAGED_BY_VALUE,
                    c.LABEL_BATCH_RUN: names.label_value(run.name),
                },
                "annotations": {c.ANNOTATION_SOURCE: source},
                "ownerReferences": [owner.reference()],
            },
            "data": data,
            "revision": 1,
        }
        try:
            await client.create(CONTROLLERREVISIONS, run.namespace, body)
        except APIStatusError as error:
            if not is_already_exists(error):
                raise
            existing = await client.get(CONTROLLERREVISIONS, run.namespace, name)
            found = _read(existing, run)
            if found is None:
                text = f"ControllerRevision {name} exists and belongs to another object: delete it"
                return Missing(PendingReason(Reason.NAME_CONFLICT, text), retry_after=REFUSED)
            if found.digest == digest:
                return found
            now = await self._context.fresh.run(run.namespace, run.name)
            if now is not None and (recorded := now.status.get("batchSnapshot")):
                return await self._recorded(now, recorded)
            uid = existing["metadata"]["uid"]
            await client.delete(CONTROLLERREVISIONS, run.namespace, name, uid=uid)
            await client.create(CONTROLLERREVISIONS, run.namespace, body)
        return replace(snapshot, name=name, digest=digest)


def select_indexes(select: str, other: RunView, total: int) -> list[int] | Missing:
    """The indexes of the other run's tasks that ``select`` names. It has ended, so an empty choice stays empty."""
    recorded = read_run(other.status)
    if select == SELECT_FAILED:
        failed = sorted(i for i, x in recorded.states.items() if x.phase is Phase.FAILED)
        if failed:
            return failed
        text = f"BatchRun {other.name} has no failed tasks to retry"
        return Missing(PendingReason(Reason.INVALID_SPEC, text), final=True)
    try:
        wanted = sorted(parse_indexes(select))
    except ValueError as error:
        return Missing(PendingReason(Reason.INVALID_SPEC, f"select: {error}"), final=True)
    beyond = [i for i in wanted if i >= total]
    if beyond or not wanted:
        which = f"no task {beyond[0]}" if beyond else "no such tasks"
        text = f"select: BatchRun {other.name} has {which}, its indexes are 0 to {total - 1}"
        return Missing(PendingReason(Reason.INVALID_SPEC, text), final=True)
    return wanted


def digest_of(data: JSON) -> str:
    """The digest of a ControllerRevision's data, whatever the order of its keys."""
    return "sha256:" + hashlib.sha256(to_json(_ordered(data))).hexdigest()


def _ordered(value: object) -> object:
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value)}
    return [_ordered(x) for x in value] if isinstance(value, list | tuple) else value


def _read(revision: JSON, run: RunView) -> Snapshot | None:
    """The snapshot in a ControllerRevision, None where another object owns it."""
    owner = controller_ref_of(revision["metadata"])
    if owner is None or owner.uid != run.uid:
        return None
    data = dict(revision.get("data") or {})
    digest = digest_of(data)
    origin = data.pop("origin", None) or ()
    batch = BatchSpecJSON(**data)  # type: ignore[typeddict-item]
    return Snapshot.of(batch, tuple(origin), revision["metadata"]["name"], digest)
