"""Kubernetes' protobuf envelope, read: kubectl's typed commands (create namespace, create quota, create token …) send it.

Field numbers are those of the generated.proto files of Kubernetes, for the kinds that kubectl makes without a manifest.
Answers are always JSON, which every client accepts beside protobuf.
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Iterator
from typing import Any

MAGIC = b"k8s\x00"

Field = tuple[str, Any]
Message = dict[int, Field]


class UnknownKindError(ValueError):
    """A kind whose fields are not known here."""


class _Type:
    """How one value is read."""

    def __init__(self, name: str) -> None:
        self.name = name


TEXT, BYTES, INT, BOOL, TIME, QUANTITY = (
    _Type(x) for x in ("text", "bytes", "int", "bool", "time", "quantity")
)


class _List:
    """A repeated field."""

    def __init__(self, element: Any) -> None:
        self.element = element


class _Map:
    """A map with text keys."""

    def __init__(self, element: Any) -> None:
        self.element = element


_TEXTS, _LABELS = _List(TEXT), _Map(TEXT)
_OWNER: Message = {
    1: ("kind", TEXT), 3: ("name", TEXT), 4: ("uid", TEXT), 5: ("apiVersion", TEXT),
    6: ("controller", BOOL), 7: ("blockOwnerDeletion", BOOL),
}  # fmt: skip
_META: Message = {
    1: ("name", TEXT), 2: ("generateName", TEXT), 3: ("namespace", TEXT), 5: ("uid", TEXT), 6: ("resourceVersion", TEXT),
    7: ("generation", INT), 8: ("creationTimestamp", TIME), 11: ("labels", _LABELS), 12: ("annotations", _LABELS),
    13: ("ownerReferences", _List(_OWNER)), 14: ("finalizers", _TEXTS),
}  # fmt: skip
_REFERENCE: Message = {
    1: ("kind", TEXT), 2: ("namespace", TEXT), 3: ("name", TEXT), 4: ("uid", TEXT), 5: ("apiVersion", TEXT),
}  # fmt: skip
_RULE: Message = {
    1: ("verbs", _TEXTS), 2: ("apiGroups", _TEXTS), 3: ("resources", _TEXTS), 4: ("resourceNames", _TEXTS),
    5: ("nonResourceURLs", _TEXTS),
}  # fmt: skip
_BINDING: Message = {
    1: ("metadata", _META),
    2: (
        "subjects",
        _List(
            {1: ("kind", TEXT), 2: ("apiGroup", TEXT), 3: ("name", TEXT), 4: ("namespace", TEXT)}
        ),
    ),
    3: ("roleRef", {1: ("apiGroup", TEXT), 2: ("kind", TEXT), 3: ("name", TEXT)}),
}
_ACCESS: Message = {
    1: ("resourceAttributes", {
        1: ("namespace", TEXT), 2: ("verb", TEXT), 3: ("group", TEXT), 4: ("version", TEXT), 5: ("resource", TEXT),
        6: ("subresource", TEXT), 7: ("name", TEXT),
    }),
    2: ("nonResourceAttributes", {1: ("path", TEXT), 2: ("verb", TEXT)}),
}  # fmt: skip

KINDS: dict[tuple[str, str], Message] = {
    ("v1", "Namespace"): {1: ("metadata", _META), 2: ("spec", {1: ("finalizers", _TEXTS)}), 3: ("status", {1: ("phase",
    TEXT)})}, ("v1", "ServiceAccount"): { 1: ("metadata", _META), 2: ("secrets", _List(_REFERENCE)), 3: ("imagePullSecrets",
    _List({1: ("name", TEXT)})), 4: ("automountServiceAccountToken", BOOL), }, ("v1", "ConfigMap"): {1: ("metadata", _META),
    2: ("data", _LABELS), 3: ("binaryData", _Map(BYTES)), 4: ("immutable", BOOL)}, ("v1", "Secret"): { 1: ("metadata", _META),
    2: ("data", _Map(BYTES)), 3: ("type", TEXT), 4: ("stringData", _LABELS), 5: ("immutable", BOOL), }, ("v1",
    "ResourceQuota"): {1: ("metadata", _META), 2: ("spec", {1: ("hard", _Map(QUANTITY)), 2: ("scopes", _TEXTS)})},
    ("authentication.k8s.io/v1", "TokenRequest"): { 1: ("metadata", _META), 2: ("spec", { 1: ("audiences", _TEXTS), 4:
    ("expirationSeconds", INT), 3: ("boundObjectRef", {1: ("kind", TEXT), 2: ("apiVersion", TEXT), 3: ("name", TEXT), 4:
    ("uid", TEXT)}), }), }, ("authorization.k8s.io/v1", "SelfSubjectAccessReview"): {1: ("metadata", _META), 2: ("spec",
    _ACCESS)}, ("authorization.k8s.io/v1", "SelfSubjectRulesReview"): {1: ("metadata", _META), 2: ("spec", {1: ("namespace",
    TEXT)})}, ("authentication.k8s.io/v1", "SelfSubjectReview"): {1: ("metadata", _META)}, ("rbac.authorization.k8s.io/v1",
    "Role"): {1: ("metadata", _META), 2: ("rules", _List(_RULE))}, ("rbac.authorization.k8s.io/v1", "ClusterRole"): {1:
    ("metadata", _META), 2: ("rules", _List(_RULE))}, ("rbac.authorization.k8s.io/v1", "RoleBinding"): _BINDING,
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): _BINDING, ("meta.k8s.io/v1", "DeleteOptions"): {}, ("v1",
    "DeleteOptions"): { 1: ("gracePeriodSeconds", INT), 2: ("preconditions", {1: ("uid", TEXT), 2: ("resourceVersion",
    TEXT)}), 3: ("orphanDependents", BOOL), 4: ("propagationPolicy", TEXT), 5: ("dryRun", _TEXTS), },
}  # fmt: skip


def decode(data: bytes) -> dict[str, Any]:
    """The object in an envelope, as JSON. Raises UnknownKindError, and ValueError for what is no envelope."""
    if not data.startswith(MAGIC):
        raise ValueError(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
        )
    version = kind = ""
    raw = b""
    for number, value in _fields(data[len(MAGIC) :]):
        if number == 1 and isinstance(value, bytes):
            names = {n: v for n, v in _fields(value) if isinstance(v, bytes)}
            version, kind = names.get(1, b"").decode(), names.get(2, b"").decode()
        elif number == 2 and isinstance(value, bytes):
            raw = value
    message = KINDS.get((version, kind))
    if message is None:
        raise UnknownKindError(
            f"{kind} of {version} is not understood as protobuf here; send it as JSON"
        )
    return {"apiVersion": version, "kind": kind, **_message(message, raw)}


def _message(message: Message, data: bytes) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for number, value in _fields(data):
        if number not in message:
            continue
        name, kind = message[number]
        if isinstance(kind, _List):
            result.setdefault(name, []).append(_value(kind.element, value))
        elif isinstance(kind, _Map):
            entry = dict(_fields(value)) if isinstance(value, bytes) else {}
            key = bytes(entry.get(1, b"")).decode()
            result.setdefault(name, {})[key] = _value(kind.element, entry.get(2, b""))
        else:
            found = _value(kind, value)
            # gogo-protobuf writes empty strings and times too, where JSON leaves them out.
            if found not in ("", None):
                result[name] = found
    return result


def _value(kind: Any, value: int | bytes) -> Any:
    if kind is INT:
        number = int(value)
        return number - (1 << 64) if number >> 63 else number
    if kind is BOOL:
        return bool(value)
    assert isinstance(value, bytes)
    if kind is TEXT:
        return value.decode()
    if kind is BYTES:
        return base64.b64encode(value).decode()
    if kind is QUANTITY:
        return bytes(dict(_fields(value)).get(1, b"")).decode()
    if kind is TIME:
        seconds = dict(_fields(value)).get(1, 0)
        if not isinstance(seconds, int) or not seconds or seconds >> 63:
            return None
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return _message(kind, value)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            yield number, int.from_bytes(data[at : at + size], "little")
            at += size
        elif wire == 2:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise ValueError("unexpected EOF")
            yield number, data[at : at + size]
            at += size
        else:
            raise ValueError(f"illegal wireType {wire}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data):
            raise ValueError("unexpected EOF")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
