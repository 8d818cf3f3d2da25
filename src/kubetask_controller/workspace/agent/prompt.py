"""Builds the prompt of a task from its files and from the agent instructions of its repositories."""

import re
from collections.abc import Sequence
from pathlib import Path

from kubetask_controller.api.manifest import TaskManifest

PROMPT_SUFFIXES = (".md", ".txt")
MAX_PROMPT = 1 << 20
"""Maximum number of characters of quoted files; further files are only listed. The first file is always quoted."""
MAX_INSTRUCTIONS = 64 * 1024
"""Maximum length of a repository's instructions that are quoted."""
INSTRUCTIONS = ("AGENTS.md", "CLAUDE.md", "GEMINI.md")
"""Files with instructions for agents, the most general first."""
_SPECIAL = "/?!#@$&:\\"
"""Characters with which a prompt must not start: a tool could interpret it as a command."""
_AT = re.compile(r"(?<!\\)@((?:\"[^\"]*\"|\\.|[^\s,;!?()\[\]{}.]|\.(?!\s|$))+)")


def make_prompt(
    manifest: TaskManifest, task_dir: Path, *, cwd: Path, reads: Sequence[str] = ()
) -> str:
    """The text files of the task in full, and the paths of the other files and repositories.

    Secret files are listed and never quoted. `reads` are the instruction files that the tool reads by itself in `cwd`;
    instructions under another name are quoted.
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
    """The prompt with a backslash before each existing ``@path``, for a tool that replaces it with the file."""

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
            "Before you work in a repository, read and follow its instructions for agents:\n"
            + "\n".join(f"- {x}" for x in found)
        )
    text = found[0].read_text(errors="replace").strip()
    if len(text) > MAX_INSTRUCTIONS:
        return f"Before you start, read and follow the repository's instructions for agents: {found[0]}"
    return f"Follow the repository's instructions for agents ({found[0].name}):\n\n{text}"
