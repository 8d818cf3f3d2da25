"""Validation of Pod specs, in Pods and in templates, with the messages of pkg/apis/core/validation.

Covered is what a Pod of this cluster can use; of the volumes those that its node mounts. Other fields are checked by their
types alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import FieldError, field_forbidden, invalid_value, not_supported
from ..metadata import (
    label_problems,
    label_value_problems,
    qualified_name_problems,
    subdomain_problems,
    validate_annotations,
    validate_labels,
)
from .containerrules import (
    containers_problems,
    id_problems,
    init_containers_problems,
    seccomp_problems,
)
from .volumerules import volume_problems

Object = dict[str, Any]
Problems = Iterator[FieldError]

RESTART_POLICIES = ("Always", "OnFailure", "Never")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
PREEMPTION_POLICIES = ("PreemptLowerPriority", "Never")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
MAX_DEADLINE = 2147483647


def template_problems(template: Object, path: str) -> Problems:
    """Problems of a Pod template."""
    metadata = template.get("metadata") or {}
    yield from validate_labels(metadata.get("labels") or {}, f"{path}.labels")
    yield from validate_annotations(metadata.get("annotations") or {}, f"{path}.annotations")
    spec = template.get("spec") or {}
    yield from pod_spec_problems(spec, f"{path}.spec")
    if spec.get("ephemeralContainers"):
        text = "ephemeral containers not allowed in pod template"
        yield field_forbidden(f"{path}.spec.ephemeralContainers", text)


def pod_spec_problems(spec: Object, path: str) -> Problems:
    """Problems of a Pod's spec."""
    errors, volumes = volume_problems(spec.get("volumes") or [], f"{path}.volumes")
    yield from errors
    containers = spec.get("containers") or []
    yield from containers_problems(containers, f"{path}.containers", volumes)
    if spec.get("initContainers"):
        names = {each.get("name") or "" for each in containers}
        at = f"{path}.initContainers"
        yield from init_containers_problems(spec["initContainers"], at, volumes, names)
    # A template without a policy counts as one that restarts always.
    policy = spec.get("restartPolicy") or RESTART_POLICIES[0]
    if policy not in RESTART_POLICIES:
        yield not_supported(f"{path}.restartPolicy", policy, RESTART_POLICIES)
    if spec.get("dnsPolicy") not in DNS_POLICIES:
        yield not_supported(f"{path}.dnsPolicy", spec.get("dnsPolicy"), DNS_POLICIES)
    yield from validate_labels(spec.get("nodeSelector") or {}, f"{path}.nodeSelector")
    if spec.get("securityContext"):
        yield from _security(spec["securityContext"], f"{path}.securityContext")
    yield from _names(spec, path)
    for index, toleration in enumerate(spec.get("tolerations") or ()):
        yield from _toleration(toleration, f"{path}.tolerations[{index}]")
    preemption = spec.get("preemptionPolicy")
    if preemption and preemption not in PREEMPTION_POLICIES:
        yield not_supported(f"{path}.preemptionPolicy", preemption, PREEMPTION_POLICIES)


def token_problems(spec: Object, path: str) -> Problems:
    """A Pod without a ServiceAccount has no tokens to mount."""
    if spec.get("serviceAccountName"):
        return
    for index, volume in enumerate(spec.get("volumes") or ()):
        for number, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
            if source.get("serviceAccountToken") is not None:
                at = f"{path}.volumes[{index}].projected.sources[{number}].serviceAccountToken"
                yield field_forbidden(
                    at, "must not be specified when serviceAccountName is not set"
                )


def _names(spec: Object, path: str) -> Problems:
    for field in ("serviceAccountName", "nodeName"):
        for text in subdomain_problems(spec[field]) if spec.get(field) else ():
            yield invalid_value(f"{path}.{field}", spec[field], text)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= MAX_DEADLINE:
        text = f"must be between 1 and {MAX_DEADLINE}, inclusive"
        yield invalid_value(f"{path}.activeDeadlineSeconds", deadline, text)
    for field in ("hostname", "subdomain"):
        for text in label_problems(spec[field]) if spec.get(field) else ():
            yield invalid_value(f"{path}.{field}", spec[field], text)
    for field in ("priorityClassName", "runtimeClassName"):
        for text in subdomain_problems(spec[field]) if spec.get(field) else ():
            yield invalid_value(f"{path}.{field}", spec[field], text)


def _security(context: Object, path: str) -> Problems:
    yield from id_problems(context, path, ("fsGroup", "runAsUser", "runAsGroup"))
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        key = f"supplementalGroups[{index}]"
        yield from id_problems({key: group}, path, (key,))
    policy = context.get("fsGroupChangePolicy")
    if policy is not None and policy not in ("Always", "OnRootMismatch"):
        yield not_supported(f"{path}.fsGroupChangePolicy", policy, ("Always", "OnRootMismatch"))
    yield from seccomp_problems(context.get("seccompProfile"), f"{path}.seccompProfile")


def _toleration(toleration: Object, path: str) -> Problems:
    key, operator = toleration.get("key") or "", toleration.get("operator") or ""
    value, effect = toleration.get("value") or "", toleration.get("effect") or ""
    for text in qualified_name_problems(key) if key else ():
        yield invalid_value(f"{path}.key", key, text)
    if not key and operator != "Exists":
        text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        yield invalid_value(f"{path}.operator", operator, text)
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        yield invalid_value(f"{path}.effect", effect, text)
    if operator in ("Equal", ""):
        problems = label_value_problems(value)
        if problems:
            yield invalid_value(f"{path}.operator", value, ";".join(problems))
    elif operator == "Exists":
        if value:
            text = "value must be empty when `operator` is 'Exists'"
            yield invalid_value(f"{path}.operator", value, text)
    elif operator in ("Lt", "Gt"):
        yield not_supported(f"{path}.operator", operator, ("Equal", "Exists", "Lt", "Gt"))
    else:
        yield not_supported(f"{path}.operator", operator, ("Equal", "Exists"))
    if effect and effect not in EFFECTS:
        yield not_supported(f"{path}.effect", effect, EFFECTS)
