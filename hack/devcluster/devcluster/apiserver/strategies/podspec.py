"""Defaults of a Pod's spec, in a Pod and in a template, as pkg/apis/core/v1/defaults.go fills them in."""

from __future__ import annotations

from typing import Any

from ..quantity import parse

Object = dict[str, Any]

DEFAULT_MODE = 0o644
PROJECTED_TOKEN_SECONDS = 3600


def default_pod_spec(spec: Object, *, restart_policy: str = "Always") -> None:
    """Fill in what a Pod's spec leaves out; `restart_policy` '' leaves that one alone."""
    if restart_policy:
        spec.setdefault("restartPolicy", restart_policy)
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    if spec.get("securityContext") is None:
        spec["securityContext"] = {}
    spec.setdefault("schedulerName", "default-scheduler")
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        _default_container(container)
    for volume in spec.get("volumes") or ():
        _default_volume(volume)


def _default_container(container: Object) -> None:
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    resources = container.setdefault("resources", {})
    limits = resources.get("limits")
    if limits:
        requests = resources.setdefault("requests", {})
        for name, value in limits.items():
            requests.setdefault(name, value)
    if "imagePullPolicy" not in container:
        image = str(container.get("image", ""))
        last = image.rpartition("/")[2]
        latest = "@" not in image and (":" not in last or last.endswith(":latest"))
        container["imagePullPolicy"] = "Always" if latest else "IfNotPresent"
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for variable in container.get("env") or ():
        field = (variable.get("valueFrom") or {}).get("fieldRef")
        if field is not None:
            field.setdefault("apiVersion", "v1")
    for kind in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(kind):
            _default_probe(container[kind])


def _default_probe(probe: Object) -> None:
    for field, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        probe.setdefault(field, value)
    if probe.get("httpGet"):
        probe["httpGet"].setdefault("path", "/")
        probe["httpGet"].setdefault("scheme", "HTTP")


def _default_volume(volume: Object) -> None:
    sources = set(volume) - {"name"}
    if not sources:
        volume["emptyDir"] = {}
    for kind in ("secret", "configMap", "downwardAPI", "projected"):
        if kind in volume:
            volume[kind].setdefault("defaultMode", DEFAULT_MODE)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")
    for source in (volume.get("projected") or {}).get("sources") or ():
        if "serviceAccountToken" in source:
            source["serviceAccountToken"].setdefault("expirationSeconds", PROJECTED_TOKEN_SECONDS)


_WHOLE_BYTES = ("memory", "ephemeral-storage")


def pod_spec_warnings(spec: Object, path: str) -> list[str]:
    """Warnings about a valid Pod spec."""
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
