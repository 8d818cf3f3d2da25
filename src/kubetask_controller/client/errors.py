"""Errors of requests to the API server.

There are two kinds, because a caller must treat them differently: the server answered with a failure
(APIStatusError), or there was no answer (TransportError), in which case a write may or may not have
been carried out.
"""

from collections.abc import Mapping
from typing import Any

# client-go's reason of each code, for an answer without a Status object (a proxy's page).
_REASON_BY_CODE = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Gone",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
_MESSAGE_LIMIT = 2048
_TOO_LARGE_REASON = "ResourceVersionTooLarge"
_TOO_LARGE_MESSAGE = "Too large resource version"


class ClientError(Exception):
    """A request to the API server failed."""


class ConfigError(ClientError):
    """The kubeconfig, the in-cluster credentials or a credential plugin is not valid."""


class TransportError(ClientError):
    """No answer: refused, reset, timed out, or cut short.

    The request may or may not have been carried out.

    Attributes:
        refused: the connection was refused, so the request was certainly not carried out.
        timed_out: the time limit of the call, or of silence on a stream, has passed.
    """

    def __init__(self, message: str, *, refused: bool = False, timed_out: bool = False) -> None:
        super().__init__(message)
        self.refused = refused
        self.timed_out = timed_out


class APIStatusError(ClientError):
    """The server answered with a failure.

    Attributes:
        code: HTTP status code.
        reason: machine-readable and CamelCase, as in ``metav1.Status``; derived from the code when the
            server sent none.
        message: human-readable, as the server wrote it.
        details: ``metav1.StatusDetails`` as a dict, or None.
        retry_after: seconds after which the server accepts a retry, or None.
    """

    def __init__(
        self,
        *,
        code: int,
        reason: str = "",
        message: str = "",
        details: dict[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.code = code
        self.reason = reason or _REASON_BY_CODE.get(code, "")
        self.message = message or f"the server answered with code {code}"
        self.details = details
        self.retry_after = retry_after
        super().__init__(self.message)

    @classmethod
    def from_status(
        cls, status: Mapping[str, Any], *, code: int = 500, retry_after: float | None = None
    ) -> "APIStatusError":
        """From a ``metav1.Status``: the body of an answer, or the object of an ERROR watch event.

        Args:
            status: the Status as JSON.
            code: used when the Status has none.
            retry_after: the Retry-After header, which takes precedence over ``details.retryAfterSeconds``.
        """
        details = status.get("details")
        details = details if isinstance(details, dict) else None
        if retry_after is None and details and details.get("retryAfterSeconds"):
            retry_after = float(details["retryAfterSeconds"])
        return cls(
            code=int(status.get("code") or code),
            reason=str(status.get("reason") or ""),
            message=str(status.get("message") or "")[:_MESSAGE_LIMIT],
            details=details,
            retry_after=retry_after,
        )


def is_not_found(error: BaseException) -> bool:
    """The object, or the resource itself, does not exist (404)."""
    return isinstance(error, APIStatusError) and error.code == 404


def is_already_exists(error: BaseException) -> bool:
    """An object of that name exists (409, on create)."""
    return isinstance(error, APIStatusError) and error.reason == "AlreadyExists"


def is_conflict(error: BaseException) -> bool:
    """The resourceVersion or UID of the request is not the current one (409, on update and delete)."""
    return isinstance(error, APIStatusError) and error.reason == "Conflict"


def is_expired(error: BaseException) -> bool:
    """The resourceVersion or continue token is too old to be served (410)."""
    return isinstance(error, APIStatusError) and (
        error.code == 410 or error.reason in ("Expired", "Gone")
    )


def is_too_large_resource_version(error: BaseException) -> bool:
    """The server's cache has not reached the requested resourceVersion (504).

    Identified by its cause since Kubernetes 1.18.6, by the cause's message from 1.17.0, and by the
    whole message before.
    """
    if not isinstance(error, APIStatusError):
        return False
    causes = (error.details or {}).get("causes") or []
    return _TOO_LARGE_MESSAGE in error.message or any(
        cause.get("reason") == _TOO_LARGE_REASON or cause.get("message") == _TOO_LARGE_MESSAGE
        for cause in causes
    )


def is_too_many_requests(error: BaseException) -> bool:
    """The server is overloaded and did not carry out the request (429)."""
    return isinstance(error, APIStatusError) and error.code == 429


def is_unauthorized(error: BaseException) -> bool:
    """The credentials were refused, and the request was not carried out (401)."""
    return isinstance(error, APIStatusError) and error.code == 401


def is_forbidden(error: BaseException) -> bool:
    """RBAC, a quota or an admission plugin refused the request (403)."""
    return isinstance(error, APIStatusError) and error.code == 403


def is_internal_error(error: BaseException) -> bool:
    """The server failed (500)."""
    return isinstance(error, APIStatusError) and error.reason == "InternalError"


def is_connection_refused(error: BaseException) -> bool:
    """The connection was refused, so the request was not carried out."""
    return isinstance(error, TransportError) and error.refused
