"""ResourceQuota: tracks the usage of each namespace's quotas, and refuses objects that would exceed them.

It counts objects (`pods`, `configmaps`, `count/jobs.batch` …; Pods that have ended count for `count/pods` only), and
requests and limits of Pods. Scopes of quotas are ignored. Usage is tracked only for namespaces that have a quota, and
written to its status. Messages follow apiserver/plugin/resourcequota.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from devcluster.apiserver.catalog import ResourceInfo
from devcluster.apiserver.errors import StatusError, forbidden
from devcluster.apiserver.interfaces import Attributes, Object
from devcluster.apiserver.local import RESOURCEQUOTAS, LocalClient
from devcluster.apiserver.quantity import parse
from devcluster.apiserver.registry import Registry

from .resources import Amounts, amounts, format_quantity, pod_resources

COUNT_PREFIX = "count/"
_ENDED = ("Succeeded", "Failed")
# Resources that have a plain name in quotas beside count/<resource>.
_PLAIN_NAMES = frozenset(
    {
        "configmaps",
        "persistentvolumeclaims",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "services",
    }
)
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_ZERO = Decimal(0)


def usage_of(storage_key: str, obj: Object) -> Amounts:
    """The usage of one object, by quota resource names."""
    used: Amounts = {COUNT_PREFIX + storage_key: Decimal(1)}
    if storage_key in _PLAIN_NAMES:
        used[storage_key] = Decimal(1)
    if storage_key == "pods" and (obj.get("status") or {}).get("phase") not in _ENDED:
        used["pods"] = Decimal(1)
        requests, limits = pod_resources(obj["spec"])
        for name in _COMPUTE:
            if name in requests:
                used[name] = used[f"requests.{name}"] = requests[name]
            if name in limits:
                used[f"limits.{name}"] = limits[name]
    return used


class QuotaAdmission:
    """Checks new objects against the quotas of their namespace; also an `after_write` hook that keeps the usage."""

    phase = "validating"

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._storage = registry.storage
        self._client = LocalClient(registry, manager="kube-apiserver")
        self._usage: dict[str, Amounts] = {}
        self._writing = False

    def __call__(
        self, attributes: Attributes, obj: Object | None, old: Object | None, /
    ) -> Object | None:
        """Admit, or raise StatusError 403 naming the first quota that is exceeded."""
        if (
            obj is None
            or attributes.operation != "CREATE"
            or attributes.subresource
            or not attributes.namespace
        ):
            return obj
        quotas = self._storage.list("resourcequotas", attributes.namespace)
        if not quotas:
            return obj
        info = self._registry.catalog.find(
            attributes.group, attributes.version, attributes.resource
        )
        if info is None or info.storage_key == "resourcequotas":
            return obj
        requested = usage_of(info.storage_key, obj)
        used = self._used(attributes.namespace)
        for quota in quotas:
            why = _refusal(
                quota.object, requested, used, obj if info.storage_key == "pods" else None
            )
            if why:
                raise forbidden(attributes.group, attributes.resource, attributes.name, why)
        return obj

    def after_write(self, info: ResourceInfo, obj: Object | None, old: Object | None) -> None:
        """Follow a write of any object."""
        present = obj or old or {}
        namespace = present.get("metadata", {}).get("namespace", "")
        if self._writing or not namespace:
            return
        if info.storage_key == "resourcequotas":
            if not self._storage.list("resourcequotas", namespace):
                self._usage.pop(namespace, None)
                return
            self._publish(namespace)
        elif namespace in self._usage or self._storage.list("resourcequotas", namespace):
            if obj is not None and old is not None and info.storage_key != "pods":
                return
            self._follow(namespace, info.storage_key, obj, old)

    def _follow(self, namespace: str, key: str, obj: Object | None, old: Object | None) -> None:
        if namespace not in self._usage:
            self._used(namespace)
        else:
            before = usage_of(key, old) if old is not None else {}
            after = usage_of(key, obj) if obj is not None else {}
            if before == after:
                return
            usage = self._usage[namespace]
            for name in {*before, *after}:
                usage[name] = (
                    usage.get(name, _ZERO) + after.get(name, _ZERO) - before.get(name, _ZERO)
                )
        self._publish(namespace)

    def _used(self, namespace: str) -> Amounts:
        usage = self._usage.get(namespace)
        if usage is None:
            usage = self._usage[namespace] = {}
            for key in self._storage.resources():
                for stored in self._storage.list(key, namespace):
                    for name, value in usage_of(key, stored.object).items():
                        usage[name] = usage.get(name, _ZERO) + value
        return usage

    def _publish(self, namespace: str) -> None:
        """Write the usage to the status of every quota of the namespace."""
        used = self._used(namespace)
        self._writing = True
        try:
            for stored in self._storage.list("resourcequotas", namespace):
                hard = (stored.object.get("spec") or {}).get("hard") or {}
                now = {name: format_quantity(name, used.get(name, _ZERO)) for name in hard}
                status = {"hard": hard, "used": now}
                if stored.object.get("status") != status:
                    self._client.patch_status(
                        RESOURCEQUOTAS, namespace, stored.name, {"status": status}
                    )
        except StatusError:
            return  # the namespace is terminating
        finally:
            self._writing = False


def _refusal(quota: Object, requested: Amounts, used: Amounts, pod: Object | None) -> str:
    """Why a quota refuses, or ''."""
    hard: dict[str, Any] = (quota.get("spec") or {}).get("hard") or {}
    name = quota["metadata"]["name"]
    if pod is not None:
        missing = _unspecified(pod["spec"], hard)
        if missing:
            return f"failed quota: {name}: must specify {missing}"
    over = sorted(
        each
        for each, limit in hard.items()
        if requested.get(each, _ZERO) > 0
        and used.get(each, _ZERO) + requested[each] > parse(str(limit))
    )
    if not over:
        return ""
    wanted = ",".join(f"{each}={format_quantity(each, requested[each])}" for each in over)
    current = ",".join(f"{each}={format_quantity(each, used.get(each, _ZERO))}" for each in over)
    limited = ",".join(f"{each}={format_quantity(each, parse(str(hard[each])))}" for each in over)
    return f"exceeded quota: {name}, requested: {wanted}, used: {current}, limited: {limited}"


def _unspecified(spec: Object, hard: Iterable[str]) -> str:
    """Containers without a request or limit that a quota counts: `limits.memory for: c,d; requests.cpu for: c`."""
    parts: list[str] = []
    for constraint in sorted(hard):
        field, _, resource = constraint.rpartition(".")
        if resource not in _COMPUTE or field not in ("", "requests", "limits"):
            continue
        containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
        without = [
            each["name"]
            for each in containers
            if resource not in amounts(each, field or "requests")
        ]
        if without:
            parts.append(f"{constraint} for: {','.join(sorted(without))}")
    return "; ".join(parts)
