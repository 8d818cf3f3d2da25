"""What the API server says in a Warning header about Pods that it takes, in the words of pkg/api/pod."""

from __future__ import annotations

from typing import Any

from ..quantity import parse

Object = dict[str, Any]

_WHOLE_BYTES = ("memory", "ephemeral-storage")


def pod_spec_warnings(spec: Object, path: str) -> list[str]:
    """Sentences about a Pod's spec that is valid."""
    found: list[str] = []
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(kind) or ()):
            at = f"{path}.{kind}[{index}]"
            if container.get("resources"):
                found += _fractions(container["resources"], f"{at}.resources")
            if len(container.get("env") or ()) > 1:
                found += _hidden(container["env"], f"{at}.env")
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0:
        text = "must be >= 0; negative values are invalid and will be treated as 1"
        found.append(f"{path}.terminationGracePeriodSeconds: {text}")
    return found


def _fractions(resources: Object, path: str) -> list[str]:
    found = []
    for name in _WHOLE_BYTES:
        for kind in ("limits", "requests"):
            value = (resources.get(kind) or {}).get(name)
            if value is not None and (number := parse(str(value))) != number.to_integral_value():
                text = f'fractional byte value "{value}" is invalid, must be an integer'
                found.append(f"{path}.{kind}[{name}]: {text}")
    return found


def _hidden(variables: list[Object], path: str) -> list[str]:
    """A variable given again replaces the one before, unless it takes that one's value up."""
    found, seen = [], set()
    for index, variable in enumerate(variables):
        name, value = variable.get("name"), variable.get("value") or ""
        if name in seen:
            reference = f"$({name})"
            if "valueFrom" in variable or value == reference or reference not in value:
                text = (
                    f'hides previous definition of "{name}", which may be dropped when using apply'
                )
                found.append(f"{path}[{index}]: {text}")
        seen.add(name)
    return found
