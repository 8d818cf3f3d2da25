"""PodSecurity: holds Pods to the Pod Security Standard of their namespace's labels.

`pod-security.kubernetes.io/enforce` refuses Pods; `warn` returns warnings for Pods and for objects with a Pod template.
`audit` is ignored, because there is no audit log. Every version of the standards is treated as the latest one.
"""

from __future__ import annotations

from collections.abc import Mapping

from devcluster.apiserver.errors import forbidden, invalid, invalid_value
from devcluster.apiserver.interfaces import Attributes, Object
from devcluster.storage import Storage

from .podsecurity_checks import BASELINE, RESTRICTED, Check, Finding, Spec

PREFIX = "pod-security.kubernetes.io/"
LEVELS: Mapping[str, tuple[Check, ...]] = {
    "privileged": (),
    "baseline": BASELINE,
    "restricted": RESTRICTED,
}
_MODES = ("enforce", "audit", "warn")
# The path of the Pod template's spec, for each resource that has one.
_TEMPLATES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("apps", "daemonsets"): ("spec", "template", "spec"),
    ("apps", "deployments"): ("spec", "template", "spec"),
    ("apps", "replicasets"): ("spec", "template", "spec"),
    ("apps", "statefulsets"): ("spec", "template", "spec"),
    ("batch", "cronjobs"): ("spec", "jobTemplate", "spec", "template", "spec"),
    ("batch", "jobs"): ("spec", "template", "spec"),
    ("", "podtemplates"): ("template", "spec"),
    ("", "replicationcontrollers"): ("spec", "template", "spec"),
}


def violations(level: str, spec: Spec) -> list[Finding]:
    """Findings of `level` about a Pod's spec, in the order of the message."""
    return [finding for check in LEVELS.get(level, ()) if (finding := check(spec)) is not None]


class PodSecurity:
    """The admission plugin."""

    phase = "validating"

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def __call__(
        self, attributes: Attributes, obj: Object | None, old: Object | None, /
    ) -> Object | None:
        """Admit, perhaps with a warning. Raises StatusError 403 for a Pod, 422 for labels that name no level."""
        if obj is None or attributes.subresource:
            return obj
        key = (attributes.group, attributes.resource)
        if key == ("", "namespaces"):
            _check_labels(obj)
        elif key == ("", "pods"):
            if old is None:
                self._admit(attributes, obj["spec"], enforce=True)
        elif key in _TEMPLATES:
            spec: Object | None = obj
            for field in _TEMPLATES[key]:
                spec = (spec or {}).get(field)
            if spec:
                self._admit(attributes, spec, enforce=False)
        return obj

    def _admit(self, attributes: Attributes, spec: Spec, *, enforce: bool) -> None:
        stored = self._storage.get("namespaces", "", attributes.namespace)
        labels = stored.labels if stored is not None else {}
        level = labels.get(f"{PREFIX}enforce", "")
        if enforce and level:
            text = _told(
                level, labels.get(f"{PREFIX}enforce-version", "latest"), violations(level, spec)
            )
            if text:
                raise forbidden("", "pods", attributes.name, f"violates {text}")
        level = labels.get(f"{PREFIX}warn", "")
        if level:
            text = _told(
                level, labels.get(f"{PREFIX}warn-version", "latest"), violations(level, spec)
            )
            if text:
                attributes.warn(f"would violate {text}")


def _told(level: str, version: str, found: list[Finding]) -> str:
    if not found:
        return ""
    return f'PodSecurity "{level}:{version}": ' + ", ".join(
        f"{why} ({detail})" for why, detail in found
    )


def _check_labels(namespace: Object) -> None:
    labels = namespace["metadata"].get("labels") or {}
    errors = [
        invalid_value(
            f"metadata.labels[{PREFIX}{mode}]",
            labels[f"{PREFIX}{mode}"],
            "must be one of " + ", ".join(LEVELS),
        )
        for mode in _MODES
        if labels.get(f"{PREFIX}{mode}", "privileged") not in LEVELS
    ]
    if errors:
        raise invalid("", "Namespace", namespace["metadata"]["name"], errors)
