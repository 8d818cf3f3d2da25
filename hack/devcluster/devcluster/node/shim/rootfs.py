"""A container's file system: the machine's own, as a layer that keeps no writes, with the Pod's volumes at their real paths.

Every folder of the machine's root becomes an overlay whose upper layer is a tmpfs of this container, so that
mount points can be created and files written without changing the machine. A folder that cannot be overlaid is
mounted read-only. Runs inside the container's new mount and process namespaces; nothing has to be undone, since the
mounts vanish with the namespace.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TypedDict

from . import linux

OLD_ROOT = "/.machine"
DEVICES = ("full", "null", "random", "tty", "urandom", "zero")
_OWN = frozenset({"dev", "proc", "sys", OLD_ROOT.strip("/")})
_LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
)
_UNSEEN_TYPES = frozenset(
    {
        "autofs",
        "binfmt_misc",
        "cgroup",
        "cgroup2",
        "devpts",
        "mqueue",
        "nsfs",
        "proc",
        "sysfs",
        "tracefs",
    }
)


class Mount(TypedDict):
    """A mount of the container: `source` (a path of the machine, '' for a new folder) at `target`."""

    source: str
    target: str
    read_only: bool


class RootFilesystem:
    """Builds the root in `base`, an empty folder of the machine."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._root = f"{base}/root"
        self._layers = f"{base}/layers"
        self._count = 0
        self._parts: list[str] = []
        self._covered: set[str] = set()
        self._new: list[str] = []

    def enter(self, mounts: list[Mount]) -> None:
        """Build it and make it this process's root. Raises OSError."""
        linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
        linux.mount("tmpfs", self._base, "tmpfs", linux.MS_NOSUID, "mode=0755")
        os.mkdir(self._layers)
        os.mkdir(self._root)
        linux.mount(self._root, self._root, None, linux.MS_BIND)
        self._show_machine()
        self._make_devices()
        old = self._root + OLD_ROOT
        os.mkdir(old, 0o700)
        os.chdir(self._root)
        linux.pivot_root(self._root, old)
        os.chdir("/")
        self._mount_proc()
        for each in mounts:
            mount_into(each)
            self._note(os.path.normpath(each["target"]), new=not each["source"])
        linux.unmount(OLD_ROOT)
        os.rmdir(OLD_ROOT)

    def _note(self, target: str, *, new: bool) -> None:
        self._new = [each for each in self._new if not _within(each, {target})]
        if new:
            self._new.append(target)
        self._covered.add(target)

    def seal(self) -> None:
        """Make all but the volumes read-only. Raises OSError."""
        for part in ("/", *self._parts):
            # At or below a volume's place it is the volume that the path names, and a mount of the machine is hidden.
            if not _within(part, self._covered):
                linux.make_read_only(part)
        for new in self._new:
            linux.make_read_only(new)

    # --- what the machine has

    def _show_machine(self) -> None:
        beneath = _mount_points()
        for name in sorted(os.listdir("/")):
            if name in _OWN:
                continue
            source, target = f"/{name}", f"{self._root}/{name}"
            if os.path.islink(source):
                os.symlink(os.readlink(source), target)
            elif os.path.isdir(source):
                os.mkdir(target)
                self._show(source)
                for each in beneath:
                    if each.startswith(source + "/") and not f"{each}/".startswith(
                        f"{self._base}/"
                    ):
                        self._show_mount(each)
        os.mkdir(f"{self._root}/proc")
        os.mkdir(f"{self._root}/sys")
        linux.bind("/sys", f"{self._root}/sys", read_only=True)

    def _show_mount(self, source: str) -> None:
        """A mount inside of a folder; one that this user may not read stays hidden."""
        try:
            if os.path.isdir(source) and os.path.isdir(self._root + source):
                self._show(source)
        except OSError:
            return

    def _show(self, source: str) -> None:
        target = self._root + source
        try:
            self._overlay(source, target)
        except OSError:
            linux.bind(source, target, read_only=True)
            return
        self._parts.append(source)

    def _overlay(self, source: str, target: str) -> None:
        self._count += 1
        upper, work = f"{self._layers}/{self._count}u", f"{self._layers}/{self._count}w"
        os.mkdir(upper)
        os.mkdir(work)
        status = os.stat(source)
        os.chmod(upper, status.st_mode & 0o7777)
        with suppress(OSError):  # in a user namespace not every owner can be named
            os.chown(upper, status.st_uid, status.st_gid)
        options = f"lowerdir={_escape(source)},upperdir={upper},workdir={work}"
        try:
            linux.mount("overlay", target, "overlay", 0, options)
        except OSError:
            linux.mount("overlay", target, "overlay", 0, options + ",userxattr")

    # --- what every container has

    def _make_devices(self) -> None:
        dev = f"{self._root}/dev"
        os.mkdir(dev)
        linux.mount("tmpfs", dev, "tmpfs", linux.MS_NOSUID, "mode=0755")
        for name in DEVICES:
            if os.path.exists(f"/dev/{name}"):
                _touch(f"{dev}/{name}")
                linux.bind(f"/dev/{name}", f"{dev}/{name}")
        os.mkdir(f"{dev}/shm")
        linux.mount("tmpfs", f"{dev}/shm", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=1777")
        os.mkdir(f"{dev}/pts")
        try:
            linux.mount(
                "devpts",
                f"{dev}/pts",
                "devpts",
                linux.MS_NOSUID | linux.MS_NOEXEC,
                "newinstance,ptmxmode=0666,mode=0620",
            )
            os.symlink("pts/ptmx", f"{dev}/ptmx")
        except OSError:
            os.rmdir(f"{dev}/pts")
        for source, link in _LINKS:
            os.symlink(source, self._root + link)

    def _mount_proc(self) -> None:
        try:
            linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
        except OSError:
            # A container runtime around us masks parts of /proc; then the kernel refuses a fresh one.
            linux.bind(f"{OLD_ROOT}/proc", "/proc")


def mount_into(each: Mount) -> None:
    """Bind-mount a file or folder of the machine in the container; creates the mount point. Raises OSError."""
    source, target = OLD_ROOT + each["source"], each["target"]
    if not each["source"]:
        os.makedirs(target, exist_ok=True)
        linux.mount("tmpfs", target, "tmpfs", linux.MS_NOSUID, "mode=0755")
        return
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _touch(target)
    linux.bind(source, target, read_only=each["read_only"])


def _within(path: str, folders: set[str]) -> bool:
    """Whether a path is one of the folders, or below one."""
    return any(path == each or path.startswith(each.rstrip("/") + "/") for each in folders)


def _mount_points() -> list[str]:
    """Mount points of the machine, in the order of their depth; without the kernel's own file systems."""
    points = set()
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split(" ")
            kind = fields[fields.index("-") + 1]
            if kind not in _UNSEEN_TYPES:
                points.add(_unescape(fields[4]))
    return sorted(points, key=lambda point: point.count("/"))


def _unescape(text: str) -> str:
    for code, sign in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, sign)
    return text


def _escape(path: str) -> str:
    """A path as an overlay's option: colons part layers, commas part options."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def _touch(path: str) -> None:
    if not os.path.exists(path):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
