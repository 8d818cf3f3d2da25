"""The common parts of the status of a Task, of a BatchRun and of a run's task.

Counters are always present, including 0, because Argo Workflows and CEL cannot match absent fields.
``completionTime`` is set exactly when the phase is final.
"""

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from kubetask_controller.api import constants as c
from kubetask_controller.api.common import (
    Condition,
    Count,
    KubeModel,
    ShortText,
    Text,
    Time,
)
from kubetask_controller.api.rules import ATOMIC, list_map

ReasonWord = Annotated[str, StringConstraints(max_length=128)]
JobName = Annotated[str, StringConstraints(max_length=63)]
Conditions = Annotated[list[Condition], Field(max_length=16, json_schema_extra=list_map("type"))]
ObservedGeneration = Annotated[int, Field(ge=-1, le=2**63 - 1)]
Attempts = Annotated[int, Field(ge=0, le=2**31 - 1)]
Tokens = Annotated[int, Field(ge=0, le=2**63 - 1)]


class Usage(KubeModel):
    """Tokens and cost, as reported by the agent."""

    input_tokens: Tokens | None = None
    """Number of input tokens."""
    output_tokens: Tokens | None = None
    """Number of output tokens."""
    cost_usd: Annotated[
        Annotated[str, StringConstraints(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?$")] | None,
        Field(alias="costUSD"),
    ] = None
    """Cost in US dollars, as a decimal number."""


class TaskResult(KubeModel):
    """Result of the agent. Additional fields are kept."""

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}
    )

    summary: Annotated[str, StringConstraints(max_length=c.MAX_RESULT_BYTES)] | None = None
    """Summary of the work, in a few sentences."""
    outcome: ShortText | None = None
    """Outcome in CamelCase, such as Changed or NoChanges."""
    pull_request: Annotated[str, StringConstraints(max_length=2048)] | None = None
    """URL of the pull request."""
    branch: ShortText | None = None
    """Branch with the work."""
    commits: Annotated[list[ShortText], Field(max_length=64, json_schema_extra=ATOMIC)] | None = (
        None
    )
    """Commits that the agent created."""
    usage: Usage | None = None
    """Tokens and cost."""


class ConfigMapKey(KubeModel):
    """The ConfigMap or Secret, and the key, of a file."""

    name: ShortText
    """Name of the object."""
    key: ShortText
    """Key within the object."""


class StatusFileSource(KubeModel):
    """Source of a file. Empty for an inline file: the status never contains its text."""

    config_map_key_ref: ConfigMapKey | None = None
    """A key of a ConfigMap."""
    secret_key_ref: ConfigMapKey | None = None
    """A key of a Secret."""


class StatusFile(KubeModel):
    """A file, without its content."""

    name: ShortText
    """Path below the task's working directory."""
    source: StatusFileSource | None = None
    """Source of the content."""


class StatusRepository(KubeModel):
    """A repository that the task works on."""

    host: ShortText | None = None
    """Name of its entry in git.hosts of the WorkspaceConfig. Default: the host of git.urlTemplate"""
    org: ShortText
    """Organisation, user or group."""
    repo: ShortText
    """Name of the repository."""
    branch: ShortText | None = None
    """Branch from which the task started."""


class StatusContext(KubeModel):
    """A context that is specific to the task."""

    type: ShortText
    """File or Repository."""
    file: StatusFile | None = None
    """The file, when type is File."""
    repository: StatusRepository | None = None
    """The repository, when type is Repository."""


class TaskStatus(KubeModel):
    """One task of a run."""

    index: Count
    """Position of the task's list in variableContexts, from 0."""
    contexts: (
        Annotated[list[StatusContext], Field(max_length=c.MAX_CONTEXTS, json_schema_extra=ATOMIC)]
        | None
    ) = None
    """Contexts that are specific to this task: its repositories, else its files by name and source.
    Omitted in a large run; see omitted."""
    status: c.Phase
    """Pending, Running, Succeeded or Failed."""
    reason: ReasonWord | None = None
    """Reason of the state, in CamelCase."""
    message: Text | None = None
    """Details of the state, in one line."""
    job_name: JobName | None = None
    """Name of the task's Job. It remains after the Job is deleted."""
    start_time: Time | None = None
    """When the task's agent first started."""
    completion_time: Time | None = None
    """When the task ended."""
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


class StatusBase(KubeModel):
    """The part of a status by which tools distinguish final from pending states."""

    observed_generation: ObservedGeneration | None = None
    """Generation of the object that this status describes. -1 until the controller has observed the
    object."""
    phase: c.Phase | None = None
    """Pending, Running, Succeeded or Failed. Succeeded and Failed are final."""
    reason: ReasonWord | None = None
    """Reason of the phase, in CamelCase."""
    message: Text | None = None
    """Details of the phase, in one line."""
    start_time: Time | None = None
    """When the first agent started, not when the object was created."""
    completion_time: Time | None = None
    """When it ended. Set exactly when the phase is final."""
    conditions: Conditions | None = None
    """Complete, Failed, Suspended, Ready, Reconciling and Stalled. All of them are always present."""
