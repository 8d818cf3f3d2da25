"""serviceaccounts/token: a token for a ServiceAccount, bound to a Pod, Secret or Node on request.

Checks and wording as in pkg/registry/core/serviceaccount/storage/token.go.
"""

from __future__ import annotations

from typing import Any

from devcluster.apiserver.errors import (
    FieldError,
    StatusError,
    bad_request,
    invalid,
    invalid_value,
    not_found,
)
from devcluster.apiserver.gotime import format_time
from devcluster.apiserver.interfaces import Object, SubresourceRequest
from devcluster.apiserver.registry import Registry

from .serviceaccounts import (
    DEFAULT_SECONDS,
    MAX_SECONDS,
    MIN_SECONDS,
    Bound,
    ServiceAccountTokens,
)

GROUP = "authentication.k8s.io"
_BINDABLE = {"Pod": ("pods", True), "Secret": ("secrets", True), "Node": ("nodes", False)}


class TokenRequests:
    """Answers TokenRequests."""

    def __init__(self, registry: Registry, tokens: ServiceAccountTokens) -> None:
        self._storage = registry.storage
        self._registry = registry
        self._tokens = tokens

    def answer(self, call: SubresourceRequest, request: Object) -> Object:
        """The TokenRequest with its token. Raises StatusError (400, 404, 409, 422)."""
        namespace, name = call.attributes.namespace, call.attributes.name
        stored = self._storage.get("serviceaccounts", namespace, name)
        if stored is None:
            raise not_found("", "serviceaccounts", name)
        spec: dict[str, Any] = request.get("spec") or {}
        seconds = spec.get("expirationSeconds", DEFAULT_SECONDS)
        errors = _expiration_errors(seconds)
        if errors:
            raise invalid(GROUP, "TokenRequest", "", errors)
        audiences = tuple(spec.get("audiences") or ()) or (self._tokens.issuer,)
        bound = self._bound(spec.get("boundObjectRef"), namespace, name)
        token, expires = self._tokens.issue(
            stored.object, seconds=seconds, audiences=audiences, bound=bound
        )
        request["metadata"] = {
            **request["metadata"],
            "name": name,
            "namespace": namespace,
            "uid": stored.uid,
            "creationTimestamp": self._registry.now(),
        }
        request["spec"] = {**spec, "audiences": list(audiences), "expirationSeconds": seconds}
        request["status"] = {"token": token, "expirationTimestamp": format_time(expires)}
        return request

    def _bound(self, reference: Object | None, namespace: str, account: str) -> Bound | None:
        if reference is None:
            return None
        kind, name, uid = (reference.get(key, "") for key in ("kind", "name", "uid"))
        api_version = reference.get("apiVersion", "")
        if api_version != "v1" or kind not in _BINDABLE:
            group, _, version = api_version.rpartition("/")
            raise bad_request(f"cannot bind token to object of type {group}/{version}, Kind={kind}")
        resource, namespaced = _BINDABLE[kind]
        stored = self._storage.get(resource, namespace if namespaced else "", name)
        if stored is None:
            raise not_found("", resource, name)
        if kind == "Pod" and stored.object["spec"].get("serviceAccountName") != account:
            raise bad_request(
                f'cannot bind token for serviceaccount "{account}" to pod running with different serviceaccount name.'
            )
        if uid and uid != stored.uid:
            why = (
                f"the UID in the bound object reference ({uid}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
            message = f'Operation cannot be fulfilled on {kind} "{name}": {why}'
            raise StatusError(409, "Conflict", message, details={"name": name, "kind": kind})
        return Bound(kind, name, stored.uid)


def _expiration_errors(seconds: int) -> list[FieldError]:
    field = "spec.expirationSeconds"
    if seconds < MIN_SECONDS:
        return [invalid_value(field, seconds, "may not specify a duration less than 10 minutes")]
    if seconds > MAX_SECONDS:
        return [
            invalid_value(field, seconds, "may not specify a duration larger than 2^32 seconds")
        ]
    return []
