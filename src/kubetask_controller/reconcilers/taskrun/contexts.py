"""What a task works on: the common part and its own part, merged."""

from collections.abc import Iterable, Sequence

from kubetask_controller.api.typed import ContextJSON, RepositoryJSON
from kubetask_controller.types import JSON

MAX_TARGET = 253


def merged(common: Sequence[ContextJSON], variable: Sequence[ContextJSON]) -> list[ContextJSON]:
    """Task i = commonContext + variableContexts[i]; a file of the variable part replaces a common file of that name."""
    replaced = {file_name(x) for x in variable} - {None}
    return [x for x in common if file_name(x) is None or file_name(x) not in replaced] + list(
        variable
    )


def file_name(context: ContextJSON) -> str | None:
    """The name of a File context, None for any other."""
    file = context.get("file")
    return file.get("name") if file and context.get("type") == "File" else None


def repositories(contexts: Iterable[ContextJSON]) -> list[RepositoryJSON]:
    """The repositories among the contexts, in order, each once."""
    seen: dict[tuple[str, ...], RepositoryJSON] = {}
    for context in contexts:
        repository = context.get("repository")
        if repository and context.get("type") == "Repository":
            place = (repository.get("host", ""), repository["org"], repository["repo"])
            key = (*place, repository.get("branch", ""))
            seen.setdefault(key, repository)
    return list(seen.values())


def distinguishing(contexts: Sequence[ContextJSON]) -> list[JSON]:
    """What makes a task differ, for its entry in a status: its repositories, else its files by name and source.

    Never inline text: a prompt does not belong into a status.
    """
    found = repositories(contexts)
    if found:
        return [{"type": "Repository", "repository": dict(x)} for x in found]
    files = []
    for context in contexts:
        file = context.get("file")
        if file:
            source = {k: v for k, v in (file.get("source") or {}).items() if k != "inline"}
            files.append({"type": "File", "file": {"name": file["name"], "source": source}})
    return files


def target(contexts: Sequence[ContextJSON]) -> str:
    """One short text for a printer column: ``org/repo@branch``, else the name of the first file."""
    found = repositories(contexts)
    if found:
        first = found[0]
        branch = first.get("branch")
        text = f"{first['org']}/{first['repo']}" + (f"@{branch}" if branch else "")
        more = len(found) - 1
    else:
        names = [name for name in map(file_name, contexts) if name]
        text, more = (names[0], len(names) - 1) if names else ("", 0)
    text += f" +{more}" if more > 0 else ""
    return text if len(text) <= MAX_TARGET else text[: MAX_TARGET - 1] + "…"
