"""The security of one cluster, put together: keys, authenticator, authorizer, reviews."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from devcluster.apiserver.interfaces import User
from devcluster.apiserver.server import ApiServer
from devcluster.storage import Storage

from .aggregation import ClusterRoleAggregation
from .identity import RequestAuthenticator
from .pki import CertificateAuthority
from .rbac import RBACAuthorizer
from .reviews import Reviews
from .serviceaccounts import ServiceAccountTokens
from .tokens import Signer


class Security:
    """Keys and rules of one cluster. `directory` keeps the keys, so that a restarted cluster accepts its users.

    Give `authenticator` and `authorizer` to `create_server`, then call `install`.
    """

    def __init__(
        self, storage: Storage, directory: Path, *, static_tokens: Mapping[str, User] | None = None
    ) -> None:
        self.authority = CertificateAuthority.load_or_create(directory)
        self.tokens = ServiceAccountTokens(storage, Signer.load_or_create(directory))
        self.authorizer = RBACAuthorizer(storage)
        self.authenticator = RequestAuthenticator(
            self.tokens, self.authorizer, static_tokens=static_tokens
        )

    def install(self, server: ApiServer) -> None:
        """Register the reviews and keep aggregated ClusterRoles."""
        reviews = Reviews(server.registry, self.authenticator, self.authorizer, self.tokens)
        reviews.register(server.subresources)
        aggregation = ClusterRoleAggregation(server.registry)
        aggregation.aggregate()
        server.registry.after_write.append(aggregation)
