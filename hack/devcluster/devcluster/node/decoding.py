"""The contents of ConfigMaps and Secrets."""

from __future__ import annotations

import base64
from typing import Any

Object = dict[str, Any]


def data_of(config_map: Object) -> dict[str, bytes]:
    """Keys and contents of a ConfigMap."""
    text = {key: value.encode() for key, value in (config_map.get("data") or {}).items()}
    return text | _decoded(config_map.get("binaryData"))


def secret_data_of(secret: Object) -> dict[str, bytes]:
    """Keys and contents of a Secret."""
    return _decoded(secret.get("data"))


def _decoded(data: Object | None) -> dict[str, bytes]:
    return {key: base64.b64decode(value or "") for key, value in (data or {}).items()}
