"""The prompt of a task, made from its files."""

from pathlib import Path

from kubetask_controller.api.manifest import TaskManifest

PROMPT_SUFFIXES = (".md", ".txt")
MAX_PROMPT = 128 * 1024
"""Bytes of one argument on Linux, less some; longer texts are named instead of quoted."""


def make_prompt(manifest: TaskManifest, task_dir: Path) -> str:
    """The text files of the task, and where everything lies.

    The first of them leads; secret files are named and never quoted.
    """
    parts: list[str] = []
    others: list[str] = []
    for file in manifest.files:
        path = task_dir / file.name
        if file.secret or not file.name.endswith(PROMPT_SUFFIXES):
            others.append(file.name)
            continue
        text = path.read_text(errors="replace").strip()
        if sum(map(len, parts)) + len(text) > MAX_PROMPT // 2:
            others.append(file.name)
        else:
            parts.append(text)
    where = [
        f"- {x.path}: {x.org}/{x.repo}, on branch {manifest.branch}" for x in manifest.repositories
    ]
    if where:
        parts.append(
            "Repositories, each in a folder of the working directory:\n" + "\n".join(where)
        )
    if others:
        parts.append("Further files in the working directory: " + ", ".join(others))
    return "\n\n".join(parts)
