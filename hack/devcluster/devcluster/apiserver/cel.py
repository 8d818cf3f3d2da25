"""x-kubernetes-validations: the rules of a schema, and their evaluation on objects.

Rules are compiled once. `self` is the value at the rule's path, `oldSelf` the previous value: rules that use it are evaluated
only if there is one. Violations at unchanged values are not reported (ratcheting), unless the rule uses `oldSelf`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from .cel_library import FUNCTIONS, RESERVED
from .cel_slim import MISSING, Sight
from .errors import FieldError, duplicate, field_forbidden, render, required
from .schema import NodeKind, SchemaNode

_USES_OLD = re.compile(r"\boldSelf\b")


def compiled(rule: str) -> Any:
    """A rule as a program. Raises RuntimeError or ValueError for an invalid one."""
    # The package brings its command line along, which takes longer to import than all of this server.
    import cel

    return cel.compile(rule)


class CELRule:
    """One compiled rule."""

    __slots__ = (
        "field_path",
        "functions",
        "message_program",
        "program",
        "raw",
        "sight",
        "uses_old",
    )

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        self.program = compiled(raw["rule"])
        self.uses_old = bool(_USES_OLD.search(raw["rule"]))
        expression = raw.get("messageExpression")
        self.message_program = compiled(expression) if expression else None
        used = set(self.program.functions())
        if self.message_program is not None:
            used |= set(self.message_program.functions())
        self.functions = {name: FUNCTIONS[name] for name in used if name in FUNCTIONS}
        self.field_path = (raw.get("fieldPath") or "").lstrip(".")
        self.sight = Sight(raw["rule"])

    def variables(self, value: Any, old: Any) -> dict[str, Any]:
        """The variables of the rule."""
        found = {"self": value, **self.functions}
        if old is not MISSING:
            found["oldSelf"] = old
        return found


@dataclass(slots=True)
class RuleTree:
    """Rules of a place and of the places below it."""

    node: SchemaNode
    rules: list[CELRule] = field(default_factory=list)
    fields: dict[str, RuleTree] = field(default_factory=dict)
    element: RuleTree | None = None
    convert: bool = False
    transitions: bool = False
    """A rule at this node or below compares with the previous value."""


def collect(node: SchemaNode, seen: tuple[SchemaNode, ...] = ()) -> RuleTree | None:
    """The rules of a schema, or None without any."""
    if node in seen:
        return None
    tree = RuleTree(node, [CELRule(raw) for raw in node.raw.get("x-kubernetes-validations") or ()])
    inside = (*seen, node)
    if node.kind is NodeKind.STRUCT:
        for name, child in node.fields.items():
            sub = collect(child, inside)
            if sub is not None:
                tree.fields[name] = sub
    elif node.kind in (NodeKind.MAP, NodeKind.LIST) and node.element is not node:
        tree.element = collect(node.element, inside)
    below = (*tree.fields.values(), *([tree.element] if tree.element is not None else []))
    tree.transitions = any(rule.uses_old for rule in tree.rules) or any(
        each.transitions for each in below
    )
    tree.convert = bool(tree.rules) and _needs_conversion(node, ())
    return tree if tree.rules or tree.fields or tree.element is not None else None


def _needs_conversion(node: SchemaNode, seen: tuple[SchemaNode, ...]) -> bool:
    """Whether JSON values differ from what CEL must see: doubles, escaped names."""
    if node in seen:
        return False
    if node.scalar == "number":
        return True
    inside = (*seen, node)
    if any(escape(name) != name for name in node.fields):
        return True
    children = [*node.fields.values(), *([node.element] if node.element is not node else [])]
    return any(_needs_conversion(child, inside) for child in children)


def escape(name: str) -> str:
    """A property name as CEL can name it, as the real server escapes it."""
    if name in RESERVED:
        return f"__{name}__"
    name = name.replace("__", "__underscores__")
    for char, text in ((".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")):
        name = name.replace(char, text)
    return name


def convert(node: SchemaNode, value: Any) -> Any:
    """A JSON value as CEL sees it."""
    if isinstance(value, dict):
        if node.kind is NodeKind.STRUCT:
            return {
                escape(key): convert(node.fields[key], item) if key in node.fields else item
                for key, item in value.items()
            }
        return {key: convert(node.element, item) for key, item in value.items()}
    if isinstance(value, list) and node.kind is NodeKind.LIST:
        return [convert(node.element, item) for item in value]
    if node.scalar == "number" and isinstance(value, int):
        return float(value)
    return value


def validate(tree: RuleTree, obj: Any, old: Any | None) -> list[FieldError]:
    """The rules' findings about an object."""
    errors: list[FieldError] = []
    _walk(tree, obj, MISSING if old is None else old, "", errors)
    return errors


def _walk(tree: RuleTree, value: Any, old: Any, path: str, errors: list[FieldError]) -> None:
    if value is None or (not tree.transitions and old is not MISSING and old == value):
        return
    if tree.rules:
        _apply(tree, value, MISSING if old is None else old, path, errors)
    if tree.fields and isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        for name, sub in tree.fields.items():
            if name in value:
                _walk(
                    sub,
                    value[name],
                    before.get(name, MISSING),
                    f"{path}.{name}" if path else name,
                    errors,
                )
    if tree.element is None:
        return
    if isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        for name, item in value.items():
            _walk(tree.element, item, before.get(name, MISSING), f"{path}[{name}]", errors)
    elif isinstance(value, list):
        known = _old_items(tree.node, old)
        for index, item in enumerate(value):
            _walk(tree.element, item, known(item), f"{path}[{index}]", errors)


def _old_items(node: SchemaNode, old: Any) -> Any:
    """Items of map lists have an old self, those of other lists have none."""
    if not isinstance(old, list) or node.list_type != "map":
        return lambda item: MISSING
    found = {
        tuple(str(each.get(key)) for key in node.keys): each
        for each in old
        if isinstance(each, dict)
    }
    return lambda item: found.get(tuple(str(item.get(key)) for key in node.keys), MISSING)


def _apply(tree: RuleTree, value: Any, old: Any, path: str, errors: list[FieldError]) -> None:
    shown, before = value, old
    if tree.convert:
        value = convert(tree.node, value)
        old = convert(tree.node, old) if old is not MISSING else MISSING
    for rule in tree.rules:
        if rule.uses_old:
            if old is MISSING:
                continue
        elif before is not MISSING and before == shown:
            continue
        error = _judge(rule, value, old, shown, path)
        if error is not None:
            errors.append(error)


def _judge(rule: CELRule, value: Any, old: Any, shown: Any, path: str) -> FieldError | None:
    raw = rule.raw
    place = path
    if rule.field_path:
        place = f"{path}.{rule.field_path}" if path else rule.field_path
    try:
        if rule.program.execute(rule.variables(*rule.sight.of(value, old))) is True:
            return None
    except (RuntimeError, TypeError, ValueError, KeyError, OverflowError) as error:
        text = (raw.get("message") or raw["rule"]).strip()
        kind = (
            "array"
            if isinstance(shown, list)
            else "object"
            if isinstance(shown, dict)
            else "string"
        )
        message = f'Invalid value: "{kind}": {_runtime_text(error)} evaluating rule: {text}'
        return FieldError("FieldValueInvalid", path or "<nil>", message)
    detail = _message(rule, value, old)
    reason = raw.get("reason") or "FieldValueInvalid"
    place = place or "<nil>"
    if reason == "FieldValueForbidden":
        return field_forbidden(place, detail)
    if reason == "FieldValueRequired":
        return required(place, detail)
    if reason == "FieldValueDuplicate":
        return duplicate(place, shown)
    prefix = (
        "Invalid value: " if isinstance(shown, dict | list) else f"Invalid value: {render(shown)}: "
    )
    return FieldError("FieldValueInvalid", place, prefix + detail)


def _runtime_text(error: Exception) -> str:
    text = str(error)
    missing = re.search(r"No such key: '?([\w-]+)'?", text)
    return f"no such key: {missing.group(1)}" if missing else text


def _message(rule: CELRule, value: Any, old: Any) -> str:
    raw = rule.raw
    if rule.message_program is not None:
        try:
            text = rule.message_program.execute(rule.variables(value, old))
        except (RuntimeError, TypeError, ValueError, KeyError):
            text = None
        if isinstance(text, str) and text.strip() and "\n" not in text:
            return text
    if raw.get("message"):
        return str(raw["message"]).strip()
    return f"failed rule: {raw['rule'].strip()}"
