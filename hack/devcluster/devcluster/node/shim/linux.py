"""System calls that the standard library lacks: namespaces, mounts, capabilities."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_NOATIME, MS_NODIRATIME, MS_BIND = 32, 1024, 2048, 4096
MS_REC, MS_PRIVATE, MS_RELATIME = 16384, 1 << 18, 1 << 21
MNT_DETACH = 2

PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
LAST_CAPABILITY_FILE = "/proc/sys/kernel/cap_last_cap"
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}

# Flags of a mount that a less privileged namespace must repeat when it remounts it.
_STATVFS_FLAGS = (
    (os.ST_NOSUID, MS_NOSUID),
    (os.ST_NODEV, MS_NODEV),
    (os.ST_NOEXEC, MS_NOEXEC),
    (os.ST_NOATIME, MS_NOATIME),
    (os.ST_NODIRATIME, MS_NODIRATIME),
    (os.ST_RELATIME, MS_RELATIME),
)

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def unshare(flags: int) -> None:
    """unshare(2). Raises OSError."""
    _check(_libc.unshare(flags), "unshare")


def mount(
    source: str | None,
    target: str,
    kind: str | None = None,
    flags: int = 0,
    data: str | None = None,
) -> None:
    """mount(2). Raises OSError naming the target."""
    result = _libc.mount(
        _bytes(source), _bytes(target), _bytes(kind), ctypes.c_ulong(flags), _bytes(data)
    )
    _check(result, f"mount {target}")


def unmount(target: str) -> None:
    """Detach a mount and all beneath it. Raises OSError."""
    _check(_libc.umount2(_bytes(target), MNT_DETACH), f"umount {target}")


def bind(source: str, target: str, *, read_only: bool = False) -> None:
    """Show `source`, with its submounts, at `target` too. Raises OSError."""
    mount(source, target, None, MS_BIND | MS_REC)
    if read_only:
        make_read_only(target)


def make_read_only(target: str) -> None:
    """Make one mount read-only for this namespace. Raises OSError."""
    have = os.statvfs(target).f_flag
    keep = sum(flag for bit, flag in _STATVFS_FLAGS if have & bit)
    mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | keep)


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root and show the former one at `old`. Raises OSError."""
    number = _PIVOT_ROOT[os.uname().machine]
    result = _libc.syscall(
        ctypes.c_long(number), ctypes.c_char_p(_bytes(new)), ctypes.c_char_p(_bytes(old))
    )
    _check(result, "pivot_root")


def set_hostname(name: str) -> None:
    """sethostname(2). Raises OSError."""
    data = os.fsencode(name)
    _check(_libc.sethostname(data, ctypes.c_size_t(len(data))), "sethostname")


def limit_capabilities(keep: frozenset[int]) -> None:
    """Take every capability but `keep` from what this process and its children can ever have."""
    with open(LAST_CAPABILITY_FILE, encoding="utf-8") as file:
        last = int(file.read())
    for number in range(last + 1):
        if number not in keep:
            _check(_libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0), "prctl PR_CAPBSET_DROP")
    _libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)


def forbid_new_privileges() -> None:
    """PR_SET_NO_NEW_PRIVS: no setuid program gives more than this process has."""
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl PR_SET_NO_NEW_PRIVS")


def die_with_parent(signal: int) -> None:
    """Have the kernel send `signal` to this process when its parent is gone."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0), "prctl PR_SET_PDEATHSIG")
