"""Validates an agent's result for the status.

The API server rejects a whole status if one field has a wrong type. Terminals, tables and pages show the result too. So
each field is validated on its own: valid fields are kept, others are dropped. A result never fails a task.

- Texts and field names contain no control characters (``clean_text``).
- A link is an absolute http or https URL without user information.
- A number is finite and its absolute value is at most 2**53, so that all JSON parsers agree on it. The cost and the
  tokens of a task have lower limits, because counters accumulate them.
"""

import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from math import inf
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic_core import from_json

from kubetask_controller.api import constants as c
from kubetask_controller.api.patterns import BRANCH_PATTERN
from kubetask_controller.api.status import TaskResult, Usage
from kubetask_controller.api.text import clean_line, clean_text
from kubetask_controller.types import JSON

MAX_COST_USD: Final = 1_000_000
"""Of one task. A larger value is an error, and a counter that includes it stays wrong."""
MAX_TOKENS: Final = 10**12
"""Of one task."""
MAX_NUMBER: Final = 2**53
"""Doubles are exact up to this value."""
MAX_DEPTH: Final = 8
"""Maximum nesting of lists and objects below a field."""
MAX_LINK_LENGTH: Final = 2048

_FORBIDDEN = frozenset({"apiVersion", "kind", "metadata"})
"""Names with a meaning for tools that traverse objects."""
_KNOWN = {field.alias or name for name, field in TaskResult.model_fields.items()} | {
    "reason",
    "pullRequests",
}
_COST_DIGITS = 6
_URL = re.compile(r"https?://[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+", re.IGNORECASE)
"""The characters of RFC 3986."""
_ACTIVE = re.compile(r"(?:javascript:|vbscript:|blob:|file:/|data:[a-z]*/)", re.IGNORECASE)
"""Schemes that a browser executes or opens on the local machine."""
_MISSING: Final = object()


def parse_result(text: str) -> JSON | None:
    """The result in a termination message; None if the text is not a JSON object.

    NaN, Infinity, 1e400, integers of any length and lone surrogates are parsed, so that only their own field is dropped.
    """
    try:
        value = json.loads(text.lstrip("\ufeff"), parse_int=_integer)
    except (ValueError, RecursionError):
        return None
    return clean_result(value) if isinstance(value, dict) else None


def parse_cut_result(text: str) -> JSON | None:
    """As ``parse_result``, for a text that was cut somewhere: its whole fields, and of lists the whole items."""
    try:
        json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        pass
    else:
        # Several lines of JSON, as of a log.
        return None
    try:
        # A number at the end may lack digits; an incomplete text is dropped by the parser.
        value = from_json(text.rstrip("0123456789+-.eE"), allow_partial=True)
    except ValueError:
        return None
    return clean_result(value) or None if isinstance(value, dict) else None


def clean_result(value: Mapping[str, Any]) -> JSON:
    """The fields of ``value`` that are valid in a ``result`` of a status.

    Unknown fields are kept with cleaned texts and without invalid parts.
    """
    result: JSON = {}
    for key, item in value.items():
        if not _is_name(key) or key in _FORBIDDEN:
            continue
        found = _known(key, item) if key in _KNOWN else _clean(item, MAX_DEPTH)
        if found is not _MISSING:
            result[key] = found
    return result


def http_link(value: object) -> str | None:
    """``value`` if it is an absolute http or https URL that is safe to show as a link; else None."""
    if not isinstance(value, str) or len(value) > MAX_LINK_LENGTH or not _URL.fullmatch(value):
        return None
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    # Users mistake the part before an @ for the host.
    return value if host and port != 0 and "@" not in parts.netloc else None


def _known(key: str, item: Any) -> Any:
    if key == "pullRequest":
        found: Any = http_link(item)
    elif key == "pullRequests":
        found = [x for x in item if http_link(x)][:64] if isinstance(item, list) else None
    elif key == "usage":
        found = _usage(item)
    elif key == "commits":
        found = _lines(item)
    elif key == "summary":
        found = _clean(item, 0)
    elif key == "branch":
        found = item if isinstance(item, str) and re.fullmatch(BRANCH_PATTERN, item) else None
    elif key == "reason":
        found = clean_line(item) if isinstance(item, str) else None
    else:
        found = clean_line(item) if isinstance(item, str) else _clean(item, MAX_DEPTH)
    if found is None or found is _MISSING:
        return _MISSING
    try:
        TaskResult.model_validate({key: found}, strict=True)
    except ValidationError:
        return _MISSING
    return found


def _clean(item: Any, depth: int) -> Any:
    """The value without invalid parts; _MISSING if nothing remains."""
    if item is None or isinstance(item, bool):
        return item
    if isinstance(item, int | float):
        return item if abs(item) <= MAX_NUMBER else _MISSING  # NaN compares as False
    if isinstance(item, str):
        text = clean_text(item)
        # A browser ignores white space in a scheme.
        return _MISSING if _ACTIVE.match("".join(text.split())) else text
    if depth == 0:
        return _MISSING
    if isinstance(item, Mapping):
        named = ((k, _clean(v, depth - 1)) for k, v in item.items() if _is_name(k))
        return {k: v for k, v in named if v is not _MISSING}
    if isinstance(item, list | tuple):
        return [x for x in (_clean(v, depth - 1) for v in item) if x is not _MISSING]
    return _MISSING


def _is_name(key: object) -> bool:
    return isinstance(key, str) and 0 < len(key) <= c.MAX_NAME_LENGTH and clean_line(key) == key


def _lines(value: Any) -> list[str] | None:
    if not isinstance(value, list):
        return None
    lines = [clean_line(x) for x in value if isinstance(x, str)]
    kept = [x for x in lines if x and len(x) <= c.MAX_NAME_LENGTH][:64]
    return kept or None


def _usage(value: Any) -> JSON | None:
    """Token counts as integers, and the cost as a decimal number in a string."""
    if not isinstance(value, Mapping):
        return None
    usage: JSON = {}
    for name, field in Usage.model_fields.items():
        key = field.alias or name
        found = _cost(value.get(key)) if key == "costUSD" else _count(value.get(key))
        if found is not None:
            usage[key] = found
    return usage or None


def _count(value: Any) -> int | None:
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS
    return value if fits else None


def _cost(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value))
        # Check before formatting: 1e1000000000 has a billion digits.
        if not number.is_finite() or not 0 <= number <= MAX_COST_USD:
            return None
        exponent = number.as_tuple().exponent
        if not isinstance(exponent, int) or not -_COST_DIGITS <= exponent <= 0:
            number = number.quantize(Decimal(1).scaleb(-_COST_DIGITS)).normalize()
        text = f"{abs(number):f}"
        Usage.model_validate({"costUSD": text})
    except (InvalidOperation, ValueError):
        return None
    return text


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= 20 else inf
