"""Whether a Pod fits on a node: pure predicates with kube-scheduler's messages.

Left out: inter-pod affinity, topology spread, volumes' node affinity, preemption, extended resources beyond
their sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from devcluster.apiserver import quantity

Object = dict[str, Any]

HARD_EFFECTS = ("NoSchedule", "NoExecute")
UNSCHEDULABLE_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why a node does not take a Pod. `helpless`: no preemption of other Pods could change it."""

    reason: str
    helpless: bool


def misfit(pod: Object, node: Object, others: Iterable[Object]) -> Misfit | None:
    """Why `pod` does not fit beside `others` (the Pods of the node that have not ended), or None if it does."""
    spec = pod["spec"]
    tolerations = spec.get("tolerations") or ()
    if (node.get("spec") or {}).get("unschedulable") and not _tolerated(
        UNSCHEDULABLE_TAINT, tolerations
    ):
        return Misfit("node(s) were unschedulable", helpless=True)
    for taint in (node.get("spec") or {}).get("taints") or ():
        if taint["effect"] in HARD_EFFECTS and not _tolerated(taint, tolerations):
            return Misfit("node(s) had untolerated taint(s)", helpless=True)
    if not _selected(spec, node):
        return Misfit("node(s) didn't match Pod's node affinity/selector", helpless=True)
    return _room(spec, node, others)


# --- resources


def requests(spec: Object) -> dict[str, Decimal]:
    """The requests of a Pod: the sum of its containers, or an init container that requests more."""
    total: dict[str, Decimal] = {}
    for each in spec["containers"]:
        _add(total, _requested(each))
    sidecars: dict[str, Decimal] = {}
    for each in spec.get("initContainers") or ():
        wanted = _requested(each)
        if each.get("restartPolicy") == "Always":
            _add(sidecars, wanted)
            _add(total, wanted)
            continue
        for name, value in wanted.items():
            total[name] = max(total.get(name, Decimal(0)), value + sidecars.get(name, Decimal(0)))
    _add(total, {name: quantity.parse(text) for name, text in (spec.get("overhead") or {}).items()})
    return total


def _requested(container: Object) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    texts = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: quantity.parse(text) for name, text in texts.items()}


def _add(total: dict[str, Decimal], more: Mapping[str, Decimal]) -> None:
    for name, value in more.items():
        total[name] = total.get(name, Decimal(0)) + value


def _room(spec: Object, node: Object, others: Iterable[Object]) -> Misfit | None:
    status = node.get("status") or {}
    allocatable = {
        name: quantity.parse(text) for name, text in (status.get("allocatable") or {}).items()
    }
    used: dict[str, Decimal] = {}
    count = 0
    for each in others:
        count += 1
        _add(used, requests(each["spec"]))
    if count + 1 > allocatable.get("pods", Decimal("Infinity")):
        return Misfit("Too many pods", helpless=False)
    for name, wanted in sorted(requests(spec).items()):
        most = allocatable.get(name, Decimal(0))
        if wanted and used.get(name, Decimal(0)) + wanted > most:
            return Misfit(f"Insufficient {name}", helpless=wanted > most)
    return None


# --- taints, labels


def _tolerated(taint: Object, tolerations: Iterable[Object]) -> bool:
    return any(_tolerates(each, taint) for each in tolerations)


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator") == "Exists":
        return True
    same: bool = toleration.get("value", "") == taint.get("value", "")
    return bool(toleration.get("key")) and same


def _selected(spec: Object, node: Object) -> bool:
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    fields = {"metadata.name": node["metadata"]["name"]}
    return any(
        _matches(term.get("matchExpressions") or (), labels)
        and _matches(term.get("matchFields") or (), fields)
        for term in required.get("nodeSelectorTerms") or ()
        if term.get("matchExpressions") or term.get("matchFields")
    )


def _matches(expressions: Iterable[Object], labels: Mapping[str, str]) -> bool:
    return all(_matches_one(each, labels.get(each["key"])) for each in expressions)


def _matches_one(expression: Object, value: str | None) -> bool:
    operator: str = expression["operator"]
    values: list[str] = expression.get("values") or []
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    if value is None or not value.lstrip("-").isdigit():
        return False
    return int(value) > int(values[0]) if operator == "Gt" else int(value) < int(values[0])
