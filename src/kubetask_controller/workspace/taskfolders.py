"""The folders of tasks on the workspace volume: creates them, and removes old ones so that a shared volume does not fill up.

A task has no information about running tasks, so age decides: a task's folder is kept for a week after its creation. A marker
file beside the locks records the time and identifies the folder as that of a task. Agents cannot write there, whereas they
could change the modification time and the content of the folder itself.
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
"""Age after which the folder of a task is removed from a shared volume."""
BEGUN_DIR = "begun"
"""Below the locks: a marker file for each task's folder; its modification time is the start of the task."""
_NAME = re.compile(r"^[a-z0-9]{8,64}(\.[0-9a-f]{8})?$")


def remove_old_task_folders(tasks: Path, *, keep: str, now: float | None = None) -> None:
    """Remove folders of old tasks. Folders without a marker are kept."""
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
            # An earlier version, which wrote no markers, created the folder.
            if (folder / MANIFEST_FILE).is_file():
                mark.touch()
            continue
        if old:
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                mark.unlink(missing_ok=True)
            log_line(f"removed the folder of old task {folder.name}")


def create_task_folder(folder: Path) -> None:
    """Create an empty folder for a task, and remove the files of an earlier attempt.

    Raises:
        OSError: the folder cannot be created.
    """
    begun = _begun(folder.parent)
    if folder.is_symlink():
        folder.unlink()
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        # Another user owns some of it. Rename the folder; it is removed with the old tasks.
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
