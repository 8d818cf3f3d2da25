"""The environment of a container: the image's, the cluster's and the container's own.

Order and errors are those of kubelet_pods.go's makeEnvironmentVariables; what cannot be resolved keeps the
container from being made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from devcluster.apiserver.local import CONFIGMAPS, GVR, SECRETS, LocalClient

from .podstate import PodState
from .references import data_of, expand, field_value, resource_value, secret_data_of

Object = dict[str, Any]


class ConfigError(Exception):
    """Why a container cannot be created."""


class Environment:
    """Builds the environment of containers. `service` holds the variables with the address of the API server."""

    def __init__(
        self,
        client: LocalClient,
        *,
        host_ip: str,
        allocatable: Mapping[str, str],
        service: Mapping[str, str],
    ) -> None:
        self._client = client
        self._host_ip = host_ip
        self._allocatable = allocatable
        self._service = service

    def make(self, state: PodState, container: Object, image: Mapping[str, str]) -> dict[str, str]:
        """The variables of one container, over those of its `image`. Raises ConfigError."""
        pod = state.pod
        own: dict[str, str] = {}
        for source in container.get("envFrom") or ():
            own |= self._all_of(pod["metadata"]["namespace"], source)
        for each in container.get("env") or ():
            value = self._value(state, container, each, {**self._service, **own})
            if value is not None:
                own[each["name"]] = value
        hostname = pod["spec"].get("hostname") or pod["metadata"]["name"]
        return {**image, "HOSTNAME": hostname, **self._service, **own}

    def _all_of(self, namespace: str, source: Object) -> dict[str, str]:
        for key, resource in (("configMapRef", CONFIGMAPS), ("secretRef", SECRETS)):
            reference = source.get(key)
            if reference is not None:
                values = self._data(resource, namespace, reference)
                prefix = source.get("prefix", "")
                return {f"{prefix}{name}": value for name, value in (values or {}).items()}
        return {}

    def _value(
        self, state: PodState, container: Object, each: Object, known: Mapping[str, str]
    ) -> str | None:
        """A variable's value; None when it is optional and not there."""
        source = each.get("valueFrom")
        if source is None:
            return expand(each.get("value", ""), known)
        if "fieldRef" in source:
            path = source["fieldRef"]["fieldPath"]
            try:
                return field_value(state.pod, path, host_ip=self._host_ip, pod_ip=state.ip)
            except ValueError as error:
                raise ConfigError(str(error)) from None
        if "resourceFieldRef" in source:
            reference = source["resourceFieldRef"]
            return resource_value(container, reference, self._allocatable)
        namespace = state.pod["metadata"]["namespace"]
        if "configMapKeyRef" in source:
            return self._key(CONFIGMAPS, "ConfigMap", namespace, source["configMapKeyRef"])
        if "secretKeyRef" in source:
            return self._key(SECRETS, "Secret", namespace, source["secretKeyRef"])
        raise ConfigError(f"unsupported source of variable {each['name']}")

    def _key(self, resource: GVR, kind: str, namespace: str, reference: Object) -> str | None:
        values = self._data(resource, namespace, reference)
        if values is not None and reference["key"] in values:
            return values[reference["key"]]
        if reference.get("optional"):
            return None
        raise ConfigError(
            f"couldn't find key {reference['key']} in {kind} {namespace}/{reference['name']}"
        )

    def _data(self, resource: GVR, namespace: str, reference: Object) -> dict[str, str] | None:
        """The values of a ConfigMap or Secret; None when it is optional and not there."""
        obj = self._client.find(resource, namespace, reference.get("name", ""))
        if obj is None:
            if reference.get("optional"):
                return None
            kind = "configmap" if resource == CONFIGMAPS else "secret"
            raise ConfigError(f'{kind} "{reference.get("name", "")}" not found')
        values = secret_data_of(obj) if resource == SECRETS else data_of(obj)
        return {key: value.decode(errors="replace") for key, value in values.items()}
