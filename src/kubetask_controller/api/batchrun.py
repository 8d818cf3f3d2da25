"""BatchRun: one execution of a Batch, of an inline batchSpec, or of what failed in another run."""

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from kubetask_controller.api import constants as c
from kubetask_controller.api.batch import BatchSpec
from kubetask_controller.api.common import (
    Count,
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

COST_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,6})?$"
SELECT_PATTERN = r"^(Failed|[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*)$"
_NEW_RUN = "make a new BatchRun instead"
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


Cost = Annotated[
    int | str,
    Field(
        json_schema_extra={
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": 16,
            "pattern": COST_PATTERN,
            "x-kubernetes-int-or-string": True,
        }
    ),
]
IndexRanges = Annotated[
    str, StringConstraints(max_length=65536, pattern=r"^([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?$")
]


class BatchRunSpec(WorkSpec):
    """What to run and how. Exactly one of batchRef, batchSpec and retryOf says what."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            _ONE_SOURCE,
            _SELECT_NEEDS_RETRY,
            *(immutable(field, _NEW_RUN) for field in _IMMUTABLE),
            cancel_is_final(_NEW_RUN),
        )
    )

    batch_ref: ObjectName | None = None
    """Name of the Batch to run, in the same namespace. The run uses the Batch as it is when the
    run is accepted; later changes do not reach it. Until the Batch exists, the run is Pending with
    reason BatchNotFound."""
    batch_spec: BatchSpec | None = None
    """The Batch to run, written out here."""
    retry_of: ObjectName | None = None
    """Name of a BatchRun of the same namespace that has ended. This run takes those of its tasks
    that select names, with the same contexts, and the other run stays as it is."""
    select: Annotated[str, StringConstraints(max_length=1024, pattern=SELECT_PATTERN)] | None = None
    """Which tasks of the run in retryOf to run again: Failed, or their indexes such as "3,7-9" (in
    quotes). Default: Failed"""
    parallelism: PositiveCount | None = None
    """How many tasks of this run may run at once. May be changed at any time. Default: no limit of
    its own; the WorkspaceConfig's maxConcurrentTasks holds in any case."""
    max_failures: Count | None = None
    """How many tasks may fail. Once more have failed, no further task is started, and the run ends
    as Failed with reason MaxFailuresExceeded. May be changed at any time. Default: no limit."""

    task_limit: Count | None = None
    """How many tasks may start: those with an index below this number. The others wait as Pending
    with reason TaskLimit until the number is raised or removed, so that a few tasks can prove a
    change before all run. May be changed at any time. Default: no limit."""
    max_cost_usd: Annotated[Cost | None, Field(alias="maxCostUSD")] = None
    """What the tasks may cost together, in US dollars, such as 25 or "7.50", as far as agents
    report their costs. Once the sum reaches it, no further task starts, and the run ends as Failed
    with reason BudgetExceeded. May be changed at any time. Default: no limit."""


class Progress(KubeModel):
    """How many tasks are in each phase. The last four sum to total."""

    total: Count = 0
    """All tasks of the run."""
    pending: Count = 0
    """Tasks that have not started."""
    running: Count = 0
    """Tasks that run."""
    completed: Count = 0
    """Tasks that succeeded."""
    failed: Count = 0
    """Tasks that failed."""


class BatchRunStatus(StatusBase):
    """How far the run is. Written by the controller alone."""

    progress: Progress | None = None
    """Counters of the tasks."""
    done: Annotated[str, StringConstraints(max_length=32)] | None = None
    """Tasks that have ended, of all tasks: 39/40"""
    batch_snapshot: ShortText | None = None
    """Name of the ControllerRevision that holds the Batch as it was when the run was accepted."""
    snapshot_digest: ShortText | None = None
    """Digest of that ControllerRevision's data, as sha256:<hex>. A revision with other data is not
    used."""
    usage: Usage | None = None
    """What the agents' models used together, as far as the agents report it."""
    omitted: Annotated[list[c.Omitted], Field(max_length=8, json_schema_extra=ATOMIC)] | None = None
    """What this status leaves out, because the run is large: Contexts (tasks[].contexts), Times
    (those of tasks that succeeded), Tasks (entries of tasks that did not fail; see the index
    ranges), Details (message and result of failed tasks)."""
    started_indexes: IndexRanges | None = None
    """Indexes of the tasks whose Job was made, whether or not it is still there, such as
    0-37,39."""
    completed_indexes: IndexRanges | None = None
    """Indexes of the tasks that succeeded."""
    failed_indexes: IndexRanges | None = None
    """Indexes of the tasks that failed."""
    tasks: (
        Annotated[list[TaskStatus], Field(max_length=c.MAX_TASKS, json_schema_extra=ATOMIC)] | None
    ) = None
    """The tasks, by index. In a large run, entries may be left out; see omitted."""


class BatchRun(KubeModel):
    """BatchRun is one execution of a Batch. It makes a Job for each task and tells in its status
    how far it is."""

    api_version: ShortText = c.API_VERSION
    kind: ShortText = c.KIND_BATCH_RUN
    metadata: ObjectMeta
    spec: BatchRunSpec
    """What to run and how."""
    status: BatchRunStatus | None = None
    """How far the run is."""
