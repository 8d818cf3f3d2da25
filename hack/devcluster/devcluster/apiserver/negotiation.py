"""Content negotiation, and decoding of request bodies."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml
from pydantic_core import from_json, to_json

from . import protobuf
from .errors import StatusError

JSON = "application/json"
PROTOBUF = "application/vnd.kubernetes.protobuf"
YAML = "application/yaml"
BODY_LIMIT = 3 * 1024 * 1024
_JSON_TYPES = frozenset({"", JSON, "*/*", "application/*"})
_YAML_TYPES = frozenset({YAML, "application/x-yaml", "text/yaml"})


@dataclass(frozen=True, slots=True)
class Accepted:
    """The chosen form: media type, and `transform` '', 'Table', 'PartialObjectMetadata' or 'PartialObjectMetadataList'."""

    media: str = JSON
    transform: str = ""

    def encode(self, body: Any) -> bytes:
        """`body` in this media type; JSON ends with a newline as Go's encoder does."""
        if self.media == YAML:
            return yaml.safe_dump(body, sort_keys=True, allow_unicode=True).encode()
        return to_json(body) + b"\n"


@lru_cache(maxsize=512)
def negotiate(accept: str) -> Accepted:
    """The first acceptable form of an Accept header. Raises StatusError 406."""
    if not accept:
        return Accepted()
    for clause in accept.split(","):
        media, *raw = (part.strip() for part in clause.split(";"))
        params = dict(part.split("=", 1) for part in raw if "=" in part)
        if media not in _JSON_TYPES and media not in _YAML_TYPES:
            continue
        chosen = YAML if media in _YAML_TYPES else JSON
        transform = params.get("as", "")
        if not transform:
            return Accepted(chosen)
        if params.get("g") == "meta.k8s.io" and params.get("v") in ("v1", "v1beta1"):
            return Accepted(chosen, transform)
    message = (
        "only the following media types are accepted: application/json, application/yaml, "
        "application/json;stream=watch"
    )
    raise StatusError(406, "NotAcceptable", message)


def decode_body(data: bytes, content_type: str, kind: str) -> Any:
    """A request's object. `kind` is the expected kind, for messages. Raises StatusError 400 or 415."""
    media = content_type.split(";", 1)[0].strip()
    if media in _YAML_TYPES:
        return load_yaml(data)
    if media == PROTOBUF:
        return load_protobuf(data)
    if media not in _JSON_TYPES and not media.endswith("+json"):
        message = (
            "the body of the request was in an unknown format - accepted media types include: "
            "application/json, application/yaml, application/vnd.kubernetes.protobuf"
        )
        raise StatusError(415, "UnsupportedMediaType", message)
    return load_json(data, kind)


def load_protobuf(data: bytes) -> Any:
    """An object that kubectl's typed commands send. Raises StatusError 400 or 415."""
    try:
        return protobuf.decode(data)
    except protobuf.UnknownKindError as error:
        raise StatusError(415, "UnsupportedMediaType", str(error)) from None
    except ValueError as error:
        raise StatusError(400, "BadRequest", f"unable to decode: {error}") from None


def load_json(data: bytes, kind: str) -> Any:
    """JSON, or StatusError 400 with Go's message."""
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError:
        text = data.decode(errors="replace")
        shown = text if len(text) <= 30 else text[:30] + " ..."
        why = f"couldn't get version/kind; json parse error: {go_json_error(text)}"
        message = f"the object provided is unrecognized (must be of type {kind}): {why} ({shown})"
        raise StatusError(400, "BadRequest", message) from None


def load_patch(data: bytes) -> Any:
    """A patch in JSON, or StatusError 400 with Go's message."""
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError:
        message = f"error decoding patch: {go_json_error(data.decode(errors='replace'))}"
        raise StatusError(400, "BadRequest", message) from None


def load_yaml(data: bytes) -> Any:
    """YAML (or JSON), with times left as strings. Raises StatusError 400."""
    try:
        return from_json(data)
    except ValueError:
        pass
    try:
        return yaml.load(data, Loader=_StringTimesLoader)
    except yaml.YAMLError as error:
        raise StatusError(400, "BadRequest", f"error decoding YAML: {error}") from None


class _StringTimesLoader(yaml.SafeLoader):
    """Safe YAML in which timestamps stay what they are in JSON: strings."""


_StringTimesLoader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def go_json_error(text: str) -> str:
    """The message of encoding/json for malformed JSON."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        rest = text[error.pos :].lstrip()
        if not rest:
            return "unexpected end of JSON input"
        char = rest[0]
        if error.msg.startswith("Expecting property name"):
            return f"invalid character {_quoted(char)} looking for beginning of object key string"
        if error.msg.startswith("Expecting ':'"):
            return f"invalid character {_quoted(char)} after object key"
        if error.msg.startswith("Expecting ','"):
            inside = (
                "array element"
                if text[: error.pos].count("[") > text[: error.pos].count("]")
                else "object key:value pair"
            )
            return f"invalid character {_quoted(char)} after {inside}"
        if error.msg.startswith("Extra data"):
            return f"invalid character {_quoted(char)} after top-level value"
        return f"invalid character {_quoted(char)} looking for beginning of value"
    return "invalid character"


def _quoted(char: str) -> str:
    return "'\\''" if char == "'" else f"'{char}'"
