"""Jobs: defaults, the generated selector, what an update may change."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from ..errors import FieldError, invalid_value
from ..metadata import label_problems
from ..strategy import Strategy
from .jobrules import job_spec_problems
from .podspec import default_pod_spec, pod_spec_warnings

Object = dict[str, Any]

DEFAULT_BACKOFF_LIMIT = 6
LABELS = (
    "batch.kubernetes.io/controller-uid",
    "controller-uid",
    "batch.kubernetes.io/job-name",
    "job-name",
)
_IMMUTABLE = (
    "completions",
    "completionMode",
    "podFailurePolicy",
    "backoffLimitPerIndex",
    "managedBy",
    "successPolicy",
)
_SCHEDULING = ("nodeSelector", "tolerations", "schedulingGates")


class CronJobs(Strategy):
    """batch/v1 CronJobs, which nothing here starts; `kubectl create job --from` reads them."""

    generation = True

    def default(self, obj: Object) -> None:
        """As pkg/apis/batch/v1/defaults.go: the template is no Job yet, its Pod is one already."""
        spec = obj.setdefault("spec", {})
        spec.setdefault("concurrencyPolicy", "Allow")
        spec.setdefault("suspend", False)
        spec.setdefault("successfulJobsHistoryLimit", 3)
        spec.setdefault("failedJobsHistoryLimit", 1)
        template = spec.setdefault("jobTemplate", {}).setdefault("spec", {})
        pod = template.setdefault("template", {}).setdefault("spec", {})
        default_pod_spec(pod, restart_policy="")


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
        spec.setdefault("backoffLimit", DEFAULT_BACKOFF_LIMIT)
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
        """As ValidateJob."""
        return list(job_spec_problems(obj["spec"]))

    def validate_update(self, new: Object, old: Object) -> list[FieldError]:
        """Most of a Job cannot be changed."""
        errors = list(job_spec_problems(new["spec"]))
        after, before = new["spec"], old["spec"]
        if after.get("selector") != before.get("selector"):
            errors.append(_immutable("spec.selector", after.get("selector")))
        if after["template"] != before["template"] and _comparable(new, old) != before["template"]:
            errors.append(_template_changed(after["template"], old))
        errors += [
            _immutable(f"spec.{field}", after.get(field))
            for field in _IMMUTABLE
            if after.get(field) != before.get(field)
        ]
        return errors

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        """Names that Pods cannot have as host name, variables given twice."""
        found = [] if old is not None else _name_warnings(new["metadata"].get("name") or "")
        return [*found, *pod_spec_warnings(new["spec"]["template"]["spec"], "spec.template.spec")]


def _name_warnings(name: str) -> list[str]:
    problems = label_problems(name)
    if not problems:
        return []
    return [
        "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; "
        f"a DNS label is recommended: [{' '.join(problems)}]"
    ]


def _template_changed(template: Object, old: Object) -> FieldError:
    if _template_is_open(old):
        return _immutable("spec.template.spec", template["spec"])
    return _immutable("spec.template", template)


def _immutable(field: str, value: Any) -> FieldError:
    return invalid_value(field, value, "field is immutable")


def _comparable(new: Object, old: Object) -> Object:
    """The new template with the old one's parts where a suspended Job that has no Pods may change."""
    template: Object = deepcopy(new["spec"]["template"])
    if not _template_is_open(old):
        return template
    before = old["spec"]["template"]
    for part in ("labels", "annotations"):
        _take(template.setdefault("metadata", {}), before.get("metadata") or {}, part)
    for field in _SCHEDULING:
        _take(template["spec"], before["spec"], field)
    affinity, was = (x["spec"].get("affinity") for x in (template, before))
    if affinity is not None or was is not None:
        merged = {**(affinity or {}), "nodeAffinity": (was or {}).get("nodeAffinity")}
        template["spec"]["affinity"] = {k: v for k, v in merged.items() if v is not None}
        if not template["spec"]["affinity"] and was is None:
            del template["spec"]["affinity"]
    for kind in ("containers", "initContainers"):
        pairs = zip(template["spec"].get(kind) or (), before["spec"].get(kind) or (), strict=False)
        for container, earlier in pairs:
            if container.get("name") == earlier.get("name"):
                _take(container, earlier, "resources")
    return template


def _template_is_open(old: Object) -> bool:
    """Whether the stored Job's template may still change: the Job is suspended and has no active Pods."""
    status = old.get("status") or {}
    conditions = status.get("conditions") or ()
    suspended = any(x["type"] == "Suspended" and x["status"] == "True" for x in conditions)
    waits = status.get("startTime") is None or suspended
    return bool(old["spec"].get("suspend")) and waits and not status.get("active")


def _take(new: Object, old: Object, field: str) -> None:
    if field in old:
        new[field] = old[field]
    else:
        new.pop(field, None)
