"""Task: one task on its own, without a Batch."""

from typing import Annotated

from pydantic import ConfigDict, Field

from kubetask_controller.api import constants as c
from kubetask_controller.api.common import KubeModel, ObjectMeta, ShortText, Time
from kubetask_controller.api.context import Context
from kubetask_controller.api.rules import (
    ATOMIC,
    Rule,
    cancel_is_final,
    immutable,
    unique_file_names,
    validations,
)
from kubetask_controller.api.status import Attempts, JobName, StatusBase, TaskResult
from kubetask_controller.api.work import WorkSpec, execution_fields

_NEW_TASK = "create a new Task instead"


class TaskSpec(WorkSpec):
    """What to do and how."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            *(immutable(field, _NEW_TASK) for field in execution_fields()),
            cancel_is_final(_NEW_TASK),
        )
    )

    contexts: Annotated[
        list[Context],
        Field(
            min_length=1,
            max_length=c.MAX_CONTEXTS,
            json_schema_extra={
                **ATOMIC,
                **validations(
                    unique_file_names(c.MAX_CONTEXTS),
                    Rule(
                        "self == oldSelf",
                        f"contexts is immutable: {_NEW_TASK}",
                        reason="FieldValueForbidden",
                    ),
                ),
            },
        ),
    ]
    """Files and repositories of the task. File names must differ."""


class TaskExecutionStatus(StatusBase):
    """Observed state of the task. Only the controller writes it."""

    job_name: JobName | None = None
    """Name of the task's Job. It remains after the Job is deleted."""
    target: ShortText | None = None
    """Repositories or files of the task, as org/repo@branch, for the printer column."""
    result: TaskResult | None = None
    """Result of the agent."""
    attempts: Attempts | None = None
    """Number of starts of the agent. Unset before the first start."""
    disruptions: Attempts | None = None
    """Number of starts that ended in a disruption by the cluster."""
    replacements: Attempts | None = None
    """Number of Jobs of this task that were replaced by a new Job of the same name."""
    replaced_time: Time | None = None
    """When the last Job was replaced."""
    replaced_job_uid: Annotated[ShortText | None, Field(alias="replacedJobUID")] = None
    """Uid of the last replaced Job, which separates its Events from those of its successor."""
    pending_seconds: Attempts | None = None
    """How long earlier Jobs of this task waited whose Pods a node refused; pendingDeadlineSeconds includes it."""


class Task(KubeModel):
    """Task is a single task: an agent runs in a Job with files and repositories. (Tekton has a kind
    Task too: use tasks.kubetask.io or ktask with kubectl.)"""

    api_version: ShortText = c.API_VERSION
    kind: ShortText = c.KIND_TASK
    metadata: ObjectMeta
    spec: TaskSpec
    """What to do and how."""
    status: TaskExecutionStatus | None = None
    """Observed state of the task."""
