"""From a request's object to one that may be stored, and back: type checks, pruning, defaults, shared storage forms.

`ResourceCodec` binds a `ResourceInfo` to its type graph and strategy; `codec_for` finds it.
"""

from __future__ import annotations

from typing import Any

from . import decode as decoding
from .catalog import EVENTS_KEY, ResourceInfo
from .context import WriteContext
from .errors import StatusError, bad_request, invalid, invalid_value
from .fastdecode import FastDecoder
from .schema import SchemaNode, builtin_node, definition_name
from .strategies import strategy_for
from .strategy import Strategy

Object = dict[str, Any]


class ResourceCodec:
    """Reads and writes objects of one resource in one version."""

    __slots__ = ("_fast", "info", "node", "strategy")

    def __init__(self, info: ResourceInfo) -> None:
        self.info = info
        if info.custom is not None:
            self.node: SchemaNode = info.custom.node
            self.strategy: Strategy = info.custom.strategy
        else:
            name = definition_name(info.group, info.version, info.kind)
            self.node = builtin_node(name or "")
            self.strategy = strategy_for(info.storage_key)
        self._fast = FastDecoder(self.node)

    def decode(self, body: Any, context: WriteContext) -> Object:
        """A fresh object of this resource from `body`. Raises StatusError (400, 422)."""
        if not isinstance(body, dict):
            raise bad_request(
                f"the object provided is unrecognized (must be of type {self.info.kind})"
            )
        self._check_identity(body)
        unknown = decoding.Unknown()
        try:
            if self.info.custom is not None:
                obj = self.info.custom.decode(body, unknown)
            else:
                obj = self._fast.decode(body) or decoding.decode(self.node, body, unknown)
        except decoding.DecodeError as error:
            raise self.cannot_handle(str(error)) from None
        self._report_unknown(unknown.fields, context)
        result: Object = {"kind": self.info.kind, "apiVersion": self.info.api_version}
        result["metadata"] = obj.pop("metadata", None) or {}
        obj.pop("kind", None)
        obj.pop("apiVersion", None)
        result.update(obj)
        self.strategy.default(result)
        return result

    def cannot_handle(self, why: str) -> StatusError:
        """400 for a body that the type cannot hold."""
        info = self.info
        return bad_request(
            f'{info.kind} in version "{info.version}" cannot be handled as a {info.kind}: {why}'
        )

    def _check_identity(self, body: Object) -> None:
        info = self.info
        kind, api_version = body.get("kind"), body.get("apiVersion")
        if info.custom is not None:
            self._check_custom_identity(body, kind, api_version)
        elif kind not in (None, "", info.kind) and api_version in (None, "", info.api_version):
            group, version = info.group, info.version
            raise bad_request(
                f'{kind} in version "{version}" cannot be handled as a {info.kind}: no kind "{kind}" is registered '
                f'for the resource {info.plural} of group "{group}"'
            )
        if api_version not in (None, "", info.api_version):
            raise bad_request(
                f"the API version in the data ({api_version}) does not match the expected API version ({info.api_version})"
            )

    def _check_custom_identity(self, body: Object, kind: Any, api_version: Any) -> None:
        info = self.info
        if not kind:
            raise bad_request(
                f"the object provided is unrecognized (must be of type {info.kind}): Object 'Kind' is missing in '...'"
            )
        if kind != info.kind:
            name = (body.get("metadata") or {}).get("name", "")
            error = invalid_value("kind", kind, f"must be {info.kind}")
            raise invalid(info.group, str(kind), name, [error])
        if not api_version:
            raise bad_request(
                f"the object provided is unrecognized (must be of type {info.kind}): Object 'apiVersion' is missing in '...'"
            )

    def _report_unknown(self, fields: list[str], context: WriteContext) -> None:
        if not fields or context.field_validation == "Ignore":
            return
        problems = [f'unknown field "{each}"' for each in fields]
        if context.field_validation == "Strict":
            raise self.cannot_handle("strict decoding error: " + ", ".join(problems))
        for problem in problems:
            context.warn(problem)

    def empty(self) -> Object:
        """The object that a create is compared with: what Go writes when nothing is set."""
        obj: Object = {"kind": self.info.kind, "apiVersion": self.info.api_version, "metadata": {}}
        for key, value in self.node.emitted.items():
            obj[key] = decoding.emit(self.node.fields[key], value)
        return obj

    def to_storage(self, obj: Object) -> Object:
        """The form in which `obj` is stored."""
        if self.info.storage_key == EVENTS_KEY and self.info.group:
            return _event_to_core(obj)
        if self.info.custom is not None:
            return {**obj, "apiVersion": self.info.custom.storage_api_version}
        return obj

    def from_storage(self, obj: Object) -> Object:
        """A stored object in this version."""
        if self.info.storage_key == EVENTS_KEY and self.info.group:
            return _event_from_core(obj)
        if obj["apiVersion"] != self.info.api_version:
            return {**obj, "apiVersion": self.info.api_version}
        return obj

    @property
    def converts(self) -> bool:
        """Whether the stored form differs from this version's."""
        info = self.info
        if info.custom is not None:
            return bool(info.custom.storage_api_version != info.api_version)
        return bool(info.storage_key == EVENTS_KEY and info.group)


_codecs: dict[int, ResourceCodec] = {}


def codec_for(info: ResourceInfo) -> ResourceCodec:
    """The codec of a resource."""
    codec = _codecs.get(id(info))
    if codec is None or codec.info is not info:
        codec = _codecs[id(info)] = ResourceCodec(info)
    return codec


# (events.k8s.io/v1 field, core/v1 field)
_RENAMED = (
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
)
_TO_CORE = dict(_RENAMED)
_FROM_CORE = {core: new for new, core in _RENAMED}


def _event_to_core(event: Object) -> Object:
    """An events.k8s.io/v1 Event as core/v1."""
    result = {_TO_CORE.get(key, key): value for key, value in event.items()}
    result["apiVersion"] = "v1"
    for key in ("reportingComponent", "reportingInstance"):
        result.setdefault(key, "")
    return result


def _event_from_core(event: Object) -> Object:
    """A core/v1 Event as events.k8s.io/v1."""
    result = {_FROM_CORE.get(key, key): value for key, value in event.items()}
    result["apiVersion"] = "events.k8s.io/v1"
    for key in ("reportingController", "reportingInstance"):
        if result.get(key) == "":
            del result[key]
    return result
