"""The base class, bounded scalar types, metadata and conditions that the models of all kinds share.

Attributes are snake_case, JSON is camelCase. Reading ignores unknown fields, because a newer CRD may
have more. The docstrings of classes and attributes are the descriptions in the CRD, which
``kubectl explain`` shows.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

from kubetask_controller.api import constants as c
from kubetask_controller.api.patterns import SUBDOMAIN_PATTERN
from kubetask_controller.api.times import format_time

MAX_INT32 = 2_147_483_647


def _aware(value: datetime) -> datetime:
    return value if value.tzinfo else value.replace(tzinfo=UTC)


Time = Annotated[
    datetime,
    AfterValidator(_aware),
    PlainSerializer(format_time, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
ObjectName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=c.MAX_NAME_LENGTH, pattern=SUBDOMAIN_PATTERN),
]
"""The name of an object of the same namespace (a DNS-1123 subdomain)."""
DnsLabel = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"),
]
"""The name of a namespace, container or volume (a DNS-1123 label)."""
DataKey = Annotated[
    str,
    StringConstraints(min_length=1, max_length=253, pattern=r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$"),
]
"""A key of a ConfigMap or Secret: not ``.``, and not ``..`` with or without more."""
Text = Annotated[str, StringConstraints(max_length=c.MAX_MESSAGE_LENGTH)]
ShortText = Annotated[str, StringConstraints(max_length=253)]
LongText = Annotated[str, StringConstraints(max_length=32768)]
ImageName = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^\S+$")]
"""A container image. A block scalar (``|``) of YAML adds a line feed, which Kubernetes rejects."""
Dollars = Annotated[
    int | str,
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": 16,
            "minimum": 0,
            "pattern": r"^[0-9]{1,9}(\.[0-9]{1,6})?$",
            "x-kubernetes-int-or-string": True,
        }
    ),
]
"""An amount of US dollars, such as 25 or "7.50"."""
Count = Annotated[int, Field(ge=0, le=MAX_INT32)]
PositiveCount = Annotated[int, Field(ge=1, le=MAX_INT32)]


class KubeModel(BaseModel):
    """Base of all models: JSON names are camelCase, unknown fields are ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )

    def to_json(self) -> dict[str, Any]:
        """The object as the API server accepts it: camelCase, without unset fields."""
        return self.model_dump(mode="json", exclude_none=True)


class ObjectMeta(KubeModel):
    """The fields of an object's metadata that the controller reads."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class Condition(KubeModel):
    """One aspect of the object's state, as metav1.Condition."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=316)]
    """Complete, Failed, Suspended, Ready, Reconciling or Stalled."""
    status: c.ConditionStatus
    """True, False or Unknown."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The generation of the object that the condition describes."""
    last_transition_time: Time
    """When the status last changed."""
    reason: Annotated[
        str,
        StringConstraints(
            min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
        ),
    ]
    """The reason of the last transition, in CamelCase."""
    message: Annotated[str, StringConstraints(max_length=32768)]
    """Details of the last transition, in one sentence."""
