"""The sentence about a request that is not allowed."""

from __future__ import annotations

from .interfaces import Attributes, User


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
