"""Sets of fields in their JSON form (FieldsV1), and how two objects differ field by field.

A set is a tree: keys are path elements (`f:name`, `k:{...}`, `v:...`), a leaf `{}` is a member, and `"."` inside a node makes
that node a member as well as a parent. Follows sigs.k8s.io/structured-merge-diff. Sets are immutable by contract.
"""

from __future__ import annotations

import json
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Any

from .schema import NodeKind, SchemaNode

FieldSet = dict[str, Any]

_LEAF: FieldSet = {}
_MISSING: Any = object()
_CONTAINERS = frozenset({dict, list})
_ANY = SchemaNode(NodeKind.ANY, {})


def union(one: FieldSet, other: FieldSet) -> FieldSet:
    """Members of either."""
    if not one:
        return other
    if not other:
        return one
    result = dict(one)
    for key, sub in other.items():
        mine = result.get(key, _MISSING)
        if mine is _MISSING:
            result[key] = sub
        elif key != "." and mine is not sub:
            result[key] = _union_node(mine, sub)
    return result


def _union_node(one: FieldSet, other: FieldSet) -> FieldSet:
    if not one:
        return {".": _LEAF, **other} if other else other
    if not other:
        return {".": _LEAF, **one}
    return union(one, other)


def _is_member(node: FieldSet) -> bool:
    return not node or "." in node


def _node(member: bool, children: FieldSet) -> FieldSet | None:
    if not children:
        return _LEAF if member else None
    return {".": _LEAF, **children} if member else children


def _children(node: FieldSet) -> FieldSet:
    if "." in node:
        return {key: sub for key, sub in node.items() if key != "."}
    return node


def difference(one: FieldSet, other: FieldSet) -> FieldSet:
    """Members of `one` that are not members of `other`."""
    if not other:
        return dict(one)
    result: FieldSet = {}
    for key, sub in one.items():
        theirs = other.get(key, _MISSING)
        if theirs is _MISSING:
            result[key] = sub
            continue
        node = _node(
            _is_member(sub) and not _is_member(theirs),
            difference(_children(sub), _children(theirs)),
        )
        if node is not None:
            result[key] = node
    return result


def intersection(one: FieldSet, other: FieldSet) -> FieldSet:
    """Members of both."""
    result: FieldSet = {}
    for key, sub in one.items():
        theirs = other.get(key, _MISSING)
        if theirs is _MISSING:
            continue
        node = _node(
            _is_member(sub) and _is_member(theirs), intersection(_children(sub), _children(theirs))
        )
        if node is not None:
            result[key] = node
    return result


def above_nothing(one: FieldSet, other: FieldSet) -> FieldSet:
    """Members of `one` below which `other` has no member: fields whose removal removes no member of `other`."""
    result: FieldSet = {}
    for key, sub in one.items():
        below = _children(other.get(key, _LEAF))
        node = _node(_is_member(sub) and not below, above_nothing(_children(sub), below))
        if node is not None:
            result[key] = node
    return result


def paths(fields: FieldSet, prefix: str = "") -> list[str]:
    """Members as paths for messages: `.spec.containers[name="x"].image`."""
    found: list[str] = []
    for key, sub in sorted(fields.items()):
        if key == ".":
            continue
        path = prefix + _shown(key)
        if _is_member(sub):
            found.append(path)
        found += paths(_children(sub), path)
    return found


def _shown(key: str) -> str:
    kind, text = key.split(":", 1)
    if kind == "f":
        return f".{text}"
    if kind == "k":
        pairs = json.loads(text)
        return "[" + ",".join(f"{name}={json.dumps(value)}" for name, value in pairs.items()) + "]"
    return f"[={text}]" if kind == "v" else f"[{text}]"


def item_key(node: SchemaNode, item: Any) -> str:
    """The path element of an item of an associative list."""
    if len(node.keys) == 1 and type(item) is dict:
        value = item.get(node.keys[0])
        if type(value) is str:
            return _named(node.keys[0], value)
    if node.list_type == "set":
        return "v:" + json.dumps(item, separators=(",", ":"))
    pairs = []
    for name in sorted(node.keys) if len(node.keys) > 1 else node.keys:
        value = item.get(name) if isinstance(item, dict) else None
        if value is None and isinstance(item, dict):
            child = node.element.fields.get(name)
            value = child.default if child is not None else None
        if value is not None:
            # json.dumps, without its overhead for a string.
            shown = encode_basestring_ascii(value) if type(value) is str else json.dumps(value)
            pairs.append(f'"{name}":{shown}')
    return f"k:{{{','.join(pairs)}}}"


def _named(key: str, name: str) -> str:
    return f'k:{{"{key}":{encode_basestring_ascii(name)}}}'


def child_node(node: SchemaNode, key: str) -> SchemaNode:
    """The type of a field of an object of type `node`."""
    if node.kind is NodeKind.STRUCT:
        return node.fields.get(key, _ANY)
    return node.element if node.kind is NodeKind.MAP else _ANY


class _Comparison:
    __slots__ = ("added", "modified", "removed")

    def __init__(self) -> None:
        self.added: FieldSet = {}
        self.modified: FieldSet = {}
        self.removed: FieldSet = {}


def compare(node: SchemaNode, old: Any, new: Any) -> tuple[FieldSet, FieldSet, FieldSet]:
    """Fields (added, modified, removed) from `old` to `new`, both objects of type `node`."""
    sets = _Comparison()
    _compare_fields(node, old, new, sets)
    return sets.added, sets.modified, sets.removed


def _compare_fields(
    node: SchemaNode, old: dict[str, Any], new: dict[str, Any], sets: _Comparison
) -> None:
    for key, value in new.items():
        before = old.get(key, _MISSING)
        kind = type(value)
        if before is _MISSING:
            is_leaf = kind not in _CONTAINERS
            sets.added["f:" + key] = _LEAF if is_leaf else _added(child_node(node, key), value)
        elif before is not value and (kind not in _CONTAINERS or before != value):
            _compare_child(child_node(node, key), before, value, "f:" + key, sets)
    for key, value in old.items():
        if key not in new:
            _compare_child(child_node(node, key), value, _MISSING, "f:" + key, sets)


def _compare_child(node: SchemaNode, old: Any, new: Any, key: str, sets: _Comparison) -> None:
    if old is _MISSING:
        sets.added[key] = _added(node, new)
        return
    below = _Comparison()
    leaf = _compare_value(node, old, new, below)
    if leaf:
        if new is _MISSING:
            sets.removed[key] = _LEAF
        elif old != new or type(old) is not type(new):
            sets.modified[key] = _LEAF
        return
    for mine, theirs, member in (
        (sets.added, below.added, False),
        (sets.modified, below.modified, False),
        (sets.removed, below.removed, new is _MISSING),
    ):
        found = _node(member, theirs)
        if found is not None:
            mine[key] = found


def _is_flat(value: dict[str, Any]) -> bool:
    return _CONTAINERS.isdisjoint(map(type, value.values()))


@lru_cache(maxsize=4096)
def _added_flat(names: tuple[str, ...]) -> FieldSet:
    """An object with leaves only, as most are; objects with the same fields share one set."""
    return {".": _LEAF, **{"f:" + name: _LEAF for name in names}}


def _added(node: SchemaNode, value: Any) -> FieldSet:
    """The members at and below a value that was not there before."""
    if type(value) is dict:
        if not value or node.atomic:
            return _LEAF
        if _is_flat(value):
            return _added_flat(tuple(value))
        result: FieldSet = {".": _LEAF}
        is_struct, fields = node.kind is NodeKind.STRUCT, node.fields
        element = node.element if node.kind is NodeKind.MAP else _ANY
        for key, item in value.items():
            if type(item) in _CONTAINERS:
                child = fields.get(key, _ANY) if is_struct else element
                result["f:" + key] = _added(child, item)
            else:
                result["f:" + key] = _LEAF
        return result
    if type(value) is list and value and node.kind is NodeKind.LIST and node.list_type != "atomic":
        return _added_items(node, value)
    return _LEAF


def _added_items(node: SchemaNode, items: list[Any]) -> FieldSet:
    looks = []
    if len(node.keys) == 1 and not node.element.atomic:
        key = node.keys[0]
        for item in items:
            name = item.get(key) if type(item) is dict and _is_flat(item) else None
            if type(name) is not str:
                break
            looks.append((name, *item))
        else:
            return _added_flat_items(key, tuple(looks))
    result: FieldSet = {".": _LEAF}
    for item in items:
        result[item_key(node, item)] = _added(node.element, item)
    return result


@lru_cache(maxsize=4096)
def _added_flat_items(key: str, looks: tuple[tuple[str, ...], ...]) -> FieldSet:
    """A list of flat objects, such as variables and mounts: cached by its form (the name, then the fields)."""
    result: FieldSet = {".": _LEAF}
    for name, *fields in looks:
        result[_named(key, name)] = _added_flat(tuple(fields))
    return result


def _compare_value(node: SchemaNode, old: Any, new: Any, sets: _Comparison) -> bool:
    """Compare below a value; True when the value is a leaf and must be compared as a whole."""
    sample = new if new is not _MISSING and new is not None else old
    if isinstance(sample, dict):
        if node.atomic:
            return True
        before = old if isinstance(old, dict) else {}
        after = new if isinstance(new, dict) else {}
        if (not before and not after) or (_other(old, dict) or _other(new, dict)):
            return True
        _compare_fields(node, before, after, sets)
        return False
    if isinstance(sample, list) and node.kind is NodeKind.LIST and node.list_type != "atomic":
        before_list = old if isinstance(old, list) else []
        after_list = new if isinstance(new, list) else []
        if not before_list and not after_list:
            return True
        _compare_items(node, before_list, after_list, sets)
        return False
    return True


def _other(value: Any, kind: type) -> bool:
    return value is not _MISSING and value is not None and not isinstance(value, kind)


def _compare_items(node: SchemaNode, old: list[Any], new: list[Any], sets: _Comparison) -> None:
    before = {item_key(node, item): item for item in old}
    after = {item_key(node, item): item for item in new}
    for key, item in after.items():
        _compare_child(node.element, before.get(key, _MISSING), item, key, sets)
    for key, item in before.items():
        if key not in after:
            _compare_child(node.element, item, _MISSING, key, sets)


def of_object(node: SchemaNode, value: dict[str, Any]) -> FieldSet:
    """The fields that an applied configuration names."""
    result: FieldSet = {}
    for key, item in value.items():
        below = _of_value(child_node(node, key), item)
        known = node.kind is NodeKind.STRUCT and key in node.fields
        member = below is None or item is None or item == {} or not known
        found = _node(member, below or {})
        if found is not None:
            result["f:" + key] = found
    return result


def _of_value(node: SchemaNode, value: Any) -> FieldSet | None:
    """Fields below a value, or None when it is a leaf."""
    if isinstance(value, dict) and value and not node.atomic:
        return of_object(node, value)
    if (
        isinstance(value, list)
        and value
        and node.kind is NodeKind.LIST
        and node.list_type != "atomic"
    ):
        result: FieldSet = {}
        for item in value:
            below = _of_value(node.element, item)
            result[item_key(node, item)] = _node(True, below or {})
        return result
    return None
