"""The parts of core/v1 PodSpec that a WorkspaceConfig takes over, named and shaped as there.

They are written out rather than left open, so that a wrong field or value is refused when the
WorkspaceConfig is applied, not hours later when a Job is made of it. Descriptions are short: the
Kubernetes reference has the long ones.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints, WithJsonSchema

from kubetask_controller.api.common import (
    DataKey,
    KubeModel,
    LongText,
    ObjectName,
    ShortText,
)
from kubetask_controller.api.rules import ATOMIC, Rule, validations

QUANTITY_PATTERN = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
    r"(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
Quantity = Annotated[
    int | str,
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": 64,
            "pattern": QUANTITY_PATTERN,
            "x-kubernetes-int-or-string": True,
        }
    ),
]
"""An amount such as 500m, 2, 512Mi or 4Gi."""
Quantities = Annotated[dict[str, Quantity], Field(max_length=32)]
Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
NonNegativeInt64 = Annotated[int, Field(ge=0, le=2**63 - 1)]
EnvName = Annotated[
    str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")
]
_ONE_ENV_SOURCE = Rule(
    "(has(self.configMapKeyRef) ? 1 : 0) + (has(self.secretKeyRef) ? 1 : 0)"
    " + (has(self.fieldRef) ? 1 : 0) + (has(self.resourceFieldRef) ? 1 : 0) == 1",
    "exactly one of configMapKeyRef, secretKeyRef, fieldRef and resourceFieldRef must be set"
    " in valueFrom",
)


def choice(*values: str) -> WithJsonSchema:
    """The schema of a string that is one of a few."""
    return WithJsonSchema({"type": "string", "enum": list(values)})


class OptionalKeyRef(KubeModel):
    """A key of a ConfigMap or Secret."""

    name: ObjectName
    """Name of the object."""
    key: DataKey
    """Key within the object."""
    optional: bool | None = None
    """Whether the container may start without it."""


class FieldRef(KubeModel):
    """A field of the Pod."""

    api_version: ShortText | None = None
    """Version of the schema of fieldPath. Default: v1."""
    field_path: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """Path of the field, such as metadata.name or status.podIP."""


class ResourceFieldRef(KubeModel):
    """A resource of a container."""

    container_name: ShortText | None = None
    """Container whose resources are meant. Default: this one."""
    resource: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """Resource, such as limits.cpu or requests.memory."""
    divisor: Quantity | None = None
    """Unit in which the amount is given. Default: 1."""


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
    """An environment variable of the agent."""

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
    """A ConfigMap or Secret, all of it."""

    name: ObjectName
    """Name of the object."""
    optional: bool | None = None
    """Whether the container may start without it."""


class EnvFromSource(KubeModel):
    """A ConfigMap or Secret of which every key becomes a variable."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "has(self.configMapRef) != has(self.secretRef)",
                "exactly one of configMapRef and secretRef must be set",
            )
        )
    )

    prefix: ShortText | None = None
    """Put before each key."""
    config_map_ref: OptionalObjectRef | None = None
    """The ConfigMap."""
    secret_ref: OptionalObjectRef | None = None
    """The Secret."""


class ResourceRequirements(KubeModel):
    """What a container asks for and may use."""

    limits: Quantities | None = None
    """The most it may use."""
    requests: Quantities | None = None
    """What it is promised; the scheduler and Kueue count this."""


class TolerationOperator(StrEnum):
    """How a toleration's key and value relate to a taint's."""

    EXISTS = "Exists"
    EQUAL = "Equal"
    LT = "Lt"
    GT = "Gt"


class TaintEffect(StrEnum):
    """What a taint does."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(KubeModel):
    """A taint that the Pod does not mind."""

    key: ShortText | None = None
    """Key of the taint. Empty, with operator Exists: every taint."""
    operator: TolerationOperator | None = None
    """Default: Equal."""
    value: ShortText | None = None
    """Value of the taint; not with operator Exists."""
    effect: TaintEffect | None = None
    """Effect of the taint. Empty: every effect."""
    toleration_seconds: Int64 | None = None
    """With effect NoExecute: for how long."""


class LocalObjectReference(KubeModel):
    """An object of the same namespace."""

    name: ObjectName
    """Name of the object."""


class SeccompProfile(KubeModel):
    """The seccomp profile."""

    type: Annotated[str, choice("Unconfined", "RuntimeDefault", "Localhost")]
    """Unconfined, RuntimeDefault or Localhost."""
    localhost_profile: ShortText | None = None
    """With Localhost: path of the profile on the node."""


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

    name: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """Name of the parameter."""
    value: ShortText
    """Value to set."""


class PodSecurityContext(KubeModel):
    """Security settings of a task's Pod, as core/v1 PodSecurityContext. What is not set is chosen
    so that the restricted Pod Security Standard admits the Pod."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "!has(self.runAsUser) || self.runAsUser != 0"
                " || (has(self.runAsNonRoot) && !self.runAsNonRoot)",
                "runAsUser 0 is root: set runAsNonRoot to false beside it, or choose another user",
                field_path=".runAsUser",
            )
        )
    )

    run_as_user: NonNegativeInt64 | None = None
    """User id of all containers. Default: that of the image, or what the cluster assigns."""
    run_as_group: NonNegativeInt64 | None = None
    """Group id of all containers."""
    run_as_non_root: bool | None = None
    """Refuse to run as root. An image that needs root runs with false, in a namespace that admits
    that. Default: true"""
    fs_group: NonNegativeInt64 | None = None
    """Group that owns the volumes."""
    fs_group_change_policy: Annotated[str, choice("OnRootMismatch", "Always")] | None = None
    """When the ownership of a volume is changed: OnRootMismatch or Always."""
    supplemental_groups: (
        Annotated[list[NonNegativeInt64], Field(max_length=64, json_schema_extra=ATOMIC)] | None
    ) = None
    """Further group ids of all containers."""
    supplemental_groups_policy: Annotated[str, choice("Merge", "Strict")] | None = None
    """Whether the image's own groups are merged: Merge or Strict."""
    seccomp_profile: SeccompProfile | None = None
    """Default: RuntimeDefault."""
    app_armor_profile: SeccompProfile | None = None
    """AppArmor profile."""
    se_linux_options: SELinuxOptions | None = None
    """SELinux label of all containers."""
    sysctls: Annotated[list[Sysctl], Field(max_length=64, json_schema_extra=ATOMIC)] | None = None
    """Kernel parameters of the Pod."""


TolerationList = Annotated[list[Toleration], Field(max_length=64, json_schema_extra=ATOMIC)]
