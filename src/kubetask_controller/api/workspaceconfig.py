"""WorkspaceConfig: the environment of tasks, with image, permissions, tools, workspace and git."""

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from kubetask_controller.api import constants as c
from kubetask_controller.api.affinity import Affinity, Labels
from kubetask_controller.api.common import (
    DataKey,
    Dollars,
    ImageName,
    KubeModel,
    LongText,
    ObjectMeta,
    ObjectName,
    PositiveCount,
    ShortText,
)
from kubetask_controller.api.git import GitSettings, PullRequest
from kubetask_controller.api.patterns import ANNOTATION_KEY, QUALIFIED_NAME
from kubetask_controller.api.pod import (
    ContainerResources,
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
from kubetask_controller.api.rules import (
    ATOMIC,
    Rule,
    at_most,
    characters,
    env_characters,
    keys_match,
    list_map,
    unique,
    validations,
)

_RESERVED_ENV = ", ".join(f"'{name}'" for name in c.RESERVED_ENV)
_NOT_RESERVED = Rule(
    f"!(self in [{_RESERVED_ENV}])",
    "env must not be a variable that KubeTask sets (TASK_NAME, KUBETASK_TASK_DIR …): choose"
    " another name",
)
_NO_RESERVED_ENV = Rule(
    f"self.all(e, !(e.name in [{_RESERVED_ENV}]))",
    "env must not set a variable that KubeTask sets (TASK_NAME, KUBETASK_TASK_DIR …):"
    " choose another name",
)


_ENV_SIZE = at_most(
    env_characters("self"), "the values of env", "put long ones into a ConfigMap, and set envFrom"
)
_ANNOTATIONS_SIZE = at_most(
    "self.map(k, k.size() + self[k].size()).sum()",
    "podAnnotations",
    "remove those that a task's Pod does not need",
)


_JOB_LABELS = ", ".join(
    f"'{prefix}{name}'"
    for prefix in ("", "batch.kubernetes.io/")
    for name in ("job-name", "controller-uid")
)
_NO_JOB_LABELS = Rule(
    f"self.all(k, !(k in [{_JOB_LABELS}]))",
    "podLabels must not contain job-name or controller-uid, which the Job controller sets: choose"
    " another key",
)
_LABEL_FORM = "a name such as team or example.com/team"


_APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
_APP_ARMOR_ON = Rule(
    f"self.all(k, !k.startsWith('{_APP_ARMOR}') || self[k] != 'unconfined')",
    "podAnnotations must not turn AppArmor off for a container: remove the annotation",
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
    """Key within the Secret. Default: all keys."""


class Credential(KubeModel):
    """A Secret that the agent gets as a variable or as files."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "has(self.env) || has(self.mountPath)",
                "env or mountPath must be set: choose how the agent gets the Secret",
            ),
            Rule(
                "!has(self.env) || has(self.secretRef.key)",
                "secretRef.key must be set when env is set: a variable contains one key",
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
    """Environment variable for the key's value."""
    mount_path: AgentPath | None = None
    """Path at which the Secret is mounted: a file if secretRef.key is set, else a folder with a file
    for each key."""
    file_mode: Annotated[int, Field(ge=0, le=0o777)] | None = None
    """Permissions of the files, as a number: 256 is 0400. Default: 0400 if securityContext of the spec
    sets fsGroup or runAsUser 0, else 0444"""


class ClaimSource(KubeModel):
    """A PersistentVolumeClaim of the same namespace."""

    claim_name: ObjectName
    """Name of the claim."""


class EmptyDirSource(KubeModel):
    """A volume with the lifetime of the task's Pod."""

    size_limit: Quantity | None = None
    """Maximum size, such as 10Gi. The kubelet evicts a task that exceeds it. Default: 20Gi"""


class Workspace(KubeModel):
    """The volume at /workspace, and the resources of its preparation. At most one of
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
    """A claim that keeps bare repositories between tasks, so that a clone fetches only new objects.
    Tasks that run at the same time on several nodes need a claim of access mode ReadWriteMany."""
    empty_dir: EmptyDirSource | None = None
    """A new volume for each task. This is the default."""
    resources: ResourceRequirements | None = None
    """Resource requests and limits of the init container, which clones the repositories. Default:
    requests of 100m cpu and 128Mi memory, limits of 1 cpu and 1Gi memory."""


class AgentSettings(KubeModel):
    """Settings of kubetask-agent, the entry point of the agent images, for its tool."""

    model: (
        Annotated[
            str,
            StringConstraints(
                min_length=1, max_length=253, pattern=r"^[A-Za-z0-9][^\s\x00-\x1f]*$"
            ),
        ]
        | None
    ) = None
    """Model, in the spelling of the tool: sonnet, gemini-3-pro, gpt-5, openai/gpt-5. Default: that of
    the tool."""
    max_turns: PositiveCount | None = None
    """Maximum number of calls of the model; for codex, of tool uses. A task that needs more is Failed
    with reason MaxTurnsExceeded. Default: no limit."""
    max_cost_usd: Annotated[Dollars | None, Field(alias="maxCostUSD")] = None
    """Maximum cost of a task in US dollars, such as 5 or "7.50". A task that costs more is Failed with
    reason BudgetExceeded. Only claude and opencode report their cost while they run; with another
    tool, a task with this limit is Failed with reason InvalidSpec before its agent starts. Default:
    no limit."""
    idle_timeout_seconds: PositiveCount | None = None
    """Maximum time in seconds without output of the agent. When it is exceeded, the task is Failed with
    reason IdleTimeout. A tool prints nothing while one of its commands runs. Default: no limit."""
    max_retry_wait_seconds: PositiveCount | None = None
    """Maximum time in seconds that the agent waits for a model that rejects requests, over all retries.
    When it is exceeded, or when the server requests a longer wait, the task is Failed with reason
    RateLimited. Default: 300"""


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
                "credentials and volumeMounts use the same mountPath: choose different paths",
                field_path=".volumeMounts",
            ),
            Rule(
                "!has(self.env) || !has(self.credentials) || self.credentials.all(c,"
                " !has(c.env) || !self.env.exists(e, e.name == c.env))",
                "env and credentials set the same variable: remove one of them",
                field_path=".env",
            ),
            at_most(
                f"{characters('self.command')} + {characters('self.args')}",
                "command and args",
                "put a long script into a file of the task",
                field_path=".args",
            ),
        )
    )

    agent_image: ImageName | None = None
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
    """Secrets for pulling images."""
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
                json_schema_extra={
                    **list_map("name"),
                    **validations(_NO_RESERVED_ENV, _ENV_SIZE),
                },
            ),
        ]
        | None
    ) = None
    """Environment variables of the agent. Put secrets into credentials or
    valueFrom.secretKeyRef."""
    env_from: (
        Annotated[list[EnvFromSource], Field(max_length=64, json_schema_extra=ATOMIC)] | None
    ) = None
    """ConfigMaps and Secrets. Every key becomes a variable of the agent."""
    credentials: (
        Annotated[
            list[Credential],
            Field(
                max_length=64,
                json_schema_extra={
                    **list_map("name"),
                    **validations(
                        unique("mountPath", "two credentials"), unique("env", "two credentials")
                    ),
                },
            ),
        ]
        | None
    ) = None
    """Secrets that the agent gets as variables or files. The controller never reads them."""
    allowed_secrets: (
        Annotated[
            list[ObjectName],
            Field(max_length=256, json_schema_extra={"x-kubernetes-list-type": "set"}),
        ]
        | None
    ) = None
    """Secrets that files of tasks may use (secretKeyRef). A task that uses another Secret is Failed with
    reason SecretNotAllowed. An empty list allows no Secret. Default: every Secret of the namespace,
    so that users who can create Tasks can read all of them through an agent."""
    resources: ContainerResources | None = None
    """Resource requests and limits of the agent's container."""
    node_selector: (
        Annotated[
            Labels,
            Field(
                json_schema_extra=validations(
                    keys_match(QUALIFIED_NAME, "nodeSelector", _LABEL_FORM)
                )
            ),
        ]
        | None
    ) = None
    """Labels that a node must have to run tasks."""
    tolerations: TolerationList | None = None
    """Taints of nodes that tasks tolerate."""
    affinity: Affinity | None = None
    """Where tasks may run, in detail."""
    service_account_name: ObjectName | None = None
    """ServiceAccount of a task's Pod. Its token is not mounted. Default: kubetask-agent"""
    security_context: PodSecurityContext | None = None
    """Security settings of a task's Pod."""
    container_security_context: ContainerSecurityContext | None = None
    """Security settings of the agent's container. They override those of the Pod."""
    runtime_class_name: ObjectName | None = None
    """RuntimeClass of a task's Pod, for a sandbox such as gVisor or Kata."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of a task's Pod."""
    pod_labels: (
        Annotated[
            Labels,
            Field(
                json_schema_extra=validations(
                    _no_reserved_prefix("podLabels"),
                    _NO_JOB_LABELS,
                    keys_match(QUALIFIED_NAME, "podLabels", _LABEL_FORM),
                )
            ),
        ]
        | None
    ) = None
    """Additional labels of a task's Pod, for NetworkPolicies and PodMonitors. They do not replace those
    of KubeTask, such as app.kubernetes.io/component."""
    pod_annotations: (
        Annotated[
            dict[str, LongText],
            Field(
                max_length=64,
                json_schema_extra=validations(
                    _no_reserved_prefix("podAnnotations"),
                    keys_match(ANNOTATION_KEY, "podAnnotations", _LABEL_FORM),
                    _APP_ARMOR_ON,
                    _ANNOTATIONS_SIZE,
                ),
            ),
        ]
        | None
    ) = None
    """Additional annotations of a task's Pod."""
    volumes: Volumes | None = None
    """Additional volumes of a task's Pod: caches, settings, secrets of a store. The supported kinds are
    those that the restricted Pod Security Standard admits; hostPath is rejected."""
    volume_mounts: AgentMounts | None = None
    """Volumes to mount in the agent's container."""
    sidecars: Sidecars | None = None
    """Containers that run beside the agent, such as a database for its tests. They need Kubernetes
    1.29."""
    home_files: HomeFiles | None = None
    """Files below the agent's home folder: settings, MCP servers, skills."""
    proxy: Proxy | None = None
    """The proxy for connections of tasks."""
    workspace: Workspace | None = None
    """The volume for repositories and folders of tasks, by default an emptyDir, and the resources of
    its preparation."""
    git: GitSettings | None = None
    """Repository URLs, credentials, checkout and author of commits."""
    pull_request: PullRequest | None = None
    """Open a pull request for the pushed branch. Implies --commit and --push of kubetask-agent, and
    needs git credentials that are shared with the agent. Default: no pull request."""
    max_concurrent_tasks: PositiveCount | None = None
    """Maximum number of tasks with this WorkspaceConfig that run at the same time, over all BatchRuns
    and Tasks. Other tasks are Pending with reason Queued. Choose it according to the rate limit of
    the agent's API key. Default: no limit."""


class WorkspaceConfig(KubeModel):
    """WorkspaceConfig is the environment in which tasks run: the agent's image, its permissions and its
    tools. Batches, BatchRuns and Tasks without a workspaceConfigRef use the one named default."""

    api_version: ShortText = c.API_VERSION
    kind: ShortText = c.KIND_WORKSPACE_CONFIG
    metadata: ObjectMeta
    spec: WorkspaceConfigSpec
    """The environment."""
