"""Files of a volume that the kubelet writes, laid out as pkg/volume/util/atomic_writer.go does.

The files lie in a folder of their own to which `..data` points; what a container sees by name are links into
`..data`, so that a later version can take the place of an earlier one at once.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DATA = "..data"
FOLDER_MODE = 0o755


@dataclass(frozen=True, slots=True)
class File:
    """Contents and permissions; `uid` is its owner where that is not root."""

    data: bytes
    mode: int
    uid: int | None = None


def write(
    folder: Path, files: Mapping[str, File], version: str, *, group: int | None = None
) -> None:
    """Make `folder` show `files` (relative path -> file). `version` names this version; `group` is the Pod's fsGroup."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(FOLDER_MODE)
    target = folder / f"..{version}"
    target.mkdir()
    target.chmod(FOLDER_MODE)
    for name, file in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(file.data)
        if file.uid is not None:
            _own(path, file.uid, -1)
        path.chmod(file.mode)
    if group is not None:
        give_to_group(target, group, read_only=True)
    _point(folder, target.name)
    for top in {name.split("/", 1)[0] for name in files}:
        link = folder / top
        if not link.is_symlink():
            link.symlink_to(f"{DATA}/{top}")


def _point(folder: Path, name: str) -> None:
    """Let `..data` point to a version, in one step, and remove the one before."""
    link, fresh = folder / DATA, folder / "..data_tmp"
    before = link.readlink() if link.is_symlink() else None
    fresh.symlink_to(name)
    fresh.replace(link)
    if before is not None:
        shutil.rmtree(folder / before, ignore_errors=True)


def give_to_group(folder: Path, group: int, *, read_only: bool) -> None:
    """Let a Pod's fsGroup use a volume (pkg/volume/volume_linux.go): own it, read it and, unless `read_only`, write it."""
    file_bits, folder_bits = (0o440, 0o550) if read_only else (0o660, 0o770)
    for root, _, names in os.walk(folder):
        _own(Path(root), -1, group)
        Path(root).chmod(Path(root).stat().st_mode & 0o7777 | folder_bits | 0o2000)
        for name in names:
            path = Path(root, name)
            if not path.is_symlink():
                _own(path, -1, group)
                path.chmod(path.stat().st_mode & 0o7777 | file_bits)


def _own(path: Path, uid: int, gid: int) -> None:
    try:
        os.chown(path, uid, gid)
    except PermissionError:
        return  # not root: in the container's user namespace the file is its user's anyway
