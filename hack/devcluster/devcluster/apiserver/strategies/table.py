"""The strategies of built-in resources."""

from __future__ import annotations

from typing import Any

from ..strategy import Strategy
from .core import Data, Namespaces, Revisions, Secrets
from .crds import Definitions
from .jobs import CronJobs, Jobs
from .pods import Pods
from .policies import Bindings, Policies
from .webhooks import WebhookConfigurations


class _PathNames(Strategy):
    """RBAC objects have names such as system:node."""

    name_rule = "path"


class _Generation(Strategy):
    """Resources whose spec is counted."""

    generation = True


class _PriorityClasses(_Generation):
    """preemptionPolicy defaults to PreemptLowerPriority."""

    def default(self, obj: dict[str, Any]) -> None:
        """As pkg/apis/scheduling/v1/defaults.go."""
        obj.setdefault("preemptionPolicy", "PreemptLowerPriority")

    def spec_of(self, obj: dict[str, Any]) -> Any:
        """The fields that generation counts."""
        return [obj.get(field) for field in ("value", "globalDefault", "preemptionPolicy")]


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
    "cronjobs.batch": CronJobs(),
    "priorityclasses.scheduling.k8s.io": _PriorityClasses(),
    "poddisruptionbudgets.policy": _Generation(),
    "networkpolicies.networking.k8s.io": _Generation(),
    "ingresses.networking.k8s.io": _Generation(),
    "statefulsets.apps": _Generation(),
    "daemonsets.apps": _Generation(),
    "replicasets.apps": _Generation(),
    "validatingadmissionpolicies.admissionregistration.k8s.io": Policies(),
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": Bindings(),
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": WebhookConfigurations(
        mutating=True
    ),
    "validatingwebhookconfigurations.admissionregistration.k8s.io": WebhookConfigurations(),
} | {
    f"{plural}.{_RBAC}": _PathNames()
    for plural in ("roles", "clusterroles", "rolebindings", "clusterrolebindings")
}
