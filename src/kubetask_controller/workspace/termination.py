"""A container's termination message: JSON that the controller reads from the Pod's status."""

import os
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from kubetask_controller.api import constants as c

ENV_TERMINATION_LOG = "TERMINATION_LOG"
"""Overrides the path, for use outside a Pod."""
MAX_FIELD_BYTES = 1024
"""Maximum size of a field that cannot be truncated, if the message is too long."""
_FIRST = ("reason", "pullRequest", "branch", "outcome", "usage", "pullRequests")
_PROSE = {"summary", "message"}
_KNOWN = {*_PROSE, "reason", "outcome", "branch", "pullRequest", "usage"}


def termination_log() -> Path:
    """The file whose content the kubelet copies into the status."""
    return Path(os.environ.get(ENV_TERMINATION_LOG, c.TERMINATION_LOG))


def write_termination_message(message: dict[str, Any]) -> bool:
    """Write the message, truncated to the limit as valid JSON. Returns False if the file is not writable."""
    try:
        termination_log().write_bytes(truncated(message))
    except OSError:
        return False
    return True


def truncated(message: dict[str, Any], limit: int = c.MAX_RESULT_BYTES) -> bytes:
    """The message as JSON of at most `limit` bytes.

    Long texts are truncated first, then lists; then unknown fields are dropped. A branch or a URL is never truncated, because
    a partial one is useless. What counts most comes first: the kubelet cuts the messages of a Pod with many containers.
    """
    message = {k: message[k] for k in _FIRST if k in message} | message
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
