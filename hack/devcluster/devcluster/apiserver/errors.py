"""Errors with the API server's messages: `StatusError` and the field errors of validation.

Wording follows k8s.io/apimachinery (api/errors, util/validation/field).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .interfaces import Attributes, User

MODIFIED_MESSAGE = (
    "the object has been modified; please apply your changes to the latest version and try again"
)


class StatusError(Exception):
    """An answer other than success. `details`, `metadata` and `retry_after` (seconds) may be absent."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: dict[str, Any] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.retry_after = retry_after
        self.metadata: dict[str, Any] = {}

    def body(self) -> dict[str, Any]:
        """The v1 Status object."""
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            body["reason"] = self.reason
        if self.details is not None:
            body["details"] = self.details
        body["code"] = self.code
        return body


def qualified(resource: str, group: str) -> str:
    """`jobs.batch`, or `pods` for the core group."""
    return f"{resource}.{group}" if group else resource


def _details(name: str, group: str, kind: str) -> dict[str, Any]:
    details = {"name": name, "group": group, "kind": kind}
    return {key: value for key, value in details.items() if value}


def not_found(group: str, resource: str, name: str) -> StatusError:
    """404 for an object."""
    message = f'{qualified(resource, group)} "{name}" not found'
    return StatusError(404, "NotFound", message, details=_details(name, group, resource))


def resource_not_found() -> StatusError:
    """404 for a path that names no resource of a served version."""
    message = "the server could not find the requested resource"
    return StatusError(404, "NotFound", message, details={})


def already_exists(group: str, resource: str, name: str) -> StatusError:
    """409 on create."""
    message = f'{qualified(resource, group)} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, details=_details(name, group, resource))


def conflict(group: str, resource: str, name: str, why: str = MODIFIED_MESSAGE) -> StatusError:
    """409 on a stale write or a failed precondition."""
    message = f'Operation cannot be fulfilled on {qualified(resource, group)} "{name}": {why}'
    return StatusError(409, "Conflict", message, details=_details(name, group, resource))


def bad_request(message: str) -> StatusError:
    """400."""
    return StatusError(400, "BadRequest", message)


def forbidden(group: str, resource: str, name: str, why: str) -> StatusError:
    """403."""
    subject = qualified(resource, group)
    message = (
        f'{subject} "{name}" is forbidden: {why}' if name else f"{subject} is forbidden: {why}"
    )
    return StatusError(403, "Forbidden", message, details=_details(name, group, resource))


def unauthorized() -> StatusError:
    """401."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def method_not_allowed(
    message: str = "the server does not allow this method on the requested resource",
) -> StatusError:
    """405."""
    return StatusError(405, "MethodNotAllowed", message, details={})


def too_large_resource_version(requested: int, current: int) -> StatusError:
    """504: the requested resourceVersion is newer than the newest one of the store."""
    return StatusError(
        504,
        "Timeout",
        f"Timeout: Too large resource version: {requested}, current: {current}",
        details={
            "causes": [
                {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
            ],
            "retryAfterSeconds": 1,
        },
        retry_after=1,
    )


def expired(message: str) -> StatusError:
    """410."""
    return StatusError(410, "Expired", message)


@dataclass(frozen=True, slots=True)
class FieldError:
    """One problem of one field: cause `reason`, `field` path and the sentence about it."""

    reason: str
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def render(value: Any) -> str:
    """A bad value as an error shows it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if value is None:
        return "null"
    if isinstance(value, int | float):
        return str(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def invalid_value(field: str, value: Any, detail: str) -> FieldError:
    """A value that breaks a rule."""
    return FieldError("FieldValueInvalid", field, f"Invalid value: {render(value)}: {detail}")


def required(field: str, detail: str = "") -> FieldError:
    """A value that is not there."""
    return FieldError(
        "FieldValueRequired", field, f"Required value: {detail}" if detail else "Required value"
    )


def not_supported(field: str, value: Any, allowed: Sequence[str]) -> FieldError:
    """A value outside an enumeration."""
    shown = ", ".join(
        json.dumps(each) if isinstance(each, str) else render(each) for each in allowed
    )
    return FieldError(
        "FieldValueNotSupported",
        field,
        f"Unsupported value: {render(value)}: supported values: {shown}",
    )


def field_forbidden(field: str, detail: str) -> FieldError:
    """A field that must not be set here."""
    return FieldError("FieldValueForbidden", field, f"Forbidden: {detail}")


def duplicate(field: str, value: Any) -> FieldError:
    """A value that is there twice."""
    return FieldError("FieldValueDuplicate", field, f"Duplicate value: {render(value)}")


def too_long(field: str, limit: int) -> FieldError:
    """A value of too many bytes."""
    return FieldError("FieldValueTooLong", field, f"Too long: may not be more than {limit} bytes")


def too_many(field: str, count: int, limit: int) -> FieldError:
    """A list of too many items."""
    return FieldError(
        "FieldValueTooMany", field, f"Too many: {count}: must have at most {limit} items"
    )


def invalid(group: str, kind: str, name: str, errors: Iterable[FieldError]) -> StatusError:
    """422 with every problem as a cause; equal sentences appear once in the message."""
    causes = list(errors)
    sentences = list(dict.fromkeys(str(each) for each in causes))
    said = sentences[0] if len(sentences) == 1 else "[" + ", ".join(sentences) + "]"
    details: dict[str, Any] = _details(name, group, kind)
    details["causes"] = [
        {"reason": each.reason, "message": each.message, "field": each.field} for each in causes
    ]
    message = f'{qualified(kind, group)} "{name}" is invalid: {said}'
    return StatusError(422, "Invalid", message, details=details)


def forbidden_reason(user: User, attributes: Attributes, reason: str) -> str:
    """`User "x" cannot list resource "jobs" in API group "batch" in the namespace "default"`, and the authorizer's reason."""
    resource = attributes.resource
    if attributes.subresource:
        resource += f"/{attributes.subresource}"
    where = (
        f'in the namespace "{attributes.namespace}"'
        if attributes.namespace
        else "at the cluster scope"
    )
    text = f'User "{user.name}" cannot {attributes.verb} resource "{resource}" in API group "{attributes.group}" {where}'
    return f"{text}: {reason}" if reason else text
