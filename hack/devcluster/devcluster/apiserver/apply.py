"""Server-side apply: merges an applied configuration, tracks the manager of each field, and reports conflicts.

Follows structured-merge-diff: removes fields that this manager applied before, omits now and no other manager owns.
"""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json, to_json

from . import fieldset, managed
from .codec import ResourceCodec
from .context import WriteContext
from .errors import StatusError, bad_request, not_found
from .fieldset import FieldSet, child_node, item_key
from .registry import Registry
from .schema import NodeKind, SchemaNode

Object = dict[str, Any]

KUBECTL = "kubectl"


def apply(
    registry: Registry,
    codec: ResourceCodec,
    namespace: str,
    name: str,
    body: Any,
    context: WriteContext,
    subresource: str,
) -> tuple[Object, bool]:
    """Apply `body`. Returns (object, whether it was created). Raises StatusError, 409 on conflicts."""
    config = _decode_config(codec, name, namespace, body, context)
    info = codec.info
    writer = registry.writer(codec, context, subresource)
    stored = registry.storage.get(info.storage_key, namespace, name)
    if stored is None:
        if subresource:
            raise not_found(info.group, info.plural, name)
        fields = managed.strip(fieldset.of_object(codec.node, config), writer.reset)
        obj = codec.decode(config, context)
        managed.store(obj, [writer.entry("Apply", fields)] if fields else [])
        return registry.create_decoded(codec, namespace, obj, context, applied=True), True
    live = codec.from_storage(stored.object)
    if config["metadata"].get("uid", live["metadata"]["uid"]) != live["metadata"]["uid"]:
        raise StatusError(
            409,
            "Conflict",
            f'Operation cannot be fulfilled on {info.qualified} "{name}": uid mismatch: the provided object specified uid '
            f"{config['metadata']['uid']}, and no existing object was found",
            details={"name": name, "group": info.group, "kind": info.plural},
        )
    merged = _merged(codec, live, config, writer, context)
    return registry.update_decoded(
        codec, merged, live, context, subresource=subresource, verb="patch", applied=True
    ), False


def _decode_config(
    codec: ResourceCodec, name: str, namespace: str, body: Any, context: WriteContext
) -> Object:
    if context.manager in ("", "unknown"):
        raise bad_request(
            'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
        )
    if not isinstance(body, dict):
        raise bad_request("error decoding YAML: the applied configuration must be an object")
    metadata = body.get("metadata") or {}
    if metadata.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    checked = codec.decode(
        body, context
    )  # types and unknown fields; defaults are not applied fields
    given = checked["metadata"].get("name")
    if given and given != name:
        raise bad_request(
            f"the name of the object ({given}) does not match the name on the URL ({name})"
        )
    config = _known(codec.node, body)
    config["metadata"] = {
        **metadata,
        "name": name,
        **({"namespace": namespace} if namespace else {}),
    }
    return {**config, "kind": codec.info.kind, "apiVersion": codec.info.api_version}


def _known(node: SchemaNode, value: Any) -> Any:
    """`value` without fields that the type does not have."""
    if isinstance(value, dict):
        if node.kind is NodeKind.STRUCT and not node.preserve:
            return {
                key: _known(node.fields[key], item)
                for key, item in value.items()
                if key in node.fields
            }
        return {key: _known(child_node(node, key), item) for key, item in value.items()}
    if isinstance(value, list):
        element = node.element if node.kind is NodeKind.LIST else child_node(node, "")
        return [_known(element, item) for item in value]
    return value


def _merged(
    codec: ResourceCodec,
    live: Object,
    config: Object,
    writer: managed.Writer,
    context: WriteContext,
) -> Object:
    node = codec.node
    entries = list(live["metadata"].get("managedFields") or ())
    own = managed.find(entries, writer.manager, "Apply", writer.api_version, writer.subresource)
    others = [entry for entry in entries if entry is not own]
    applied = managed.strip(fieldset.of_object(node, config), writer.reset)
    result = merged = merge(node, live, config)
    if own is not None:
        kept = applied
        for entry in others:
            kept = fieldset.union(kept, entry["fieldsV1"])
        # A map that this manager made by an update is a member itself; entries that a manager still owns stay.
        dropped = fieldset.above_nothing(fieldset.difference(own["fieldsV1"], kept), kept)
        result = remove(node, result, dropped)
    metadata = {key: value for key, value in result["metadata"].items() if key != "managedFields"}
    obj = codec.decode({**result, "metadata": metadata}, context)
    added, modified, removed = fieldset.compare(node, live, obj)
    changed = managed.strip(fieldset.union(added, modified), writer.reset)
    contested = changed
    if writer.manager == KUBECTL:
        contested = fieldset.difference(changed, own_conflicts(node, live, writer.api_version))
        updated_annotation(obj, config)
    _check_conflicts(others, contested, context)
    managers = []
    for entry in others:
        fields = fieldset.difference(entry["fieldsV1"], fieldset.union(changed, removed))
        if fields:
            managers.append({**entry, "fieldsV1": fields})
    if applied:
        entry = writer.entry("Apply", applied)
        # A field that is given up counts as a change even if a default sets it again.
        given_up = result is not merged and result != merged
        if not (changed or managed.strip(removed, writer.reset) or given_up):
            _keep_time(entry, own)
        managers.append(entry)
    managed.store(obj, managers)
    version = config["metadata"].get("resourceVersion")
    if version:
        obj["metadata"]["resourceVersion"] = version
    return obj


def _keep_time(entry: Object, own: Object | None) -> None:
    """An apply that changes nothing does not count: a manager that is new by it has no time at all."""
    del entry["time"]
    if own is not None and "time" in own:
        entry["time"] = own["time"]


def _check_conflicts(others: list[Object], changed: FieldSet, context: WriteContext) -> None:
    if context.force:
        return
    found: list[tuple[str, str]] = []
    for entry in others:
        taken = fieldset.intersection(entry["fieldsV1"], changed)
        found += [(_shown_manager(entry), path) for path in fieldset.paths(taken)]
    if not found:
        return
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": path}
        for manager, path in found
    ]
    if len(found) == 1:
        manager, path = found[0]
        message = f"Apply failed with 1 conflict: conflict with {manager}: {path}"
    else:
        lines: list[str] = []
        for manager in sorted({each for each, _ in found}):
            lines.append(f"conflicts with {manager}:")
            lines += [f"- {path}" for each, path in found if each == manager]
        message = f"Apply failed with {len(found)} conflicts: " + "\n".join(lines)
    raise StatusError(409, "Conflict", message, details={"causes": causes})


def _shown_manager(entry: Object) -> str:
    shown = f'"{entry["manager"]}"'
    if entry.get("subresource"):
        shown += f' with subresource "{entry["subresource"]}"'
    if entry["operation"] == "Update":
        shown += f" using {entry['apiVersion']}"
    return shown


def merge(node: SchemaNode, live: Any, config: Any) -> Any:
    """`live` with an applied configuration merged in by the types' list and map rules."""
    if isinstance(config, dict) and isinstance(live, dict) and not node.atomic:
        result = dict(live)
        for key, value in config.items():
            result[key] = merge(child_node(node, key), live.get(key), value)
        return result
    if (
        isinstance(config, list)
        and isinstance(live, list)
        and node.kind is NodeKind.LIST
        and node.list_type != "atomic"
    ):
        return _merge_items(node, live, config)
    return config


def _merge_items(node: SchemaNode, live: list[Any], config: list[Any]) -> list[Any]:
    wanted = {item_key(node, item): item for item in config}
    present = {item_key(node, item) for item in live}
    result = []
    for item in live:
        key = item_key(node, item)
        result.append(merge(node.element, item, wanted[key]) if key in wanted else item)
    result += [item for key, item in wanted.items() if key not in present]
    return _in_config_order(node, result, list(wanted))


def _in_config_order(node: SchemaNode, items: list[Any], order: list[str]) -> list[Any]:
    """Put the items that the configuration names in its order, at the positions of named items."""
    by_key = {item_key(node, item): item for item in items}
    following = iter(order)
    return [by_key[next(following)] if item_key(node, item) in order else item for item in items]


def remove(node: SchemaNode, value: Any, fields: FieldSet) -> Any:
    """`value` without the members of `fields`."""
    if not fields:
        return value
    if isinstance(value, dict):
        result = {}
        for key, item in value.items():
            gone = fields.get("f:" + key)
            if gone is None:
                result[key] = item
            elif (gone and (rest := remove(child_node(node, key), item, gone)) != {}) or (
                gone and "." not in gone
            ):
                result[key] = rest
        return result
    if isinstance(value, list) and node.kind is NodeKind.LIST:
        return _remove_items(node, value, fields)
    return value


def _remove_items(node: SchemaNode, items: list[Any], fields: FieldSet) -> list[Any]:
    result = []
    for item in items:
        gone = fields.get(item_key(node, item))
        if gone is None:
            result.append(item)
        elif gone and "." not in gone:
            result.append(remove(node.element, item, gone))
    return result


ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
MAX_BYTES = 256 * 1024


def own_conflicts(node: SchemaNode, live: Object, api_version: str) -> FieldSet:
    """The fields that the last client-side apply set and no other writer changed since."""
    text = (live["metadata"].get("annotations") or {}).get(ANNOTATION)
    if not text:
        return {}
    try:
        applied = from_json(text)
    except ValueError:
        return {}
    if not isinstance(applied, dict) or applied.get("apiVersion") != api_version:
        return {}
    added, modified, removed = fieldset.compare(node, applied, live)
    differing = fieldset.union(fieldset.union(added, modified), removed)
    return fieldset.difference(fieldset.of_object(node, applied), differing)


def updated_annotation(obj: Object, config: Object) -> None:
    """Write `config` into obj's annotation, if it has one; nothing when it is too long."""
    annotations = obj["metadata"].get("annotations") or {}
    if ANNOTATION not in annotations:
        return
    metadata = dict(config.get("metadata") or {})
    others = dict((metadata.pop("annotations", None) or {}).items())
    others.pop(ANNOTATION, None)
    if others:
        metadata["annotations"] = others
    text = to_json(_ordered({**config, "metadata": metadata})).decode() + "\n"
    if len(text) > MAX_BYTES:
        text = ""
    obj["metadata"]["annotations"] = {**annotations, ANNOTATION: text}


def _ordered(value: Any) -> Any:
    """With keys in order, as Go writes maps."""
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    return value
