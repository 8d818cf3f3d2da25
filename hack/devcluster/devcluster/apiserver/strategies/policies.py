"""ValidatingAdmissionPolicies: defaults, and expressions that are none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..cel import compiled
from ..errors import FieldError, invalid_value, required
from ..strategy import Strategy

Object = dict[str, Any]


class Policies(Strategy):
    """admissionregistration.k8s.io/v1 ValidatingAdmissionPolicies."""

    generation = True

    def default(self, obj: Object) -> None:
        """As pkg/apis/admissionregistration/v1/defaults.go."""
        spec = obj.get("spec")
        if isinstance(spec, dict):
            spec.setdefault("failurePolicy", "Fail")
            _default_match(spec.get("matchConstraints"))

    def validate(self, obj: Object) -> list[FieldError]:
        """Each expression, and that there is something to match and to check."""
        spec = obj.get("spec") or {}
        errors: list[FieldError] = []
        if not (spec.get("matchConstraints") or {}).get("resourceRules"):
            errors.append(required("spec.matchConstraints.resourceRules"))
        if not spec.get("validations") and not spec.get("auditAnnotations"):
            text = "validations or auditAnnotations must be provided"
            errors.append(required("spec.validations", text))
        for path, expression in _expressions(spec):
            try:
                compiled(expression)
            except (RuntimeError, ValueError) as error:
                errors.append(invalid_value(path, expression, f"compilation failed: {error}"))
        return errors


class Bindings(Strategy):
    """admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBindings."""

    generation = True

    def default(self, obj: Object) -> None:
        """As pkg/apis/admissionregistration/v1/defaults.go."""
        spec = obj.get("spec")
        if isinstance(spec, dict):
            _default_match(spec.get("matchResources"))

    def validate(self, obj: Object) -> list[FieldError]:
        """A policy and at least one action."""
        spec = obj.get("spec") or {}
        fields = ("policyName", "validationActions")
        return [required(f"spec.{x}") for x in fields if not spec.get(x)]


def _default_match(match: Any) -> None:
    if not isinstance(match, dict):
        return
    match.setdefault("matchPolicy", "Equivalent")
    match.setdefault("namespaceSelector", {})
    match.setdefault("objectSelector", {})
    for key in ("resourceRules", "excludeResourceRules"):
        for rule in match.get(key) or ():
            rule.setdefault("scope", "*")


def _expressions(spec: Object) -> Iterator[tuple[str, str]]:
    for key in ("matchConditions", "variables", "validations"):
        for index, entry in enumerate(spec.get(key) or ()):
            for field in ("expression", "messageExpression"):
                if entry.get(field):
                    yield f"spec.{key}[{index}].{field}", entry[field]
