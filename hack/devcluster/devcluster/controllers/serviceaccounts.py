"""Keeps the ServiceAccount `default` and the ConfigMap with the cluster's CA in every namespace."""

from __future__ import annotations

from typing import Any

from devcluster.apiserver.local import CONFIGMAPS, GVR, NAMESPACES, SERVICEACCOUNTS

from .base import Key, Machinery, QueueController, ignore_missing, is_deleting

Object = dict[str, Any]
DEFAULT_ACCOUNT = "default"
ROOT_CA_CONFIGMAP = "kube-root-ca.crt"
DESCRIPTION_KEY = "kubernetes.io/description"
DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal "
    "service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."
)


class NamespaceDefaults(QueueController):
    """Keys are (namespace,)."""

    name = "namespace-defaults"

    def __init__(self, machinery: Machinery, root_ca: str) -> None:
        super().__init__(machinery)
        self._root_ca = root_ca
        machinery.feed.on("namespaces", self._namespace_written)
        machinery.feed.on("serviceaccounts", self._default_written)
        machinery.feed.on("configmaps", self._default_written)

    def _namespace_written(self, new: Object | None, old: Object | None) -> None:
        if new is not None:
            self.queue.add((new["metadata"]["name"],))

    def _default_written(self, new: Object | None, old: Object | None) -> None:
        if old is not None and old["metadata"]["name"] in (DEFAULT_ACCOUNT, ROOT_CA_CONFIGMAP):
            self.queue.add((old["metadata"]["namespace"],))

    def sync(self, key: Key) -> None:
        """Make what a namespace lacks."""
        (name,) = key
        namespace = self.client.find(NAMESPACES, None, name)
        if namespace is None or is_deleting(namespace):
            return
        self._ensure(SERVICEACCOUNTS, name, _account(name))
        self._ensure(CONFIGMAPS, name, _configmap(name, self._root_ca))

    def _ensure(self, resource: GVR, namespace: str, wanted: Object) -> None:
        name = wanted["metadata"]["name"]
        with ignore_missing():
            present = self.client.find(resource, namespace, name)
            if present is None:
                self.client.create(resource, namespace, wanted)
            elif "data" in wanted and present.get("data") != wanted["data"]:
                self.client.update(resource, namespace, name, {**present, "data": wanted["data"]})


def _account(namespace: str) -> Object:
    metadata = {"name": DEFAULT_ACCOUNT, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def _configmap(namespace: str, root_ca: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": ROOT_CA_CONFIGMAP,
            "namespace": namespace,
            "annotations": {DESCRIPTION_KEY: DESCRIPTION},
        },
        "data": {"ca.crt": root_ca},
    }
