"""serviceaccounts/token: a token for a ServiceAccount.

Checks and wording as in pkg/registry/core/serviceaccount/storage/token.go.
"""

from __future__ import annotations

from typing import Any

from devcluster.apiserver.errors import (
    FieldError,
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
    ServiceAccountTokens,
)

GROUP = "authentication.k8s.io"


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
        if spec.get("boundObjectRef") is not None:
            raise bad_request("the development cluster does not bind tokens to objects on request")
        token, expires = self._tokens.issue(stored.object, seconds=seconds, audiences=audiences)
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


def _expiration_errors(seconds: int) -> list[FieldError]:
    field = "spec.expirationSeconds"
    if seconds < MIN_SECONDS:
        return [invalid_value(field, seconds, "may not specify a duration less than 10 minutes")]
    if seconds > MAX_SECONDS:
        return [
            invalid_value(field, seconds, "may not specify a duration larger than 2^32 seconds")
        ]
    return []
