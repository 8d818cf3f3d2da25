"""Strategic merge patch: merge lists by key, as in the published schemas (x-kubernetes-patch-strategy, -merge-key).

Directives: `$patch` (replace, delete, merge), `$deleteFromPrimitiveList/<field>`, `$setElementOrder/<field>`, `$retainKeys`.
"""

from __future__ import annotations

from typing import Any

from .fieldset import child_node
from .schema import NodeKind, SchemaNode

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_DELETE_PREFIX = "$deleteFromPrimitiveList/"
_ORDER_PREFIX = "$setElementOrder/"


def strategic_merge(node: SchemaNode, target: Any, patch: dict[str, Any]) -> dict[str, Any]:
    """`target`, an object of type `node`, with `patch` applied."""
    if patch.get(_DIRECTIVE) == "replace":
        return {key: value for key, value in patch.items() if key != _DIRECTIVE}
    if patch.get(_DIRECTIVE) == "delete":
        return {}
    result = dict(target) if isinstance(target, dict) else {}
    if _RETAIN in patch:
        keep = set(patch[_RETAIN])
        result = {key: value for key, value in result.items() if key in keep}
    for key, value in patch.items():
        if key in (_DIRECTIVE, _RETAIN) or key.startswith(_ORDER_PREFIX):
            continue
        if key.startswith(_DELETE_PREFIX):
            field = key.removeprefix(_DELETE_PREFIX)
            result[field] = [each for each in result.get(field) or () if each not in value]
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = _merge_value(child_node(node, key), result.get(key), value)
    for key, order in patch.items():
        if key.startswith(_ORDER_PREFIX):
            field = key.removeprefix(_ORDER_PREFIX)
            before = target.get(field) if isinstance(target, dict) else None
            if isinstance(result.get(field), list):
                merge_key = child_node(node, field).patch_merge_key
                result[field] = _ordered(merge_key, result[field], order, before or [])
    return result


def _merge_value(node: SchemaNode, current: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return strategic_merge(node, current, value)
    if (
        not isinstance(value, list)
        or node.kind is not NodeKind.LIST
        or "merge" not in node.patch_strategy.split(",")
    ):
        return value
    before = list(current or ())
    merge = _merge_list if node.patch_merge_key else _merge_scalars
    merged = merge(node, list(before), value)
    return _ordered(node.patch_merge_key, merged, value, before)


def _merge_scalars(node: SchemaNode, current: list[Any], patch: list[Any]) -> list[Any]:
    return current + [each for each in patch if each not in current]


def _merge_list(node: SchemaNode, current: list[Any], patch: list[Any]) -> list[Any]:
    key = node.patch_merge_key
    if any(isinstance(item, dict) and item.get(_DIRECTIVE) == "replace" for item in patch):
        return [item for item in patch if _DIRECTIVE not in item]
    for item in patch:
        if not isinstance(item, dict):
            continue
        at = next((i for i, each in enumerate(current) if each.get(key) == item.get(key)), None)
        if item.get(_DIRECTIVE) == "delete":
            if at is not None:
                del current[at]
        elif at is None:
            current.append(strategic_merge(node.element, {}, item))
        else:
            current[at] = strategic_merge(node.element, current[at], item)
    return current


def _ordered(key: str, items: list[Any], order: list[Any], before: list[Any]) -> list[Any]:
    """Items in the order of a patch or its `$setElementOrder`; others keep their relative position.

    As Go's mergeSortedSlice: before the first named item that they preceded, else after all of them.
    """
    wanted = {_identity(each, key): index for index, each in enumerate(order)}
    places = {_identity(each, key): index for index, each in enumerate(before)}
    named = [item for item in items if _identity(item, key) in wanted]
    named.sort(key=lambda item: wanted[_identity(item, key)])
    rest = [item for item in items if _identity(item, key) not in wanted]
    result = []
    for item in named:
        place = places.get(_identity(item, key))
        while place is not None and rest and places.get(_identity(rest[0], key), place) < place:
            result.append(rest.pop(0))
        result.append(item)
    return result + rest


def _identity(item: Any, key: str) -> Any:
    return item.get(key) if isinstance(item, dict) else item
