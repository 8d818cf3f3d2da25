"""The fields that BatchRun and Task share: deadlines, retries, suspension, cleanup."""

from enum import StrEnum
from typing import Annotated

from pydantic import StringConstraints

from kubetask_controller.api.common import Count, KubeModel, ObjectName, PositiveCount

MANAGED_BY_PATTERN = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9._~!$&'()*+,;=:@%/-]+$"


class TtlPolicy(StrEnum):
    """The objects that are deleted after ttlSecondsAfterFinished."""

    JOBS = "Jobs"
    ALL = "All"


class WorkSpec(KubeModel):
    """Fields of a spec that describe the execution, with the names of batch/v1 where it has the same
    field."""

    workspace_config_ref: ObjectName | None = None
    """Name of the WorkspaceConfig to run in. If it does not exist, the work is Pending. Default: the
    WorkspaceConfig named default if it exists, else KubeTask's own image."""
    suspend: bool | None = None
    """While true, no task starts; running tasks continue. Can be changed at any time."""
    cancel: bool | None = None
    """Set to true to end the work: pending tasks never start, running tasks are stopped, and their
    logs remain. Cannot be undone."""
    backoff_limit: Count | None = None
    """Number of retries of a task whose agent failed. Agents are not idempotent: a retry may open a
    second pull request. A Pod that the cluster disrupted does not count. Default: 0"""
    max_disruptions: Count | None = None
    """Number of retries of a task after the cluster disrupted the Pod of its running agent, by an
    eviction, a preemption or a lost node. A Pod that is disrupted before its agent starts is always
    replaced, and does not count. Default: 0, so that the task is Failed with reason Disrupted."""
    active_deadline_seconds: PositiveCount | None = None
    """Maximum duration of a task in seconds, from the start of its Pod. When it is exceeded, the task
    is stopped and is Failed with reason TimedOut; its log remains. Default: no limit."""
    pending_deadline_seconds: PositiveCount | None = None
    """Maximum time in seconds that a task waits for its agent to start, for example for a node, an
    image or a ConfigMap, or because its Job is refused. When it is exceeded, the task is Failed with
    reason PendingTimeout. Time in a queue does not count. Default: no limit."""
    ttl_seconds_after_finished: Count | None = None
    """Seconds after the end for which Jobs are kept, with their Pods and logs. Default: the value of the
    controller's flag --default-ttl-seconds-after-finished, a week. See ttlPolicy for the object
    itself."""
    ttl_policy: TtlPolicy | None = None
    """Objects that are deleted after ttlSecondsAfterFinished: Jobs, or All, which includes this
    object. GitOps tools recreate a deleted object, and all tasks run again: use All only for objects
    that no such tool manages. Default: Jobs"""
    managed_by: (
        Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=MANAGED_BY_PATTERN)]
        | None
    ) = None
    """The controller that manages this object, as domain/path. This controller ignores objects with
    another value than kubetask.io/kubetask-controller. Default: kubetask.io/kubetask-controller"""


def execution_fields() -> tuple[str, ...]:
    """The shared fields, by JSON name, that cannot change after creation."""
    mutable = ("suspend", "cancel")
    names = (field.alias or name for name, field in WorkSpec.model_fields.items())
    return tuple(name for name in names if name not in mutable)
