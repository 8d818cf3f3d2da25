"""The prompt of a task, made from its files, and what a repository tells agents about itself."""

import re
from collections.abc import Sequence
from pathlib import Path

from kubetask_controller.api.manifest import TaskManifest

PROMPT_SUFFIXES = (".md", ".txt")
MAX_PROMPT = 1 << 20
"""Characters of quoted files; those beyond are named. The first one is always quoted whole."""
MAX_INSTRUCTIONS = 64 * 1024
"""Characters of a repository's instructions that are quoted."""
INSTRUCTIONS = ("AGENTS.md", "CLAUDE.md", "GEMINI.md")
"""Where a repository tells agents about itself, the most general first."""
_SPECIAL = "/?!#@$&:\\"
"""What a prompt may not begin with: a tool could take it for a command of its own."""
_AT = re.compile(r"(?<!\\)@((?:\"[^\"]*\"|\\.|[^\s,;!?()\[\]{}.]|\.(?!\s|$))+)")


def make_prompt(
    manifest: TaskManifest, task_dir: Path, *, cwd: Path, reads: Sequence[str] = ()
) -> str:
    """The text files of the task, whole, and where everything lies.

    The first of them leads; secret files are named and never quoted. `reads` are the instructions that the tool reads by
    itself in `cwd`; those that a repository has under another name are quoted.
    """
    parts: list[str] = []
    others: list[str] = []
    for file in manifest.files:
        path = task_dir / file.name
        if file.secret or not file.name.endswith(PROMPT_SUFFIXES):
            others.append(str(path))
            continue
        text = path.read_text(errors="replace").strip()
        if parts and sum(map(len, parts)) + len(text) > MAX_PROMPT:
            others.append(str(path))
        elif text:
            parts.append(text)
    if parts and parts[0][0] in _SPECIAL:
        parts.insert(0, "Task:")
    where = [
        f"- {task_dir / x.path}: {x.org}/{x.repo}, on branch {manifest.branch}"
        for x in manifest.repositories
    ]
    if where:
        parts.append("Repositories:\n" + "\n".join(where))
    if others:
        parts.append("Further files of the task:\n" + "\n".join(f"- {x}" for x in others))
    if instructions := _instructions(manifest, task_dir, cwd=cwd, reads=reads):
        parts.append(instructions)
    return "\n\n".join(parts)


def without_at_paths(prompt: str, cwd: Path) -> str:
    """The prompt with a backslash before each ``@path`` that is there, for a tool that would replace it by the file."""

    def escaped(match: re.Match[str]) -> str:
        name = match[1].strip('"').replace("\\", "")
        try:
            there = bool(name) and (cwd / name).exists()
        except (OSError, ValueError):
            there = False
        return f"\\{match[0]}" if there else match[0]

    return _AT.sub(escaped, prompt)


def _instructions(
    manifest: TaskManifest, task_dir: Path, *, cwd: Path, reads: Sequence[str]
) -> str:
    found: list[Path] = []
    for repository in manifest.repositories:
        folder = task_dir / repository.path
        if folder == cwd and any((folder / x).is_file() for x in reads):
            continue
        names = (*reads, *INSTRUCTIONS)
        found += [p for x in names if (p := folder / x).is_file()][:1]
    if not found:
        return ""
    if cwd == task_dir:
        return (
            "Before you work in a repository, read what it tells agents about itself, and follow it:\n"
            + "\n".join(f"- {x}" for x in found)
        )
    text = found[0].read_text(errors="replace").strip()
    if len(text) > MAX_INSTRUCTIONS:
        return f"Before you begin, read what the repository tells agents about itself, and follow it: {found[0]}"
    return (
        f"What the repository tells agents about itself, in {found[0].name}; follow it:\n\n{text}"
    )
