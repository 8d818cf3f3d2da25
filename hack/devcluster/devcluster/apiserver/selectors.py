"""Label and field selectors: parsing with apimachinery's messages, and matching."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from devcluster.storage import Stored

from .errors import bad_request
from .metadata import label_value_problems, qualified_name_problems

_TOKEN = re.compile(r"\s*(==|!=|=|!|\(|\)|,|>|<|[^\s=!(),><]+)")
_SYMBOLS = frozenset({"==", "!=", "=", "!", "(", ")", ",", ">", "<"})
_OPERATORS = ("in", "notin", "=", "==", "!=", ">", "<")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on a label: operator is in, notin, exists, !, > or <."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` meet the condition."""
        value = labels.get(self.key)
        if self.operator == "in":
            return value is not None and value in self.values
        if self.operator == "notin":
            return value is None or value not in self.values
        if self.operator == "exists":
            return value is not None
        if self.operator == "!":
            return value is None
        (limit,) = self.values
        if value is None or not value.lstrip("-").isdigit():
            return False
        return int(value) > int(limit) if self.operator == ">" else int(value) < int(limit)


class _Parser:
    """Recursive descent over tokens, as k8s.io/apimachinery/pkg/labels does it."""

    def __init__(self, text: str) -> None:
        self.tokens = [match.group(1) for match in _TOKEN.finditer(text)]
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def parse(self) -> tuple[Requirement, ...]:
        found: list[Requirement] = []
        while token := self.peek():
            if token in _SYMBOLS and token != "!":
                raise ValueError(f"found '{token}', expected: !, identifier, or 'end of string'")
            try:
                found.append(self.requirement())
            except ValueError as error:
                raise ValueError(f"unable to parse requirement: {error}") from None
            token = self.take()
            if not token:
                break
            if token != ",":
                raise ValueError(f"found '{token}', expected: ',' or 'end of string'")
            after = self.peek()
            if not after or (after in _SYMBOLS and after != "!"):
                raise ValueError(f"found '{after}', expected: identifier after ','")
        return tuple(found)

    def requirement(self) -> Requirement:
        token = self.take()
        negated = token == "!"
        if negated:
            token = self.take()
        if not token or token in _SYMBOLS:
            raise ValueError(f"found '{token}', expected: identifier")
        problems = qualified_name_problems(token)
        if problems:
            raise ValueError(f'key: Invalid value: "{token}": {"; ".join(problems)}')
        if negated or self.peek() in ("", ","):
            return Requirement(token, "!" if negated else "exists")
        return self.comparison(token)

    def comparison(self, key: str) -> Requirement:
        operator = self.take()
        if operator not in _OPERATORS:
            expected = ", ".join(sorted(_OPERATORS))
            raise ValueError(f"found '{operator}', expected: {expected}")
        values = self.values() if operator in ("in", "notin") else [self.exact()]
        for value in values:
            problems = label_value_problems(value)
            if problems:
                raise ValueError(
                    f'values[0][{key}]: Invalid value: "{value}": {"; ".join(problems)}'
                )
        if operator in ("=", "=="):
            operator = "in"
        elif operator == "!=":
            operator = "notin"
        elif operator in ("<", ">") and not values[0].lstrip("-").isdigit():
            raise ValueError(
                f"values[0]: Invalid value: \"{values[0]}\": for 'Gt', 'Lt' operators, the value must be an integer"
            )
        return Requirement(key, operator, frozenset(values))

    def exact(self) -> str:
        if self.peek() in ("", ","):
            return ""
        token = self.take()
        if token in _SYMBOLS:
            raise ValueError(f"found '{token}', expected: identifier")
        return token

    def values(self) -> list[str]:
        token = self.take()
        if token != "(":
            raise ValueError(f"found '{token}' expected: '('")
        values: list[str] = []
        while True:
            token = self.take()
            if token == ")":
                return values or [""]
            if token == ",":
                if self.peek() in (",", ")"):
                    values.append("")
                continue
            if not token or token in _SYMBOLS:
                expected = "',', or identifier" if values else "',', ')' or identifier"
                raise ValueError(f"found '{token}', expected: {expected}")
            values.append(token)
            if self.peek() not in (",", ")"):
                raise ValueError(f"found '{self.peek()}', expected: ',' or ')'")


@lru_cache(maxsize=1024)
def parse_labels(text: str) -> tuple[Requirement, ...]:
    """Requirements of a label selector. Raises StatusError 400."""
    try:
        return _Parser(text).parse()
    except ValueError as error:
        raise bad_request(str(error)) from None


def label_selector_matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether labels match a meta/v1 LabelSelector (an empty one matches all, None matches none)."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    operators = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
    return all(
        Requirement(
            each["key"], operators[each["operator"]], frozenset(each.get("values") or ())
        ).matches(labels)
        for each in selector.get("matchExpressions") or ()
    )


FieldGetter = Callable[[dict[str, Any]], str]


def _path_getter(path: str) -> FieldGetter:
    steps = path.split(".")

    def get(obj: dict[str, Any]) -> str:
        value: Any = obj
        for step in steps:
            value = value.get(step) if isinstance(value, dict) else None
        if value is None:
            return ""
        return str(value).lower() if isinstance(value, bool) else str(value)

    return get


def _defaulted(path: str, default: str) -> FieldGetter:
    get = _path_getter(path)
    return lambda obj: get(obj) or default


_SELECTABLE: dict[str, dict[str, FieldGetter]] = {
    "pods": {
        **{
            path: _path_getter(path)
            for path in (
                "spec.nodeName",
                "spec.restartPolicy",
                "spec.schedulerName",
                "spec.serviceAccountName",
                "status.phase",
                "status.podIP",
                "status.nominatedNodeName",
            )
        },
        "spec.hostNetwork": _defaulted("spec.hostNetwork", "false"),
    },
    "jobs.batch": {"status.successful": _defaulted("status.succeeded", "0")},
    "events": {
        **{
            f"{shown}.{name}": _path_getter(f"involvedObject.{name}")
            for shown in ("involvedObject", "regarding")
            for name in (
                "kind",
                "namespace",
                "name",
                "uid",
                "apiVersion",
                "resourceVersion",
                "fieldPath",
            )
        },
        "reportingController": _path_getter("reportingComponent"),
        "reason": _path_getter("reason"),
        "reportingComponent": _path_getter("reportingComponent"),
        "source": lambda obj: (
            (obj.get("source") or {}).get("component") or obj.get("reportingComponent") or ""
        ),
        "type": _path_getter("type"),
    },
    "nodes": {"spec.unschedulable": _defaulted("spec.unschedulable", "false")},
    "namespaces": {
        "status.phase": _path_getter("status.phase"),
        "name": _path_getter("metadata.name"),
    },
    "secrets": {"type": _path_getter("type")},
    "replicasets.apps": {"status.replicas": _defaulted("status.replicas", "0")},
    "replicationcontrollers": {"status.replicas": _defaulted("status.replicas", "0")},
    "certificatesigningrequests.certificates.k8s.io": {
        "spec.signerName": _path_getter("spec.signerName")
    },
}
# Resources whose conversion has no function of its own, so that the message is the generic one.
_PLAIN_MESSAGE = (
    '"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"'
)


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """One condition on a field."""

    field: str
    value: str
    negated: bool
    get: FieldGetter | None

    def matches(self, stored: Stored) -> bool:
        """Whether a stored object meets the condition."""
        if self.field == "metadata.name":
            found = stored.name
        elif self.field == "metadata.namespace":
            found = stored.namespace
        else:
            assert self.get is not None
            found = self.get(stored.object)
        return (found == self.value) != self.negated


_TERM = re.compile(r"^(.*?)(==|!=|=)(.*)$", re.DOTALL)


def parse_fields(
    text: str, storage_key: str, custom_fields: tuple[str, ...] | None
) -> tuple[FieldRequirement, ...]:
    """Requirements of a field selector. `custom_fields` are the selectableFields of a CRD. Raises StatusError 400."""
    found: list[FieldRequirement] = []
    for term in filter(None, re.split(r"(?<!\\),", text)):
        match = _TERM.match(term)
        if match is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        field, operator, value = match.groups()
        value = re.sub(r"\\([\\,=])", r"\1", value)
        getter = None
        if field not in ("metadata.name", "metadata.namespace"):
            getter = _getter(field, storage_key, custom_fields)
        found.append(FieldRequirement(field, value, operator == "!=", getter))
    return tuple(found)


def _getter(field: str, storage_key: str, custom_fields: tuple[str, ...] | None) -> FieldGetter:
    if custom_fields is not None:
        if field not in custom_fields:
            raise bad_request(f"field label not supported: {field}")
        return _path_getter(field)
    known = _SELECTABLE.get(storage_key)
    getter = known.get(field) if known is not None else None
    if getter is None:
        message = (
            f"field label not supported: {field}" if known else _PLAIN_MESSAGE.format(field=field)
        )
        raise bad_request(message)
    return getter


@dataclass(frozen=True, slots=True)
class Selection:
    """The selection of a list or watch."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[FieldRequirement, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.labels or self.fields)

    def matches(self, stored: Stored) -> bool:
        """Whether an object is selected."""
        return all(each.matches(stored.labels) for each in self.labels) and all(
            each.matches(stored) for each in self.fields
        )

    def single_name(self) -> str | None:
        """The name when exactly one object can match."""
        for each in self.fields:
            if each.field == "metadata.name" and not each.negated:
                return each.value
        return None
