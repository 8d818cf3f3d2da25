"""Validation of names, labels, annotations, finalizers and owner references, with apimachinery's messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from .errors import FieldError, field_forbidden, invalid_value, required

LABEL_FORM = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN_FORM = LABEL_FORM + r"(\." + LABEL_FORM + ")*"
DNS1035_FORM = "[a-z]([-a-z0-9]*[a-z0-9])?"
QUALIFIED_FORM = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
VALUE_FORM = "(" + QUALIFIED_FORM + ")?"
CONFIG_KEY_FORM = "[-._a-zA-Z0-9]+"

SUBDOMAIN_MESSAGE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "
    f"with an alphanumeric character (e.g. 'example.com', regex used for validation is '{SUBDOMAIN_FORM}')"
)
LABEL_MESSAGE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    f"an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{LABEL_FORM}')"
)
DNS1035_MESSAGE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end "
    f"with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '{DNS1035_FORM}')"
)
QUALIFIED_MESSAGE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    f"character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{QUALIFIED_FORM}')"
)
VALUE_MESSAGE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character "
    f"(e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '{VALUE_FORM}')"
)
CONFIG_KEY_MESSAGE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' "
    f"(e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '{CONFIG_KEY_FORM}')"
)
_IMMUTABLE = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
TOTAL_ANNOTATIONS_LIMIT = 256 * 1024

_LABEL = re.compile(LABEL_FORM + r"\Z", re.ASCII)
_SUBDOMAIN = re.compile(SUBDOMAIN_FORM + r"\Z", re.ASCII)
_DNS1035 = re.compile(DNS1035_FORM + r"\Z", re.ASCII)
_QUALIFIED = re.compile(QUALIFIED_FORM + r"\Z", re.ASCII)
_VALUE = re.compile(VALUE_FORM + r"\Z", re.ASCII)


def _too_long(limit: int) -> str:
    return f"must be no more than {limit} bytes"


@lru_cache(maxsize=16384)
def subdomain_problems(name: str) -> tuple[str, ...]:
    """Reasons why `name` is not an RFC 1123 subdomain."""
    problems = [] if len(name.encode()) <= 253 else [_too_long(253)]
    if not _SUBDOMAIN.match(name):
        problems.append(SUBDOMAIN_MESSAGE)
    return tuple(problems)


@lru_cache(maxsize=4096)
def label_problems(name: str) -> tuple[str, ...]:
    """Reasons why `name` is not an RFC 1123 label."""
    problems = [] if len(name.encode()) <= 63 else [_too_long(63)]
    if not _LABEL.match(name):
        problems.append(LABEL_MESSAGE)
    return tuple(problems)


def dns1035_problems(name: str) -> tuple[str, ...]:
    """Reasons why `name` is not a DNS-1035 label (names of Services)."""
    problems = [] if len(name.encode()) <= 63 else [_too_long(63)]
    if not _DNS1035.match(name):
        problems.append(DNS1035_MESSAGE)
    return tuple(problems)


@lru_cache(maxsize=16384)
def label_value_problems(value: str) -> tuple[str, ...]:
    """Reasons why `value` is not a label value."""
    problems = [] if len(value.encode()) <= 63 else [_too_long(63)]
    if not _VALUE.match(value):
        problems.append(VALUE_MESSAGE)
    return tuple(problems)


@lru_cache(maxsize=16384)
def qualified_name_problems(name: str) -> tuple[str, ...]:
    """Reasons why `name` is not a qualified name such as a label key."""
    parts = name.split("/")
    if len(parts) > 2:
        return (
            "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
            f"'{QUALIFIED_FORM}') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
        )
    problems: list[str] = []
    if len(parts) == 2:
        if not parts[0]:
            problems.append("prefix part must be non-empty")
        problems += [f"prefix part {text}" for text in subdomain_problems(parts[0]) if parts[0]]
    local = parts[-1]
    if not local:
        problems.append("name part must be non-empty")
    elif len(local) > 63:
        problems.append(f"name part {_too_long(63)}")
    if not _QUALIFIED.match(local):
        problems.append(QUALIFIED_MESSAGE)
    return tuple(problems)


def path_segment_problems(name: str) -> tuple[str, ...]:
    """Reasons why `name` cannot be part of a URL path (names of roles and bindings)."""
    if name in (".", ".."):
        return (f"may not be '{name}'",)
    return tuple(f"may not contain '{char}'" for char in "/%" if char in name)


_RULES: dict[str, Callable[[str], Sequence[str]]] = {
    "subdomain": subdomain_problems,
    "label": label_problems,
    "dns1035": dns1035_problems,
    "path": path_segment_problems,
}


def validate_name(name: str, rule: str, field: str = "metadata.name") -> list[FieldError]:
    """Problems of an object's name under one of the rules subdomain, label, dns1035, path."""
    return [invalid_value(field, name, text) for text in _RULES[rule](name)]


def validate_labels(labels: dict[str, str], field: str) -> list[FieldError]:
    """Problems of a label map."""
    errors: list[FieldError] = []
    for key, value in labels.items():
        errors += [invalid_value(field, key, text) for text in qualified_name_problems(key)]
        errors += [invalid_value(field, value, text) for text in label_value_problems(value)]
    return errors


def validate_annotations(annotations: dict[str, str], field: str) -> list[FieldError]:
    """Problems of an annotation map."""
    errors: list[FieldError] = []
    for key in annotations:
        errors += [invalid_value(field, key, text) for text in qualified_name_problems(key.lower())]
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > TOTAL_ANNOTATIONS_LIMIT:
        message = f"Too long: may not be more than {TOTAL_ANNOTATIONS_LIMIT} bytes"
        errors.append(FieldError("FieldValueTooLong", field, message))
    return errors


def validate_object_meta(
    metadata: dict[str, Any], name_errors: list[FieldError], *, namespaced: bool
) -> list[FieldError]:
    """Problems of an object's metadata; `name_errors` are those of its name, found by its strategy."""
    errors: list[FieldError] = []
    if not metadata.get("name"):
        errors.append(required("metadata.name", "name or generateName is required"))
    else:
        errors += name_errors
    namespace = metadata.get("namespace")
    if namespaced and namespace:
        errors += validate_name(namespace, "label", "metadata.namespace")
    elif namespaced:
        errors.append(required("metadata.namespace"))
    elif namespace:
        errors.append(field_forbidden("metadata.namespace", "not allowed on this type"))
    if metadata.get("labels"):
        errors += validate_labels(metadata["labels"], "metadata.labels")
    if metadata.get("annotations"):
        errors += validate_annotations(metadata["annotations"], "metadata.annotations")
    if metadata.get("ownerReferences"):
        errors += _validate_owners(metadata["ownerReferences"])
    if metadata.get("finalizers"):
        errors += _validate_finalizers(metadata["finalizers"])
    return errors


def _validate_owners(owners: list[dict[str, Any]]) -> list[FieldError]:
    errors: list[FieldError] = []
    controllers: list[dict[str, Any]] = []
    for index, owner in enumerate(owners):
        path = f"metadata.ownerReferences[{index}]"
        for key, text in (
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ):
            if not owner.get(key):
                field = path if key == "apiVersion" else f"{path}.{key}"
                errors.append(
                    invalid_value(
                        f"{path}.{key}" if key == "apiVersion" else field, owner.get(key, ""), text
                    )
                )
        if owner.get("controller"):
            controllers.append(owner)
    if len(controllers) > 1:
        first, second = controllers[0], controllers[1]
        detail = (
            "Only one reference can have Controller set to true. Found "
            f'"true" in references for {first["kind"]}/{first["name"]} and {second["kind"]}/{second["name"]}'
        )
        errors.append(invalid_value("metadata.ownerReferences", owners, detail))
    return errors


def _validate_finalizers(finalizers: list[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, name in enumerate(finalizers):
        problems = qualified_name_problems(name)
        errors += [invalid_value(f"metadata.finalizers[{index}]", name, text) for text in problems]
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        detail = "finalizer orphan and foregroundDeletion cannot be both set"
        errors.append(invalid_value("metadata.finalizers", finalizers, detail))
    return errors


def validate_meta_update(new: dict[str, Any], old: dict[str, Any]) -> list[FieldError]:
    """Problems of a change of metadata: immutable fields, and new finalizers of an object that is being deleted."""
    errors: list[FieldError] = []
    if old.get("deletionTimestamp"):
        fresh = [
            each
            for each in new.get("finalizers") or ()
            if each not in (old.get("finalizers") or ())
        ]
        if fresh:
            shown = ", ".join(f'"{each}"' for each in fresh)
            detail = (
                "no new finalizers can be added if the object is being deleted, found new finalizers "
                f"[]string{{{shown}}}"
            )
            errors.append(field_forbidden("metadata.finalizers", detail))
    errors += [
        invalid_value(f"metadata.{key}", new.get(key), "field is immutable")
        for key in _IMMUTABLE
        if new.get(key) != old.get(key)
    ]
    return errors
