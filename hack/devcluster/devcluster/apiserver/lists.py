"""Lists: which state, which objects, pages."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from devcluster.storage import CompactedError, Storage, Stored

from .errors import StatusError, bad_request, expired, too_large_resource_version
from .negotiation import go_json_error
from .selectors import Selection

CONTINUE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing "
    "with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the "
    "time the first chunk was returned and now may show up in the list."
)
EXACT_EXPIRED = "The resourceVersion for the provided list is too old."


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. `remaining` is None when it is unknown (with a selector) or 0."""

    items: list[Stored]
    revision: int
    token: str = ""
    remaining: int | None = None


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The parameters of a list. `match` is resourceVersionMatch."""

    limit: int = 0
    token: str = ""
    resource_version: str = ""
    match: str = ""

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> ListQuery:
        """From a request's query. Raises StatusError 400."""
        limit = query.get("limit", "0") or "0"
        if not limit.lstrip("-").isdigit():
            raise bad_request(f'strconv.ParseInt: parsing "{limit}": invalid syntax')
        parsed = cls(
            max(0, int(limit)),
            query.get("continue", ""),
            query.get("resourceVersion", ""),
            query.get("resourceVersionMatch", ""),
        )
        if parsed.token and parsed.resource_version not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        return parsed


def list_page(
    storage: Storage, key: str, namespace: str | None, query: ListQuery, selection: Selection
) -> Page:
    """One page. Raises StatusError (400, 410, 504)."""
    if query.token:
        start, revision = _decode_token(query.token)
        items = _state_at(storage, key, namespace, revision, query.token)
        items = [item for item in items if _cursor(item, namespace) >= start]
    else:
        items, revision = _first_state(storage, key, namespace, query)
    if not query.limit:
        return Page([item for item in items if selection.matches(item)], revision)
    return _cut(items, revision, query.limit, selection, namespace)


def _first_state(
    storage: Storage, key: str, namespace: str | None, query: ListQuery
) -> tuple[Sequence[Stored], int]:
    version = query.resource_version
    if version and version != "0":
        wanted = parse_revision(version)
        if wanted > storage.revision:
            raise too_large_resource_version(wanted, storage.revision)
        if query.match == "Exact":
            try:
                return storage.list_at(key, namespace, wanted), wanted
            except CompactedError:
                raise expired(EXACT_EXPIRED) from None
    return storage.list(key, namespace), storage.revision


def parse_revision(text: str) -> int:
    """A resourceVersion of a query. Raises StatusError (500, as the real server answers)."""
    if not text.isdigit():
        message = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        raise StatusError(500, "", message)
    return int(text)


def _cursor(item: Stored, namespace: str | None) -> str:
    return f"{item.namespace}/{item.name}" if namespace is None else item.name


def _state_at(
    storage: Storage, key: str, namespace: str | None, revision: int, token: str
) -> Sequence[Stored]:
    if revision < 0:
        return storage.list(key, namespace)
    try:
        return storage.list_at(key, namespace, revision)
    except CompactedError:
        start, _ = _decode_token(token)
        error = expired(CONTINUE_EXPIRED)
        error.metadata = {"continue": _encode_token(start, -1)}
        raise error from None


def _cut(
    items: Sequence[Stored], revision: int, limit: int, selection: Selection, namespace: str | None
) -> Page:
    matching: Iterator[Stored] = (
        (item for item in items if selection.matches(item)) if selection else iter(items)
    )
    page = list(islice(matching, limit))
    following = next(matching, None)
    if following is None:
        return Page(page, revision)
    token = _encode_token(_cursor(page[-1], namespace) + "\x00", revision)
    remaining = None if selection else len(items) - len(page)
    return Page(page, revision, token, remaining)


def _encode_token(start: str, revision: int) -> str:
    raw = json.dumps(
        {"v": "meta.k8s.io/v1", "rv": revision, "start": "/" + start}, separators=(",", ":")
    )
    return base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")


def _decode_token(token: str) -> tuple[str, int]:
    prefix = "invalid continue token: continue key is not valid: "
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        raise bad_request(prefix + "illegal base64 data at input byte 0") from None
    text = raw.decode("latin-1")
    try:
        data = json.loads(text)
        return str(data["start"])[1:], int(data["rv"])
    except (ValueError, KeyError, TypeError):
        raise bad_request(prefix + go_json_error(text)) from None


def list_metadata(page: Page) -> dict[str, Any]:
    """The metadata of a list."""
    metadata: dict[str, Any] = {"resourceVersion": str(page.revision)}
    if page.token:
        metadata["continue"] = page.token
    if page.remaining:
        metadata["remainingItemCount"] = page.remaining
    return metadata
