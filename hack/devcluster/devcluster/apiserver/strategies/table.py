"""Which built-in resource has which strategy."""

from __future__ import annotations

from ..strategy import Strategy
from .core import Data, Namespaces, Revisions, Secrets
from .crds import Definitions
from .jobs import Jobs
from .pods import Pods


class _PathNames(Strategy):
    """RBAC objects have names such as system:node."""

    name_rule = "path"


class _Generation(Strategy):
    """Resources whose spec is counted."""

    generation = True


_RBAC = "rbac.authorization.k8s.io"

STRATEGIES: dict[str, Strategy] = {
    "jobs.batch": Jobs(),
    "pods": Pods(),
    "customresourcedefinitions.apiextensions.k8s.io": Definitions(),
    "namespaces": Namespaces(),
    "configmaps": Data("data", "binaryData"),
    "secrets": Secrets("data"),
    "controllerrevisions.apps": Revisions(),
    "deployments.apps": _Generation(),
    "cronjobs.batch": _Generation(),
} | {
    f"{plural}.{_RBAC}": _PathNames()
    for plural in ("roles", "clusterroles", "rolebindings", "clusterrolebindings")
}
