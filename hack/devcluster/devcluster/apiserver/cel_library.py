"""CEL functions that Kubernetes adds to the standard ones, and CEL's reserved identifiers.

Missing: URL, IP and CIDR functions, and some of strings, lists and quantities. Rules that use a missing function fail for
every object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import quantity
from .structural import compile_pattern

RESERVED = frozenset(
    [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)


def _find(text: str, pattern: str) -> str:
    match = compile_pattern(pattern).search(text)
    return match.group(0) if match else ""


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if not separator:
        return list(text)
    return text.split(separator) if limit < 0 else text.split(separator, limit - 1)


def _join(items: list[str], separator: str = "") -> str:
    return separator.join(items)


def _replace(text: str, old: str, new: str, limit: int = -1) -> str:
    return text.replace(old, new, limit)


def _substring(text: str, start: int, end: int | None = None) -> str:
    stop = len(text) if end is None else end
    if not 0 <= start <= stop <= len(text):
        raise ValueError(f"index out of range: {start}")
    return text[start:stop]


def _index_of(items: Any, item: Any, offset: int = 0) -> int:
    if isinstance(items, str):
        return items.find(item, offset)
    return items.index(item) if item in items else -1


def _quantity(text: str) -> str:
    """A quantity stays its text: the engine has no type for it."""
    quantity.parse(text)
    return text


def _compare(one: str, other: str) -> int:
    a, b = quantity.parse(one), quantity.parse(other)
    return (a > b) - (a < b)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "find": _find,
    "split": _split,
    "join": _join,
    "lowerAscii": lambda text: text.lower(),
    "upperAscii": lambda text: text.upper(),
    "trim": lambda text: text.strip(),
    "replace": _replace,
    "substring": _substring,
    "indexOf": _index_of,
    "sum": lambda items: sum(items),
    "quantity": _quantity,
    "compareTo": _compare,
}
