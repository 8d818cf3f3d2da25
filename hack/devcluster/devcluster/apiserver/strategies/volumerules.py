"""Validation of a Pod's volumes, with the messages of pkg/apis/core/validation: sources, modes, paths, duplicate names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import FieldError, duplicate, field_forbidden, invalid_value, not_supported, required
from ..metadata import label_problems, qualified_name_problems
from ..quantity import parse

Object = dict[str, Any]
Problems = Iterator[FieldError]

MAX_MODE = 0o777
MODE_TEXT = "must be a number between 0 and 0777 (octal), both inclusive"
MIN_TOKEN_SECONDS, MAX_TOKEN_SECONDS = 600, 1 << 32
ENV_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_FILE_FIELDS = (
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
)
_RESOURCES = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)
_HUGE_PAGES = ("limits.hugepages-", "requests.hugepages-")
_HOST_PATH_TYPES = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
_ONE_TYPE = "may not specify more than 1 volume type"


def volume_problems(volumes: list[Object], path: str) -> tuple[list[FieldError], set[str]]:
    """Problems of the volumes, and the names of those that can be mounted."""
    errors: list[FieldError] = []
    names: set[str] = set()
    for index, volume in enumerate(volumes):
        own = list(_volume(volume, f"{path}[{index}]", names))
        errors += own
        if not own:
            names.add(volume["name"])
    return errors, names


def _volume(volume: Object, path: str, taken: set[str]) -> Problems:
    name = volume.get("name") or ""
    yield from _sources(volume, path)
    if not name:
        yield required(f"{path}.name")
    for text in label_problems(name) if name else ():
        yield invalid_value(f"{path}.name", name, text)
    if name in taken:
        yield duplicate(f"{path}.name", name)


def _sources(volume: Object, path: str) -> Problems:
    sources = [key for key in volume if key != "name" and volume[key] is not None]
    if not sources:
        yield required(path, "must specify a volume type")
        return
    first, *others = sorted(sources, key=_order)
    check = _CHECKS.get(first)
    if check is not None:
        yield from check(volume[first], f"{path}.{first}")
    for other in others:
        yield field_forbidden(f"{path}.{other}", _ONE_TYPE)


def _order(source: str) -> int:
    return list(_CHECKS).index(source) if source in _CHECKS else len(_CHECKS)


def _empty_dir(source: Object, path: str) -> Problems:
    limit = source.get("sizeLimit")
    if limit is not None and parse(str(limit)) < 0:
        text = "SizeLimit field must be a valid resource quantity"
        yield field_forbidden(f"{path}.sizeLimit", text)


def _host_path(source: Object, path: str) -> Problems:
    host = source.get("path") or ""
    if not host:
        yield required(f"{path}.path")
        return
    yield from _no_backsteps(host, f"{path}.path")
    if source.get("type") is not None and source["type"] not in _HOST_PATH_TYPES:
        yield not_supported(f"{path}.type", source["type"], _HOST_PATH_TYPES)


def _secret(source: Object, path: str) -> Problems:
    if not source.get("secretName"):
        yield required(f"{path}.secretName")
    yield from _mode(source, "defaultMode", path)
    yield from _items(source, path)


def _config_map(source: Object, path: str) -> Problems:
    if not source.get("name"):
        yield required(f"{path}.name")
    yield from _mode(source, "defaultMode", path)
    yield from _items(source, path)


def _claim(source: Object, path: str) -> Problems:
    if not source.get("claimName"):
        yield required(f"{path}.claimName")


def _ephemeral(source: Object, path: str) -> Problems:
    if not source.get("volumeClaimTemplate"):
        yield required(f"{path}.volumeClaimTemplate")


def _downward(source: Object, path: str) -> Problems:
    yield from _mode(source, "defaultMode", path)
    for file in source.get("items") or ():
        yield from _downward_file(file, path)


def _downward_file(file: Object, path: str) -> Problems:
    target = file.get("path") or ""
    if not target:
        yield required(f"{path}.path")
    yield from local_path_problems(target, f"{path}.path")
    field, resource = file.get("fieldRef"), file.get("resourceFieldRef")
    if field is not None:
        yield from field_problems(field, f"{path}.fieldRef", _FILE_FIELDS)
        if resource is not None:
            text = "fieldRef and resourceFieldRef can not be specified simultaneously"
            yield invalid_value(path, "resource", text)
    elif resource is not None:
        yield from resource_field_problems(resource, f"{path}.resourceFieldRef", in_volume=True)
    else:
        yield required(path, "one of fieldRef and resourceFieldRef is required")
    yield from _mode(file, "mode", path)


def _projected(volume: Object, path: str) -> Problems:
    yield from _mode(volume, "defaultMode", path)
    taken: set[str] = set()
    for index, source in enumerate(volume.get("sources") or ()):
        at = f"{path}.sources[{index}]"
        for kind in ("secret", "configMap"):
            if source.get(kind) is not None:
                yield from _projection(source[kind], f"{at}.{kind}", path, taken)
        for file in (source.get("downwardAPI") or {}).get("items") or ():
            yield from _downward_file(file, f"{at}.downwardAPI")
            yield from _taken(file.get("path"), file.get("path"), path, taken)
        if source.get("serviceAccountToken") is not None:
            yield from _token(source["serviceAccountToken"], f"{at}.serviceAccountToken", path)
        if len([key for key in source if source[key] is not None]) > 1:
            yield field_forbidden(at, f"{_ONE_TYPE} per source")


def _projection(source: Object, path: str, volume: str, taken: set[str]) -> Problems:
    if not source.get("name"):
        yield required(f"{path}.name")
    for index, item in enumerate(source.get("items") or ()):
        yield from _item(item, f"{path}.items[{index}]")
        yield from _taken(item.get("path"), source.get("name", ""), volume, taken)


def _taken(target: str | None, shown: Any, path: str, taken: set[str]) -> Problems:
    if not target:
        return
    if target in taken:
        yield invalid_value(path, shown, "conflicting duplicate paths")
    taken.add(target)


def _token(source: Object, path: str, volume: str) -> Problems:
    seconds = source.get("expirationSeconds", MIN_TOKEN_SECONDS)
    if seconds < MIN_TOKEN_SECONDS:
        text = "may not specify a duration less than 10 minutes"
        yield invalid_value(f"{path}.expirationSeconds", seconds, text)
    if seconds > MAX_TOKEN_SECONDS:
        text = "may not specify a duration larger than 2^32 seconds"
        yield invalid_value(f"{path}.expirationSeconds", seconds, text)
    if not source.get("path"):
        yield required(f"{volume}.path")
    else:
        yield from local_path_problems(source["path"], f"{volume}.path")


def _items(source: Object, path: str) -> Problems:
    for index, item in enumerate(source.get("items") or ()):
        yield from _item(item, f"{path}.items[{index}]")


def _item(item: Object, path: str) -> Problems:
    for key in ("key", "path"):
        if not item.get(key):
            yield required(f"{path}.{key}")
    yield from local_path_problems(item.get("path") or "", f"{path}.path")
    yield from _mode(item, "mode", path)


def _mode(source: Object, key: str, path: str) -> Problems:
    mode = source.get(key)
    if mode is not None and not 0 <= mode <= MAX_MODE:
        yield invalid_value(f"{path}.{key}", mode, MODE_TEXT)


# --- shared with containers


def local_path_problems(target: str, path: str) -> Problems:
    """Reasons why `target` is not a path inside a volume."""
    yield from descending_path_problems(target, path)
    if target.startswith("..") and not target.startswith("../"):
        yield invalid_value(path, target, "must not start with '..'")


def descending_path_problems(target: str, path: str) -> Problems:
    """Reasons why `target` is not a relative path that stays inside."""
    if target.startswith("/"):
        yield invalid_value(path, target, "must be a relative path")
    yield from _no_backsteps(target, path)


def _no_backsteps(target: str, path: str) -> Problems:
    if ".." in target.split("/"):
        yield invalid_value(path, target, "must not contain '..'")


def field_problems(ref: Object, path: str, allowed: tuple[str, ...] = ENV_FIELDS) -> Problems:
    """Problems of a reference to a field of the Pod."""
    field = ref.get("fieldPath") or ""
    if not field:
        yield required(f"{path}.fieldPath")
        return
    base, bracket, rest = field.partition("['")
    if bracket and rest.endswith("']"):
        key = rest[:-2]
        if base not in ("metadata.annotations", "metadata.labels"):
            yield invalid_value(
                f"{path}.fieldPath",
                field,
                f"error converting fieldPath: field label does not support subscript: {field}",
            )
            return
        for text in qualified_name_problems(key.lower() if base.endswith("annotations") else key):
            yield invalid_value(path, key, text)
        return
    known = {*ENV_FIELDS, *_FILE_FIELDS, "spec.restartPolicy", "status.phase"}
    if field not in known:
        text = f"error converting fieldPath: field label not supported: {field}"
        yield invalid_value(f"{path}.fieldPath", field, text)
    elif field not in allowed:
        yield not_supported(f"{path}.fieldPath", field, allowed)


def resource_field_problems(ref: Object, path: str, *, in_volume: bool = False) -> Problems:
    """Problems of a reference to a container's resources."""
    resource = ref.get("resource") or ""
    if in_volume and not ref.get("containerName"):
        yield required(f"{path}.containerName")
    elif not resource:
        yield required(f"{path}.resource")
    elif resource not in _RESOURCES and not resource.startswith(_HUGE_PAGES):
        yield not_supported(f"{path}.resource", resource, _RESOURCES)


# In the order in which the API server validates them: of two sources the later one is refused.
_CHECKS = {
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "secret": _secret,
    "persistentVolumeClaim": _claim,
    "downwardAPI": _downward,
    "configMap": _config_map,
    "projected": _projected,
    "ephemeral": _ephemeral,
}
