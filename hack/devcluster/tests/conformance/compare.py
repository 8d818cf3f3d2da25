"""Whether two answers agree: a list of differences, each with the path to it.

Lists whose items have names are compared item by item of the same name, so that one missing resource is one difference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

IDENTITIES = (
    "name",
    "resource",
    "subresource",
    "version",
    "groupVersion",
    "uid",
    "type",
    "manager",
)
CUT = re.compile(r"^<\d+ bytes> ", re.DOTALL)
RECORDED_DAY = "2026-11-23T"
SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
MICROSECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
AGE = re.compile(r"^\d+(s|m|h|d)(\d+(s|m|h))?$")
# In sentences and addresses: what depends on how much was written, on where the server listens and on its build.
VOLATILE = (
    (re.compile(r"(?<=current: )\d+"), "<version>"),
    (re.compile(r"(?<=too old resource version: )(\d+) \(\d+\)"), r"\1 (<version>)"),
    (re.compile(r"(?<=hash=)[0-9A-F]+"), "<hash>"),
    (re.compile(r"\d+\.\d+\.\d+\.\d+:\d+$"), "<address>"),
)
MISSING = "<missing>"


@dataclass(frozen=True, slots=True)
class Difference:
    """One disagreement: where, what the recording has, what we have."""

    path: str
    expected: Any
    actual: Any

    def __str__(self) -> str:
        return f"{self.path}: recorded {_short(self.expected)}, here {_short(self.actual)}"


def _short(value: Any) -> str:
    text = value if value is MISSING else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 600 else text[:600] + " …"


def canonical(value: Any, key: str = "") -> Any:
    """A value without what differs from run to run and is nobody's name."""
    if isinstance(value, dict):
        plain = {each: canonical(inner, each) for each, inner in value.items()}
        if "name" not in value and str(value.get("resourceVersion", "")).isdigit():
            plain["resourceVersion"] = (
                "<version>"  # of a list or a bookmark: it counts what others wrote
            )
        return plain
    if isinstance(value, list):
        items = [canonical(inner, key) for inner in value]
        # They stand in the order of their seconds, which a recording and a replay cut at other moments.
        return sorted(items, key=_manager) if key == "managedFields" else items
    if not isinstance(value, str):
        return value
    if key == "continue" and value:
        return "<token>"  # it holds a resourceVersion
    if key == "cells" and AGE.match(value):
        return "<age>"
    for pattern, placeholder in VOLATILE:
        value = pattern.sub(placeholder, value)
    return value


def _manager(entry: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(entry.get(x, "")) for x in ("manager", "operation", "subresource"))


def differences(expected: Any, actual: Any, path: str = "") -> Iterator[Difference]:
    """Where `actual` is not `expected`; both canonical."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        yield from _of_objects(expected, actual, path)
    elif isinstance(expected, list) and isinstance(actual, list):
        yield from _of_lists(expected, actual, path)
    elif isinstance(expected, str) and (cut := CUT.match(expected)):
        text = actual if isinstance(actual, str) else json.dumps(actual)
        if not text.startswith(expected[cut.end() :]):
            yield Difference(path, expected, text[: len(expected)])
    elif not _same(expected, actual):
        yield Difference(path, expected, actual)


def _same(expected: Any, actual: Any) -> bool:
    if isinstance(expected, str) and isinstance(actual, str):
        return _timeless(expected, actual) == actual
    return type(expected) is type(actual) and bool(expected == actual)


def _timeless(expected: str, actual: str) -> str:
    """`expected` with the recording's instants replaced by those of `actual` in the same places, if of the same format."""
    if RECORDED_DAY not in expected:
        return expected
    for pattern in (SECONDS, MICROSECONDS):
        expected = _with_instants(pattern, expected, pattern.findall(actual))
    return expected


def _with_instants(pattern: re.Pattern[str], text: str, instants: list[str]) -> str:
    left = iter(instants)

    def instant(found: re.Match[str]) -> str:
        mine = next(left, found[0])
        return mine if found[0].startswith(RECORDED_DAY) else found[0]

    return pattern.sub(instant, text)


def _of_objects(
    expected: dict[str, Any], actual: dict[str, Any], path: str
) -> Iterator[Difference]:
    for key, value in expected.items():
        inner = f"{path}.{key}" if path else key
        if key not in actual:
            yield Difference(inner, value, MISSING)
        else:
            yield from differences(value, actual[key], inner)
    for key, value in actual.items():
        if key not in expected:
            yield Difference(f"{path}.{key}" if path else key, MISSING, value)


def _of_lists(expected: list[Any], actual: list[Any], path: str) -> Iterator[Difference]:
    one, other = _by_identity(expected), _by_identity(actual)
    if one is None or other is None:
        if len(expected) != len(actual):
            yield Difference(path, expected, actual)
            return
        for number, (left, right) in enumerate(zip(expected, actual, strict=True)):
            yield from differences(left, right, f"{path}[{number}]")
        return
    for name, value in one.items():
        if name in other:
            yield from differences(value, other[name], f"{path}[{name}]")
        else:
            yield Difference(f"{path}[{name}]", value, MISSING)
    for name, value in other.items():
        if name not in one:
            yield Difference(f"{path}[{name}]", MISSING, value)
    common = [name for name in one if name in other]
    mine = [name for name in other if name in one]
    if common != mine:
        yield Difference(f"{path}(order)", common, mine)


def _by_identity(items: list[Any]) -> dict[str, Any] | None:
    """Items by their name, or None when they have none or share it."""
    if not all(isinstance(item, dict) for item in items):
        return None
    for key in IDENTITIES:
        names = [_identity(item, key) for item in items]
        if all(names) and len(set(names)) == len(names):
            return dict(zip(names, items, strict=True))
    return None


def _identity(item: dict[str, Any], key: str) -> str:
    found = item.get(key)
    if found is None and isinstance(item.get("metadata"), dict):
        found = item["metadata"].get(key)
    if key == "manager" and found:
        return f"{found}/{item.get('operation')}/{item.get('subresource', '')}"
    return found if isinstance(found, str) else ""
