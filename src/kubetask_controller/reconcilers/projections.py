"""Slim views of the objects in the cache.

The cache keeps these instead of the objects the API server sent: a Job is 19 KiB as JSON and under 2 as a view. A view is
immutable, and comparing two by identity tells whether anything was heard of the object since.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubetask_controller.api import constants as c
from kubetask_controller.reconcilers.times import EPOCH

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class OwnerRef:
    """The controlling owner of an object."""

    api_version: str
    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of a Job that is True."""

    reason: str
    message: str
    time: str


@dataclass(frozen=True, slots=True)
class JobView:
    """What the reconcilers need of a Job."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    owner: OwnerRef | None
    index: int | None
    workspace_config: str
    created: str
    started: str
    """When the Job controller took it up, again after each time it was suspended."""
    deleting: bool
    suspended: bool
    complete: Condition | None
    failed: Condition | None
    ending: bool
    """SuccessCriteriaMet or FailureTarget: decided, and its Pods are on their way out."""
    backoff_limit: int

    @property
    def finished(self) -> bool:
        """The Job controller has said its last word; counters alone never say so."""
        return self.complete is not None or self.failed is not None


@dataclass(frozen=True, slots=True)
class ContainerView:
    """The current state of one container."""

    name: str
    init: bool
    state: str
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    signal: int | None = None
    started_at: str = ""
    finished_at: str = ""


@dataclass(frozen=True, slots=True)
class PodView:
    """What the reconcilers need of a task's Pod."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    owner: OwnerRef | None
    created: str
    deleting: bool
    node: str
    phase: str
    reason: str
    message: str
    unschedulable: str
    """The scheduler's message, empty where it has found a node or not yet tried."""
    disruption: str
    """The reason of the condition DisruptionTarget, empty where nothing disrupted the Pod."""
    active_deadline_seconds: int | None
    containers: tuple[ContainerView, ...] = ()

    @property
    def started_at(self) -> str:
        """When the first of its containers began, empty before that."""
        return min((x.started_at for x in self.containers if x.started_at), default="")

    @property
    def finished_at(self) -> str:
        """When the last of its containers ended, empty before that."""
        return max((x.finished_at for x in self.containers if x.finished_at), default="")

    @property
    def terminal(self) -> bool:
        """The Pod will not run again."""
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class ResourceView:
    """One of our own four kinds: what identifies it, and its spec and status as they came."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    generation: int
    created: str
    deleting: bool
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: JSON
    status: JSON = field(default_factory=dict)


def controller_of(metadata: Mapping[str, Any]) -> OwnerRef | None:
    """The owner reference that says ``controller: true``."""
    for ref in metadata.get("ownerReferences") or ():
        if ref.get("controller"):
            return OwnerRef(ref["apiVersion"], ref["kind"], ref["name"], ref["uid"])
    return None


def project_job(obj: JSON) -> JobView:
    """A Job as the API server sends it, cut down."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    labels = metadata.get("labels") or {}
    true = {
        x["type"]: Condition(
            x.get("reason", ""), x.get("message", ""), x.get("lastTransitionTime", "")
        )
        for x in status.get("conditions") or ()
        if x.get("status") == "True"
    }
    return JobView(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        owner=controller_of(metadata),
        index=_index(labels.get(c.LABEL_TASK_INDEX)),
        workspace_config=(metadata.get("annotations") or {}).get(c.ANNOTATION_WORKSPACE_CONFIG, ""),
        created=metadata.get("creationTimestamp", ""),
        started=status.get("startTime") or "",
        deleting="deletionTimestamp" in metadata,
        suspended=bool((obj.get("spec") or {}).get("suspend")),
        complete=true.get("Complete"),
        failed=true.get("Failed"),
        ending="SuccessCriteriaMet" in true or "FailureTarget" in true,
        backoff_limit=(obj.get("spec") or {}).get("backoffLimit", 0),
    )


def project_pod(obj: JSON) -> PodView:
    """A Pod as the API server sends it, cut down."""
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    conditions = {x["type"]: x for x in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled") or {}
    disrupted = conditions.get("DisruptionTarget") or {}
    return PodView(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        owner=controller_of(metadata),
        created=metadata.get("creationTimestamp", ""),
        deleting="deletionTimestamp" in metadata,
        node=spec.get("nodeName", ""),
        phase=status.get("phase", "Pending"),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        unschedulable=scheduled.get("message", "") if scheduled.get("status") == "False" else "",
        disruption=disrupted.get("reason", "") if disrupted.get("status") == "True" else "",
        active_deadline_seconds=spec.get("activeDeadlineSeconds"),
        containers=tuple(
            _container(x, init)
            for key, init in (("initContainerStatuses", True), ("containerStatuses", False))
            for x in status.get(key) or ()
        ),
    )


def project_resource(obj: JSON) -> ResourceView:
    """A Batch, BatchRun, Task or WorkspaceConfig without its managedFields."""
    metadata = obj["metadata"]
    return ResourceView(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        generation=metadata.get("generation", 0),
        created=metadata.get("creationTimestamp", ""),
        deleting="deletionTimestamp" in metadata,
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        spec=obj.get("spec") or {},
        status=obj.get("status") or {},
    )


def by_owner_uid(view: JobView | PodView) -> Iterable[str]:
    """Index function: the uid of the controlling owner."""
    return (view.owner.uid,) if view.owner else ()


def _index(label: str | None) -> int | None:
    return int(label) if label and label.isascii() and label.isdigit() else None


def _container(status: Mapping[str, Any], init: bool) -> ContainerView:
    state = status.get("state") or {}
    kind = next(iter(state), "waiting")
    detail = state.get(kind) or {}
    return ContainerView(
        name=status["name"],
        init=init,
        state=kind,
        reason=detail.get("reason", ""),
        message=detail.get("message", ""),
        exit_code=detail.get("exitCode"),
        signal=detail.get("signal"),
        started_at=_moment(detail.get("startedAt")),
        finished_at=_moment(detail.get("finishedAt")),
    )


def _moment(text: str | None) -> str:
    return "" if text is None or text == EPOCH else text
