"""Authentication of requests: client certificates, bearer tokens, anonymous callers, and impersonation.

As in the API server: credentials that are there but wrong are refused (401), no credentials are `system:anonymous`; who is
known is in `system:authenticated` besides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from urllib.parse import unquote

from aiohttp import web
from cryptography import x509
from cryptography.x509.oid import NameOID

from devcluster.apiserver.errors import bad_request, forbidden, forbidden_reason, unauthorized
from devcluster.apiserver.interfaces import Attributes, Authorizer, User

from .serviceaccounts import USER_PREFIX, ServiceAccountTokens, TokenIdentity, groups

ANONYMOUS = User("system:anonymous", groups=("system:unauthenticated",))
AUTHENTICATED = "system:authenticated"
MASTERS = "system:masters"
AUTHORIZATION = "Authorization"
_CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
_EXTRA_PREFIX = "impersonate-extra-"


class RequestAuthenticator:
    """The authenticator of the API server. `static_tokens` are bearer tokens that never expire.

    `plain_user` is who comes over plain HTTP without credentials, where that is served.
    """

    def __init__(
        self,
        tokens: ServiceAccountTokens,
        authorize: Authorizer,
        *,
        static_tokens: Mapping[str, User] | None = None,
    ) -> None:
        self._tokens = tokens
        self._authorize = authorize
        self.static_tokens = dict(static_tokens or {})
        self.plain_user: User | None = None
        self._certificates: dict[bytes, User] = {}

    def __call__(self, request: web.Request, /) -> User:
        """The caller. Raises StatusError: 401 for bad credentials, 403 for an impersonation that is not allowed."""
        user = self._authenticate(request)
        headers = request.headers
        if "Impersonate-User" in headers or "Impersonate-Group" in headers:
            return self._impersonate(request, user)
        return user

    def review(self, token: str) -> TokenIdentity | None:
        """Whose a bearer token is, or None."""
        static = self.static_tokens.get(token)
        if static is not None:
            return TokenIdentity(_authenticated(static), (self._tokens.issuer,))
        return self._tokens.authenticate(token)

    def _authenticate(self, request: web.Request) -> User:
        certificate = self._peer_certificate(request)
        if certificate is not None:
            return certificate
        if (
            self.plain_user is not None
            and not request.secure
            and AUTHORIZATION not in request.headers
        ):
            return self.plain_user
        scheme, _, token = request.headers.get(AUTHORIZATION, "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return ANONYMOUS
        identity = self.review(token.strip())
        if identity is None or self._tokens.issuer not in identity.audiences:
            raise unauthorized()
        return identity.user

    def _peer_certificate(self, request: web.Request) -> User | None:
        transport = request.transport
        connection = transport.get_extra_info("ssl_object") if transport is not None else None
        der: bytes | None = connection.getpeercert(True) if connection is not None else None
        if der is None:
            return None
        user = self._certificates.get(der)
        if user is None:
            user = self._certificates[der] = certificate_user(der)
        return user

    def _impersonate(self, request: web.Request, user: User) -> User:
        headers = request.headers
        name = headers.get("Impersonate-User", "")
        wanted = headers.getall("Impersonate-Group", [])
        if not name:
            raise bad_request("requested impersonation without impersonating a user name")
        if name.startswith(USER_PREFIX) and name.count(":") == USER_PREFIX.count(":") + 1:
            namespace, account = name.removeprefix(USER_PREFIX).split(":")
            self._may_impersonate(user, "serviceaccounts", account, namespace)
            wanted = wanted or list(groups(namespace))
        else:
            self._may_impersonate(user, "users", name)
        for group in wanted:
            self._may_impersonate(user, "groups", group)
        extra: dict[str, tuple[str, ...]] = {}
        for key in {each.lower() for each in headers if each.lower().startswith(_EXTRA_PREFIX)}:
            extra[unquote(key.removeprefix(_EXTRA_PREFIX))] = tuple(headers.getall(key))
        other = User(name, headers.get("Impersonate-Uid", ""), tuple(wanted), extra)
        return other if name == ANONYMOUS.name else _authenticated(other)

    def _may_impersonate(self, user: User, resource: str, name: str, namespace: str = "") -> None:
        attributes = Attributes(
            verb="impersonate", version="v1", resource=resource, name=name, namespace=namespace
        )
        allowed, reason = self._authorize(user, attributes)
        if not allowed:
            raise forbidden("", resource, name, forbidden_reason(user, attributes, reason))


def certificate_user(der: bytes) -> User:
    """The user of a client certificate: its common name, its organizations as groups."""
    subject = x509.load_der_x509_certificate(der).subject
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    organizations = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return User(
        str(names[0].value) if names else "",
        groups=(*(str(each.value) for each in organizations), AUTHENTICATED),
        extra={_CREDENTIAL_ID: (f"X509SHA256={hashlib.sha256(der).hexdigest()}",)},
    )


def _authenticated(user: User) -> User:
    if AUTHENTICATED in user.groups:
        return user
    return User(user.name, user.uid, (*user.groups, AUTHENTICATED), user.extra)
