"""A container's last word: JSON in its termination message, which the controller reads from the Pod's status."""

import os
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from kubetask_controller.api import constants as c

ENV_TERMINATION_LOG = "TERMINATION_LOG"
"""Overrides the path, for use outside of a Pod."""
MAX_FIELD_BYTES = 1024
"""Of a field that cannot be cut, where the message is too long as a whole."""
_PROSE = {"summary", "message"}
_KNOWN = {*_PROSE, "reason", "outcome", "branch", "pullRequest", "usage"}


def termination_log() -> Path:
    """The file whose content the kubelet puts into the status."""
    return Path(os.environ.get(ENV_TERMINATION_LOG, c.TERMINATION_LOG))


def write_termination_message(message: dict[str, Any]) -> bool:
    """Write the message, cut to the limit without breaking the JSON; False where there is no such file."""
    try:
        termination_log().write_bytes(truncated(message))
    except OSError:
        return False
    return True


def truncated(message: dict[str, Any], limit: int = c.MAX_RESULT_BYTES) -> bytes:
    """The message as JSON of at most `limit` bytes.

    Long prose is cut first, then lists, then fields that nobody knows are dropped. A branch or a URL is never cut: half of
    one is worse than none.
    """
    data = to_json(message)
    if len(data) <= limit:
        return data
    cut = dict(message)
    for size in (2048, 1024, 512, 256, 128):
        for key in _PROSE & set(cut):
            if isinstance(cut[key], str) and len(cut[key]) > size:
                cut[key] = cut[key][: size - 1] + "…"
        for key, value in cut.items():
            if isinstance(value, list):
                cut[key] = value[: max(1, size // 64)]
        data = to_json(cut)
        if len(data) <= limit:
            return data
    for fields in (_KNOWN, _PROSE):
        data = to_json({k: v for k, v in cut.items() if k in fields and _is_small(v)})
        if len(data) <= limit:
            return data
    return b"{}"


def _is_small(value: Any) -> bool:
    return len(to_json(value)) <= MAX_FIELD_BYTES
