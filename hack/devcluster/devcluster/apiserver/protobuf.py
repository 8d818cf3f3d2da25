"""Decodes Kubernetes' protobuf envelope, which kubectl's typed commands (create job, create namespace …) send.

data/protobuf.json, which hack/devcluster/protobuf_fields.py writes, has the fields of messages as "number name type". The
name `=` means that the message's own fields replace it. Types are s (string), i (integer), b (boolean), y (bytes), t
and u (times), q (quantity), o (integer or string), r (raw JSON) or another message. The prefix [ marks lists, { maps with
text keys, ( a message that holds a list; the suffix `?` marks a zero value that JSON omits.
Answers are always JSON, which every client accepts beside protobuf.
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic_core import from_json

MAGIC = b"k8s\x00"

Object = dict[str, Any]


class UnknownKindError(ValueError):
    """A kind whose fields data/protobuf.json does not have."""


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a message; `name` is '=' for a message whose fields are those of the outer one."""

    name: str
    type: str
    omits_zero: bool


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = from_json(
        files(__package__).joinpath("data/protobuf.json").read_bytes()
    )
    return table


@cache
def _message_fields(name: str) -> dict[int, _Field]:
    found: dict[int, _Field] = {}
    for row in _table()["messages"][name]:
        number, field, kind = row.split(" ")
        found[int(number)] = _Field(field, kind.removesuffix("?"), kind.endswith("?"))
    return found


def decode(data: bytes) -> Object:
    """The object in an envelope, as JSON. Raises UnknownKindError, and ValueError for data without an envelope."""
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
    message = _table()["kinds"].get(f"{version} {kind}")
    if message is None:
        raise UnknownKindError(
            f"{kind} of {version} is not understood as protobuf here; send it as JSON"
        )
    return {"apiVersion": version, "kind": kind, **_message(message, raw)}


def _message(name: str, data: bytes) -> Object:
    fields = _message_fields(name)
    result: Object = {}
    for number, value in _fields(data):
        field = fields.get(number)
        if field is None:
            continue
        if field.name == "=":
            result.update(_value(field.type, value))
        elif field.type[0] == "[":
            result.setdefault(field.name, []).append(_value(field.type[1:], value))
        elif field.type[0] == "{":
            key, item = _entry(field.type[1:], value)
            result.setdefault(field.name, {})[key] = item
        else:
            found = _value(field.type, value)
            # Go writes empty values and times in protobuf too, where its JSON leaves them out.
            if found is not None and (found or not field.omits_zero):
                result[field.name] = found
    return result


def _entry(kind: str, value: int | bytes) -> tuple[str, Any]:
    entry = dict(_fields(_bytes(value)))
    empty: int | bytes = 0 if kind in ("i", "b") else b""
    return _text(entry.get(1, b"")), _value(kind, entry.get(2, empty))


def _value(kind: str, value: int | bytes) -> Any:
    read = _READERS.get(kind)
    if read is not None:
        return read(value)
    if kind[0] == "(":
        return [_value(kind[1:], each) for _, each in _fields(_bytes(value))]
    return _message(kind, _bytes(value))


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("wrong wireType")
    return value


def _text(value: int | bytes) -> str:
    return _bytes(value).decode()


def _integer(value: int | bytes) -> int:
    number = int(value)
    return number - (1 << 64) if number >> 63 else number


def _quantity(value: int | bytes) -> str:
    return _text(dict(_fields(_bytes(value))).get(1, b""))


def _int_or_string(value: int | bytes) -> int | str:
    parts = dict(_fields(_bytes(value)))
    return _text(parts.get(3, b"")) if parts.get(1) else _integer(parts.get(2, 0))


def _raw(value: int | bytes) -> Any:
    raw = dict(_fields(_bytes(value))).get(1, b"")
    return from_json(_bytes(raw)) if raw else None


def _instant(value: int | bytes) -> datetime.datetime | None:
    parts = dict(_fields(_bytes(value)))
    seconds = parts.get(1, 0)
    if not isinstance(seconds, int) or not seconds or seconds >> 63:
        return None
    instant = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return instant.replace(microsecond=int(parts.get(2, 0)) // 1000)


def _time(value: int | bytes) -> str | None:
    instant = _instant(value)
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ") if instant else None


def _micro_time(value: int | bytes) -> str | None:
    instant = _instant(value)
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if instant else None


_READERS: dict[str, Callable[[int | bytes], Any]] = {
    "s": _text,
    "i": _integer,
    "b": bool,
    "y": lambda value: base64.b64encode(_bytes(value)).decode(),
    "q": _quantity,
    "o": _int_or_string,
    "r": _raw,
    "t": _time,
    "u": _micro_time,
}


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
