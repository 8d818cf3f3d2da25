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

_NEW_TASK = "make a new Task instead"


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
    """How far the task is. Written by the controller alone."""

    job_name: JobName | None = None
    """Name of the task's Job. It stays here after the Job is deleted."""
    target: ShortText | None = None
    """What the task works on, as org/repo@branch, for the printer column."""
    result: TaskResult | None = None
    """What the agent left as its result."""
    attempts: Attempts | None = None
    """How often the agent was started. Left out before its first start."""
    disruptions: Attempts | None = None
    """How many of these starts the cluster disrupted."""
    replacements: Attempts | None = None
    """How many Jobs of this task were replaced by a new one of the same name."""
    replaced_time: Time | None = None
    """When the last of them was replaced."""
    replaced_job_uid: Annotated[ShortText | None, Field(alias="replacedJobUID")] = None
    """The uid of that Job, which separates its Events from those of its successor."""


class Task(KubeModel):
    """Task is one task on its own: files and repositories that are handed to an agent in a Job.
    (Tekton has a Task too: ask for tasks.kubetask.io or ktask.)"""

    api_version: ShortText = c.API_VERSION
    kind: ShortText = c.KIND_TASK
    metadata: ObjectMeta
    spec: TaskSpec
    """What to do and how."""
    status: TaskExecutionStatus | None = None
    """How far the task is."""
