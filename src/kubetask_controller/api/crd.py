"""The CustomResourceDefinitions of the four kinds, generated from their models.

``crds()`` returns them as objects, ``render_crds()`` as the files of config/crd. The same models
always produce the same text.
"""

from dataclasses import dataclass, field

import yaml
from pydantic import BaseModel

from kubetask_controller.api import constants as c
from kubetask_controller.api.batch import Batch
from kubetask_controller.api.batchrun import BatchRun
from kubetask_controller.api.rules import Rule, validations
from kubetask_controller.api.schema import structural_schema
from kubetask_controller.api.task import Task
from kubetask_controller.api.workspaceconfig import WorkspaceConfig
from kubetask_controller.types import JSON

HEADER = "# Generated from src/kubetask_controller/api by `make generate`. Do not edit.\n"
API_VERSION_TEXT = "The version of the schema of this object: kubetask.io/v1alpha1"
_RETRY_OF_ITSELF = Rule(
    "!has(self.spec.retryOf) || self.spec.retryOf != self.metadata.name",
    "retryOf must name another BatchRun, not this one",
    field_path=".spec.retryOf",
)


@dataclass(frozen=True, slots=True)
class Column:
    """A printer column. Only the wide output shows columns of priority 1."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0
    description: str = ""

    def to_json(self) -> JSON:
        """The column as the CRD contains it."""
        column: JSON = {"name": self.name, "type": self.type, "jsonPath": self.path}
        if self.description:
            column["description"] = self.description
        if self.priority:
            column["priority"] = self.priority
        return column


@dataclass(frozen=True, slots=True)
class Definition:
    """The parts of a CRD beyond the schema of its model."""

    model: type[BaseModel]
    plural: str
    short_name: str
    columns: tuple[Column, ...]
    selectable: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = field(default=())

    @property
    def kind(self) -> str:
        """The kind: the name of the model."""
        return self.model.__name__

    @property
    def has_status(self) -> bool:
        """Whether the kind has a status subresource."""
        return "status" in self.model.model_fields


AGE = Column("Age", ".metadata.creationTimestamp", "date")
_STARTED = Column("Started", ".status.startTime", "date", 1, "When the agent first started.")
_COMPLETED = Column("Completed", ".status.completionTime", "date", 1, "When it ended.")

DEFINITIONS = (
    Definition(Batch, c.PLURAL_BATCH, "kbatch", (AGE,), selectable=(".spec.workspaceConfigRef",)),
    Definition(
        BatchRun,
        c.PLURAL_BATCH_RUN,
        "brun",
        (
            Column("Phase", ".status.phase"),
            Column("Reason", ".status.reason"),
            Column("Done", ".status.done", description="Ended tasks and all tasks."),
            Column("Failed", ".status.progress.failed", "integer"),
            Column("Running", ".status.progress.running", "integer"),
            Column("Batch", ".spec.batchRef", priority=1),
            Column("Pending", ".status.progress.pending", "integer", 1),
            _STARTED,
            _COMPLETED,
            AGE,
        ),
        selectable=(".status.phase", ".status.reason", ".spec.batchRef"),
        rules=(_RETRY_OF_ITSELF,),
    ),
    Definition(
        Task,
        c.PLURAL_TASK,
        "ktask",
        (
            Column("Phase", ".status.phase"),
            Column("Reason", ".status.reason"),
            Column("Target", ".status.target", description="Repositories or files of the task."),
            Column("Job", ".status.jobName", priority=1),
            _STARTED,
            _COMPLETED,
            AGE,
        ),
        selectable=(".status.phase", ".status.reason"),
    ),
    Definition(
        WorkspaceConfig,
        c.PLURAL_WORKSPACE_CONFIG,
        "wsc",
        (Column("Image", ".spec.agentImage", description="The agent's image."), AGE),
    ),
)


def crds() -> list[JSON]:
    """The four CRDs as objects."""
    return [_crd(definition) for definition in DEFINITIONS]


def render_crds() -> dict[str, str]:
    """The CRDs as YAML, by file name."""
    return {
        f"{c.GROUP}_{crd['spec']['names']['plural']}.yaml": HEADER + to_yaml(crd) for crd in crds()
    }


def to_yaml(obj: JSON) -> str:
    """YAML in the order of the object's keys, as in the generated files."""
    return yaml.safe_dump(obj, sort_keys=False, width=120, allow_unicode=True)


def _crd(definition: Definition) -> JSON:
    version: JSON = {
        "name": c.VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _schema(definition)},
        "additionalPrinterColumns": [column.to_json() for column in definition.columns],
    }
    if definition.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in definition.selectable]
    if definition.has_status:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{definition.plural}.{c.GROUP}",
            "labels": {"app.kubernetes.io/name": "kubetask", "app.kubernetes.io/component": "crd"},
        },
        "spec": {
            "group": c.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": definition.kind,
                "listKind": f"{definition.kind}List",
                "plural": definition.plural,
                "singular": definition.kind.lower(),
                "shortNames": [definition.short_name],
                "categories": [c.CATEGORY],
            },
            "versions": [version],
        },
    }


def _schema(definition: Definition) -> JSON:
    """The model's schema; the API server validates metadata."""
    schema = structural_schema(definition.model)
    properties = schema["properties"]
    properties["apiVersion"] = {"type": "string", "description": API_VERSION_TEXT}
    properties["kind"] = {"type": "string", "description": f"The kind: {definition.kind}"}
    properties["metadata"] = {"type": "object"}
    if definition.has_status:
        # Tools that compare this with metadata.generation must not treat a new object as finished.
        properties["status"]["default"] = {"observedGeneration": -1}
    schema["required"] = ["spec"]
    if definition.rules:
        schema |= validations(*definition.rules)
    return schema
