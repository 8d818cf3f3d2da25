"""BatchRun: one execution of a Batch, of an inline batchSpec, or of the failed tasks of another run."""

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from kubetask_controller.api import constants as c
from kubetask_controller.api.batch import BatchSpec
from kubetask_controller.api.common import (
    Count,
    Dollars,
    KubeModel,
    ObjectMeta,
    ObjectName,
    PositiveCount,
    ShortText,
)
from kubetask_controller.api.rules import (
    ATOMIC,
    Rule,
    cancel_is_final,
    immutable,
    validations,
)
from kubetask_controller.api.status import StatusBase, TaskStatus, Usage
from kubetask_controller.api.work import WorkSpec, execution_fields

SELECT_PATTERN = r"^(Failed|[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*)$"
_NEW_RUN = "create a new BatchRun instead"
_ONE_SOURCE = Rule(
    "(has(self.batchRef) ? 1 : 0) + (has(self.batchSpec) ? 1 : 0)"
    " + (has(self.retryOf) ? 1 : 0) == 1",
    "exactly one of batchRef and batchSpec must be set (or retryOf in place of both)",
)
_SELECT_NEEDS_RETRY = Rule(
    "!has(self.select) || has(self.retryOf)",
    "select chooses tasks of another run and needs retryOf: set retryOf, or remove select",
    field_path=".select",
)
_IMMUTABLE = (
    "batchRef",
    "batchSpec",
    "retryOf",
    "select",
    *execution_fields(),
)
IndexRanges = Annotated[
    str, StringConstraints(max_length=65536, pattern=r"^([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?$")
]


class BatchRunSpec(WorkSpec):
    """What to run and how. Exactly one of batchRef, batchSpec and retryOf must be set."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            _ONE_SOURCE,
            _SELECT_NEEDS_RETRY,
            *(immutable(field, _NEW_RUN) for field in _IMMUTABLE),
            cancel_is_final(_NEW_RUN),
        )
    )

    workspace_config_ref: ObjectName | None = None
    """Name of the WorkspaceConfig to run in. If it does not exist, the work is Pending. Default: that of
    the Batch; else the one named default if it exists, else KubeTask's own image."""
    batch_ref: ObjectName | None = None
    """Name of the Batch to run, in the same namespace. The run uses a snapshot of the Batch, taken
    when the run is accepted; later changes have no effect. Until the Batch exists, the run is
    Pending with reason BatchNotFound."""
    batch_spec: BatchSpec | None = None
    """The Batch to run, inline."""
    retry_of: ObjectName | None = None
    """Name of a BatchRun in the same namespace that has ended. This run repeats the tasks that
    select chooses, with the same contexts. The other run is not changed."""
    select: Annotated[str, StringConstraints(max_length=1024, pattern=SELECT_PATTERN)] | None = None
    """Tasks of the run in retryOf to run again: Failed, or indexes such as "3,7-9" (in quotes).
    Default: Failed"""
    parallelism: PositiveCount | None = None
    """Maximum number of tasks of this run that run at the same time. Can be changed at any time.
    Default: no limit. The maxConcurrentTasks of the WorkspaceConfig applies in any case."""
    max_failures: Count | None = None
    """Maximum number of tasks that may fail. When more tasks fail, no further task starts, and the
    run is Failed with reason MaxFailuresExceeded. Can be changed at any time. Default: no limit."""

    task_limit: Count | None = None
    """Number of tasks that may start: those with an index below this number. The others are Pending
    with reason TaskLimit until the number is raised or removed, so that a few tasks can prove a
    change before all tasks run. Can be changed at any time. Default: no limit."""
    max_cost_usd: Annotated[Dollars | None, Field(alias="maxCostUSD")] = None
    """Maximum cost of all tasks in US dollars, such as 25 or "7.50", as reported by the agents.
    When the sum reaches it, no further task starts, and the run is Failed with reason
    BudgetExceeded. Can be changed at any time. Default: no limit."""


class Progress(KubeModel):
    """Number of tasks in each phase. The last four sum to total."""

    total: Count = 0
    """Number of tasks of the run."""
    pending: Count = 0
    """Tasks that have not started."""
    running: Count = 0
    """Tasks that are running."""
    completed: Count = 0
    """Tasks that succeeded."""
    failed: Count = 0
    """Tasks that failed."""


class BatchRunStatus(StatusBase):
    """Observed state of the run. Only the controller writes it."""

    progress: Progress | None = None
    """Counters of the tasks."""
    done: Annotated[str, StringConstraints(max_length=32)] | None = None
    """Ended tasks and all tasks, such as 39/40."""
    batch_snapshot: ShortText | None = None
    """Name of the ControllerRevision with the snapshot of the Batch."""
    snapshot_digest: ShortText | None = None
    """Digest of the data of that ControllerRevision, as sha256:<hex>. The controller does not use a
    revision with other data."""
    usage: Usage | None = None
    """Sum of the tokens and cost that the agents reported."""
    omitted: Annotated[list[c.Omitted], Field(max_length=8, json_schema_extra=ATOMIC)] | None = None
    """Parts that this status omits because the run is large: Contexts (tasks[].contexts), Times
    (times of tasks that succeeded), Tasks (entries of tasks that did not fail; see the index
    ranges), Details (message and result of failed tasks)."""
    started_indexes: IndexRanges | None = None
    """Indexes of the tasks whose Job was created, including Jobs that were deleted since, such as
    0-37,39."""
    completed_indexes: IndexRanges | None = None
    """Indexes of the tasks that succeeded."""
    failed_indexes: IndexRanges | None = None
    """Indexes of the tasks that failed."""
    tasks: (
        Annotated[list[TaskStatus], Field(max_length=c.MAX_TASKS, json_schema_extra=ATOMIC)] | None
    ) = None
    """The tasks, by index. The status of a large run omits entries; see omitted."""


class BatchRun(KubeModel):
    """BatchRun is one execution of a Batch. The controller creates a Job for each task and reports
    progress in the status."""

    api_version: ShortText = c.API_VERSION
    kind: ShortText = c.KIND_BATCH_RUN
    metadata: ObjectMeta
    spec: BatchRunSpec
    """What to run and how."""
    status: BatchRunStatus | None = None
    """Observed state of the run."""
