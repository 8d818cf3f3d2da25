"""Setup in the container's own process, between its fork and its program."""

from __future__ import annotations

import errno
import os
import signal
from typing import NoReturn, TypedDict

from . import linux
from .rootfs import Mount, RootFilesystem


class Container(TypedDict):
    """Parameters of the program. `capabilities` are those kept, by number; `groups` are supplementary."""

    argv: list[str]
    env: dict[str, str]
    cwd: str
    hostname: str
    uid: int
    gid: int
    groups: list[int]
    capabilities: list[int]
    no_new_privileges: bool
    read_only_root: bool
    set_groups: bool


def become(
    container: Container, mounts: list[Mount], base: str, fds: tuple[int, int, int]
) -> NoReturn:
    """Turn this process into the container's. `fds` are standard output, standard error, and the pipe for errors."""
    result = fds[2]
    try:
        _isolate(container, mounts, base)
        _redirect(fds[0], fds[1])
        program = _program(container)
        _lower(container)
        os.execve(program, container["argv"], container["env"])
    except OSError as error:
        os.write(result, _explain(error, container).encode())
    finally:
        os._exit(127)


def _isolate(container: Container, mounts: list[Mount], base: str) -> None:
    linux.die_with_parent(signal.SIGKILL)
    linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC)
    linux.set_hostname(container["hostname"])
    os.umask(0o022)
    root = RootFilesystem(base)
    root.enter(mounts)
    os.makedirs(container["cwd"], exist_ok=True)
    if container["read_only_root"]:
        root.seal()
    os.chdir(container["cwd"])


def _redirect(out: int, err: int) -> None:
    os.setsid()
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(err, 2)


def _program(container: Container) -> str:
    """The path of the program. Raises OSError (ENOENT without a path when PATH has no such name)."""
    name = container["argv"][0]
    if "/" in name:
        os.stat(name)
        return name
    for folder in container["env"].get("PATH", "").split(":"):
        path = os.path.join(folder or ".", name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise OSError(errno.ENOENT, "executable file not found in $PATH")


def _lower(container: Container) -> None:
    """Give up what the container shall not have. The order matters: capabilities are needed to change ids."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    linux.limit_capabilities(frozenset(container["capabilities"]))
    if container["set_groups"]:
        os.setgroups(container["groups"])
        os.setresgid(container["gid"], container["gid"], container["gid"])
        os.setresuid(container["uid"], container["uid"], container["uid"])
    if container["no_new_privileges"]:
        linux.forbid_new_privileges()
    linux.die_with_parent(signal.SIGKILL)  # a change of ids undoes it


def _explain(error: OSError, container: Container) -> str:
    """runc's message for a program that does not start."""
    name = container["argv"][0]
    why = (error.strerror or str(error)).lower() if error.errno else str(error)
    if error.filename is not None:
        call = "stat " if error.errno == errno.ENOENT and error.filename == name else ""
        return (
            f'exec: "{name}": {call}{error.filename}: {why}' if call else f'exec: "{name}": {why}'
        )
    return f'exec: "{name}": {error.strerror}' if error.errno == errno.ENOENT else f"{error}"
