"""Interfaces of the API server: authentication, authorization, admission, subresources.

Authentication, authorization and admission are given to `create_app`; handlers of subresources and reviews that need a node
or an authenticator are registered in a `SubresourceRegistry`. All callables but subresource handlers are synchronous.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class User:
    """A caller. `extra` as in authentication.k8s.io UserInfo."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def _silent(text: str) -> None:
    """Take a warning and drop it."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """A request as authorization and admission see it.

    For a non-resource request (`is_resource` False) only `verb` (lower-case HTTP method) and `path` are set. `kind`,
    `operation` (CREATE, UPDATE, DELETE), `dry_run` and `user` are filled in for admission. `name` is '' for collections and
    for creates by generateName. `warn` adds a Warning header to the answer.
    """

    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    is_resource: bool = True
    kind: str = ""
    operation: str = ""
    dry_run: bool = False
    user: User | None = None
    label_selector: str = ""
    field_selector: str = ""
    warn: Callable[[str], None] = field(default=_silent, compare=False, repr=False)


class Authenticator(Protocol):
    """Authenticates a request; None is an anonymous caller. Raises StatusError (401) for bad credentials."""

    def __call__(self, request: web.Request, /) -> User | None: ...


class Authorizer(Protocol):
    """Decides whether `user` may do what `attributes` describe, and why (the reason may be '')."""

    def __call__(self, user: User, attributes: Attributes, /) -> tuple[bool, str]: ...


class AdmissionPlugin(Protocol):
    """Changes or refuses a write.

    Called for CREATE (`old` None), UPDATE (both) and DELETE (`obj` None) after defaulting. A plugin with an attribute `phase`
    of "validating" runs after the object was validated and must not change it; others run before and may change `obj` in
    place or replace it: the one returned is used. Raises StatusError to refuse.
    """

    def __call__(
        self, attributes: Attributes, obj: Object | None, old: Object | None, /
    ) -> Object | None: ...


@dataclass(frozen=True, slots=True)
class SubresourceRequest:
    """The argument of a registered handler: the HTTP request, its attributes, the caller, the decoded body or None."""

    request: web.Request
    attributes: Attributes
    user: User
    body: Object | None


SubresourceHandler = Callable[[SubresourceRequest], Awaitable[web.StreamResponse]]


class SubresourceRegistry:
    """Handlers of subresources and reviews, by (group, resource, subresource), e.g. ("", "pods", "log").

    The subresource is '' for reviews, e.g. ("authorization.k8s.io", "subjectaccessreviews", ""), which answer a create.
    """

    def __init__(self) -> None:
        self._handlers: dict[tuple[str, str, str], SubresourceHandler] = {}

    def register(
        self, group: str, resource: str, subresource: str, handler: SubresourceHandler
    ) -> None:
        """Add or replace a handler."""
        self._handlers[group, resource, subresource] = handler

    def find(self, group: str, resource: str, subresource: str) -> SubresourceHandler | None:
        """The handler, or None."""
        return self._handlers.get((group, resource, subresource))
