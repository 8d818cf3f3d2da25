"""A container's last word: JSON in its termination message, which the controller reads from the Pod's status."""

import os
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from kubetask_controller.api import constants as c

ENV_TERMINATION_LOG = "TERMINATION_LOG"
"""Overrides the path, for use outside of a Pod."""


def termination_log() -> Path:
    """The file whose content the kubelet puts into the status."""
    return Path(os.environ.get(ENV_TERMINATION_LOG, c.TERMINATION_LOG))


def leave(message: dict[str, Any]) -> bool:
    """Write the message, cut to the limit without breaking the JSON; False where there is no such file."""
    try:
        termination_log().write_bytes(shortened(message))
    except OSError:
        return False
    return True


def shortened(message: dict[str, Any], limit: int = c.MAX_RESULT_BYTES) -> bytes:
    """The message as JSON of at most `limit` bytes: long texts are cut, then lists, then whatever else is not needed."""
    data = to_json(message)
    if len(data) <= limit:
        return data
    cut = dict(message)
    for size in (2048, 1024, 512, 256, 128):
        for key, value in cut.items():
            if isinstance(value, str) and len(value) > size:
                cut[key] = value[: size - 1] + "…"
            elif isinstance(value, list):
                cut[key] = value[: max(1, size // 64)]
        data = to_json(cut)
        if len(data) <= limit:
            return data
    return to_json(
        {k: v for k, v in cut.items() if k in ("reason", "message", "summary", "branch")}
    )
