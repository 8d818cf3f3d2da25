"""Whether this machine lets the node give containers their own view of it, and how: as root, or in user namespaces."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from .runtime import ERRORS, Launcher, Process, Runtime, StartError

HINTS = (
    "Pods run as processes in mount and process namespaces of their own, which needs root (with CAP_SYS_ADMIN: "
    "`docker run --privileged`) or user namespaces for everybody (sysctl kernel.unprivileged_userns_clone=1, "
    "kernel.apparmor_restrict_unprivileged_userns=0, user.max_user_namespaces > 0), and overlayfs"
)


class IsolationError(Exception):
    """Containers cannot be isolated on this machine; the message names the missing requirement."""


async def find_runtime(launcher: Launcher) -> Runtime:
    """The runtime for this machine, tested with one container. Raises IsolationError when containers cannot run."""
    if not sys.platform.startswith("linux"):
        raise IsolationError(f"{HINTS}: none of which {sys.platform} has")
    user_namespace = os.geteuid() != 0
    with tempfile.TemporaryDirectory(prefix="devcluster-") as name:
        folder = Path(name)
        (folder / "root").mkdir()
        process = Process(launcher, folder)
        try:
            await process.start(trial_process(folder, user_namespace=user_namespace))
        except StartError as error:
            raise IsolationError(f"{HINTS}. This is {_who()}: {error}") from None
        finally:
            await process.kill()
    return Runtime(launcher, user_namespace)


def _who() -> str:
    return "root" if os.geteuid() == 0 else f"uid {os.geteuid()}"


def trial_process(folder: Path, *, user_namespace: bool) -> dict[str, object]:
    """The configuration of a container that does nothing."""
    return {
        "log": str(folder / "log"),
        "errors": str(folder / ERRORS),
        "base": str(folder / "root"),
        "user_namespace": user_namespace,
        "memory": 0,
        "mounts": [],
        "container": {
            "argv": ["/bin/sh", "-c", ":"],
            "env": {},
            "cwd": "/",
            "hostname": "trial",
            "uid": 0,
            "gid": 0,
            "groups": [],
            "capabilities": [],
            "no_new_privileges": True,
            "read_only_root": False,
            "set_groups": not user_namespace,
        },
    }
