"""Keeps a volume that tasks share from filling up: what tasks of long ago have left is removed by later ones.

Nobody tells a task which others still run, so age decides: a task's folder is kept for a week after it was made.
"""

import contextlib
import os
import secrets
import shutil
import time
from pathlib import Path

from kubetask_controller.workspace.git import say

TASK_KEEP_SECONDS = 7 * 86400.0
"""Age after which the folder of a task is removed from a volume that tasks share."""


def remove_old_tasks(tasks: Path, *, keep: str, now: float | None = None) -> None:
    """Remove folders of tasks that began long ago."""
    moment = time.time() if now is None else now
    for folder in tasks.iterdir() if tasks.is_dir() else ():
        if folder.name == keep:
            continue
        try:
            old = moment - folder.stat().st_mtime > TASK_KEEP_SECONDS
        except FileNotFoundError:
            continue  # another task was faster
        if old:
            shutil.rmtree(folder, ignore_errors=True)
            say(f"removed the folder of an old task, {folder.name}")


def clear(folder: Path) -> None:
    """An empty folder, whatever an earlier try of the task left there.

    Raises:
        OSError: it cannot be made.
    """
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        # Some of it belongs to another user. It may still be moved aside, and goes with the old tasks.
        aside = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}")
        folder.rename(aside)
        with contextlib.suppress(OSError):
            os.utime(aside)
    folder.mkdir(parents=True)
