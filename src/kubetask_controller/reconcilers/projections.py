"""Slim views of the objects in the cache, and the PartialTypes that limit the decoded fields.

The cache keeps views instead of the objects that the API server sends: a Job is 19 KiB as JSON and under 2 as a view. A
view is immutable. A field that a projection reads must stand in the PartialType too; ``test_projections`` compares the two.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from sys import intern
from typing import Any, Generic, TypedDict, TypeVar

from pydantic_core import to_json

from kubetask_controller.api import constants as c
from kubetask_controller.api.times import EPOCH, format_time, parse_time
from kubetask_controller.api.typed import (
    BatchRunSpecJSON,
    BatchRunStatusJSON,
    BatchSpecJSON,
    TaskExecutionStatusJSON,
    TaskSpecJSON,
    WorkspaceConfigSpecJSON,
)
from kubetask_controller.types import JSON

_NEVER_EXECUTED = ("StartError", "ContainerCannotRun")
"""Reasons of a container that exists and whose process could not be executed."""

DEFAULT_GRACE_SECONDS = 30
"""terminationGracePeriodSeconds where a Pod does not set it."""

FINAL_PHASES = (c.Phase.SUCCEEDED, c.Phase.FAILED)

SpecT = TypeVar("SpecT", covariant=True)
StatusT = TypeVar("StatusT", covariant=True)


@dataclass(frozen=True, slots=True)
class OwnerRef:
    """The controlling owner of an object."""

    api_version: str
    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class ConditionView:
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
    workspace_config: str
    index_label: str
    """The label with the task's index; a hint, because users may change labels."""
    config_digest: str
    """Of the WorkspaceConfig's spec that the Pod template follows; empty for Jobs of earlier versions."""
    replacement: int
    """How many Jobs of the same task it follows."""
    earlier_attempts: int
    """How often the agent was started in those."""
    managed: bool
    """Its labels still match the selector of the informer."""
    created: str
    started: str
    """status.startTime: set again each time the Job is resumed."""
    deleting: bool
    suspended: bool
    complete: ConditionView | None
    failed: ConditionView | None
    backoff_limit: int
    failed_pods: int
    """status.failed. It shows whether a cache contains all Pods, and never how a Job ends."""
    parallelism: int = 1
    """0: the Job creates no Pod any more."""
    resuming: bool = False
    """Its spec is not suspended any more, and its status still is: the Job controller dates its start later."""

    def is_controlled_by(self, uid: str) -> bool:
        """Whether the object with this uid is its controlling owner."""
        return self.owner is not None and self.owner.uid == uid

    @property
    def held(self) -> bool:
        """A queue holds the Job back, or the Job controller has not resumed it yet."""
        return self.suspended or self.resuming

    @property
    def finished(self) -> bool:
        """The Job has a final condition. Counters never show this."""
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
    created: bool = False
    """The runtime has given it an id."""
    up: bool = False
    """It is a native sidecar and has started: the containers after it do not wait for it."""


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
    """The scheduler's message, empty where the Pod has a node or was not tried yet."""
    disruption: str
    """The reason of the condition DisruptionTarget, empty without one."""
    disrupted_at: str
    """When that condition became True."""
    started: str
    """status.startTime, from which activeDeadlineSeconds counts; empty before the kubelet has accepted the Pod."""
    active_deadline_seconds: int | None
    containers: tuple[ContainerView, ...] = ()
    grace_seconds: int = DEFAULT_GRACE_SECONDS
    """Seconds from SIGTERM to SIGKILL."""
    deleted_at: str = ""
    """When its deletion was requested; empty where that is not known, as when the kubelet removes it."""
    ready_to_start: bool = False
    """Its volumes are mounted and its network is set up."""
    vanished: bool = False
    """The Pod was missing from a list, and no watch event showed its end: it may have changed after this version."""

    @property
    def agent(self) -> ContainerView | None:
        """The status of the agent container, None before the kubelet has written one."""
        return next((x for x in self.containers if x.name == c.CONTAINER_AGENT), None)

    @property
    def agent_started_at(self) -> str:
        """When the agent's process started, empty where it has not."""
        agent = self.agent
        return agent.started_at if agent else ""

    @property
    def agent_started(self) -> bool:
        """Whether the agent's process may have run.

        A container that existed and whose end the kubelet did not observe (ContainerStatusUnknown) counts as started; one
        whose process could not be executed (StartError, with an empty start) does not. The kubelet writes
        ContainerStatusUnknown for containers of an ended Pod that it has never created, too: these have no id. A Pod that
        vanished before its end was observed counts as started. Kubelets of virtual nodes write no times.
        """
        if self.vanished and not self.terminal:
            return True
        agent = self.agent
        if agent is None or agent.state == "waiting":
            return False
        ran = agent.created and agent.reason not in _NEVER_EXECUTED
        return bool(agent.started_at) or agent.state == "running" or ran

    @property
    def finished_at(self) -> str:
        """When the last of its containers ended, empty before that."""
        return max((x.finished_at for x in self.containers if x.finished_at), default="")

    @property
    def terminal(self) -> bool:
        """The Pod will not run again."""
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class ResourceView(Generic[SpecT, StatusT]):
    """One of the project's own kinds: its identity, and its spec and status as they came.

    Attributes:
        work: the batchSpec of a BatchRun as JSON, which ``spec`` lacks then: parsed, it is ten times as large in memory.
    """

    namespace: str
    name: str
    uid: str
    resource_version: str
    generation: int
    created: str
    deleting: bool
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: SpecT
    status: StatusT
    work: bytes = b""


BatchView = ResourceView[BatchSpecJSON, JSON]
RunView = ResourceView[BatchRunSpecJSON, BatchRunStatusJSON]
TaskView = ResourceView[TaskSpecJSON, TaskExecutionStatusJSON]
ConfigView = ResourceView[WorkspaceConfigSpecJSON, JSON]
OwnerView = RunView | TaskView
AnyView = ResourceView[Any, Any]


def controller_ref_of(metadata: Mapping[str, Any]) -> OwnerRef | None:
    """The owner reference with ``controller: true``."""
    for ref in metadata.get("ownerReferences") or ():
        if ref.get("controller"):
            return _owner_ref(ref["apiVersion"], ref["kind"], ref["name"], ref["uid"])
    return None


@lru_cache(maxsize=1024)
def _owner_ref(api_version: str, kind: str, name: str, uid: str) -> OwnerRef:
    """Jobs of one owner share the reference: a cache holds tens of thousands of them."""
    return OwnerRef(api_version, kind, name, uid)


def _shared(text: str | None) -> str:
    """A text that many objects have, kept once; empty for None."""
    return intern(text) if text else ""


def project_job(obj: JSON) -> JobView:
    """A Job as the API server sends it, cut down."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    labels = metadata.get("labels") or {}
    annotations = metadata.get("annotations") or {}
    spec = obj.get("spec") or {}
    true = {
        x["type"]: ConditionView(
            _shared(x.get("reason")),
            _shared(x.get("message")),
            _shared(x.get("lastTransitionTime")),
        )
        for x in status.get("conditions") or ()
        if x["type"] in ("Complete", "Failed", "Suspended") and x.get("status") == "True"
    }
    return JobView(
        namespace=intern(metadata["namespace"]),
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        owner=controller_ref_of(metadata),
        workspace_config=_shared(annotations.get(c.ANNOTATION_WORKSPACE_CONFIG)),
        index_label=labels.get(c.LABEL_TASK_INDEX, ""),
        config_digest=_shared(annotations.get(c.ANNOTATION_CONFIG_DIGEST)),
        replacement=_count(annotations.get(c.ANNOTATION_REPLACEMENT)),
        earlier_attempts=_count(annotations.get(c.ANNOTATION_EARLIER_ATTEMPTS)),
        managed=labels.get(c.LABEL_MANAGED_BY) == c.LABEL_MANAGED_BY_VALUE,
        created=_shared(metadata.get("creationTimestamp")),
        started=_shared(status.get("startTime")),
        deleting="deletionTimestamp" in metadata,
        suspended=bool(spec.get("suspend")),
        complete=true.get("Complete"),
        failed=true.get("Failed"),
        backoff_limit=spec.get("backoffLimit", 0),
        failed_pods=status.get("failed") or 0,
        parallelism=spec.get("parallelism", 1),
        resuming="Suspended" in true and not spec.get("suspend"),
    )


def project_pod(obj: JSON) -> PodView:
    """A Pod as the API server sends it, cut down."""
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    sidecars = {x["name"] for x in spec.get("initContainers") or () if x.get("restartPolicy")}
    conditions = {x["type"]: x for x in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled") or {}
    disrupted = conditions.get("DisruptionTarget") or {}
    return PodView(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        owner=controller_ref_of(metadata),
        created=metadata.get("creationTimestamp", ""),
        deleting="deletionTimestamp" in metadata,
        node=spec.get("nodeName", ""),
        phase=status.get("phase", "Pending"),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        unschedulable=scheduled.get("message", "") if scheduled.get("status") == "False" else "",
        disruption=disrupted.get("reason", "") if disrupted.get("status") == "True" else "",
        disrupted_at=disrupted.get("lastTransitionTime") or "",
        started=status.get("startTime") or "",
        active_deadline_seconds=spec.get("activeDeadlineSeconds"),
        containers=tuple(
            _container(x, init, sidecars)
            for key, init in (("initContainerStatuses", True), ("containerStatuses", False))
            for x in status.get(key) or ()
        ),
        # A deletion may grant more time than the spec.
        grace_seconds=max(
            spec.get("terminationGracePeriodSeconds", DEFAULT_GRACE_SECONDS),
            metadata.get("deletionGracePeriodSeconds") or 0,
        ),
        deleted_at=_deleted_at(metadata),
        ready_to_start=(conditions.get("PodReadyToStartContainers") or {}).get("status") == "True",
    )


def project_resource(obj: JSON) -> AnyView:
    """A Batch, BatchRun, Task or WorkspaceConfig without its managedFields."""
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    inline = spec.get("batchSpec")
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
        spec={k: v for k, v in spec.items() if k != "batchSpec"} if inline else spec,
        status=obj.get("status") or {},
        work=to_json(inline) if inline else b"",
    )


def project_owner(obj: JSON) -> AnyView:
    """A BatchRun or Task for the cache. An ended one keeps only the fields that are still read: there may be thousands.

    Its work goes, and of each entry the contexts. A retry reads the run that it repeats live.
    """
    view = project_resource(obj)
    status = view.status
    if status.get("phase") not in FINAL_PHASES:
        return view
    spec = {k: v for k, v in view.spec.items() if k != "contexts"}
    if "tasks" in status:
        entries = [{k: v for k, v in x.items() if k != "contexts"} for x in status["tasks"]]
        status = {**status, "tasks": entries}
    return replace(view, spec=spec, status=status, work=b"")


def _deleted_at(metadata: Mapping[str, Any]) -> str:
    """The time of the request: metadata.deletionTimestamp is the end of the grace period, which the kubelet sets to 0."""
    until, grace = metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds")
    return format_time(parse_time(until) - timedelta(seconds=grace)) if until and grace else ""


def _count(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else 0


def _container(status: Mapping[str, Any], init: bool, sidecars: Container[str]) -> ContainerView:
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
        created=bool(status.get("containerID")),
        up=bool(init and status.get("started") and status["name"] in sidecars),
    )


def _moment(text: str | None) -> str:
    return "" if text is None or text == EPOCH else text


class _MetadataPart(TypedDict, total=False):
    name: str
    namespace: str
    uid: str
    resourceVersion: str
    creationTimestamp: str | None
    deletionTimestamp: str
    deletionGracePeriodSeconds: int
    labels: dict[str, str]
    annotations: dict[str, str]
    ownerReferences: list[JSON]


class PartialBatch(TypedDict, total=False):
    """The decoded fields of a Batch: its spec is read when a run is accepted."""

    apiVersion: str
    kind: str
    metadata: _MetadataPart


class _JobSpecPart(TypedDict, total=False):
    suspend: bool
    parallelism: int
    backoffLimit: int


class _JobStatusPart(TypedDict, total=False):
    startTime: str
    failed: int
    conditions: list[JSON]


class PartialJob(TypedDict, total=False):
    """The decoded fields of a batch/v1 Job."""

    apiVersion: str
    kind: str
    metadata: _MetadataPart
    spec: _JobSpecPart
    status: _JobStatusPart


class _InitContainerPart(TypedDict, total=False):
    name: str
    restartPolicy: str


class _PodSpecPart(TypedDict, total=False):
    nodeName: str
    initContainers: list[_InitContainerPart]
    activeDeadlineSeconds: int
    terminationGracePeriodSeconds: int


class _PodConditionPart(TypedDict, total=False):
    type: str
    lastTransitionTime: str | None
    status: str
    reason: str
    message: str


class _ContainerStatusPart(TypedDict, total=False):
    name: str
    containerID: str
    started: bool | None
    state: JSON


class _PodStatusPart(TypedDict, total=False):
    phase: str
    startTime: str
    reason: str
    message: str
    conditions: list[_PodConditionPart]
    initContainerStatuses: list[_ContainerStatusPart]
    containerStatuses: list[_ContainerStatusPart]


class PartialPod(TypedDict, total=False):
    """The decoded fields of a v1 Pod."""

    apiVersion: str
    kind: str
    metadata: _MetadataPart
    spec: _PodSpecPart
    status: _PodStatusPart
