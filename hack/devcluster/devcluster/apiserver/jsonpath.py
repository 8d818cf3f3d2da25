"""The JSONPath of printer columns and selectable fields: fields, indexes, `[*]` and equality filters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

_STEP = re.compile(
    r"""\.(?P<field>[^.\[\]]+)
      | \[['"](?P<quoted>[^'"]*)['"]\]
      | \[(?P<index>-?\d+)\]
      | \[(?P<all>\*)\]
      | \[\?\(@(?P<path>[^=!<>]+?)\s*(?P<op>==|!=)\s*(?P<value>[^)]*)\)\]""",
    re.VERBOSE,
)
Step = tuple[str, Any]


@lru_cache(maxsize=1024)
def compile_path(path: str) -> tuple[Step, ...]:
    """The steps of a path such as `.status.conditions[?(@.type=="Ready")].status`. Raises ValueError."""
    steps: list[Step] = []
    at = 0
    text = path.replace("\\.", "\0")
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            raise ValueError(f"is an invalid json path: {path}")
        at = match.end()
        if match["path"] is not None:
            value = match["value"].strip()
            literal: Any = (
                value[1:-1]
                if value[:1] in "'\""
                else {"true": True, "false": False}.get(value, value)
            )
            steps.append(
                ("filter", (compile_path(match["path"].replace("\0", "\\.")), match["op"], literal))
            )
        elif match["index"] is not None:
            steps.append(("index", int(match["index"])))
        elif match["all"]:
            steps.append(("all", None))
        else:
            field = match["field"] if match["field"] is not None else match["quoted"]
            steps.append(("field", field.replace("\0", ".")))
    return tuple(steps)


def find(steps: tuple[Step, ...], value: Any) -> Iterator[Any]:
    """Every value at a path."""
    if not steps:
        yield value
        return
    (kind, argument), rest = steps[0], steps[1:]
    for child in _children(kind, argument, value):
        yield from find(rest, child)


def _children(kind: str, argument: Any, value: Any) -> Iterator[Any]:
    if kind == "field":
        if isinstance(value, dict) and argument in value:
            yield value[argument]
        return
    items = list(value.values()) if isinstance(value, dict) and kind == "all" else value
    if not isinstance(items, list):
        return
    if kind == "index":
        if -len(items) <= argument < len(items):
            yield items[argument]
    elif kind == "all":
        yield from items
    else:
        path, operator, literal = argument
        for item in items:
            found = next(find(path, item), None)
            if (found == literal or str(found) == str(literal)) == (operator == "=="):
                yield item


def first(path: str, value: Any) -> Any:
    """The first value at a path, or None."""
    return next(find(compile_path(path), value), None)
