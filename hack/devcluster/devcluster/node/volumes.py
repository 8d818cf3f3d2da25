"""A Pod's volumes as folders of the machine.

Supported: emptyDir, hostPath, configMap, secret, downwardAPI, projected, persistentVolumeClaim. A volume
holds the content of its sources at the start of the Pod; later changes are not applied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from devcluster.apiserver.auth.serviceaccounts import Bound
from devcluster.apiserver.local import CONFIGMAPS, GVR, SECRETS, SERVICEACCOUNTS, LocalClient

from .atomicwriter import File, give_to_group, write
from .podstate import PodState
from .references import data_of, field_value, resource_value, secret_data_of

Object = dict[str, Any]
Files = dict[str, File]

DEFAULT_MODE = 0o644
TOKEN_SECONDS = 3600
_KINDS = {CONFIGMAPS: "configmap", SECRETS: "secret"}
_KEY_MISSING = {
    CONFIGMAPS: "configmap references non-existent config key: ",
    SECRETS: "references non-existent secret key: ",
}


class VolumeError(Exception):
    """Why a volume cannot be set up; the message is the kubelet's."""


class Tokens(Protocol):
    """Issues ServiceAccount tokens; `ServiceAccountTokens` does."""

    def issue(
        self,
        account: Object,
        *,
        seconds: int = ...,
        audiences: Any = ...,
        bound: Bound | None = ...,
    ) -> tuple[str, float]: ...


@dataclass(frozen=True, slots=True)
class VolumeContext:
    """Dependencies of volumes. `claims` returns the folder of a bound claim (namespace, name), or None."""

    client: LocalClient
    tokens: Tokens | None
    claims: Callable[[str, str], Path | None]
    host_ip: str
    allocatable: Mapping[str, str]


class Volumes:
    """Sets up the volumes of one Pod beneath `folder`."""

    def __init__(self, context: VolumeContext, state: PodState, folder: Path) -> None:
        self._context = context
        self._state = state
        self._folder = folder
        self._namespace: str = state.pod["metadata"]["namespace"]
        security = state.pod["spec"].get("securityContext") or {}
        self._group: int | None = security.get("fsGroup")
        self._user = _common_user(state.pod["spec"])

    def set_up(self, volume: Object) -> Path:
        """Create one volume. Returns its folder (or file, of a hostPath). Raises VolumeError."""
        makers: dict[str, Callable[[Object, Path], Path]] = {
            "emptyDir": self._empty_dir,
            "hostPath": self._host_path,
            "persistentVolumeClaim": self._claim,
            "configMap": self._config_map,
            "secret": self._secret,
            "downwardAPI": self._downward_api,
            "projected": self._projected,
        }
        for kind, make in makers.items():
            if kind in volume:
                return make(volume[kind] or {}, self._folder / volume["name"])
        kinds = sorted(set(volume) - {"name"})
        raise VolumeError(f"this node has no volume plugin for {', '.join(kinds)}")

    # --- folders

    def _empty_dir(self, source: Object, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
        if self._group is not None:
            give_to_group(folder, self._group, read_only=False)
        return folder

    def _host_path(self, source: Object, folder: Path) -> Path:
        path, kind = Path(source["path"]), source.get("type") or ""
        if kind == "DirectoryOrCreate":
            path.mkdir(parents=True, exist_ok=True)
        elif kind == "FileOrCreate" and not path.exists():
            path.touch(mode=0o644)
        checks = {"Directory": path.is_dir, "File": path.is_file, "Socket": path.is_socket}
        wrong = kind in checks and not checks[kind]()
        if wrong or not path.exists():
            raise VolumeError(
                f"hostPath type check failed: {path} is not a {(kind or 'path').lower()}"
            )
        return path

    def _claim(self, source: Object, folder: Path) -> Path:
        found = self._context.claims(self._namespace, source["claimName"])
        if found is None:
            raise VolumeError(f"PVC {self._namespace}/{source['claimName']} is not bound")
        if self._group is not None:
            give_to_group(found, self._group, read_only=False)
        return found

    # --- files

    def _config_map(self, source: Object, folder: Path) -> Path:
        return self._write(
            folder, self._keys(CONFIGMAPS, source.get("name", ""), source, _mode(source))
        )

    def _secret(self, source: Object, folder: Path) -> Path:
        return self._write(
            folder, self._keys(SECRETS, source.get("secretName", ""), source, _mode(source))
        )

    def _downward_api(self, source: Object, folder: Path) -> Path:
        return self._write(folder, self._fields(source.get("items") or (), _mode(source)))

    def _projected(self, source: Object, folder: Path) -> Path:
        mode = _mode(source)
        files: Files = {}
        for each in source.get("sources") or ():
            if "configMap" in each:
                files |= self._keys(
                    CONFIGMAPS, each["configMap"].get("name", ""), each["configMap"], mode
                )
            elif "secret" in each:
                files |= self._keys(SECRETS, each["secret"].get("name", ""), each["secret"], mode)
            elif "downwardAPI" in each:
                files |= self._fields(each["downwardAPI"].get("items") or (), mode)
            elif "serviceAccountToken" in each:
                files |= self._token(each["serviceAccountToken"], mode)
            else:
                raise VolumeError(f"this node cannot project {', '.join(sorted(each))}")
        return self._write(folder, files)

    def _keys(self, resource: GVR, name: str, source: Object, mode: int) -> Files:
        obj = self._context.client.find(resource, self._namespace, name)
        optional = bool(source.get("optional"))
        if obj is None:
            if optional:
                return {}
            raise VolumeError(f'{_KINDS[resource]} "{name}" not found')
        data = secret_data_of(obj) if resource == SECRETS else data_of(obj)
        items = source.get("items")
        if not items:
            return {key: File(value, mode) for key, value in data.items()}
        files: Files = {}
        for item in items:
            if item["key"] in data:
                files[item["path"]] = File(data[item["key"]], item.get("mode", mode))
            elif not optional:
                raise VolumeError(_KEY_MISSING[resource] + item["key"])
        return files

    def _fields(self, items: Iterable[Object], mode: int) -> Files:
        files: Files = {}
        for item in items:
            try:
                text = self._field(item)
            except ValueError as error:
                raise VolumeError(str(error)) from None
            files[item["path"]] = File(text.encode(), item.get("mode", mode))
        return files

    def _field(self, item: Object) -> str:
        pod, context = self._state.pod, self._context
        if "fieldRef" in item:
            path = item["fieldRef"]["fieldPath"]
            return field_value(pod, path, host_ip=context.host_ip, pod_ip=self._state.ip)
        reference = item["resourceFieldRef"]
        containers = [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]
        named = [each for each in containers if each["name"] == reference.get("containerName")]
        if not named:
            raise ValueError(f"container {reference.get('containerName')} not found")
        return resource_value(named[0], reference, context.allocatable)

    def _token(self, source: Object, mode: int) -> Files:
        if self._context.tokens is None:
            raise VolumeError("this node cannot issue ServiceAccount tokens")
        metadata = self._state.pod["metadata"]
        name = self._state.pod["spec"].get("serviceAccountName") or "default"
        account = self._context.client.find(SERVICEACCOUNTS, self._namespace, name)
        if account is None:
            raise VolumeError(f'failed to fetch token: serviceaccounts "{name}" not found')
        audience = source.get("audience")
        token, _ = self._context.tokens.issue(
            account,
            seconds=source.get("expirationSeconds") or TOKEN_SECONDS,
            audiences=(audience,) if audience else (),
            bound=Bound("Pod", metadata["name"], metadata["uid"]),
        )
        if self._group is not None or self._user is not None:
            mode = 0o600  # projected.go: only who runs the containers may read it
        return {
            source["path"]: File(token.encode(), mode, self._user if self._group is None else None)
        }

    def _write(self, folder: Path, files: Files) -> Path:
        for name in files:
            if name.startswith("/") or ".." in name.split("/"):
                raise VolumeError(f"invalid path {name!r}")
        version = f"{math.floor(self._context.client.storage.clock() * 1e6)}"
        write(folder, files, version, group=self._group)
        return folder


def _mode(source: Object) -> int:
    return int(source.get("defaultMode", DEFAULT_MODE))


def _common_user(spec: Object) -> int | None:
    """The uid as which every container runs, if it is one."""
    default = (spec.get("securityContext") or {}).get("runAsUser")
    containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
    users = {(each.get("securityContext") or {}).get("runAsUser", default) for each in containers}
    return users.pop() if len(users) == 1 else None
