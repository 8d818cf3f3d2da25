"""Resource, object and verb of a request: the RequestInfo of the real API server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_METHOD_VERBS = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """A parsed request. For a path outside of resources only `verb` and `path` are set."""

    verb: str
    path: str
    is_resource: bool = False
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""


def parse(method: str, path: str, query: Mapping[str, str]) -> RequestInfo:
    """Take a request apart. Paths such as /apis/batch/v1 are no resource requests."""
    plain = RequestInfo(method.lower(), path)
    parts = [part for part in path.split("/") if part]
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return plain
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        if len(rest) == 2 or (
            len(rest) == 3 and rest[2] in _NAMESPACE_SUBRESOURCES and group == ""
        ):
            namespace = rest[1]
        else:
            namespace, rest = rest[1], rest[2:]
    resource, name, subresource = rest[0], *_two(rest[1:])
    verb = _METHOD_VERBS.get(method, "")
    if not name:
        if verb == "get":
            verb = "watch" if query.get("watch") in ("1", "true", "True") else "list"
        elif verb == "delete":
            verb = "deletecollection"
    elif verb == "get" and not subresource and query.get("watch") in ("1", "true"):
        verb = "watch"
    return RequestInfo(
        verb,
        path,
        is_resource=True,
        group=group,
        version=version,
        namespace=namespace,
        resource=resource,
        name=name,
        subresource=subresource,
        rest="/".join(rest[3:]),
    )


def _two(parts: list[str]) -> tuple[str, str]:
    return (parts[0] if parts else "", parts[1] if len(parts) > 1 else "")
