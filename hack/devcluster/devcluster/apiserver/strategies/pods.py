"""Pods: defaults, quality of service, graceful deletion, the few fields that an update may change."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from ..errors import FieldError, field_forbidden
from ..quantity import parse
from ..strategy import Strategy
from .podrules import pod_spec_problems, token_problems
from .podspec import default_pod_spec, pod_spec_warnings

Object = dict[str, Any]

ENDED = ("Succeeded", "Failed")
_FORBIDDEN = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


class Pods(Strategy):
    """v1 Pods."""

    generation = True
    graceful = True

    def default(self, obj: Object) -> None:
        """Those of the spec."""
        spec = obj.setdefault("spec", {})
        default_pod_spec(spec)
        spec.setdefault("enableServiceLinks", True)

    def prepare_create(self, obj: Object) -> None:
        """A new Pod is Pending."""
        super().prepare_create(obj)
        obj["status"] = {"phase": "Pending", "qosClass": quality(obj["spec"])}

    def validate(self, obj: Object) -> list[FieldError]:
        """As ValidatePodCreate."""
        spec = obj["spec"]
        errors = [*pod_spec_problems(spec, "spec"), *token_problems(spec, "spec")]
        if spec.get("ephemeralContainers"):
            errors.append(field_forbidden("spec.ephemeralContainers", "cannot be set on create"))
        return errors

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        """Warnings about fields that are accepted but probably not meant."""
        return pod_spec_warnings(new["spec"], "spec") if old is None else []

    def validate_update(self, new: Object, old: Object) -> list[FieldError]:
        """Only a deadline may come or shrink, and images may change."""
        if _comparable(new["spec"]) != _comparable(old["spec"]):
            return [field_forbidden("spec", _FORBIDDEN)]
        before, after = (x["spec"].get("activeDeadlineSeconds") for x in (old, new))
        if before is not None and (after is None or after > before):
            text = (
                "must be less than or equal to previous value"
                if after is not None
                else "must not update from a positive integer to nil value"
            )
            return [
                FieldError(
                    "FieldValueInvalid",
                    "spec.activeDeadlineSeconds",
                    f"Invalid value: {after}: {text}",
                )
            ]
        return []

    def grace_period(self, obj: Object, requested: int | None) -> int:
        """A Pod without a node, or one that has ended, is removed at once."""
        spec = obj["spec"]
        period = (
            requested if requested is not None else spec.get("terminationGracePeriodSeconds", 30)
        )
        if not spec.get("nodeName") or (obj.get("status") or {}).get("phase") in ENDED:
            return 0
        return int(period)


def quality(spec: Object) -> str:
    """The Pod's quality of service class."""
    requests, limits, guaranteed = set(), set(), True
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        resources = container.get("resources") or {}
        wanted, most = resources.get("requests") or {}, resources.get("limits") or {}
        requests |= {x for x in ("cpu", "memory") if wanted.get(x)}
        limits |= {x for x in ("cpu", "memory") if most.get(x)}
        for name in ("cpu", "memory"):
            same = (
                name in most
                and name in wanted
                and parse(str(most[name])) == parse(str(wanted[name]))
            )
            guaranteed = guaranteed and same
    if not requests and not limits:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _comparable(spec: Object) -> Object:
    kept = deepcopy(
        {k: v for k, v in spec.items() if k not in ("activeDeadlineSeconds", "tolerations")}
    )
    for container in [*(kept.get("initContainers") or ()), *(kept.get("containers") or ())]:
        container.pop("image", None)
    return kept
