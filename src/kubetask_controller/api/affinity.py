"""core/v1 Affinity with its full schema, so that the API server rejects a mistake when the
WorkspaceConfig is applied."""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints, WithJsonSchema

from kubetask_controller.api.common import DnsLabel, KubeModel, ObjectName
from kubetask_controller.api.patterns import QUALIFIED_NAME
from kubetask_controller.api.rules import ATOMIC, Rule, validations

LabelKey = Annotated[
    str, StringConstraints(min_length=1, max_length=317, pattern=f"^{QUALIFIED_NAME}$")
]
TaintKey = Annotated[str, StringConstraints(max_length=317, pattern=f"^({QUALIFIED_NAME})?$")]
"""Empty, where a toleration is of every taint."""
LabelValue = Annotated[
    str,
    StringConstraints(max_length=63, pattern=r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"),
]
LabelValues = Annotated[list[LabelValue], Field(max_length=256, json_schema_extra=ATOMIC)]
LabelKeys = Annotated[list[LabelKey], Field(max_length=64, json_schema_extra=ATOMIC)]
Labels = Annotated[dict[str, LabelValue], Field(max_length=64)]
Weight = Annotated[int, Field(ge=1, le=100)]


class SelectorOperator(StrEnum):
    """How a label relates to the values."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class NodeSelectorOperator(StrEnum):
    """How a node's label relates to the values."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


class FieldSelectorOperator(StrEnum):
    """How a node's field relates to the value."""

    IN = "In"
    NOT_IN = "NotIn"


_VALUES = (
    Rule(
        "!(self.operator in ['In', 'NotIn']) || (has(self.values) && self.values.size() > 0)",
        "values must be set with the operators In and NotIn: add them, or use Exists or DoesNotExist",
        field_path=".values",
    ),
    Rule(
        "!(self.operator in ['Exists', 'DoesNotExist'])"
        " || !has(self.values) || self.values.size() == 0",
        "values must not be set with the operators Exists and DoesNotExist: remove them, or use In"
        " or NotIn",
        field_path=".values",
    ),
)
_ONE_INTEGER = Rule(
    "!(self.operator in ['Gt', 'Lt']) || (has(self.values) && self.values.size() == 1"
    " && self.values[0].matches('^[0-9]{1,19}$'))",
    "values must be one integer with the operators Gt and Lt: correct them, or use In or NotIn",
    field_path=".values",
)


class LabelSelectorRequirement(KubeModel):
    """A requirement on one label."""

    model_config = ConfigDict(json_schema_extra=validations(*_VALUES))

    key: LabelKey
    """Key of the label."""
    operator: SelectorOperator
    """In, NotIn, Exists or DoesNotExist."""
    values: LabelValues | None = None
    """Values for In and NotIn; none with Exists and DoesNotExist."""


class LabelSelector(KubeModel):
    """A selection of objects by their labels; all of it must match."""

    match_labels: Labels | None = None
    """Labels and the values that they must have."""
    match_expressions: (
        Annotated[list[LabelSelectorRequirement], Field(max_length=64, json_schema_extra=ATOMIC)]
        | None
    ) = None
    """Further requirements."""


class NodeSelectorRequirement(KubeModel):
    """A requirement on one label of a node."""

    model_config = ConfigDict(json_schema_extra=validations(*_VALUES, _ONE_INTEGER))

    key: LabelKey
    """Key of the label."""
    operator: NodeSelectorOperator
    """In, NotIn, Exists, DoesNotExist, Gt or Lt."""
    values: LabelValues | None = None
    """Values for In and NotIn; one integer for Gt and Lt; none with Exists and DoesNotExist."""


class NodeFieldRequirement(KubeModel):
    """A requirement on one field of a node."""

    key: Annotated[str, WithJsonSchema({"type": "string", "enum": ["metadata.name"]})]
    """Path of the field: metadata.name."""
    operator: FieldSelectorOperator
    """In or NotIn."""
    values: Annotated[list[ObjectName], Field(min_length=1, max_length=1, json_schema_extra=ATOMIC)]
    """The name of one node."""


class NodeSelectorTerm(KubeModel):
    """Requirements on a node; all must hold."""

    match_expressions: (
        Annotated[list[NodeSelectorRequirement], Field(max_length=64, json_schema_extra=ATOMIC)]
        | None
    ) = None
    """Requirements on labels."""
    match_fields: (
        Annotated[list[NodeFieldRequirement], Field(max_length=64, json_schema_extra=ATOMIC)] | None
    ) = None
    """Requirements on fields."""


class NodeSelector(KubeModel):
    """Terms of which at least one must hold."""

    node_selector_terms: Annotated[
        list[NodeSelectorTerm], Field(min_length=1, max_length=64, json_schema_extra=ATOMIC)
    ]
    """The terms."""


class PreferredSchedulingTerm(KubeModel):
    """A preference for nodes."""

    weight: Weight
    """1 to 100."""
    preference: NodeSelectorTerm
    """The nodes."""


class NodeAffinity(KubeModel):
    """Nodes on which the Pod must or should run."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    """Must run on such a node."""
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[list[PreferredSchedulingTerm], Field(max_length=64, json_schema_extra=ATOMIC)]
        | None
    ) = None
    """Should run on such a node."""


_LABEL_KEYS = (
    *(
        Rule(
            f"!has(self.{field}) || self.{field}.size() == 0 || has(self.labelSelector)",
            f"{field} needs labelSelector: set it, or remove {field}",
            field_path=f".{field}",
        )
        for field in ("matchLabelKeys", "mismatchLabelKeys")
    ),
    Rule(
        "!has(self.matchLabelKeys) || !has(self.mismatchLabelKeys)"
        " || !self.matchLabelKeys.exists(k, k in self.mismatchLabelKeys)",
        "matchLabelKeys and mismatchLabelKeys contain the same label: remove it from one of them",
        field_path=".mismatchLabelKeys",
    ),
)


class PodAffinityTerm(KubeModel):
    """A set of Pods, and the topology domain to which the rule applies."""

    model_config = ConfigDict(json_schema_extra=validations(*_LABEL_KEYS))

    label_selector: LabelSelector | None = None
    """The Pods."""
    namespaces: Annotated[list[DnsLabel], Field(max_length=64, json_schema_extra=ATOMIC)] | None = (
        None
    )
    """Their namespaces. Default: that of the task."""
    namespace_selector: LabelSelector | None = None
    """Their namespaces, by label."""
    topology_key: LabelKey
    """Label of nodes that defines the topology domain, such as kubernetes.io/hostname."""
    match_label_keys: LabelKeys | None = None
    """Labels of this Pod that the others must have with the same value."""
    mismatch_label_keys: LabelKeys | None = None
    """Labels of this Pod that the others must not have with the same value."""


class WeightedPodAffinityTerm(KubeModel):
    """A weighted preference for running in or outside the topology domain of other Pods."""

    weight: Weight
    """1 to 100."""
    pod_affinity_term: PodAffinityTerm
    """The Pods."""


_Required = Annotated[list[PodAffinityTerm], Field(max_length=64, json_schema_extra=ATOMIC)]
_Preferred = Annotated[
    list[WeightedPodAffinityTerm], Field(max_length=64, json_schema_extra=ATOMIC)
]


class PodAffinity(KubeModel):
    """Pods in whose topology domain the Pod must or should run."""

    required_during_scheduling_ignored_during_execution: _Required | None = None
    """Must run in their topology domain."""
    preferred_during_scheduling_ignored_during_execution: _Preferred | None = None
    """Should run in their topology domain."""


class PodAntiAffinity(KubeModel):
    """Pods in whose topology domain the Pod must not or should not run."""

    required_during_scheduling_ignored_during_execution: _Required | None = None
    """Must not run in their topology domain."""
    preferred_during_scheduling_ignored_during_execution: _Preferred | None = None
    """Should not run in their topology domain."""


class Affinity(KubeModel):
    """Where the Pod may run, as core/v1 Affinity."""

    node_affinity: NodeAffinity | None = None
    """By node."""
    pod_affinity: PodAffinity | None = None
    """By Pods to run near."""
    pod_anti_affinity: PodAntiAffinity | None = None
    """By Pods to avoid."""
