"""What of a Job and a Pod is read at all: everything that ``projections`` looks at, and nothing else.

A field that a projection reads and that is missing here is simply not there: ``test_shapes`` holds the two together.
"""

from typing import Any, TypedDict

JSON = dict[str, Any]


class _Metadata(TypedDict, total=False):
    name: str
    namespace: str
    uid: str
    resourceVersion: str
    creationTimestamp: str | None
    deletionTimestamp: str
    labels: dict[str, str]
    annotations: dict[str, str]
    ownerReferences: list[JSON]


class _JobSpec(TypedDict, total=False):
    suspend: bool
    backoffLimit: int


class _JobStatus(TypedDict, total=False):
    startTime: str
    conditions: list[JSON]


class JobShape(TypedDict, total=False):
    """batch/v1 Job."""

    apiVersion: str
    kind: str
    metadata: _Metadata
    spec: _JobSpec
    status: _JobStatus


class _PodSpec(TypedDict, total=False):
    nodeName: str
    activeDeadlineSeconds: int


class _Condition(TypedDict, total=False):
    type: str
    status: str
    reason: str
    message: str


class _ContainerStatus(TypedDict, total=False):
    name: str
    state: JSON


class _PodStatus(TypedDict, total=False):
    phase: str
    reason: str
    message: str
    conditions: list[_Condition]
    initContainerStatuses: list[_ContainerStatus]
    containerStatuses: list[_ContainerStatus]


class PodShape(TypedDict, total=False):
    """v1 Pod."""

    apiVersion: str
    kind: str
    metadata: _Metadata
    spec: _PodSpec
    status: _PodStatus
