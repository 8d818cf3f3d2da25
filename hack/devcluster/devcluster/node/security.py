"""As whom a container runs: ids, groups, capabilities, from the security contexts of Pod and container and the image's user.

Rules: pkg/securitycontext and the runtime's; capability numbers are those of linux/capability.h.
"""

from __future__ import annotations

import grp
import pwd
from dataclasses import dataclass
from typing import Any

from .environment import ConfigError
from .podstate import PodState

Object = dict[str, Any]

CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"),
    *("SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW"),
    *("IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT"),
    *("SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD"),
    *("LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG"),
    *("WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE"),
)
DEFAULT_CAPABILITIES = frozenset(
    (
        *("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID"),
        *("SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"),
    )
)


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """The user of a container; `capabilities` by number, `home` for HOME if the Pod does not set it."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    capabilities: tuple[int, ...]
    no_new_privileges: bool
    read_only_root: bool
    home: str


def identity(state: PodState, container: Object, image_user: str) -> ProcessIdentity:
    """Raises ConfigError when the container must not run as root and would."""
    pod_context = state.pod["spec"].get("securityContext") or {}
    own = container.get("securityContext") or {}
    user, _, group = image_user.partition(":")
    wanted = own.get("runAsUser", pod_context.get("runAsUser"))
    uid = wanted if wanted is not None else _user_id(user)
    if own.get("runAsNonRoot", pod_context.get("runAsNonRoot")):
        _check_not_root(state, container, wanted, user)
    entry = _entry(uid)
    gid = own.get("runAsGroup", pod_context.get("runAsGroup"))
    if gid is None:
        gid = _group_id(group) if group else entry.pw_gid if entry is not None else 0
    more = [*(pod_context.get("supplementalGroups") or ())]
    if "fsGroup" in pod_context:
        more.append(pod_context["fsGroup"])
    return ProcessIdentity(
        uid=uid,
        gid=gid,
        groups=tuple(dict.fromkeys([gid, *more])),
        capabilities=_capabilities(own),
        no_new_privileges=own.get("allowPrivilegeEscalation") is False,
        read_only_root=bool(own.get("readOnlyRootFilesystem")),
        home=entry.pw_dir if entry is not None else "/",
    )


def _check_not_root(state: PodState, container: Object, wanted: int | None, user: str) -> None:
    where = f'(pod: "{state.full_name}", container: {container["name"]})'
    if wanted is not None:
        if wanted == 0:
            raise ConfigError(f"container's runAsUser breaks non-root policy {where}")
    elif user and not user.isdigit():
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root {where}"
        )
    elif not user or int(user) == 0:
        raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")


def _user_id(user: str) -> int:
    if not user or user.isdigit():
        return int(user or 0)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ConfigError(
            f"unable to find user {user}: no matching entries in passwd file"
        ) from None


def _group_id(group: str) -> int:
    if group.isdigit():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigError(
            f"unable to find group {group}: no matching entries in group file"
        ) from None


def _entry(uid: int) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        return None


def _capabilities(context: Object) -> tuple[int, ...]:
    if context.get("privileged"):
        return tuple(range(len(CAPABILITIES)))
    change = context.get("capabilities") or {}
    drop, add = set(change.get("drop") or ()), set(change.get("add") or ())
    kept = set() if "ALL" in drop else set(DEFAULT_CAPABILITIES) - drop
    kept |= set(CAPABILITIES) if "ALL" in add else add
    return tuple(number for number, name in enumerate(CAPABILITIES) if name in kept)
