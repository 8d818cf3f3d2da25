"""Additions of a WorkspaceConfig to a task's Pod: volumes, sidecars, files below HOME, a proxy.

The types follow core/v1 where it has the same field. The supported kinds of volumes are those that the
``restricted`` Pod Security Standard admits, so no WorkspaceConfig can mount files or devices of a node. Tokens
of ServiceAccounts cannot be projected: a task has no access to the API server.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints, WithJsonSchema

from kubetask_controller.api import constants as c
from kubetask_controller.api.common import (
    DataKey,
    DnsLabel,
    ImageName,
    KubeModel,
    LongText,
    ObjectName,
    ShortText,
)
from kubetask_controller.api.context import KeyRef
from kubetask_controller.api.patterns import (
    FILE_NAME_PATTERN,
    OPTIONAL_SUBDOMAIN_PATTERN,
    PORT_NAME_PATTERN,
)
from kubetask_controller.api.pod import (
    ONE_LABEL,
    QUANTITY_SUFFIX,
    ContainerResources,
    EnvFromSource,
    EnvVar,
    FieldRef,
    LocalObjectReference,
    NodeSeccompProfile,
    Quantity,
    ResourceFieldRef,
    SeccompProfile,
    SELinuxOptions,
    UnixId,
    choice,
)
from kubetask_controller.api.rules import (
    ATOMIC,
    Rule,
    at_most,
    characters,
    distinct_texts,
    env_characters,
    list_map,
    unique,
    validations,
)

FileMode = Annotated[int, Field(ge=0, le=0o777)]
RelativePath = Annotated[
    str, StringConstraints(min_length=1, max_length=1024, pattern=FILE_NAME_PATTERN)
]
_PATH = Annotated[
    str, StringConstraints(min_length=2, max_length=1024, pattern=r"^(/[^/:\x00-\x1f\x7f]+)+$")
]
_PLAIN = Rule(
    "!self.matches('/[.]{1,2}(/|$)')",
    "mountPath must not contain . or ..: use the resolved path",
)
ContainerPath = Annotated[_PATH, Field(json_schema_extra=validations(_PLAIN))]
"""Mount path of a volume in a sidecar."""
AgentPath = Annotated[
    _PATH,
    Field(
        json_schema_extra=validations(
            _PLAIN,
            Rule(
                "self == '/dev/shm'"
                " || !self.matches('^/(tmp|home|home/agent)$|^/(workspace|kubetask|proc|sys|dev)(/|$)')",
                "mountPath must not be a folder of KubeTask or of the system (/workspace, /kubetask,"
                " /tmp, /home/agent, /proc, /sys, /dev except /dev/shm): choose another path",
            ),
        )
    ),
]
"""Mount path of a volume in the agent's container."""


BASELINE_CAPABILITIES = (
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
)
"""With others, such as SYS_ADMIN and SYS_MODULE, a container controls its node as a privileged one does."""


class Capabilities(KubeModel):
    """Linux capabilities."""

    add: (
        Annotated[
            list[Annotated[str, choice(*BASELINE_CAPABILITIES)]],
            Field(max_length=64, json_schema_extra=ATOMIC),
        ]
        | None
    ) = None
    """Capabilities to add, of those in the baseline Pod Security Standard. The restricted standard
    admits only NET_BIND_SERVICE."""
    drop: Annotated[list[ShortText], Field(max_length=64, json_schema_extra=ATOMIC)] | None = None
    """Capabilities to drop. Default: ALL"""


class ContainerSecurityContext(KubeModel):
    """Security settings of one container, as core/v1 SecurityContext. The defaults meet the restricted
    Pod Security Standard."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "!has(self.privileged) || !self.privileged",
                "privileged must not be true: a privileged container controls its node; add the single"
                " capabilities that the container needs",
                field_path=".privileged",
            ),
            Rule(
                "!has(self.runAsUser) || self.runAsUser != 0"
                " || (has(self.runAsNonRoot) && !self.runAsNonRoot)",
                "runAsUser 0 is root: set runAsNonRoot to false too, or choose another user",
                field_path=".runAsUser",
            ),
        )
    )

    read_only_root_filesystem: bool | None = None
    """Whether the container can write only to its volumes. In the agent's container, /tmp, /var/tmp, the
    home folder and the workspace stay writable; in a sidecar, only its own volumeMounts. Default:
    false"""
    run_as_user: UnixId | None = None
    """User id of the container. Default: that of the Pod, else that of the image."""
    run_as_group: UnixId | None = None
    """Group id of the container."""
    run_as_non_root: bool | None = None
    """Whether the container must not run as root. Default: that of the Pod."""
    allow_privilege_escalation: bool | None = None
    """Whether a process can gain more privileges than its parent, as sudo does. Default: false"""
    capabilities: Capabilities | None = None
    """Linux capabilities. Default: none"""
    seccomp_profile: NodeSeccompProfile | None = None
    """Default: that of the Pod."""
    app_armor_profile: SeccompProfile | None = None
    """AppArmor profile."""
    se_linux_options: SELinuxOptions | None = None
    """SELinux label."""
    privileged: bool | None = None
    """Rejected: must not be true."""


# Volumes -----------------------------------------------------------------------------------------


class KeyToPath(KubeModel):
    """A key that becomes a file."""

    key: DataKey
    """Key within the object."""
    path: RelativePath
    """Path of the file below the volume."""
    mode: FileMode | None = None
    """Permissions of the file, as a number."""


KeysToPaths = Annotated[list[KeyToPath], Field(max_length=64, json_schema_extra=ATOMIC)]


class ConfigMapVolume(KubeModel):
    """The keys of a ConfigMap as files."""

    name: ObjectName
    """Name of the ConfigMap."""
    items: KeysToPaths | None = None
    """Keys to project. Default: all keys, each under its own name."""
    default_mode: FileMode | None = None
    """Permissions of the files, as a number. Default: 420, which is 0644"""
    optional: bool | None = None
    """Whether the Pod may start without it."""


class SecretVolume(KubeModel):
    """The keys of a Secret as files."""

    secret_name: ObjectName
    """Name of the Secret."""
    items: KeysToPaths | None = None
    """Keys to project. Default: all keys, each under its own name."""
    default_mode: FileMode | None = None
    """Permissions of the files, as a number. Default: 420, which is 0644"""
    optional: bool | None = None
    """Whether the Pod may start without it."""


class EmptyDirVolume(KubeModel):
    """A folder with the lifetime of the Pod."""

    medium: Annotated[str, choice("", "Memory")] | None = None
    """Memory stores it in the node's memory, which counts towards the memory limits of the containers."""
    size_limit: Quantity | None = None
    """Maximum size, such as 10Gi. The kubelet evicts a Pod that exceeds it."""


class ClaimVolume(KubeModel):
    """A PersistentVolumeClaim of the same namespace."""

    claim_name: ObjectName
    """Name of the claim. Tasks that run at the same time on several nodes need the access mode
    ReadWriteMany or ReadOnlyMany."""
    read_only: bool | None = None
    """Whether to mount it read-only."""


class VolumeFieldRef(FieldRef):
    """A field of the Pod, as the content of a file."""

    field_path: Annotated[
        str,
        StringConstraints(
            min_length=1,
            max_length=253,
            pattern=rf"^metadata\.(name|namespace|uid|labels|annotations|{ONE_LABEL})$",
        ),
    ]
    """Path of the field, such as metadata.name, metadata.labels or metadata.labels['team']."""


class VolumeResourceFieldRef(ResourceFieldRef):
    """A resource of a container, as the content of a file."""

    container_name: DnsLabel
    """Container that the resource belongs to, such as agent."""


class DownwardItem(KubeModel):
    """A file with a field of the Pod. Exactly one source must be set."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "has(self.fieldRef) != has(self.resourceFieldRef)",
                "exactly one of fieldRef and resourceFieldRef must be set",
            )
        )
    )

    path: RelativePath
    """Path of the file below the volume."""
    field_ref: VolumeFieldRef | None = None
    """A field of the Pod."""
    resource_field_ref: VolumeResourceFieldRef | None = None
    """A resource of a container."""
    mode: FileMode | None = None
    """Permissions of the file, as a number."""


DownwardItems = Annotated[list[DownwardItem], Field(max_length=32, json_schema_extra=ATOMIC)]


class DownwardVolume(KubeModel):
    """Fields of the Pod as files."""

    items: DownwardItems | None = None
    """The files."""
    default_mode: FileMode | None = None
    """Permissions of the files, as a number. Default: 420, which is 0644"""


class DownwardProjection(KubeModel):
    """Fields of the Pod as files."""

    items: DownwardItems | None = None
    """The files."""


class ObjectProjection(KubeModel):
    """The keys of a ConfigMap or Secret as files."""

    name: ObjectName
    """Name of the object."""
    items: KeysToPaths | None = None
    """Keys to project. Default: all keys, each under its own name."""
    optional: bool | None = None
    """Whether the Pod may start without it."""


class VolumeProjection(KubeModel):
    """One source of a projected volume. Exactly one field must be set."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "[has(self.configMap), has(self.secret), has(self.downwardAPI)].filter(x, x).size()"
                " == 1",
                "exactly one of configMap, secret and downwardAPI must be set",
            )
        )
    )

    config_map: ObjectProjection | None = None
    """A ConfigMap."""
    secret: ObjectProjection | None = None
    """A Secret."""
    downward_api: Annotated[DownwardProjection | None, Field(alias="downwardAPI")] = None
    """Fields of the Pod."""


_PROJECTED_PATHS = " : ".join(
    f"has(s.{x}) ? (has(s.{x}.items) ? s.{x}.items.map(i, i.path) : [])"
    for x in ("configMap", "secret", "downwardAPI")
)


class ProjectedVolume(KubeModel):
    """Several sources in one folder."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                f"[self.sources.map(s, {_PROJECTED_PATHS} : [])].all(p, {distinct_texts('p', 8, 8)})",
                "two items of sources have the same path: choose different paths",
                field_path=".sources",
            )
        )
    )

    sources: Annotated[list[VolumeProjection], Field(max_length=32, json_schema_extra=ATOMIC)]
    """The sources."""
    default_mode: FileMode | None = None
    """Permissions of the files, as a number. Default: 420, which is 0644"""


class CSIVolume(KubeModel):
    """A volume of a CSI driver, such as the secrets store driver."""

    driver: Annotated[
        str,
        StringConstraints(
            min_length=1,
            max_length=63,
            pattern=r"^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?([.][A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*$",
        ),
    ]
    """Name of the driver."""
    fs_type: ShortText | None = None
    """File system to mount."""
    read_only: bool | None = None
    """Whether to mount it read-only."""
    node_publish_secret_ref: LocalObjectReference | None = None
    """A Secret for the driver."""
    volume_attributes: Annotated[dict[str, LongText], Field(max_length=32)] | None = None
    """Settings of the driver."""


ClaimSize = Annotated[
    int | str,
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": 64,
            "minimum": 1,
            "pattern": r"^\+?([0-9]*[1-9][0-9]*(\.[0-9]*)?|[0-9]*\.[0-9]*[1-9][0-9]*)"
            rf"{QUANTITY_SUFFIX}$",
            "x-kubernetes-int-or-string": True,
        }
    ),
]
"""A size above 0, such as 100Gi."""


class ClaimRequests(KubeModel):
    """Requested resources of a claim."""

    storage: ClaimSize
    """Size of the volume, such as 100Gi."""


class ClaimLimits(KubeModel):
    """Maximum resources of a claim."""

    storage: ClaimSize | None = None
    """Maximum size of the volume."""


class ClaimResources(KubeModel):
    """Size of a claim."""

    requests: ClaimRequests
    """Requested resources."""
    limits: ClaimLimits | None = None
    """Maximum resources."""


class ClaimTemplateSpec(KubeModel):
    """A claim that is created for each Pod and deleted with it."""

    access_modes: Annotated[
        list[
            Annotated[
                str, choice("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")
            ]
        ],
        Field(
            min_length=1,
            max_length=4,
            json_schema_extra={
                **ATOMIC,
                **validations(
                    Rule(
                        "!('ReadWriteOncePod' in self) || self.size() == 1",
                        "accessModes must not contain ReadWriteOncePod with another mode: remove one"
                        " of them",
                    )
                ),
            },
        ),
    ]
    """Access modes. ReadWriteOncePod must be the only one."""
    storage_class_name: (
        Annotated[str, StringConstraints(max_length=253, pattern=OPTIONAL_SUBDOMAIN_PATTERN)] | None
    ) = None
    """StorageClass. Default: that of the cluster"""
    resources: ClaimResources
    """Size of the volume in requests.storage."""
    volume_mode: Annotated[str, choice("Filesystem")] | None = None
    """Default: Filesystem"""


class ClaimTemplate(KubeModel):
    """A claim that is created for each Pod and deleted with it."""

    spec: ClaimTemplateSpec
    """The claim."""


class EphemeralVolume(KubeModel):
    """A volume of a StorageClass with the lifetime of the Pod."""

    volume_claim_template: ClaimTemplate
    """The claim that is created for each Pod."""


VOLUME_SOURCES = (
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
)
_RESERVED_VOLUME = (
    "^(workspace(-tmp)?|files|(var-)?tmp|home|ca-bundle)$|^(credential|git|home-file|kubetask)-"
)


class HostPath(KubeModel):
    """A folder of the node. Rejected."""

    path: ShortText | None = None
    """Path on the node."""


class Volume(KubeModel):
    """A volume of a task's Pod, as core/v1 Volume. Exactly one source must be set."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "!has(self.hostPath)",
                "hostPath is not allowed: it exposes the files of the node to the task; use"
                " persistentVolumeClaim, ephemeral or csi",
                field_path=".hostPath",
            ),
            Rule(
                f"has(self.hostPath) || [{', '.join(f'has(self.{x})' for x in VOLUME_SOURCES)}]"
                ".filter(x, x).size() == 1",
                f"exactly one source must be set: {', '.join(VOLUME_SOURCES[:-1])} or {VOLUME_SOURCES[-1]}",
            ),
        )
    )

    name: Annotated[
        DnsLabel,
        Field(
            json_schema_extra=validations(
                Rule(
                    f"!self.matches('{_RESERVED_VOLUME}')",
                    "name must not be that of a volume of KubeTask (workspace, files, tmp, home,"
                    " var-tmp, ca-bundle, credential-…, git-…, home-file-…, kubetask-…): choose"
                    " another name",
                )
            )
        ),
    ]
    """Name of the volume, unique in the list."""
    config_map: ConfigMapVolume | None = None
    """The keys of a ConfigMap as files."""
    csi: CSIVolume | None = None
    """A volume of a CSI driver."""
    downward_api: Annotated[DownwardVolume | None, Field(alias="downwardAPI")] = None
    """Fields of the Pod as files."""
    empty_dir: EmptyDirVolume | None = None
    """A folder with the lifetime of the Pod."""
    ephemeral: EphemeralVolume | None = None
    """A volume of a StorageClass with the lifetime of the Pod."""
    persistent_volume_claim: ClaimVolume | None = None
    """A claim of the same namespace, such as a cache that tasks share."""
    projected: ProjectedVolume | None = None
    """Several sources in one folder."""
    secret: SecretVolume | None = None
    """The keys of a Secret as files."""
    host_path: HostPath | None = None
    """Rejected: a task must not access the files of its node."""


class SidecarMount(KubeModel):
    """Mount path of a volume in a sidecar."""

    name: DnsLabel
    """Name of a volume of spec.volumes."""
    mount_path: ContainerPath
    """Path of the mount."""
    sub_path: RelativePath | None = None
    """Path in the volume to mount. Default: the root of the volume"""
    read_only: bool | None = None
    """Whether the mount is read-only. Default: false"""


class AgentMount(KubeModel):
    """Mount path of a volume in the agent's container."""

    name: DnsLabel
    """Name of a volume of spec.volumes."""
    mount_path: AgentPath
    """Path of the mount, unique in the list."""
    sub_path: RelativePath | None = None
    """Path in the volume to mount. Default: the root of the volume"""
    read_only: bool | None = None
    """Whether the mount is read-only. Default: false"""


Volumes = Annotated[
    list[Volume],
    Field(
        max_length=32,
        json_schema_extra={
            **list_map("name"),
            **validations(
                at_most(
                    "self.map(v, has(v.csi) && has(v.csi.volumeAttributes)"
                    " ? v.csi.volumeAttributes.map(k, k.size()"
                    " + v.csi.volumeAttributes[k].size()).sum() : 0).sum()",
                    "the volumeAttributes of all volumes",
                    "put long ones into an object that the driver reads",
                )
            ),
        },
    ),
]
AgentMounts = Annotated[
    list[AgentMount], Field(max_length=32, json_schema_extra=list_map("mountPath"))
]


# Sidecars ----------------------------------------------------------------------------------------

PortOrName = Annotated[
    int | str,
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": 15,
            "minimum": 1,
            "maximum": 65535,
            "pattern": PORT_NAME_PATTERN,
            "x-kubernetes-int-or-string": True,
        }
    ),
]


class ExecAction(KubeModel):
    """A command in the container; exit code 0 is success."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            at_most(
                characters("self.command"), "command", "put a script into the image", limit=8192
            )
        )
    )

    command: Annotated[list[LongText], Field(min_length=1, max_length=64, json_schema_extra=ATOMIC)]
    """The command and its arguments."""


class HTTPGetAction(KubeModel):
    """An HTTP request; a code from 200 to 399 is success."""

    port: PortOrName
    """Number or name of the port."""
    path: ShortText | None = None
    """Path of the URL."""
    scheme: Annotated[str, choice("HTTP", "HTTPS")] | None = None
    """Default: HTTP"""


class TCPSocketAction(KubeModel):
    """A TCP connection; success if it opens."""

    port: PortOrName
    """Number or name of the port."""


_ProbeSeconds = Annotated[int, Field(ge=0, le=86400)]


class Probe(KubeModel):
    """A health check of a container. Exactly one action must be set."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "[has(self.exec), has(self.httpGet), has(self.tcpSocket)].filter(x, x).size() == 1",
                "exactly one of exec, httpGet and tcpSocket must be set",
            )
        )
    )

    exec: ExecAction | None = None
    """A command."""
    http_get: HTTPGetAction | None = None
    """An HTTP request."""
    tcp_socket: TCPSocketAction | None = None
    """A connection."""
    initial_delay_seconds: _ProbeSeconds | None = None
    """Seconds before the first probe. Default: 0"""
    period_seconds: _ProbeSeconds | None = None
    """Seconds between probes. Default: 10"""
    timeout_seconds: _ProbeSeconds | None = None
    """Timeout of a probe in seconds. Default: 1"""
    failure_threshold: _ProbeSeconds | None = None
    """Consecutive failures after which the probe fails. Default: 3"""
    success_threshold: Annotated[int, Field(ge=0, le=1)] | None = None
    """Consecutive successes after which the probe succeeds. Must be 1. Default: 1"""


class ReadinessProbe(Probe):
    """A health check of a container. Exactly one action must be set."""

    success_threshold: _ProbeSeconds | None = None
    """Consecutive successes after which the probe succeeds. Default: 1"""


class Protocol(StrEnum):
    """Protocol of a port."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


class ContainerPort(KubeModel):
    """A port that a sidecar listens on. The agent reaches it at localhost."""

    container_port: Annotated[int, Field(ge=1, le=65535)]
    """Number of the port."""
    name: (
        Annotated[str, StringConstraints(min_length=1, max_length=15, pattern=PORT_NAME_PATTERN)]
        | None
    ) = None
    """Name of the port, unique in the list."""
    protocol: Protocol | None = None
    """Default: TCP"""


class Sidecar(KubeModel):
    """A container that runs beside the agent, such as a database for its tests: an init container
    with restartPolicy Always. It starts before the workspace is prepared. The agent starts when the
    startupProbe succeeds. The kubelet stops the sidecar when the agent has ended."""

    name: Annotated[
        DnsLabel,
        Field(
            json_schema_extra=validations(
                Rule(
                    f"!(self in ['{c.CONTAINER_AGENT}', '{c.CONTAINER_WORKSPACE}'])",
                    "name must not be agent or workspace, which are containers of KubeTask: choose"
                    " another name",
                )
            )
        ),
    ]
    """Name of the container, unique in the list."""
    image: ImageName
    """Container image."""
    image_pull_policy: Annotated[str, choice("Always", "IfNotPresent", "Never")] | None = None
    """When the image is pulled: Always, IfNotPresent or Never."""
    command: Annotated[list[LongText], Field(max_length=64, json_schema_extra=ATOMIC)] | None = None
    """Entrypoint. Default: that of the image."""
    args: Annotated[list[LongText], Field(max_length=64, json_schema_extra=ATOMIC)] | None = None
    """Arguments of the entrypoint. Default: those of the image."""
    working_dir: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """Working directory. Default: that of the image."""
    env: (
        Annotated[list[EnvVar], Field(max_length=64, json_schema_extra=list_map("name"))] | None
    ) = None
    """Environment variables."""
    env_from: (
        Annotated[list[EnvFromSource], Field(max_length=16, json_schema_extra=ATOMIC)] | None
    ) = None
    """ConfigMaps and Secrets. Every key becomes a variable."""
    ports: (
        Annotated[
            list[ContainerPort],
            Field(
                max_length=16,
                json_schema_extra={**ATOMIC, **validations(unique("name", "two ports"))},
            ),
        ]
        | None
    ) = None
    """Ports that it listens on. Probes can refer to a port by name."""
    resources: ContainerResources | None = None
    """Resource requests and limits. Required in a namespace with a quota on cpu or memory."""
    volume_mounts: (
        Annotated[list[SidecarMount], Field(max_length=16, json_schema_extra=list_map("mountPath"))]
        | None
    ) = None
    """Volumes to mount."""
    startup_probe: Probe | None = None
    """Probe that must succeed before the agent starts."""
    readiness_probe: ReadinessProbe | None = None
    """Probe of readiness."""
    liveness_probe: Probe | None = None
    """Probe whose failure restarts the container."""
    security_context: ContainerSecurityContext | None = None
    """Security settings. An image that starts as root and changes its user, as many databases do,
    needs the id of that user in runAsUser."""


Sidecars = Annotated[
    list[Sidecar],
    Field(
        max_length=8,
        json_schema_extra={
            **list_map("name"),
            **validations(
                at_most(
                    f"self.map(s, {characters('s.command')} + {characters('s.args')}"
                    f" + (has(s.env) ? {env_characters('s.env')} : 0)).sum()",
                    "command, args and the values of env of all sidecars",
                    "put long ones into a ConfigMap",
                )
            ),
        },
    ),
]


# Files below HOME --------------------------------------------------------------------------------

_HOME_SOURCES = ("inline", "configMapKeyRef", "secretKeyRef", "configMapRef", "secretRef")


class HomeFile(KubeModel):
    """A file, or a folder of files, below the agent's home folder. Exactly one source must be set.
    The file is a copy that the agent can change."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                f"[{', '.join(f'has(self.{x})' for x in _HOME_SOURCES)}].filter(x, x).size() == 1",
                f"exactly one of {', '.join(_HOME_SOURCES[:-1])} and {_HOME_SOURCES[-1]} must be set",
            )
        )
    )

    path: Annotated[
        str,
        StringConstraints(min_length=1, max_length=253, pattern=FILE_NAME_PATTERN),
        Field(
            json_schema_extra=validations(
                Rule(
                    "!self.matches('^[.](gitconfig|kubetask-)')",
                    "path must not be .gitconfig or start with .kubetask-, which KubeTask writes:"
                    " use spec.git, or choose another path",
                )
            )
        ),
    ]
    """Path below the home folder, such as .claude/settings.json. With configMapRef and secretRef, the
    path of a folder. Unique in the list."""
    inline: Annotated[str, StringConstraints(max_length=8192)] | None = None
    """The content itself. Every Job contains it: put long files into a ConfigMap."""
    config_map_key_ref: KeyRef | None = None
    """A key of a ConfigMap."""
    secret_key_ref: KeyRef | None = None
    """A key of a Secret."""
    config_map_ref: LocalObjectReference | None = None
    """A ConfigMap. Each key becomes a file of the folder."""
    secret_ref: LocalObjectReference | None = None
    """A Secret. Each key becomes a file of the folder."""
    mode: FileMode | None = None
    """Permissions of the file or files, as a number: 493 is 0755. Default: 438, which is 0666,
    because the agent may run as another user than the init container"""


HomeFiles = Annotated[
    list[HomeFile],
    Field(
        max_length=32,
        json_schema_extra={
            **list_map("path"),
            **validations(
                at_most(
                    "self.map(f, has(f.inline) ? f.inline.size() : 0).sum()",
                    "the inline contents of homeFiles",
                    "put some into a ConfigMap",
                    limit=32768,
                )
            ),
        },
    ),
]


# Proxy -------------------------------------------------------------------------------------------

ProxyURL = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=2048, pattern=r"^(https?|socks5h?)://[^\s\x00-\x1f]+$"
    ),
    Field(
        json_schema_extra=validations(
            Rule(
                "!self.matches('^[a-z0-9]+://[^/]*@')",
                "a proxy's URL must not contain a user or a password, which everyone could read: put"
                " the URL into a Secret, and set secretRef",
            )
        )
    ),
]


class Proxy(KubeModel):
    """The proxy for connections of tasks. The preparation and the agent get it as HTTP_PROXY,
    HTTPS_PROXY and NO_PROXY, in upper and lower case, and git uses it."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "has(self.http) || has(self.https) || has(self.secretRef)",
                "http, https or secretRef must be set: set the URL of the proxy",
            ),
            Rule(
                "!has(self.secretRef) || !(has(self.http) || has(self.https))",
                "http and https must not be set together with secretRef: put the URLs into the Secret",
            ),
        )
    )

    http: ProxyURL | None = None
    """URL of the proxy for http, such as http://proxy.example.com:3128"""
    https: ProxyURL | None = None
    """URL of the proxy for https."""
    no_proxy: LongText | None = None
    """Comma-separated hosts that bypass the proxy. Default:
    localhost,127.0.0.1,::1,.svc,.cluster.local"""
    secret_ref: LocalObjectReference | None = None
    """A Secret with the URLs in its keys http and https, for a proxy that requires a password."""
