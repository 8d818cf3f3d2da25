"""The files of a task, by name in its folder.

What is not secret is copied, read-only, so that agents which do not follow links out of their folder can read it. What is
secret stays where Kubernetes mounts it, in memory, and the folder has a link to it. An inline file is compared with the
digest that the manifest has of it: its ConfigMap may have been made by somebody else, under the name that ours would have.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from kubetask_controller.api.constants import RESERVED_DIR, Reason
from kubetask_controller.api.manifest import ManifestFile
from kubetask_controller.workspace.errors import PreparationError

FILE_MODE = 0o444


def place_files(
    files: Iterable[ManifestFile], *, task_dir: Path, mounted: Path, repositories: Iterable[str]
) -> None:
    """Put every file into the task's folder; one that is there already is replaced.

    Args:
        files: with names that may have folders in them.
        task_dir: the task's folder.
        mounted: where the volume with the files is mounted.
        repositories: folders below `task_dir` that belong to repositories.

    Raises:
        PreparationError: a file is not mounted, differs from its digest, or its name falls into a repository's folder.
    """
    taken = [PurePosixPath(x) for x in (*repositories, RESERVED_DIR)]
    for file in files:
        name = PurePosixPath(file.name)
        for folder in taken:
            if name == folder or folder in name.parents or name in folder.parents:
                raise PreparationError(
                    Reason.INVALID_SPEC,
                    f"file {file.name} would lie in the folder {folder} of the task",
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
                    f"file {file.name} is not what the spec says: somebody else has made or replaced"
                    " the ConfigMap that carries it",
                )
            target.write_bytes(content)
            target.chmod(FILE_MODE)
