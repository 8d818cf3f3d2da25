"""Server-side apply by kubectl of what kubectl applied client-side before.

What the annotation of a client-side apply names, and the object still has, is kubectl's own: taking it over is no conflict.
And the annotation is kept in step, so that client-side apply can be gone back to. As managedfields' lastappliedmanager and
lastappliedupdater do it, for the field manager `kubectl` alone.
"""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json, to_json

from . import fieldset
from .fieldset import FieldSet
from .schema import Node

Object = dict[str, Any]

ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
MAX_BYTES = 256 * 1024


def own_conflicts(node: Node, live: Object, api_version: str) -> FieldSet:
    """The fields that the last client-side apply set and nobody changed since."""
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
