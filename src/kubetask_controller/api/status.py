"""What the status of a Task, of a BatchRun and of a run's task have in common.

Counters are always written, 0 included: Argo Workflows and CEL cannot match what is absent.
``completionTime`` exists exactly when the phase is final.
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
    """What the agent's model used, as far as the agent tells."""

    input_tokens: Tokens | None = None
    """Tokens read."""
    output_tokens: Tokens | None = None
    """Tokens written."""
    cost_usd: Annotated[
        Annotated[str, StringConstraints(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?$")] | None,
        Field(alias="costUSD"),
    ] = None
    """Cost in US dollars, as a decimal number."""


class TaskResult(KubeModel):
    """What the agent left as its result. Fields of its own are kept as they are."""

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}
    )

    summary: Annotated[str, StringConstraints(max_length=c.MAX_RESULT_BYTES)] | None = None
    """What was done, in a few sentences."""
    outcome: ShortText | None = None
    """How it came out, in one word, such as Changed or NoChanges."""
    pull_request: Annotated[str, StringConstraints(max_length=2048)] | None = None
    """URL of the pull request."""
    branch: ShortText | None = None
    """Branch that carries the work."""
    commits: Annotated[list[ShortText], Field(max_length=64, json_schema_extra=ATOMIC)] | None = (
        None
    )
    """Commits that were made."""
    usage: Usage | None = None
    """What the model used."""


class ConfigMapKey(KubeModel):
    """The ConfigMap or Secret, and the key, that a file comes from."""

    name: ShortText
    """Name of the object."""
    key: ShortText
    """Key within the object."""


class StatusFileSource(KubeModel):
    """Where a file comes from. An inline file has none of the fields: its text is never
    repeated."""

    config_map_key_ref: ConfigMapKey | None = None
    """A key of a ConfigMap."""
    secret_key_ref: ConfigMapKey | None = None
    """A key of a Secret."""


class StatusFile(KubeModel):
    """A file, without its content."""

    name: ShortText
    """Path below the task's working directory."""
    source: StatusFileSource | None = None
    """Where the content comes from."""


class StatusRepository(KubeModel):
    """A repository that the task works on."""

    org: ShortText
    """Organisation, user or group."""
    repo: ShortText
    """Name of the repository."""
    branch: ShortText | None = None
    """Branch that was started from."""


class StatusContext(KubeModel):
    """What makes a task differ from the others of its run."""

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
    """What makes this task differ from the others: its repositories, else its files by name and
    source. Left out in a large run; see omitted."""
    status: c.Phase
    """Pending, Running, Succeeded or Failed."""
    reason: ReasonWord | None = None
    """Why the task is in this state, in one word."""
    message: Text | None = None
    """Why the task is in this state, in one line."""
    job_name: JobName | None = None
    """Name of the task's Job. It stays here after the Job is deleted."""
    start_time: Time | None = None
    """When the task's agent first started."""
    completion_time: Time | None = None
    """When the task ended."""
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


class StatusBase(KubeModel):
    """The part of a status by which tools tell an end from a wait."""

    observed_generation: ObservedGeneration | None = None
    """The generation of the object that this status is about. -1 until the controller has seen the
    object."""
    phase: c.Phase | None = None
    """Pending, Running, Succeeded or Failed. The last two are final."""
    reason: ReasonWord | None = None
    """Why it is in this phase, in one word."""
    message: Text | None = None
    """Why it is in this phase, in one line."""
    start_time: Time | None = None
    """When the first agent started, not when the object was created."""
    completion_time: Time | None = None
    """When it ended. Set exactly when the phase is final."""
    conditions: Conditions | None = None
    """Complete, Failed, Suspended, Ready, Reconciling and Stalled. All of them are always there."""
