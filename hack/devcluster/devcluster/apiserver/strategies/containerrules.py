"""Validation of a Pod's containers, with the messages of pkg/apis/core/validation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..errors import FieldError, duplicate, field_forbidden, invalid_value, not_supported, required
from ..metadata import (
    CONFIG_KEY_MESSAGE,
    label_problems,
    qualified_name_problems,
    subdomain_problems,
)
from ..quantity import canonical, parse
from .volumerules import descending_path_problems, field_problems, resource_field_problems

Object = dict[str, Any]
Problems = Iterator[FieldError]

MAX_ID = 2147483647
ID_TEXT = f"must be between 0 and {MAX_ID}, inclusive"
NEGATIVE_TEXT = "must be greater than or equal to 0"
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
PROTOCOLS = ("SCTP", "TCP", "UDP")
MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
SECCOMP_TYPES = ("Localhost", "RuntimeDefault", "Unconfined")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_VALUE_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_COUNTS = (
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
)
_STANDARD = ("cpu", "memory", "ephemeral-storage")
_INTEGER = ("pods", "persistentvolumeclaims", "services")
_ENV_NAME = re.compile(r"[ -<>-~]+\Z")
_ENV_NAME_TEXT = "a valid environment variable name must consist only of printable ASCII characters other than '='"
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+\Z")
_SINGLE = "may not have more than one field specified at a time"
_SIDECARS_ONLY = "may not be set for init containers without restartPolicy=Always"


def containers_problems(containers: list[Object], path: str, volumes: set[str]) -> Problems:
    """Problems of a Pod's containers; `volumes` can be mounted."""
    if not containers:
        yield required(path)
    names: set[str] = set()
    for index, container in enumerate(containers):
        at = f"{path}[{index}]"
        yield from _container(container, at, volumes)
        yield from _unique(container, at, names)
        for probe in PROBES:
            if container.get(probe):
                yield from _probe(container[probe], f"{at}.{probe}", live=probe == PROBES[0])


def init_containers_problems(
    containers: list[Object], path: str, volumes: set[str], others: set[str]
) -> Problems:
    """Problems of a Pod's init containers; `others` are the names of its containers."""
    names = set(others)
    for index, container in enumerate(containers):
        at = f"{path}[{index}]"
        yield from _container(container, at, volumes)
        policy = container.get("restartPolicy")
        yield from _unique(container, at, names)
        for field in ("lifecycle", *PROBES):
            if container.get(field) and policy != "Always":
                yield field_forbidden(f"{at}.{field}", _SIDECARS_ONLY)


def _unique(container: Object, path: str, names: set[str]) -> Problems:
    name = container.get("name") or ""
    if name in names:
        yield duplicate(f"{path}.name", name)
    names.add(name)


def _container(container: Object, path: str, volumes: set[str]) -> Problems:
    name = container.get("name") or ""
    if not name:
        yield required(f"{path}.name")
    for text in label_problems(name) if name else ():
        yield invalid_value(f"{path}.name", name, text)
    if not container.get("image"):
        yield required(f"{path}.image")
    policy = container.get("terminationMessagePolicy")
    if policy not in MESSAGE_POLICIES:
        yield not_supported(f"{path}.terminationMessagePolicy", policy, MESSAGE_POLICIES)
    yield from _ports(container.get("ports") or (), f"{path}.ports")
    yield from _env(container.get("env") or (), f"{path}.env")
    yield from _env_from(container.get("envFrom") or (), f"{path}.envFrom")
    yield from _mounts(container.get("volumeMounts") or (), f"{path}.volumeMounts", volumes)
    pull = container.get("imagePullPolicy")
    if pull not in PULL_POLICIES:
        yield not_supported(f"{path}.imagePullPolicy", pull, PULL_POLICIES)
    if container.get("resources"):
        yield from resources_problems(container["resources"], f"{path}.resources")
    if container.get("securityContext"):
        yield from _security(container["securityContext"], f"{path}.securityContext")


def _ports(ports: Any, path: str) -> Problems:
    for index, port in enumerate(ports):
        at = f"{path}[{index}]"
        number = port.get("containerPort") or 0
        if not number:
            yield required(f"{at}.containerPort")
        for key in ("containerPort", "hostPort"):
            value = port.get(key)
            if value and not 1 <= value <= 65535:
                yield invalid_value(f"{at}.{key}", value, "must be between 1 and 65535, inclusive")
        if port.get("protocol") not in PROTOCOLS:
            yield not_supported(f"{at}.protocol", port.get("protocol"), PROTOCOLS)


def _env(variables: Any, path: str) -> Problems:
    for index, variable in enumerate(variables):
        name = variable.get("name") or ""
        if not name:
            yield required(f"{path}[{index}].name")
        elif not _ENV_NAME.match(name):
            yield invalid_value(f"{path}[{index}].name", name, _ENV_NAME_TEXT)
        if variable.get("valueFrom") is not None:
            yield from _value_from(variable, f"{path}[{index}].valueFrom")


def _value_from(variable: Object, path: str) -> Problems:
    source = variable["valueFrom"]
    given = [each for each in _VALUE_SOURCES if source.get(each) is not None]
    if "fieldRef" in given:
        yield from field_problems(source["fieldRef"], f"{path}.fieldRef")
    if "resourceFieldRef" in given:
        yield from resource_field_problems(source["resourceFieldRef"], f"{path}.resourceFieldRef")
    for key in ("configMapKeyRef", "secretKeyRef"):
        if key in given:
            yield from _key_ref(source[key], f"{path}.{key}")
    if not given:
        text = (
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` "
            "or `fileKeyRef`"
        )
        yield invalid_value(path, "", text)
    elif variable.get("value"):
        yield invalid_value(path, "", "may not be specified when `value` is not empty")
    elif len(given) > 1:
        yield invalid_value(path, "", _SINGLE)


def _key_ref(ref: Object, path: str) -> Problems:
    name, key = ref.get("name") or "", ref.get("key") or ""
    for text in subdomain_problems(name):
        yield invalid_value(f"{path}.name", name, text)
    if not key:
        yield required(f"{path}.key")
    elif not _CONFIG_KEY.match(key):
        yield invalid_value(f"{path}.key", key, CONFIG_KEY_MESSAGE)


def _env_from(sources: Any, path: str) -> Problems:
    for index, source in enumerate(sources):
        at = f"{path}[{index}]"
        prefix = source.get("prefix")
        if prefix and not _ENV_NAME.match(prefix):
            yield invalid_value(f"{at}.prefix", prefix, _ENV_NAME_TEXT)
        given = [each for each in ("configMapRef", "secretRef") if source.get(each) is not None]
        for key in given:
            name = source[key].get("name") or ""
            if not name:
                yield required(f"{at}.{key}.name")
            for text in subdomain_problems(name) if name else ():
                yield invalid_value(f"{at}.{key}.name", name, text)
        if not given:
            yield invalid_value(path, "", "must specify one of: `configMapRef` or `secretRef`")
        elif len(given) > 1:
            yield invalid_value(path, "", _SINGLE)


def _mounts(mounts: Any, path: str, volumes: set[str]) -> Problems:
    points: set[str] = set()
    for index, mount in enumerate(mounts):
        at, name, point = f"{path}[{index}]", mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            yield required(f"{at}.name")
        if name not in volumes:
            shown = f'Not found: "{name}"'
            yield FieldError("FieldValueNotFound", f"{at}.name", shown)
        if not point:
            yield required(f"{at}.mountPath")
        if point in points:
            yield invalid_value(f"{at}.mountPath", point, "must be unique")
        points.add(point)
        if mount.get("subPath"):
            yield from descending_path_problems(mount["subPath"], f"{path}.subPath")
        if mount.get("subPathExpr"):
            if mount.get("subPath"):
                text = "subPathExpr and subPath are mutually exclusive"
                yield invalid_value(f"{at}.subPathExpr", mount["subPathExpr"], text)
            yield from descending_path_problems(mount["subPathExpr"], f"{path}.subPathExpr")


def resources_problems(resources: Object, path: str) -> Problems:
    """Problems of requests and limits."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for kind, quantities in (("limits", limits), ("requests", requests)):
        for name, quantity in quantities.items():
            yield from _quantity(name, str(quantity), f"{path}.{kind}[{name}]")
            if kind == "requests":
                yield from _within(name, str(quantity), limits, path)


def _quantity(name: str, quantity: str, path: str) -> Problems:
    problems = qualified_name_problems(name)
    for text in problems:
        yield invalid_value(path, name, text)
    if (
        not problems
        and "/" not in name
        and name not in _STANDARD
        and not name.startswith("hugepages-")
    ):
        if name not in _INTEGER:
            text = "must be a standard resource type or fully qualified"
            yield invalid_value(path, name, text)
        yield invalid_value(path, name, "must be a standard resource for containers")
    value = parse(quantity)
    if value < 0:
        yield invalid_value(path, canonical(quantity), NEGATIVE_TEXT)
    if "/" in name and value != value.to_integral_value():
        yield invalid_value(path, canonical(quantity), "must be an integer")


def _within(name: str, quantity: str, limits: Object, path: str) -> Problems:
    limit = limits.get(name)
    overcommits = name in _STANDARD
    if limit is None:
        if not overcommits:
            text = "Limit must be set for non overcommitable resources"
            yield required(f"{path}.limits", text)
        return
    shown, most = canonical(quantity), canonical(str(limit))
    if not overcommits and parse(quantity) != parse(str(limit)):
        yield invalid_value(f"{path}.requests", shown, f"must be equal to {name} limit of {most}")
    elif parse(quantity) > parse(str(limit)):
        text = f"must be less than or equal to {name} limit of {most}"
        yield invalid_value(f"{path}.requests", shown, text)


def _probe(probe: Object, path: str, *, live: bool) -> Problems:
    given = [each for each in _HANDLERS if probe.get(each) is not None]
    if not given:
        yield required(path, "must specify a handler type")
    for other in given[1:]:
        yield field_forbidden(f"{path}.{other}", "may not specify more than 1 handler type")
    if given[:1] == ["exec"] and not probe["exec"].get("command"):
        yield required(f"{path}.exec.command")
    for key in _COUNTS:
        if (probe.get(key) or 0) < 0:
            yield invalid_value(f"{path}.{key}", probe[key], NEGATIVE_TEXT)
    if live and probe.get("successThreshold", 1) != 1:
        yield invalid_value(f"{path}.successThreshold", probe["successThreshold"], "must be 1")


def _security(context: Object, path: str) -> Problems:
    yield from id_problems(context, path, ("runAsUser", "runAsGroup"))
    yield from seccomp_problems(context.get("seccompProfile"), f"{path}.seccompProfile")
    if context.get("allowPrivilegeEscalation") is False and context.get("privileged"):
        text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        yield invalid_value(path, context, text)


def id_problems(context: Object, path: str, keys: tuple[str, ...]) -> Problems:
    """Users and groups that are none."""
    for key in keys:
        value = context.get(key)
        if value is not None and not 0 <= value <= MAX_ID:
            yield invalid_value(f"{path}.{key}", value, ID_TEXT)


def seccomp_problems(profile: Object | None, path: str) -> Problems:
    """Problems of a seccomp profile."""
    if profile is None:
        return
    kind = profile.get("type") or ""
    if not kind:
        yield required(f"{path}.type", "type is required when seccompProfile is set")
    elif kind not in SECCOMP_TYPES:
        yield not_supported(f"{path}.type", kind, SECCOMP_TYPES)
    local = profile.get("localhostProfile")
    if kind == "Localhost" and local is None:
        yield required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost")
    elif kind == "Localhost":
        yield from descending_path_problems(str(local), f"{path}.localhostProfile")
    elif local is not None:
        text = "can only be set when seccomp type is Localhost"
        yield invalid_value(f"{path}.localhostProfile", profile, text)
