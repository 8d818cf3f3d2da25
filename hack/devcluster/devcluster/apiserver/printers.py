"""Columns and cells of the built-in resources, as pkg/printers/internalversion has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .gotime import parse_time
from .schema import definitions

Object = dict[str, Any]
Cells = Callable[[Object, float], list[Any]]
CORE = "io.k8s.api.core.v1."
BATCH = "io.k8s.api.batch.v1."
APPS = "io.k8s.api.apps.v1."
NONE = "<none>"
UNKNOWN = "<unknown>"


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `description` may be (definition, field) to take the published one."""

    name: str
    type: str = "string"
    description: str | tuple[str, str] = ""
    format: str = ""
    priority: int = 0

    def definition(self) -> Object:
        """As a Table shows it."""
        text = (
            self.description if isinstance(self.description, str) else describe(*self.description)
        )
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": text,
            "priority": self.priority,
        }


def describe(definition: str, field: str) -> str:
    """The published description of a field."""
    properties = definitions().get(definition, {}).get("properties", {})
    text: str = properties.get(field, {}).get("description", "")
    return text


_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
NAME = Column("Name", description=(_META, "name"), format="name")
AGE = Column("Age", description=(_META, "creationTimestamp"))
CONTAINERS = Column(
    "Containers", description="Names of each container in the template.", priority=1
)
IMAGES = Column(
    "Images", description="Images referenced by each container in the template.", priority=1
)


def describe_age() -> str:
    """The description of creationTimestamp."""
    return describe(_META, "creationTimestamp")


def human_duration(seconds: float) -> str:
    """A span as kubectl shows it: 5s, 2m30s, 3h, 4d2h."""
    whole = int(seconds)
    if seconds < -1.999:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 120:
        return f"{whole}s"
    minutes, hours = whole // 60, whole // 3600
    if minutes < 10:
        return _pair(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _pair(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 192:
        return _pair(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    if days < 2920:
        return _pair(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _pair(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big}{big_unit}{small}{small_unit}" if small else f"{big}{big_unit}"


def since(timestamp: str | None, now: float) -> str:
    """The time since a timestamp."""
    return human_duration(now - parse_time(timestamp).timestamp()) if timestamp else UNKNOWN


def age(obj: Object, now: float) -> str:
    """The age of an object."""
    return since(obj["metadata"].get("creationTimestamp"), now)


def name(obj: Object) -> str:
    """An object's name."""
    text: str = obj["metadata"]["name"]
    return text


def get(obj: Any, *path: str, default: Any = None) -> Any:
    """A nested value, or `default`."""
    for step in path:
        obj = obj.get(step) if isinstance(obj, dict) else None
    return default if obj is None else obj


def format_selector(selector: Object | None) -> str:
    """A LabelSelector as text."""
    if not selector:
        return NONE
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for each in selector.get("matchExpressions") or ():
        values = ",".join(each.get("values") or ())
        terms.append(
            {
                "In": f"{each['key']} in ({values})",
                "NotIn": f"{each['key']} notin ({values})",
                "Exists": each["key"],
            }.get(each["operator"], f"!{each['key']}")
        )
    return ",".join(terms) or NONE


def layout(template: Object) -> list[str]:
    """Names and images of a template's containers."""
    containers = get(template, "spec", "containers", default=[])
    return [
        ",".join(each["name"] for each in containers),
        ",".join(each.get("image", "") for each in containers),
    ]


_POD_CONDITIONS = {
    "Succeeded": [
        {
            "type": "Completed",
            "status": "True",
            "reason": "Succeeded",
            "message": "The pod has completed successfully.",
        }
    ],
    "Failed": [
        {"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."}
    ],
}


def row_conditions(obj: Object) -> list[Object] | None:
    """Conditions of a table row: Pods that are over have one."""
    if obj.get("kind") != "Pod" or obj.get("apiVersion") != "v1":
        return None
    return _POD_CONDITIONS.get(get(obj, "status", "phase", default=""))
