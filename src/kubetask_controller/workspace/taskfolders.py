"""Keeps a volume that tasks share from filling up: what tasks of long ago have left is removed by later ones.

Nobody tells a task which others still run, so age decides: a task's folder is kept for a week after it was made. When that
was, and that it is a task's folder at all, a file beside the locks says, where agents cannot write: a folder's own time and
content are theirs.
"""

import contextlib
import os
import re
import secrets
import shutil
import time
from pathlib import Path

from kubetask_controller.api.constants import MANIFEST_FILE
from kubetask_controller.workspace.cache import LOCKS_DIR
from kubetask_controller.workspace.git import log_line

TASK_KEEP_SECONDS = 7 * 86400.0
"""Age after which the folder of a task is removed from a volume that tasks share."""
BEGUN_DIR = "begun"
"""Below the locks: a file for each task's folder, whose time is when the task began."""
_NAME = re.compile(r"^[a-z0-9]{8,64}(\.[0-9a-f]{8})?$")


def remove_old_task_folders(tasks: Path, *, keep: str, now: float | None = None) -> None:
    """Remove folders of tasks that began long ago; what no task made stays."""
    moment = time.time() if now is None else now
    begun = _begun(tasks)
    begun.mkdir(parents=True, exist_ok=True)
    for folder in tasks.iterdir() if tasks.is_dir() else ():
        if folder.name == keep or not _NAME.match(folder.name) or folder.is_symlink():
            continue
        mark = begun / folder.name
        try:
            old = moment - mark.stat().st_mtime > TASK_KEEP_SECONDS
        except FileNotFoundError:
            # Of a version that made no marks.
            if (folder / MANIFEST_FILE).is_file():
                mark.touch()
            continue
        if old:
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                mark.unlink(missing_ok=True)
            log_line(f"removed the folder of an old task, {folder.name}")


def create_task_folder(folder: Path) -> None:
    """An empty folder, whatever an earlier try of the task left there.

    Raises:
        OSError: it cannot be made.
    """
    begun = _begun(folder.parent)
    if folder.is_symlink():
        folder.unlink()
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        # Some of it belongs to another user. It may still be moved aside, and goes with the old tasks.
        aside = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}")
        folder.rename(aside)
        (begun / aside.name).touch()
    folder.mkdir(parents=True)
    mark = begun / folder.name
    mark.touch()
    with contextlib.suppress(OSError):
        os.utime(mark)


def _begun(tasks: Path) -> Path:
    return tasks.parent / LOCKS_DIR / BEGUN_DIR
