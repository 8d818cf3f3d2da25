"""Tokens of ServiceAccounts: issued for a time and perhaps an object, valid as long as account and object are.

Claims and checks are those of the API server's bound tokens (pkg/serviceaccount/claims.go): a token dies with its
ServiceAccount, with the Pod or Secret it is bound to (their uids count, not their names), and with its expiry.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from devcluster.apiserver.interfaces import User
from devcluster.storage import Storage

from .tokens import Signer

ISSUER = "https://kubernetes.default.svc.cluster.local"
DEFAULT_SECONDS = 3600
MIN_SECONDS = 600
MAX_SECONDS = 1 << 32
# The projected token of a Pod requests 3607 s and gets a year, so that old clients that read the file only once keep
# working.
PROJECTED_SECONDS = 3607
EXTENDED_SECONDS = 365 * 24 * 3600
VERIFIED_KEPT = 4096
USER_PREFIX = "system:serviceaccount:"
ALL_GROUP = "system:serviceaccounts"
_EXTRA = "authentication.kubernetes.io/"
_PRIVATE = "kubernetes.io"


@dataclass(frozen=True, slots=True)
class Bound:
    """An object that a token is bound to; `kind` is Pod, Secret or Node."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class TokenIdentity:
    """The ServiceAccount and the audiences of a valid token."""

    user: User
    audiences: tuple[str, ...]


def username(namespace: str, name: str) -> str:
    """`system:serviceaccount:<namespace>:<name>`."""
    return f"{USER_PREFIX}{namespace}:{name}"


def groups(namespace: str) -> tuple[str, ...]:
    """The groups that every ServiceAccount of a namespace is in."""
    return (ALL_GROUP, f"{ALL_GROUP}:{namespace}")


class ServiceAccountTokens:
    """Issues and checks tokens against the objects in `storage`; times are of its clock."""

    def __init__(self, storage: Storage, signer: Signer, *, issuer: str = ISSUER) -> None:
        self._storage = storage
        self.signer = signer
        self.issuer = issuer
        self._verified: dict[str, dict[str, Any]] = {}

    def issue(
        self,
        account: dict[str, Any],
        *,
        seconds: int = DEFAULT_SECONDS,
        audiences: Sequence[str] = (),
        bound: Bound | None = None,
    ) -> tuple[str, float]:
        """A token for the ServiceAccount object `account`, and when it expires (seconds since the epoch)."""
        metadata = account["metadata"]
        now = int(self._storage.clock())
        extended = seconds == PROJECTED_SECONDS and bound is not None and bound.kind == "Pod"
        lifetime = EXTENDED_SECONDS if extended else seconds
        private: dict[str, Any] = {
            "namespace": metadata["namespace"],
            "serviceaccount": {"name": metadata["name"], "uid": metadata["uid"]},
        }
        if bound is not None:
            private[bound.kind.lower()] = {"name": bound.name, "uid": bound.uid}
        if extended:
            private["warnafter"] = now + seconds
        claims = {
            "aud": list(audiences) or [self.issuer],
            "exp": now + lifetime,
            "iat": now,
            "iss": self.issuer,
            "jti": str(uuid.uuid4()),
            _PRIVATE: private,
            "nbf": now,
            "sub": username(metadata["namespace"], metadata["name"]),
        }
        return self.signer.sign(claims), float(now + seconds)

    def authenticate(self, token: str) -> TokenIdentity | None:
        """Whose token this is, or None when it is not valid (any more)."""
        claims = self._claims(token)
        if claims is None or not self._timely(claims):
            return None
        private = claims.get(_PRIVATE) or {}
        namespace = private.get("namespace", "")
        account = private.get("serviceaccount") or {}
        if not self._lives("serviceaccounts", namespace, account):
            return None
        extra = {f"{_EXTRA}credential-id": (f"JTI={claims['jti']}",)}
        for kind, resource, scope in (
            ("pod", "pods", namespace),
            ("secret", "secrets", namespace),
            ("node", "nodes", ""),
        ):
            bound = private.get(kind)
            if bound is None:
                continue
            if not self._lives(resource, scope, bound):
                return None
            if kind != "secret":
                extra[f"{_EXTRA}{kind}-name"] = (bound["name"],)
                extra[f"{_EXTRA}{kind}-uid"] = (bound["uid"],)
        user = User(
            username(namespace, account["name"]),
            uid=account["uid"],
            groups=(*groups(namespace), "system:authenticated"),
            extra=extra,
        )
        return TokenIdentity(user, tuple(claims.get("aud") or ()))

    def _claims(self, token: str) -> dict[str, Any] | None:
        """The claims of a token of ours; a signature is checked once."""
        claims = self._verified.get(token)
        if claims is None:
            claims = self.signer.verify(token)
            if claims is not None:
                if len(self._verified) >= VERIFIED_KEPT:
                    self._verified.clear()
                self._verified[token] = claims
        return claims

    def _timely(self, claims: dict[str, Any]) -> bool:
        now = self._storage.clock()
        return bool(claims.get("nbf", 0) <= now + 1 and now < claims.get("exp", 0))

    def _lives(self, resource: str, namespace: str, reference: dict[str, Any]) -> bool:
        stored = self._storage.get(resource, namespace, reference.get("name", ""))
        return stored is not None and stored.uid == reference.get("uid")
