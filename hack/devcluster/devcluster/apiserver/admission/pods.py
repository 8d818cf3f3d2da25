"""Admission of Pods: their ServiceAccount and its token, priority, default tolerations, limits of a namespace's LimitRanges.

Messages and defaults follow plugin/pkg/admission (serviceaccount, priority, defaulttolerationseconds). Only requests that
create a Pod are affected.
"""

from __future__ import annotations

import random
from typing import Any

from devcluster.apiserver.errors import forbidden
from devcluster.apiserver.interfaces import Attributes, Object
from devcluster.storage import Storage

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_VOLUME_PREFIX = "kube-api-access-"
TOKEN_SECONDS = 3607
ROOT_CA_CONFIGMAP = "kube-root-ca.crt"
PROJECTED_MODE = 0o644
TOLERATION_SECONDS = 300
_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5


def creates_pod(attributes: Attributes) -> bool:
    """Whether a request creates a Pod."""
    return (
        attributes.resource == "pods"
        and not attributes.group
        and not attributes.subresource
        and attributes.operation == "CREATE"
    )


def early_name(obj: Object) -> str:
    """The name of a new object in messages of mutating plugins: the prefix alone if the name is to be generated."""
    metadata = obj["metadata"]
    name, prefix = metadata.get("name", ""), metadata.get("generateName", "")
    if prefix and name.startswith(prefix) and len(name) == len(prefix) + _SUFFIX_LENGTH:
        return str(prefix)
    return str(name)


class ServiceAccountAdmission:
    """Gives every Pod a ServiceAccount that exists, and its containers the account's token."""

    phase = "mutating"

    def __init__(self, storage: Storage, *, seed: int | None = None) -> None:
        self._storage = storage
        self._random = random.Random(seed)

    def __call__(
        self, attributes: Attributes, obj: Object | None, old: Object | None, /
    ) -> Object | None:
        """Fill in a new Pod. Raises StatusError 403 when its ServiceAccount does not exist."""
        if obj is None or not creates_pod(attributes):
            return obj
        spec = obj["spec"]
        name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        namespace = attributes.namespace
        stored = self._storage.get("serviceaccounts", namespace, name)
        if stored is None:
            why = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
            raise forbidden("", "pods", early_name(obj), why)
        account = stored.object
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [dict(each) for each in account["imagePullSecrets"]]
        if _wants_token(spec, account):
            self._mount_token(spec)
        return obj

    def _mount_token(self, spec: Object) -> None:
        containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
        without = [each for each in containers if not _has_mount(each)]
        if not without:
            return
        name = TOKEN_VOLUME_PREFIX + "".join(
            self._random.choices(_SUFFIX_ALPHABET, k=_SUFFIX_LENGTH)
        )
        for container in without:
            mount = {"name": name, "readOnly": True, "mountPath": TOKEN_PATH}
            container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]
        spec["volumes"] = [*(spec.get("volumes") or ()), token_volume(name)]


def _wants_token(spec: Object, account: Object) -> bool:
    for holder in (spec, account):
        if holder.get("automountServiceAccountToken") is not None:
            return bool(holder["automountServiceAccountToken"])
    return True


def _has_mount(container: Object) -> bool:
    return any(each.get("mountPath") == TOKEN_PATH for each in container.get("volumeMounts") or ())


def token_volume(name: str) -> Object:
    """The projected volume by which a container gets its token, the CA and its namespace."""
    namespace = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    return {
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {
                    "configMap": {
                        "name": ROOT_CA_CONFIGMAP,
                        "items": [{"key": "ca.crt", "path": "ca.crt"}],
                    }
                },
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": namespace}]}},
            ],
            "defaultMode": PROJECTED_MODE,
        },
    }


class PriorityAdmission:
    """Turns a Pod's priorityClassName into its priority."""

    phase = "mutating"

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def __call__(
        self, attributes: Attributes, obj: Object | None, old: Object | None, /
    ) -> Object | None:
        """Fill in priority and preemptionPolicy. Raises StatusError 403."""
        if obj is None or not creates_pod(attributes):
            return obj
        spec = obj["spec"]
        found = self._class_of(spec, obj)
        value = found.get("value", 0)
        if spec.get("priority") not in (None, value):
            why = (
                f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; "
                f"priority admission controller computed {value} from the given PriorityClass name"
            )
            raise forbidden("", "pods", early_name(obj), why)
        spec["priority"] = value
        if found.get("metadata"):
            spec["priorityClassName"] = found["metadata"]["name"]
        spec.setdefault("preemptionPolicy", found.get("preemptionPolicy", "PreemptLowerPriority"))
        return obj

    def _class_of(self, spec: Object, pod: Object) -> dict[str, Any]:
        resource = "priorityclasses.scheduling.k8s.io"
        name = spec.get("priorityClassName")
        if name:
            stored = self._storage.get(resource, "", name)
            if stored is None:
                raise forbidden(
                    "", "pods", early_name(pod), f"no PriorityClass with name {name} was found"
                )
            return stored.object
        defaults = [
            each.object for each in self._storage.list(resource) if each.object.get("globalDefault")
        ]
        return min(defaults, key=lambda each: int(each["value"])) if defaults else {}


class RuntimeClassAdmission:
    """Refuses a Pod whose RuntimeClass does not exist. Overhead and scheduling of an existing one are not applied."""

    phase = "mutating"

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def __call__(
        self, attributes: Attributes, obj: Object | None, old: Object | None, /
    ) -> Object | None:
        """Look it up. Raises StatusError 403."""
        if obj is None or not creates_pod(attributes):
            return obj
        name = obj["spec"].get("runtimeClassName")
        if name and self._storage.get("runtimeclasses.node.k8s.io", "", name) is None:
            why = f'pod rejected: RuntimeClass "{name}" not found'
            raise forbidden("", "pods", early_name(obj), why)
        return obj


def default_tolerations(
    attributes: Attributes, obj: Object | None, old: Object | None, /
) -> Object | None:
    """DefaultTolerationSeconds: a Pod stays for five minutes on a node that is gone."""
    if obj is None or not creates_pod(attributes):
        return obj
    spec = obj["spec"]
    tolerations: list[Object] = list(spec.get("tolerations") or ())
    for taint in _TAINTS:
        if not any(_tolerates(each, taint) for each in tolerations):
            tolerations.append(
                {
                    "key": taint,
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": TOLERATION_SECONDS,
                }
            )
    spec["tolerations"] = tolerations
    return obj


def _tolerates(toleration: Object, taint: str) -> bool:
    key, effect = toleration.get("key", ""), toleration.get("effect", "")
    return key in ("", taint) and effect in ("", "NoExecute")
