"""Batch: what to do (commonContext) and where (variableContexts), as a template of runs."""

from typing import Annotated

from pydantic import Field

from kubetask_controller.api import constants as c
from kubetask_controller.api.common import KubeModel, ObjectMeta, ObjectName, ShortText
from kubetask_controller.api.context import Contexts
from kubetask_controller.api.git import PullRequest
from kubetask_controller.api.rules import ATOMIC


class BatchSpec(KubeModel):
    """Tasks with a common part and a part of their own. Task i gets commonContext and
    variableContexts[i]."""

    common_context: Contexts = Field(default_factory=list)
    """Contexts that every task gets. May be empty."""
    variable_contexts: Annotated[
        list[Contexts], Field(min_length=1, max_length=c.MAX_TASKS, json_schema_extra=ATOMIC)
    ]
    """One list of contexts for each task, 1 to 10000 lists. A file replaces the file of that name
    in commonContext. File names within one list must differ."""
    workspace_config_ref: ObjectName | None = None
    """Name of the WorkspaceConfig to run in. If it does not exist, the tasks are Pending.
    Default: the WorkspaceConfig named default if it exists, else KubeTask's own image."""
    pull_request: PullRequest | None = None
    """The pull requests of this Batch. Its fields replace those of the WorkspaceConfig's
    pullRequest, one by one."""


class Batch(KubeModel):
    """Batch is a template of tasks: one set of instructions for many repositories. It runs when a
    BatchRun refers to it."""

    api_version: ShortText = c.API_VERSION
    kind: ShortText = c.KIND_BATCH
    metadata: ObjectMeta
    spec: BatchSpec
    """What to do, and where."""
