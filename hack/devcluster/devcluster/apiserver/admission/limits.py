"""LimitRanger: default requests and limits of containers, and the bounds of containers and Pods.

Covers types Container and Pod of LimitRange (defaults, min, max, maxLimitRequestRatio) for cpu, memory and other plain
resources; not PersistentVolumeClaims. Wording as in plugin/pkg/admission/limitranger.
"""

from __future__ import annotations

from decimal import Decimal

from devcluster.apiserver.errors import forbidden
from devcluster.apiserver.interfaces import Attributes, Object
from devcluster.apiserver.quantity import canonical, parse
from devcluster.storage import Storage

from .pods import creates_pod
from .resources import format_quantity, pod_resources

ANNOTATION = "kubernetes.io/limit-ranger"


class LimitRanger:
    """Applies the LimitRanges of a namespace to its new Pods."""

    phase = "mutating"

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def __call__(
        self, attributes: Attributes, obj: Object | None, old: Object | None, /
    ) -> Object | None:
        """Fill in defaults, then check bounds. Raises StatusError 403 with every bound that is broken."""
        if obj is None or not creates_pod(attributes):
            return obj
        for stored in self._storage.list("limitranges", attributes.namespace):
            limits = (stored.object.get("spec") or {}).get("limits") or []
            for limit in limits:
                if limit["type"] == "Container":
                    _fill(obj, limit)
            problems = [text for limit in limits for text in _problems(obj, limit)]
            if problems:
                said = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
                raise forbidden("", "pods", attributes.name, said)
        return obj


def _fill(pod: Object, limit: Object) -> None:
    said: list[str] = []
    spec = pod["spec"]
    defaults = (
        ("request", "requests", _default_requests(limit)),
        ("limit", "limits", _default_limits(limit)),
    )
    for title, containers in (
        ("container", spec["containers"]),
        ("init container", spec.get("initContainers") or ()),
    ):
        for container in containers:
            resources = container.setdefault("resources", {})
            for singular, field, values in defaults:
                missing = sorted(set(values) - set(resources.get(field) or {}))
                if missing:
                    resources[field] = {
                        **(resources.get(field) or {}),
                        **{key: values[key] for key in missing},
                    }
                    said.append(f"{', '.join(missing)} {singular} for {title} {container['name']}")
    if said:
        annotations = pod["metadata"].setdefault("annotations", {})
        annotations[ANNOTATION] = "LimitRanger plugin set: " + "; ".join(said)


def _default_limits(limit: Object) -> dict[str, str]:
    """The default limits of a LimitRange: its maximum where it has no default (SetDefaults_LimitRangeItem)."""
    return {**(limit.get("max") or {}), **(limit.get("default") or {})}


def _default_requests(limit: Object) -> dict[str, str]:
    """Its default requests; a missing one defaults to the default limit, else to the minimum."""
    own = limit.get("defaultRequest") or {}
    return {**(limit.get("min") or {}), **_default_limits(limit), **own}


def _problems(pod: Object, limit: Object) -> list[str]:
    kind = limit["type"]
    if kind == "Pod":
        requests, limits = pod_resources(pod["spec"])
        return _bounds(limit, "Pod", requests, limits)
    if kind != "Container":
        return []
    spec = pod["spec"]
    found: list[str] = []
    for container in [*spec["containers"], *(spec.get("initContainers") or ())]:
        resources = container.get("resources") or {}
        found += _bounds(
            limit, "Container", _parsed(resources.get("requests")), _parsed(resources.get("limits"))
        )
    return found


def _parsed(values: dict[str, str] | None) -> dict[str, Decimal]:
    return {key: parse(str(value)) for key, value in (values or {}).items()}


def _bounds(
    limit: Object, kind: str, requests: dict[str, Decimal], limits: dict[str, Decimal]
) -> list[str]:
    found: list[str] = []
    for name, text in sorted((limit.get("min") or {}).items()):
        low, said = parse(str(text)), canonical(str(text))
        if name not in requests:
            found.append(f"minimum {name} usage per {kind} is {said}.  No request is specified")
        elif requests[name] < low:
            requested = format_quantity(name, requests[name])
            found.append(f"minimum {name} usage per {kind} is {said}, but request is {requested}")
    for name, text in sorted((limit.get("max") or {}).items()):
        high, said = parse(str(text)), canonical(str(text))
        if name not in limits:
            found.append(f"maximum {name} usage per {kind} is {said}.  No limit is specified")
        elif limits[name] > high:
            requested = format_quantity(name, limits[name])
            found.append(f"maximum {name} usage per {kind} is {said}, but limit is {requested}")
    return found
