"""From a container's spec to its running process: image, configuration, mounts, start.

Each step fails as a kubelet's does: with an error whose `reason` becomes the container's waiting reason, and
Events with the same message.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster.apiserver import quantity
from devcluster.controllers.clock import Clock
from devcluster.images import Images, ImageSpec

from . import timing
from .environment import ConfigError, Environment
from .podstate import ContainerState, PodState
from .references import expand
from .runtime import ERRORS, Process, Runtime, StartError
from .security import ProcessIdentity, identity

Object = dict[str, Any]
RecordEvent = Callable[[PodState, str, str, str, ContainerState | None], None]

TERMINATION_PATH = "/dev/termination-log"
_RUNC = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
    "unable to start container process: "
)


class WaitingError(Exception):
    """A container cannot be created yet. `reason` and message are those of its waiting state."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class PodFolders:
    """Directories of a Pod: `volumes` by name, and those of containers and their logs."""

    volumes: Mapping[str, Path]
    containers: Path
    logs: Path

    def log(self, container: str, attempt: int) -> Path:
        """The log of a container's run."""
        return self.logs / container / f"{attempt}.log"

    def termination(self, container: str, attempt: int) -> Path:
        """The termination message file of one run of a container."""
        return self.containers / container / f"{attempt}.termination"


class Containers:
    """Creates containers. `record(state, type, reason, message, container)` records an Event."""

    def __init__(
        self,
        images: Images,
        environment: Environment,
        record: RecordEvent,
        clock: Clock,
        runtime: Runtime,
    ) -> None:
        self._images = images
        self._environment = environment
        self._record = record
        self._clock = clock
        self._runtime = runtime

    # --- image

    async def pull(self, state: PodState, container: ContainerState) -> ImageSpec:
        """The container's image. Raises WaitingError (InvalidImageName, ErrImageNeverPull, ErrImagePull)."""
        name, policy = (
            container.spec["image"],
            container.spec.get("imagePullPolicy") or "IfNotPresent",
        )
        try:
            image = self._images.find(name)
        except ValueError as error:
            message = f'Failed to apply default image tag "{name}": couldn\'t parse image name "{name}": {error}'
            self._record(state, "Warning", "InspectFailed", message, container)
            raise WaitingError("InvalidImageName", message) from None
        if image is not None and policy != "Always":
            message = f'Container image "{name}" already present on machine and can be accessed by the pod'
            self._record(state, "Normal", "Pulled", message, container)
        elif policy == "Never":
            message = f'Container image "{name}" is not present with pull policy of Never'
            self._record(state, "Warning", "ErrImageNeverPull", message, container)
            raise WaitingError("ErrImageNeverPull", message)
        else:
            image = await self._fetch(state, container, image)
        container.image_id = f"{name}@sha256:{hashlib.sha256(name.encode()).hexdigest()}"
        return image

    async def _fetch(
        self, state: PodState, container: ContainerState, image: ImageSpec | None
    ) -> ImageSpec:
        name = container.spec["image"]
        self._record(state, "Normal", "Pulling", f'Pulling image "{name}"', container)
        await self._clock.pause(timing.PULL_SECONDS)
        if image is None:
            message = (
                f'failed to pull and unpack image "{name}": failed to resolve image: '
                "no such image is registered with the development cluster"
            )
            self._record(
                state, "Warning", "Failed", f'Failed to pull image "{name}": {message}', container
            )
            raise WaitingError("ErrImagePull", message)
        took = f"{round(timing.PULL_SECONDS * 1000)}ms"
        message = f'Successfully pulled image "{name}" in {took} ({took} including waiting). Image size: 0 bytes.'
        self._record(state, "Normal", "Pulled", message, container)
        return image

    # --- configuration

    def configure(
        self, state: PodState, container: ContainerState, image: ImageSpec, folders: PodFolders
    ) -> Object:
        """The shim's configuration of a new run. Raises WaitingError (CreateContainerConfigError)."""
        try:
            return self._configure(state, container, image, folders)
        except ConfigError as error:
            raise WaitingError("CreateContainerConfigError", str(error)) from None

    def _configure(
        self, state: PodState, container: ContainerState, image: ImageSpec, folders: PodFolders
    ) -> Object:
        spec = container.spec
        env = self._environment.make(state, spec, image.environment())
        who = identity(state, spec, image.user)
        env.setdefault("HOME", who.home)
        attempt = container.attempt + 1
        limit = ((spec.get("resources") or {}).get("limits") or {}).get("memory")
        base = folders.containers / spec["name"] / "root"
        return {
            "log": str(folders.log(spec["name"], attempt)),
            "errors": str(base.parent / ERRORS),
            "base": str(base),
            "user_namespace": self._runtime.user_namespace,
            "memory": int(quantity.parse(limit)) if limit else 0,
            "mounts": [
                *with_folders_of_the_image(_mounts(spec, folders, env), image),
                {
                    "source": str(folders.termination(spec["name"], attempt)),
                    "target": spec.get("terminationMessagePath") or TERMINATION_PATH,
                    "read_only": False,
                },
            ],
            "container": {
                "argv": _arguments(spec, image, env),
                "env": env,
                "cwd": spec.get("workingDir") or image.working_dir or "/",
                "hostname": state.pod["spec"].get("hostname") or state.pod["metadata"]["name"][:63],
                **self._privileges(who),
            },
        }

    def _privileges(self, who: ProcessIdentity) -> Object:
        return {
            "uid": who.uid,
            "gid": who.gid,
            "groups": list(who.groups),
            "capabilities": list(who.capabilities),
            "no_new_privileges": who.no_new_privileges,
            "read_only_root": who.read_only_root,
            "set_groups": not self._runtime.user_namespace,
        }

    # --- start

    async def start(
        self, state: PodState, container: ContainerState, config: Object, folders: PodFolders
    ) -> None:
        """Run it. Raises StartError, with the container's attempt counted either way."""
        name = container.name
        container.attempt += 1
        (folders.containers / name / "root").mkdir(parents=True, exist_ok=True)
        log = folders.log(name, container.attempt)
        log.parent.mkdir(parents=True, exist_ok=True)
        message = folders.termination(name, container.attempt)
        message.touch()
        message.chmod(0o666)  # the container's user must be able to write it
        container.container_id = f"containerd://{secrets.token_hex(32)}"
        container.process = Process(self._runtime.launcher, folders.containers / name)
        self._record(state, "Normal", "Created", "Container created", container)
        try:
            await container.process.start(config)
        except StartError as error:
            text = f"{_RUNC}{error}"
            self._record(state, "Warning", "Failed", f"Error: {text}", container)
            raise StartError(text) from None
        self._record(state, "Normal", "Started", "Container started", container)


def _arguments(spec: Object, image: ImageSpec, env: Mapping[str, str]) -> list[str]:
    """The command line: the container's command and args, which replace the image's entrypoint and cmd."""
    command = spec.get("command") or list(image.entrypoint)
    args = spec.get("args") or ([] if spec.get("command") else list(image.cmd))
    argv = [expand(each, env) for each in (*command, *args)]
    if not argv:
        raise ConfigError("no command specified")
    return argv


def _mounts(spec: Object, folders: PodFolders, env: Mapping[str, str]) -> list[Object]:
    """The container's volumeMounts, outer ones first. Raises ConfigError for a subPath outside its volume."""
    mounts = []
    for each in spec.get("volumeMounts") or ():
        source = folders.volumes.get(each["name"])
        if source is None:
            raise ConfigError(
                f'cannot find volume "{each["name"]}" to mount into container "{spec["name"]}"'
            )
        sub = (
            expand(each["subPathExpr"], env) if each.get("subPathExpr") else each.get("subPath", "")
        )
        if sub:
            source = _sub_path(source, sub)
        mounts.append(
            {
                "source": str(source.resolve()),
                "target": each["mountPath"],
                "read_only": bool(each.get("readOnly")) or _written_by_kubelet(source),
            }
        )
    return sorted(mounts, key=lambda mount: mount["target"].rstrip("/").count("/"))


def with_folders_of_the_image(mounts: list[Object], image: ImageSpec) -> list[Object]:
    """`mounts`, and on top of them what the image has below their targets.

    An image has the machine's own file system: in a checkout below /tmp, an emptyDir at /tmp would hide the very program
    that is to run. Below a folder that only its owner may search (mode 0700), other users could not reach it: such a
    folder is replaced by a new one.
    """
    folders = image.folders()
    closed = dict.fromkeys(each for each in map(_closed_folder, folders) if each)
    added: list[Object] = [
        {"source": "", "target": each, "read_only": False}
        for each in closed
        if not any(_is_below(each, mount["target"]) for mount in mounts)
    ]
    placed = [*added, *mounts]
    placed += [
        {"source": folder, "target": folder, "read_only": True}
        for folder in folders
        if any(_is_below(folder, each["target"]) for each in placed)
    ]
    return placed


def _closed_folder(path: str) -> str:
    """The outermost folder above a path that others than its owner may not search, or ''."""
    for folder in reversed(Path(path).parents):
        if folder.exists() and not folder.stat().st_mode & stat.S_IXOTH:
            return str(folder)
    return ""


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")


def _sub_path(volume: Path, sub: str) -> Path:
    path = volume / sub
    if sub.startswith("/") or ".." in Path(sub).parts:
        raise ConfigError(f"subPath {sub!r} must not leave its volume")
    if not path.exists():
        path.mkdir(parents=True)
        path.chmod(0o777 & volume.stat().st_mode)
    return path


def _written_by_kubelet(path: Path) -> bool:
    """Whether a path is of a configMap, secret, downwardAPI or projected volume: those are read-only for containers."""
    return any((folder / "..data").is_symlink() for folder in (path, *path.parents))


async def settle(*processes: Process | None) -> None:
    """Kill the remaining processes and wait until they have ended."""
    await asyncio.gather(*(each.kill() for each in processes if each is not None))


DEFAULT_PERIOD_SECONDS = 10.0
DEFAULT_TIMEOUT_SECONDS = 1.0


async def await_startup(container: Object, address: str) -> None:
    """Return as soon as the container's startupProbe succeeds; at once where it has none."""
    probe = container.get("startupProbe") or {}
    await asyncio.sleep(probe.get("initialDelaySeconds", 0))
    while not await _succeeds(probe, container, address):  # noqa: ASYNC110 (that is what a probe is)
        await asyncio.sleep(probe.get("periodSeconds") or DEFAULT_PERIOD_SECONDS)


async def _succeeds(probe: Object, container: Object, address: str) -> bool:
    action = probe.get("tcpSocket") or probe.get("httpGet")
    if not action:
        return True
    with contextlib.suppress(OSError, TimeoutError, ValueError):
        async with asyncio.timeout(probe.get("timeoutSeconds") or DEFAULT_TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection(
                action.get("host") or address, _number(action["port"], container)
            )
            try:
                return "httpGet" not in probe or await _answers(reader, writer, action)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    return False


async def _answers(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, action: Object
) -> bool:
    path = action.get("path") or "/"
    writer.write(f"GET {path} HTTP/1.0\r\nUser-Agent: kube-probe/1.36\r\n\r\n".encode())
    status = (await reader.readline()).split(b" ")
    return 200 <= int(status[1]) < 400 if len(status) > 1 else False


def _number(port: int | str, container: Object) -> int:
    """A port by number, or by its name in the container's ports."""
    for each in container.get("ports") or ():
        if each.get("name") == port:
            return int(each["containerPort"])
    return int(port)
