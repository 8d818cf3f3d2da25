"""TypedDicts of the specs and statuses, so that mypy checks each look-up in the JSON of the API server.

Objects travel as JSON, because validating a run of 10,000 tasks at each event would cost more than everything else. The
types follow from the pydantic models and exist for the type checker alone.
"""

import types
import typing
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel

from kubetask_controller.api.batch import BatchSpec
from kubetask_controller.api.batchrun import BatchRunSpec, BatchRunStatus
from kubetask_controller.api.task import TaskExecutionStatus, TaskSpec
from kubetask_controller.api.work import WorkSpec
from kubetask_controller.api.workspaceconfig import WorkspaceConfigSpec

ROOTS = (
    WorkSpec,
    BatchSpec,
    BatchRunSpec,
    TaskSpec,
    WorkspaceConfigSpec,
    BatchRunStatus,
    TaskExecutionStatus,
)
HEADER = '''"""Specs and statuses as JSON: generated from the models by `make generate`. Do not edit."""

from typing import TypedDict
'''


def render_typed() -> str:
    """The text of ``api/typed.py``."""
    models: dict[str, type[BaseModel]] = {}
    for root in ROOTS:
        _collect(root, models)
    return HEADER + "".join(_render(model) for model in models.values())


def _collect(model: type[BaseModel], found: dict[str, type[BaseModel]]) -> None:
    """Depth first, so that each type stands before its first use."""
    if found.get(_name(model)) is model:
        return
    for field in model.model_fields.values():
        for nested in _models(field.annotation):
            _collect(nested, found)
    if _name(model) in found:
        raise ValueError(f"two models are called {model.__name__}")
    found[_name(model)] = model


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _render(model: type[BaseModel]) -> str:
    lines = [f"\n\nclass {_name(model)}(TypedDict, total=False):"]
    lines.append(f'    """JSON of ``{model.__name__}``."""\n')
    for name, field in model.model_fields.items():
        lines.append(f"    {field.alias or name}: {_type(field.annotation)}")
    return "\n".join(lines) + "\n"


def _name(model: type[BaseModel]) -> str:
    return f"{model.__name__}JSON"


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " | ".join(dict.fromkeys(_type(x) for x in arguments if x is not types.NoneType))
    if origin is list:
        return f"list[{_type(arguments[0])}]"
    if origin is dict:
        return f"dict[{_type(arguments[0])}, {_type(arguments[1])}]"
    if isinstance(annotation, type):
        if issubclass(annotation, BaseModel):
            return _name(annotation)
        if issubclass(annotation, Enum | datetime):
            return "str"
        if annotation in (str, int, bool, float):
            return annotation.__name__
    return "Any"
