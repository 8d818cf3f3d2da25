"""Jobs: defaults, the generated selector, what an update may change."""

from __future__ import annotations

from typing import Any

from ..errors import FieldError, invalid_value, not_supported, required
from ..strategy import Strategy
from .podspec import default_pod_spec

Object = dict[str, Any]

UNLIMITED = 2147483647
DEFAULT_BACKOFF_LIMIT = 6
LABELS = (
    "batch.kubernetes.io/controller-uid",
    "controller-uid",
    "batch.kubernetes.io/job-name",
    "job-name",
)
MAX_NAME = 63
POLICIES = ("OnFailure", "Never")
_IMMUTABLE = (
    "completionMode",
    "podFailurePolicy",
    "backoffLimitPerIndex",
    "managedBy",
    "successPolicy",
    "selector",
)


class Jobs(Strategy):
    """batch/v1 Jobs."""

    generation = True

    def default(self, obj: Object) -> None:
        """As pkg/apis/batch/v1/defaults.go."""
        spec = obj.setdefault("spec", {})
        if "completions" not in spec and "parallelism" not in spec:
            spec["completions"] = 1
        spec.setdefault("parallelism", 1)
        spec.setdefault("completionMode", "NonIndexed")
        spec.setdefault("suspend", False)
        spec.setdefault("manualSelector", False)
        limit = UNLIMITED if "backoffLimitPerIndex" in spec else DEFAULT_BACKOFF_LIMIT
        spec.setdefault("backoffLimit", limit)
        replaced = "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed"
        spec.setdefault("podReplacementPolicy", replaced)
        for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
            for pattern in rule.get("onPodConditions") or ():
                pattern.setdefault("status", "True")
        template = spec.setdefault("template", {})
        template.setdefault("metadata", {})
        default_pod_spec(template.setdefault("spec", {}), restart_policy="")

    def prepare_create(self, obj: Object) -> None:
        """Give the Pods labels by which they are known, and the Job the selector for them."""
        super().prepare_create(obj)
        spec, metadata = obj["spec"], obj["metadata"]
        if spec.get("manualSelector"):
            return
        uid, name = metadata["uid"], metadata["name"]
        template = spec["template"].setdefault("metadata", {})
        labels = dict(template.get("labels") or {})
        for label in LABELS:
            labels[label] = uid if label.endswith("uid") else name
        template["labels"] = labels
        spec["selector"] = {"matchLabels": {LABELS[0]: uid}}

    def canonicalize(self, obj: Object) -> None:
        """A Job without labels is read with those of its template."""
        labels = obj["spec"]["template"].get("metadata", {}).get("labels")
        if labels and not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = dict(labels)

    def validate(self, obj: Object) -> list[FieldError]:
        """As far as the schema does not tell."""
        errors: list[FieldError] = []
        name, spec = obj["metadata"].get("name") or "", obj["spec"]
        if len(name) > MAX_NAME:
            # Twice: once for each of the labels that the Pods get.
            text = f"must be no more than {MAX_NAME} bytes"
            errors += [invalid_value("spec.template.labels", name, text)] * 2
        policy = (spec["template"].get("spec") or {}).get("restartPolicy")
        if not policy:
            errors.append(
                required("spec.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"')
            )
        elif policy not in POLICIES:
            errors.append(not_supported("spec.template.spec.restartPolicy", policy, POLICIES))
        return errors

    def validate_update(self, new: Object, old: Object) -> list[FieldError]:
        """Most of a Job cannot be changed."""
        errors = self.validate(new)
        for field in _IMMUTABLE:
            if new["spec"].get(field) != old["spec"].get(field):
                errors.append(
                    invalid_value(f"spec.{field}", new["spec"].get(field), "field is immutable")
                )
        suspended = old["spec"].get("suspend") and not (old.get("status") or {}).get("startTime")
        if new["spec"]["template"] != old["spec"]["template"] and not suspended:
            errors.append(
                invalid_value("spec.template", new["spec"]["template"], "field is immutable")
            )
        return errors
