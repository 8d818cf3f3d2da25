"""Files below the agent's home folder, as ``spec.homeFiles`` of the WorkspaceConfig has them.

They are copied and not mounted: tools replace their settings files while they run, which a mounted file refuses.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Reason
from kubetask_controller.workspace.errors import PreparationError


def place_home_files(
    environ: Mapping[str, str], home: Path, mounted: Path = Path(c.MOUNT_HOME_FILES)
) -> int:
    """Write the files that ``KUBETASK_HOME_FILES`` describes; returns how many.

    Raises:
        PreparationError: two of them have paths that exclude each other, or the home folder cannot be written.
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
    """(path below HOME, content) of an entry: one, or one for each key of an object."""
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
    # From an earlier try of this container, perhaps with other permissions.
    target.unlink(missing_ok=True)
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(fd, "wb") as stream:
        stream.write(content)
    target.chmod(mode)
