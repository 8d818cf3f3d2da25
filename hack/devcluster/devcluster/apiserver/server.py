"""The parts of one API server: storage, catalog, registry, CRDs, who may do what. `create_app` puts HTTP around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from devcluster.storage import Storage

from .catalog import Catalog
from .crd import CustomResources
from .interfaces import AdmissionPlugin, Authenticator, Authorizer, SubresourceRegistry, User
from .registry import Registry

if TYPE_CHECKING:
    from .faults import Faults

ANONYMOUS = User("system:anonymous", groups=("system:unauthenticated",))


@dataclass(frozen=True, slots=True)
class ApiServerOptions:
    """Settings. /api returns `advertise_address` (host:port); with a `seed`, uids and generated names are reproducible."""

    advertise_address: str = "127.0.0.1:6443"
    seed: int | None = None


@dataclass(slots=True)
class ApiServer:
    """Dependencies of handlers."""

    storage: Storage
    catalog: Catalog
    registry: Registry
    custom: CustomResources
    authenticator: Authenticator
    authorizer: Authorizer
    options: ApiServerOptions
    subresources: SubresourceRegistry = field(default_factory=SubresourceRegistry)
    faults: Faults | None = None
    ready: bool = True


def create_server(
    storage: Storage,
    *,
    authenticator: Authenticator,
    authorizer: Authorizer,
    admission: Sequence[AdmissionPlugin] = (),
    options: ApiServerOptions | None = None,
) -> ApiServer:
    """Assemble a server over `storage`; objects and CRDs already stored are served at once."""
    options = options or ApiServerOptions()
    catalog = Catalog()
    registry = Registry(storage, catalog, admission=admission, seed=options.seed)
    custom = CustomResources(registry)
    return ApiServer(
        storage,
        catalog,
        registry,
        custom,
        authenticator,
        authorizer,
        options,
    )
