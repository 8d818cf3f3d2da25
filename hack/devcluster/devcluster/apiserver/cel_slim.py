"""The part of its variables that an expression uses, so that only that part is passed to the CEL engine.

A rule such as `self.batchSpec == oldSelf.batchSpec` would convert a megabyte twice; a rule such as `has(self.a)` needs only
the presence of a name. The text of the rule is enough to find what it uses:

- it reads only fields that it names by a plain path (`self.a.b`), unless it uses `self` on its own;
- a number can replace a field that appears only in `has(self.a)` and `self.a == oldSelf.a`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

MISSING: Any = object()
Path = tuple[str, ...]

_HAS = re.compile(r"\bhas\(\s*(self|oldSelf)((?:\.[A-Za-z_]\w*)+)\s*\)")
_COMPARED = re.compile(
    r"\b(?:self((?:\.[A-Za-z_]\w*)+)\s*[!=]=\s*oldSelf\1|oldSelf((?:\.[A-Za-z_]\w*)+)\s*[!=]=\s*self\2)(?![\w.(\[])"
)
_BEFORE, _AFTER = ("", *"(&|!?:,"), ("", *")&|?:,]}")
"""Text around a comparison that is an operand by itself, and not part of a sum."""
_LITERAL = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")


class Sight:
    """The part of `self` and `oldSelf` that one rule uses."""

    def __init__(self, rule: str) -> None:
        text = _LITERAL.sub("''", rule)
        self.whole, self._paths = _mentioned(text)
        blunt = _without_comparisons(_HAS.sub("true", text))
        looked_into, sharp = _mentioned(blunt)
        self._opaque = (
            frozenset()
            if looked_into
            else frozenset(each for each in self._paths if not _related(each, sharp))
        )
        # A path below another one is seen with it.
        self._paths = frozenset(
            each
            for each in self._paths
            if not any(each[:i] in self._paths for i in range(len(each)))
        )
        self._opaque &= self._paths

    def of(self, value: Any, old: Any) -> tuple[Any, Any]:
        """`self` and `oldSelf` as far as the rule can see them; `old` may be MISSING."""
        if self.whole or not isinstance(value, dict):
            return value, old
        slim: dict[str, Any] = {}
        before: Any = {} if isinstance(old, dict) else old
        for path in self._paths:
            new, past = _at(value, path), _at(old, path)
            if path in self._opaque:
                past = MISSING if past is MISSING else int(new is not MISSING and past != new)
                new = MISSING if new is MISSING else 0
            _put(slim, path, new, value)
            if isinstance(before, dict):
                _put(before, path, past, old)
        return slim, before


class Reads:
    """The parts of several variables that one expression reads, by the plain paths that it names (`object.spec.a`)."""

    def __init__(self, expression: str, roots: Iterable[str]) -> None:
        text = _LITERAL.sub("''", expression)
        found = {root: _mentioned(text, _mention(root)) for root in roots}
        # A path is put after those below it, which it covers.
        self._of = {
            root: (whole, sorted(paths, key=len, reverse=True))
            for root, (whole, paths) in found.items()
            if paths
        }

    def of(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The variables as far as the expression can see them; one that it does not name is left out."""
        found: dict[str, Any] = {}
        for root, (whole, paths) in self._of.items():
            if root not in variables:
                continue
            value = found[root] = variables[root]
            if whole or not isinstance(value, dict):
                continue
            slim = found[root] = {}
            for path in paths:
                _put(slim, path, _at(value, path), value)
        return found


def _mention(names: str) -> re.Pattern[str]:
    return re.compile(rf"\b({names})\b((?:\.[A-Za-z_]\w*)*)(\s*\()?")


def _without_comparisons(text: str) -> str:
    """`text` without `self.a == oldSelf.a` where that is an operand by itself."""

    def replace(match: re.Match[str]) -> str:
        before, after = text[: match.start()].rstrip()[-1:], text[match.end() :].lstrip()[:1]
        return "true" if before in _BEFORE and after in _AFTER else match[0]

    return _COMPARED.sub(replace, text)


def _mentioned(text: str, mention: re.Pattern[str] | None = None) -> tuple[bool, frozenset[Path]]:
    """Whether an object is named as a whole, and the paths that are named of it."""
    paths, whole = set(), False
    for match in (mention or _SELF).finditer(text):
        path = tuple(match[2].split(".")[1:])
        if match[3]:  # the last name is that of a function
            path = path[:-1]
        following = text[match.end() : match.end() + 1]
        if not path or (not match[3] and following == "?"):
            whole = True
        paths.add(path)
    return whole, frozenset(paths)


_SELF = _mention("self|oldSelf")


def _related(path: Path, others: frozenset[Path]) -> bool:
    return any(path[: len(each)] == each or each[: len(path)] == path for each in others)


def _at(value: Any, path: Path) -> Any:
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return MISSING
        value = value[name]
    return value


def _put(slim: dict[str, Any], path: Path, leaf: Any, original: Any) -> None:
    """Set the leaf at `path`, and create the objects above it that exist in the original."""
    for name in path[:-1]:
        if not isinstance(original, dict) or name not in original:
            return
        original = original[name]
        if not isinstance(original, dict):
            slim.setdefault(name, original)
            return
        slim = slim.setdefault(name, {})
    if leaf is not MISSING:
        slim[path[-1]] = leaf
