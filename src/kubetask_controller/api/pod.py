"""The parts of core/v1 PodSpec that a WorkspaceConfig supports, with the same names and types.

They have a full schema, so that the API server rejects a wrong field or value when the WorkspaceConfig
is applied, not hours later when a Job is created. Descriptions are short; the Kubernetes reference
contains the long ones.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints, WithJsonSchema

from kubetask_controller.api.affinity import LabelValue, TaintKey
from kubetask_controller.api.common import (
    MAX_INT32,
    DataKey,
    KubeModel,
    LongText,
    ObjectName,
    ShortText,
)
from kubetask_controller.api.patterns import ANNOTATION_KEY, QUALIFIED_NAME, RESOURCE_NAME
from kubetask_controller.api.rules import ATOMIC, Rule, keys_match, unique, validations


def choice(*values: str) -> WithJsonSchema:
    """The schema of a string with a fixed set of values."""
    return WithJsonSchema({"type": "string", "enum": list(values)})


QUANTITY_SUFFIX = r"(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?[0-9]{1,3}))?"
QUANTITY_PATTERN = rf"^\+?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+)){QUANTITY_SUFFIX}$"
Quantity = Annotated[
    int | str,
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": 64,
            "minimum": 0,
            "pattern": QUANTITY_PATTERN,
            "x-kubernetes-int-or-string": True,
        }
    ),
]
"""An amount such as 500m, 2, 512Mi or 4Gi."""
Quantities = Annotated[
    dict[str, Quantity],
    Field(
        max_length=32,
        json_schema_extra=validations(
            keys_match(
                RESOURCE_NAME,
                "requests and limits",
                "cpu, memory, ephemeral-storage, hugepages-<size>, or an extended resource such as"
                " nvidia.com/gpu",
            ),
            Rule(
                "self.all(k, !k.startsWith('requests.'))",
                "requests and limits must not contain a resource with the prefix requests., which only"
                " quotas have: remove the prefix",
            ),
            Rule(
                "self.all(k, !k.contains('/') || k.contains('kubernetes.io/')"
                " || !string(self[k]).matches('[-.num]'))",
                "requests and limits must have a whole number for an extended resource, such as 1"
                " nvidia.com/gpu: round the amount",
            ),
        ),
    ),
]
Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
UnixId = Annotated[int, Field(ge=0, le=MAX_INT32)]
"""The id of a user or group."""
EnvName = Annotated[
    str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")
]
_ONE_ENV_SOURCE = Rule(
    "(has(self.configMapKeyRef) ? 1 : 0) + (has(self.secretKeyRef) ? 1 : 0)"
    " + (has(self.fieldRef) ? 1 : 0) + (has(self.resourceFieldRef) ? 1 : 0) == 1",
    "exactly one of configMapKeyRef, secretKeyRef, fieldRef and resourceFieldRef must be set"
    " in valueFrom",
)


ONE_LABEL = rf"labels\['{QUALIFIED_NAME}'\]|annotations\['{ANNOTATION_KEY}'\]"
"""The part of a field's path below metadata that selects one label or annotation; not anchored."""


class OptionalKeyRef(KubeModel):
    """A key of a ConfigMap or Secret."""

    name: ObjectName
    """Name of the object."""
    key: DataKey
    """Key within the object."""
    optional: bool | None = None
    """Whether the container may start without it."""


class FieldRef(KubeModel):
    """A field of the Pod, as the value of a variable."""

    api_version: Annotated[str, choice("v1")] | None = None
    """Version of the schema of fieldPath. Default: v1."""
    field_path: Annotated[
        str,
        StringConstraints(
            min_length=1,
            max_length=253,
            pattern=rf"^(metadata\.(name|namespace|uid|{ONE_LABEL})"
            r"|spec\.(nodeName|serviceAccountName)|status\.(hostIPs?|podIPs?))$",
        ),
    ]
    """Path of the field, such as metadata.name, metadata.labels['team'] or status.podIP."""


class ResourceFieldRef(KubeModel):
    """A resource of a container."""

    container_name: ShortText | None = None
    """Container that the resource belongs to. Default: this container."""
    resource: Annotated[
        str,
        StringConstraints(
            min_length=1,
            max_length=253,
            pattern=r"^(limits|requests)\.(cpu|memory|ephemeral-storage|hugepages-[0-9A-Za-z]+)$",
        ),
    ]
    """Resource, such as limits.cpu or requests.memory."""
    divisor: Quantity | None = None
    """Unit of the value. Default: 1."""


class EnvVarSource(KubeModel):
    """Where a variable's value comes from. Exactly one field must be set."""

    model_config = ConfigDict(json_schema_extra=validations(_ONE_ENV_SOURCE))

    config_map_key_ref: OptionalKeyRef | None = None
    """A key of a ConfigMap."""
    secret_key_ref: OptionalKeyRef | None = None
    """A key of a Secret."""
    field_ref: FieldRef | None = None
    """A field of the Pod."""
    resource_field_ref: ResourceFieldRef | None = None
    """A resource of the container."""


class EnvVar(KubeModel):
    """An environment variable of the container."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "!(has(self.value) && has(self.valueFrom))",
                "at most one of value and valueFrom may be set: remove one of them",
            )
        )
    )

    name: EnvName
    """Name of the variable."""
    value: LongText | None = None
    """Value. References $(OTHER) to variables before it are expanded."""
    value_from: EnvVarSource | None = None
    """Source of the value."""


class OptionalObjectRef(KubeModel):
    """A whole ConfigMap or Secret."""

    name: ObjectName
    """Name of the object."""
    optional: bool | None = None
    """Whether the container may start without it."""


class EnvFromSource(KubeModel):
    """A ConfigMap or Secret. Every key becomes a variable."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "has(self.configMapRef) != has(self.secretRef)",
                "exactly one of configMapRef and secretRef must be set",
            )
        )
    )

    prefix: (
        Annotated[
            str,
            StringConstraints(max_length=253, pattern=r"^([-._a-zA-Z][-._a-zA-Z0-9]*)?$"),
        ]
        | None
    ) = None
    """Prefix of each variable's name."""
    config_map_ref: OptionalObjectRef | None = None
    """The ConfigMap."""
    secret_ref: OptionalObjectRef | None = None
    """The Secret."""


_COMPARED = "quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k])))"


class ResourceRequirements(KubeModel):
    """Resource requests and limits of a container."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "!has(self.requests) || !has(self.limits) || self.requests.all(k,"
                f" !(k in self.limits) || {_COMPARED} <= 0)",
                "each of requests must not exceed its limit: lower the request, or raise the limit",
                field_path=".requests",
            ),
            Rule(
                "!has(self.requests) || self.requests.all(k,"
                " !(k.contains('/') || k.startsWith('hugepages-'))"
                f" || (has(self.limits) && k in self.limits && {_COMPARED} == 0))",
                "requests of an extended resource or of hugepages need the same value in limits:"
                " set both",
                field_path=".requests",
            ),
        )
    )

    limits: Quantities | None = None
    """Maximum resources."""
    requests: Quantities | None = None
    """Guaranteed resources, which the scheduler and Kueue count."""


_BASIC = "{0}.exists(k, k == 'cpu' || k == 'memory')"
_HUGE = "{0}.exists(k, k.startsWith('hugepages-'))"
ContainerResources = Annotated[
    ResourceRequirements,
    Field(
        json_schema_extra=validations(
            Rule(
                f"!has(self.limits) || !{_HUGE.format('self.limits')} || {_BASIC.format('self.limits')}"
                f" || (has(self.requests) && {_BASIC.format('self.requests')})",
                "resources with hugepages must have cpu or memory too: add one of them",
            )
        )
    ),
]
"""Resources of a container without defaults."""


class TolerationOperator(StrEnum):
    """How a toleration matches a taint. Helm charts write an empty one for the default."""

    DEFAULT = ""
    EXISTS = "Exists"
    EQUAL = "Equal"
    LT = "Lt"
    GT = "Gt"


class TaintEffect(StrEnum):
    """Effect of a taint. Helm charts write an empty one for every effect."""

    EVERY = ""
    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(KubeModel):
    """A taint that the Pod tolerates."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')",
                "a toleration without a key must have the operator Exists, which tolerates every taint",
                field_path=".operator",
            ),
            Rule(
                "!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
                "value must not be set with the operator Exists: remove it, or use Equal",
                field_path=".value",
            ),
            Rule(
                "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
                "tolerationSeconds needs the effect NoExecute: remove it, or set effect",
                field_path=".tolerationSeconds",
            ),
        )
    )

    key: TaintKey | None = None
    """Key of the taint. Empty, with operator Exists: every taint."""
    operator: TolerationOperator | None = None
    """Default: Equal."""
    value: LabelValue | None = None
    """Value of the taint; not with operator Exists."""
    effect: TaintEffect | None = None
    """Effect of the taint. Empty: every effect."""
    toleration_seconds: Int64 | None = None
    """With effect NoExecute: seconds for which the Pod stays on the node."""


class LocalObjectReference(KubeModel):
    """An object of the same namespace."""

    name: ObjectName
    """Name of the object."""


class SeccompProfile(KubeModel):
    """The seccomp profile."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "(self.type == 'Localhost') == (has(self.localhostProfile) && self.localhostProfile != '')",
                "localhostProfile must be set with the type Localhost, and with no other",
                field_path=".localhostProfile",
            )
        )
    )

    type: Annotated[str, choice("RuntimeDefault", "Localhost")]
    """RuntimeDefault or Localhost. Unconfined is rejected."""
    localhost_profile: ShortText | None = None
    """With Localhost: path of the profile on the node."""


NodeSeccompProfile = Annotated[
    SeccompProfile,
    Field(
        json_schema_extra=validations(
            Rule(
                "!has(self.localhostProfile) || !self.localhostProfile.matches('^/|(^|/)[.][.](/|$)')",
                "localhostProfile must be a relative path without ..: use the path below the kubelet's"
                " folder of seccomp profiles",
                field_path=".localhostProfile",
            )
        )
    ),
]
"""A seccomp profile, which is a file; an AppArmor profile has a name."""


class SELinuxOptions(KubeModel):
    """The SELinux label."""

    user: ShortText | None = None
    """User part of the label."""
    role: ShortText | None = None
    """Role part of the label."""
    type: ShortText | None = None
    """Type part of the label."""
    level: ShortText | None = None
    """Level part of the label."""


class Sysctl(KubeModel):
    """A kernel parameter."""

    name: Annotated[
        str,
        StringConstraints(
            min_length=1,
            max_length=253,
            pattern=r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
        ),
    ]
    """Name of the parameter."""
    value: ShortText
    """Value to set."""


class PodSecurityContext(KubeModel):
    """Security settings of a task's Pod, as core/v1 PodSecurityContext. The defaults meet the
    restricted Pod Security Standard."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "!has(self.runAsUser) || self.runAsUser != 0"
                " || (has(self.runAsNonRoot) && !self.runAsNonRoot)",
                "runAsUser 0 is root: set runAsNonRoot to false too, or choose another user",
                field_path=".runAsUser",
            )
        )
    )

    run_as_user: UnixId | None = None
    """User id of all containers. Default: the user of the image, or the id that the cluster assigns."""
    run_as_group: UnixId | None = None
    """Group id of all containers."""
    run_as_non_root: bool | None = None
    """Whether containers must not run as root. An image that needs root requires false, and a
    namespace that admits it. Default: true"""
    fs_group: UnixId | None = None
    """Group that owns the volumes."""
    fs_group_change_policy: Annotated[str, choice("OnRootMismatch", "Always")] | None = None
    """When the ownership of a volume is changed: OnRootMismatch or Always."""
    supplemental_groups: (
        Annotated[list[UnixId], Field(max_length=64, json_schema_extra=ATOMIC)] | None
    ) = None
    """Further group ids of all containers."""
    supplemental_groups_policy: Annotated[str, choice("Merge", "Strict")] | None = None
    """Whether the image's own groups are merged: Merge or Strict."""
    seccomp_profile: NodeSeccompProfile | None = None
    """Default: RuntimeDefault."""
    app_armor_profile: SeccompProfile | None = None
    """AppArmor profile."""
    se_linux_options: SELinuxOptions | None = None
    """SELinux label of all containers."""
    sysctls: (
        Annotated[
            list[Sysctl],
            Field(
                max_length=64,
                json_schema_extra={**ATOMIC, **validations(unique("name", "two sysctls"))},
            ),
        ]
        | None
    ) = None
    """Kernel parameters of the Pod."""


TolerationList = Annotated[list[Toleration], Field(max_length=64, json_schema_extra=ATOMIC)]
