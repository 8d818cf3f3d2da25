"""Sums of resources: what a Pod requests and is limited to, and amounts as the API server prints them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from devcluster.apiserver.quantity import canonical, parse

Amounts = dict[str, Decimal]
_BINARY_UNITS = ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki")


def pod_resources(spec: dict[str, Any]) -> tuple[Amounts, Amounts]:
    """Requests and limits of a whole Pod: the sum of its containers, or its largest init container where that is more.

    Restartable init containers (sidecars) count with the containers, and with each init container after them.
    """
    return _total(spec, "requests"), _total(spec, "limits")


def _total(spec: dict[str, Any], field: str) -> Amounts:
    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, amounts(container, field))
    sidecars: Amounts = {}
    largest: Amounts = {}
    for container in spec.get("initContainers") or ():
        own = amounts(container, field)
        if container.get("restartPolicy") == "Always":
            _add(total, own)
            _add(sidecars, own)
            own = dict(sidecars)
        else:
            _add(own, sidecars)
        for name, value in own.items():
            largest[name] = max(value, largest.get(name, Decimal(0)))
    for name, value in largest.items():
        total[name] = max(value, total.get(name, Decimal(0)))
    _add(total, {key: parse(str(value)) for key, value in (spec.get("overhead") or {}).items()})
    return total


def amounts(container: dict[str, Any], field: str) -> Amounts:
    """`requests` or `limits` of a container; a limit is the default of a missing request."""
    resources = container.get("resources") or {}
    values = resources.get(field) or {}
    if field == "requests":
        values = {**(resources.get("limits") or {}), **values}
    return {key: parse(str(value)) for key, value in values.items()}


def _add(total: Amounts, more: Amounts) -> None:
    for name, value in more.items():
        total[name] = total.get(name, Decimal(0)) + value


def format_quantity(resource: str, value: Decimal) -> str:
    """An amount of a resource: bytes in binary units, everything else in decimal ones."""
    if "memory" in resource or "storage" in resource or "hugepages" in resource:
        whole = int(value)
        for power, unit in zip(range(6, 0, -1), _BINARY_UNITS, strict=True):
            if whole and whole % 1024**power == 0:
                return f"{whole // 1024**power}{unit}"
        return str(whole)
    return canonical(f"{value:f}")
