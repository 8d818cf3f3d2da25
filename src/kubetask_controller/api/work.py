"""The fields that BatchRun and Task share: how long a task may take, how often it is tried, who
handles it."""

from enum import StrEnum
from typing import Annotated

from pydantic import StringConstraints

from kubetask_controller.api.common import Count, KubeModel, ObjectName, PositiveCount

MANAGED_BY_PATTERN = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9._~!$&'()*+,;=:@%/-]+$"


class TtlPolicy(StrEnum):
    """What is deleted once ttlSecondsAfterFinished is over."""

    JOBS = "Jobs"
    ALL = "All"


class WorkSpec(KubeModel):
    """Fields of a spec that describe the execution, named as in batch/v1 where a like field
    exists."""

    workspace_config_ref: ObjectName | None = None
    """Name of the WorkspaceConfig to run in. A name that does not exist makes the work wait.
    Default: the WorkspaceConfig named default if there is one, else KubeTask's own image."""
    suspend: bool | None = None
    """While true, nothing new is started; what runs goes on. May be changed at any time."""
    cancel: bool | None = None
    """Set to true to end the work: what has not started never does, what runs is stopped and its
    log stays readable. This cannot be taken back."""
    backoff_limit: Count | None = None
    """How often a task whose agent failed is tried again. Agents are not idempotent (a second try
    may open a second pull request). A Pod that the cluster disrupted does not count. Default: 0"""
    max_disruptions: Count | None = None
    """How often a task is tried again after the cluster has disrupted the Pod of its running agent:
    an eviction, a preemption, a lost node. A Pod that is disrupted before its agent starts is
    always replaced, and does not count. Default: 0, the task has failed with reason Disrupted."""
    active_deadline_seconds: PositiveCount | None = None
    """How long a task may run, from the start of its Pod. Then it is stopped, keeps its log, and
    has failed with reason TimedOut. Default: no limit."""
    pending_deadline_seconds: PositiveCount | None = None
    """How long a task whose Job exists may wait for its agent to start, for want of a node, an
    image or a ConfigMap. Then it has failed with reason PendingTimeout. Time in a queue does not
    count. Default: no limit."""
    ttl_seconds_after_finished: Count | None = None
    """How long after the end Jobs are kept, with their Pods and logs. Default: what the controller's
    flag --default-ttl-seconds-after-finished says, a week. See ttlPolicy for the object itself."""
    ttl_policy: TtlPolicy | None = None
    """What is deleted after ttlSecondsAfterFinished: Jobs, or All, which is this object too.
    GitOps tools make an object that vanished anew, and then everything runs again: use All only
    for objects that no such tool keeps. Default: Jobs"""
    managed_by: (
        Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=MANAGED_BY_PATTERN)]
        | None
    ) = None
    """The controller that handles this object, as domain/path. Any other value than
    kubetask.io/kubetask-controller makes this controller leave the object alone. Default:
    kubetask.io/kubetask-controller"""


def execution_fields() -> tuple[str, ...]:
    """The shared fields, by JSON name, that cannot change after creation."""
    mutable = ("suspend", "cancel")
    names = (field.alias or name for name, field in WorkSpec.model_fields.items())
    return tuple(name for name in names if name not in mutable)
