"""WorkspaceConfig: the environment of tasks: image, permissions, tools, workspace, git."""

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints, WithJsonSchema

from kubetask_controller.api import constants as c
from kubetask_controller.api.affinity import Affinity, Labels
from kubetask_controller.api.common import (
    DataKey,
    KubeModel,
    LongText,
    ObjectMeta,
    ObjectName,
    PositiveCount,
    ShortText,
)
from kubetask_controller.api.git import GitSettings, PullRequest
from kubetask_controller.api.pod import (
    EnvFromSource,
    EnvName,
    EnvVar,
    LocalObjectReference,
    PodSecurityContext,
    Quantity,
    ResourceRequirements,
    TolerationList,
    choice,
)
from kubetask_controller.api.podparts import (
    AgentMounts,
    AgentPath,
    ContainerSecurityContext,
    HomeFiles,
    Proxy,
    Sidecars,
    Volumes,
)
from kubetask_controller.api.rules import ATOMIC, Rule, list_map, validations

_RESERVED_ENV = ", ".join(f"'{name}'" for name in c.RESERVED_ENV)
_NOT_RESERVED = Rule(
    f"!(self in [{_RESERVED_ENV}])",
    "env must not be a variable that KubeTask sets itself (TASK_NAME, KUBETASK_TASK_DIR …): choose"
    " another name",
)
_NO_RESERVED_ENV = Rule(
    f"self.all(e, !(e.name in [{_RESERVED_ENV}]))",
    "env must not set a variable that KubeTask sets itself (TASK_NAME, KUBETASK_TASK_DIR …):"
    " choose another name",
)


def _no_reserved_prefix(field: str) -> Rule:
    return Rule(
        f"self.all(k, !k.startsWith('{c.LABEL_PREFIX}'))",
        f"{field} must not use the prefix {c.LABEL_PREFIX}, which is reserved: choose another key",
    )


class SecretKeys(KubeModel):
    """A Secret of the same namespace, or one key of it."""

    name: ObjectName
    """Name of the Secret."""
    key: DataKey | None = None
    """Key within the Secret. Without it, all keys are meant."""


class Credential(KubeModel):
    """A Secret that the agent is given, as a variable or as files."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "has(self.env) || has(self.mountPath)",
                "env or mountPath must be set: say how the agent is given the Secret",
            ),
            Rule(
                "!has(self.env) || has(self.secretRef.key)",
                "secretRef.key must be set where env is set: a variable holds one key",
                field_path=".secretRef",
            ),
            Rule(
                "!has(self.fileMode) || has(self.mountPath)",
                "fileMode needs mountPath: remove it, or set mountPath",
                field_path=".fileMode",
            ),
        )
    )

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"),
    ]
    """Name of this entry, unique in the list."""
    secret_ref: SecretKeys
    """The Secret, or one key of it."""
    env: Annotated[EnvName, Field(json_schema_extra=validations(_NOT_RESERVED))] | None = None
    """Environment variable that holds the key's value."""
    mount_path: AgentPath | None = None
    """Where the Secret is mounted: a file where secretRef.key is set, else a folder with a file
    for each key."""
    file_mode: Annotated[int, Field(ge=0, le=0o777)] | None = None
    """Permissions of the files, as a number: 256 is 0400, the default where the agent can read
    that."""


class ClaimSource(KubeModel):
    """A PersistentVolumeClaim of the same namespace."""

    claim_name: ObjectName
    """Name of the claim."""


class EmptyDirSource(KubeModel):
    """A volume that lives as long as the task's Pod."""

    size_limit: Quantity | None = None
    """The most it may hold, such as 10Gi. A task that goes beyond it is evicted. Default: 20Gi"""


class Workspace(KubeModel):
    """The volume that is mounted at /workspace, and what its preparation may use. At most one of
    persistentVolumeClaim and emptyDir may be set."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "!(has(self.persistentVolumeClaim) && has(self.emptyDir))",
                "at most one of persistentVolumeClaim and emptyDir may be set in workspace:"
                " remove one of them",
            )
        )
    )

    persistent_volume_claim: ClaimSource | None = None
    """A claim, which keeps bare repositories between tasks, so that a clone fetches only what is
    new. Tasks that run at once on several nodes need a claim of access mode ReadWriteMany."""
    empty_dir: EmptyDirSource | None = None
    """A fresh volume for each task. This is the default."""
    resources: ResourceRequirements | None = None
    """What the init container asks for and may use, which clones the repositories. What is not set
    is chosen: requests of 100m cpu and 128Mi memory, limits of 1 cpu and 1Gi memory."""


class AgentSettings(KubeModel):
    """How the entry point of the agent images, kubetask-agent, runs its tool."""

    model: (
        Annotated[
            str,
            StringConstraints(
                min_length=1, max_length=253, pattern=r"^[A-Za-z0-9][^\s\x00-\x1f]*$"
            ),
        ]
        | None
    ) = None
    """Model, as the tool spells it: sonnet, gemini-3-pro, gpt-5, openai/gpt-5. Default: the tool's
    own."""
    max_turns: PositiveCount | None = None
    """How many times the agent may call its model; for codex, how many tools it may use. A task
    that needs more fails with reason MaxTurnsExceeded. Default: no limit."""
    max_cost_usd: Annotated[
        Annotated[
            int | str,
            WithJsonSchema(
                {
                    "anyOf": [{"type": "integer"}, {"type": "string"}],
                    "maxLength": 16,
                    "pattern": r"^[0-9]{1,7}(\.[0-9]{1,6})?$",
                    "x-kubernetes-int-or-string": True,
                }
            ),
        ]
        | None,
        Field(alias="maxCostUSD"),
    ] = None
    """What a task may cost, in US dollars, such as 5 or "7.50". One that costs more fails with reason
    BudgetExceeded. Only claude and opencode tell their cost while they run; with another tool a
    task that has this limit fails with reason InvalidSpec before its agent starts. Default: no
    limit."""
    idle_timeout_seconds: PositiveCount | None = None
    """How long the agent may print nothing. Then the task fails with reason IdleTimeout. A tool
    prints nothing while a command of its runs. Default: no limit."""
    max_retry_wait_seconds: PositiveCount | None = None
    """How long the agent may wait for a model that takes no requests, in all of its tries. Then the
    task fails with reason RateLimited, at once where the server asks for a longer wait. Default:
    300"""


class WorkspaceConfigSpec(KubeModel):
    """The environment of tasks."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "!has(self.volumeMounts) || self.volumeMounts.all(m,"
                " has(self.volumes) && self.volumes.exists(v, v.name == m.name))",
                "each volumeMounts[].name must be the name of an entry of volumes: add the volume,"
                " or correct the name",
                field_path=".volumeMounts",
            ),
            Rule(
                "!has(self.sidecars) || self.sidecars.all(s, !has(s.volumeMounts)"
                " || s.volumeMounts.all(m, has(self.volumes)"
                " && self.volumes.exists(v, v.name == m.name)))",
                "each sidecars[].volumeMounts[].name must be the name of an entry of volumes: add"
                " the volume, or correct the name",
                field_path=".sidecars",
            ),
            Rule(
                "!has(self.volumeMounts) || !has(self.credentials) || self.credentials.all(c,"
                " !has(c.mountPath) || !self.volumeMounts.exists(m, m.mountPath == c.mountPath))",
                "a mountPath stands both in credentials and in volumeMounts: give each a path of"
                " its own",
                field_path=".volumeMounts",
            ),
        )
    )

    agent_image: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None
    """Container image of the agent. Default: quay.io/zhaoxue/kubetask-agent:latest"""
    image_pull_policy: Annotated[str, choice("Always", "IfNotPresent", "Never")] | None = None
    """When the agent's image is pulled: Always, IfNotPresent or Never. Default: Always for the tag
    latest, else IfNotPresent."""
    image_pull_secrets: (
        Annotated[
            list[LocalObjectReference], Field(max_length=32, json_schema_extra=list_map("name"))
        ]
        | None
    ) = None
    """Secrets to pull images with."""
    command: Annotated[list[LongText], Field(max_length=256, json_schema_extra=ATOMIC)] | None = (
        None
    )
    """Entrypoint of the agent's container. Default: that of the image."""
    args: Annotated[list[LongText], Field(max_length=256, json_schema_extra=ATOMIC)] | None = None
    """Arguments of the entrypoint. Default: those of the image."""
    agent: AgentSettings | None = None
    """Model, limits and timeouts of the tool that kubetask-agent runs. Other entry points do not
    read it."""
    env: (
        Annotated[
            list[EnvVar],
            Field(
                max_length=256,
                json_schema_extra={**list_map("name"), **validations(_NO_RESERVED_ENV)},
            ),
        ]
        | None
    ) = None
    """Environment variables of the agent. Secrets belong into credentials, or into
    valueFrom.secretKeyRef."""
    env_from: (
        Annotated[list[EnvFromSource], Field(max_length=64, json_schema_extra=ATOMIC)] | None
    ) = None
    """ConfigMaps and Secrets of which every key becomes a variable of the agent."""
    credentials: (
        Annotated[list[Credential], Field(max_length=64, json_schema_extra=list_map("name"))] | None
    ) = None
    """Secrets that the agent is given as variables or files. The controller never reads them."""
    allowed_secrets: (
        Annotated[
            list[ObjectName],
            Field(max_length=256, json_schema_extra={"x-kubernetes-list-type": "set"}),
        ]
        | None
    ) = None
    """Secrets that files of tasks may come from (secretKeyRef). A task that names another one
    fails with reason SecretNotAllowed. An empty list allows none. Default: every Secret of the
    namespace, so that whoever may create Tasks can read them all through an agent."""
    resources: ResourceRequirements | None = None
    """What the agent's container asks for and may use."""
    node_selector: Labels | None = None
    """Labels that a node must have to run tasks."""
    tolerations: TolerationList | None = None
    """Taints of nodes that tasks do not mind."""
    affinity: Affinity | None = None
    """Where tasks may run, in detail."""
    service_account_name: ObjectName | None = None
    """ServiceAccount of a task's Pod. Its token is not mounted. Default: kubetask-agent"""
    security_context: PodSecurityContext | None = None
    """Security settings of a task's Pod."""
    container_security_context: ContainerSecurityContext | None = None
    """Security settings of the agent's container. They go before those of the Pod."""
    runtime_class_name: ObjectName | None = None
    """RuntimeClass of a task's Pod, for a sandbox such as gVisor or Kata."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of a task's Pod."""
    pod_labels: (
        Annotated[Labels, Field(json_schema_extra=validations(_no_reserved_prefix("podLabels")))]
        | None
    ) = None
    """Labels that a task's Pod gets in addition, for NetworkPolicies and PodMonitors."""
    pod_annotations: (
        Annotated[
            dict[str, LongText],
            Field(
                max_length=64, json_schema_extra=validations(_no_reserved_prefix("podAnnotations"))
            ),
        ]
        | None
    ) = None
    """Annotations that a task's Pod gets in addition."""
    volumes: Volumes | None = None
    """Further volumes of a task's Pod: caches, settings, secrets of a store. Kinds are those that
    the restricted Pod Security Standard admits; hostPath is refused."""
    volume_mounts: AgentMounts | None = None
    """Where volumes appear in the agent's container."""
    sidecars: Sidecars | None = None
    """Containers that run beside the agent, such as a database for its tests. They need Kubernetes
    1.29."""
    home_files: HomeFiles | None = None
    """Files below the agent's home folder: settings, MCP servers, skills."""
    proxy: Proxy | None = None
    """The proxy by which tasks reach other hosts."""
    workspace: Workspace | None = None
    """The volume for repositories and the tasks' folders, by default an emptyDir, and the resources
    of its preparation."""
    git: GitSettings | None = None
    """Where repositories come from and who commits."""
    pull_request: PullRequest | None = None
    """Open a pull request for what the agent has pushed. Implies --commit and --push of
    kubetask-agent, and needs git credentials that are shared with the agent. Default: a branch is
    pushed where the agent is asked to, and nothing more."""
    max_concurrent_tasks: PositiveCount | None = None
    """How many tasks that use this WorkspaceConfig may run at once, over all BatchRuns and Tasks.
    The others wait with reason Queued. Choose it by what the agent's API key allows. Default: no
    limit."""


class WorkspaceConfig(KubeModel):
    """WorkspaceConfig is the environment in which tasks run: the agent's image, its permissions
    and its tools. The one named default is used where a Batch, BatchRun or Task names none."""

    api_version: ShortText = c.API_VERSION
    kind: ShortText = c.KIND_WORKSPACE_CONFIG
    metadata: ObjectMeta
    spec: WorkspaceConfigSpec
    """The environment."""
