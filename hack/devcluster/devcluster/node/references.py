"""Values that a Pod refers to: fieldRef, resourceFieldRef, the expansion of `$(NAME)`, the data of ConfigMaps and Secrets.

Sources: pkg/fieldpath, pkg/api/v1/resource/helpers.go, third_party/forked/golang/expansion.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any

from devcluster.apiserver import quantity

Object = dict[str, Any]

_SUBSCRIPT = re.compile(r"^metadata\.(annotations|labels)\['(.*)'\]\Z")
_REFERENCE = re.compile(r"\$\$|\$\(([^()]*)\)")


def expand(text: str, values: Mapping[str, str]) -> str:
    """`$(NAME)` becomes its value where there is one and stays where there is none; `$$` becomes `$`."""

    def replace(match: re.Match[str]) -> str:
        if match.group(0) == "$$":
            return "$"
        return values.get(match.group(1), match.group(0))

    return _REFERENCE.sub(replace, text)


def field_value(pod: Object, path: str, *, host_ip: str, pod_ip: str) -> str:
    """The value of a fieldRef or of a downwardAPI item. Raises ValueError for a path that names nothing."""
    metadata, spec = pod["metadata"], pod["spec"]
    match = _SUBSCRIPT.match(path)
    if match:
        return str((metadata.get(match.group(1)) or {}).get(match.group(2), ""))
    simple = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.hostIP": host_ip,
        "status.hostIPs": host_ip,
        "status.podIP": pod_ip,
        "status.podIPs": pod_ip,
    }
    if path in simple:
        return str(simple[path])
    if path in ("metadata.labels", "metadata.annotations"):
        pairs = metadata.get(path.rpartition(".")[2]) or {}
        return "\n".join(f"{key}={_go_quote(pairs[key])}" for key in sorted(pairs))
    raise ValueError(f"unsupported fieldPath: {path}")


def _go_quote(text: str) -> str:
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    for sign, code in (("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r")):
        plain = plain.replace(sign, code)
    return f'"{plain}"'


def resource_value(container: Object, reference: Object, allocatable: Mapping[str, str]) -> str:
    """The value of a resourceFieldRef, in units of its divisor, rounded up. A limit that is not set is the node's own."""
    kind, _, name = reference["resource"].partition(".")
    resources = container.get("resources") or {}
    text = (resources.get(kind) or {}).get(name)
    if text is None and kind == "limits":
        text = allocatable.get(name, "0")
    if text is None:
        text = (resources.get("limits") or {}).get(name, "0") if kind == "requests" else "0"
    divisor = quantity.parse(reference.get("divisor") or "1") or Decimal(1)
    return str(int((quantity.parse(text) / divisor).to_integral_value(ROUND_CEILING)))


def data_of(config_map: Object) -> dict[str, bytes]:
    """Keys and contents of a ConfigMap."""
    text = {key: value.encode() for key, value in (config_map.get("data") or {}).items()}
    return text | _decoded(config_map.get("binaryData"))


def secret_data_of(secret: Object) -> dict[str, bytes]:
    """Keys and contents of a Secret."""
    return _decoded(secret.get("data"))


def _decoded(data: Object | None) -> dict[str, bytes]:
    return {key: base64.b64decode(value or "") for key, value in (data or {}).items()}
