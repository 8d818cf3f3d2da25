"""The files of a task, in its folder and below the agent's home folder.

In the task's folder, files that are not secret are read-only copies, because some agents do not follow links out of their
folder. Secret files stay in the volume that Kubernetes keeps in memory; the folder contains a link to each. The content of an
inline file must match the digest in the manifest, because another user could create a ConfigMap under the derived name.

Files below HOME (``spec.homeFiles`` of the WorkspaceConfig) are copies, not mounts: tools replace their settings files while
they run, which a mounted file does not allow.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import RESERVED_DIR, Reason
from kubetask_controller.api.manifest import ManifestFile
from kubetask_controller.workspace.errors import PreparationError

FILE_MODE = 0o444


def write_files(
    files: Iterable[ManifestFile], *, task_dir: Path, mounted: Path, repositories: Iterable[str]
) -> None:
    """Write every file into the task's folder, and replace existing files.

    Args:
        files: the files; names may contain folders.
        task_dir: the task's folder.
        mounted: where the volume with the files is mounted.
        repositories: folders below `task_dir` that belong to repositories.

    Raises:
        PreparationError: a file is not mounted, differs from its digest, or its name conflicts with a repository's folder.
    """
    taken = [PurePosixPath(x) for x in (*repositories, RESERVED_DIR)]
    for file in files:
        name = PurePosixPath(file.name)
        for folder in taken:
            if name == folder or folder in name.parents or name in folder.parents:
                raise PreparationError(
                    Reason.INVALID_SPEC,
                    f"file {file.name} conflicts with the folder {folder} of the task: choose another name",
                )
        source, target = mounted / name, task_dir / name
        if not source.exists():
            raise PreparationError(Reason.CONTEXT_NOT_FOUND, f"file {file.name} is not mounted")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        if file.secret:
            target.symlink_to(source)
        else:
            content = source.read_bytes()
            if file.sha256 and hashlib.sha256(content).hexdigest() != file.sha256:
                raise PreparationError(
                    Reason.WORKSPACE_ERROR,
                    f"file {file.name} differs from the digest in the manifest: another user created or replaced"
                    " the ConfigMap that contains it",
                )
            target.write_bytes(content)
            target.chmod(FILE_MODE)


def write_home_files(
    environ: Mapping[str, str], home: Path, mounted: Path = Path(c.MOUNT_HOME_FILES)
) -> int:
    """Write the files that ``KUBETASK_HOME_FILES`` describes; returns their number.

    Raises:
        PreparationError: two paths conflict, or the home folder is not writable.
    """
    count = 0
    for file in json.loads(environ.get(c.ENV_HOME_FILES) or "[]"):
        try:
            for path, content in _contents(file, mounted):
                _write(home, path, content, file["mode"])
                count += 1
        except OSError as error:
            raise PreparationError(
                Reason.INVALID_SPEC,
                f"homeFiles: {file['path']} cannot be written: {error.strerror}",
            ) from error
    return count


def _contents(file: Mapping[str, Any], mounted: Path) -> list[tuple[str, bytes]]:
    """Pairs of path below HOME and content: one for an entry, or one for each key of an object."""
    if "inline" in file:
        return [(file["path"], file["inline"].encode())]
    folder = mounted / str(file["source"])
    if "key" in file:
        return [(file["path"], (folder / file["key"]).read_bytes())]
    keys = sorted(x for x in folder.iterdir() if not x.name.startswith(".."))
    return [(f"{file['path']}/{x.name}", x.read_bytes()) for x in keys]


def _write(home: Path, path: str, content: bytes, mode: int) -> None:
    target = home / path
    target.parent.mkdir(parents=True, exist_ok=True)
    # An earlier run of this container may have written it with other permissions.
    target.unlink(missing_ok=True)
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(fd, "wb") as stream:
        stream.write(content)
    target.chmod(mode)
