"""Converts lists of repositories and files of CodeSweep into lists of contexts.

Items keep their comments, quotes and order; fields that a context does not have are removed and
reported.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

import yaml

from kubetask_controller.cli.migrate.blocks import (
    Block,
    FlowStyleError,
    Lines,
    Part,
    comments,
    dump_lines,
    scalar,
    shifted,
    split_block,
)
from kubetask_controller.cli.migrate.report import Report

STEP = 2
REPOSITORY_FIELDS = ("org", "repo", "branch")
SOURCE_FIELDS = ("inline", "configMapKeyRef", "secretKeyRef")
_HOST = re.compile(
    r"(?:https?|ssh)://(?:[^@/]+@)?(?P<host>[^/]+)/|[^@/\s]+@(?P<ssh>[^:/\s]+):", re.IGNORECASE
)
_GITHUB = "github.com"
_WITHOUT_SUBGROUPS = (_GITHUB, "bitbucket.org", "codeberg.org")
_PAGES = frozenset(("tree", "blob", "-"))
"""Parts of the URL of a page, not of a repository."""

Convert = Callable[[Part, str, Report], "Lines | None"]


def variable_contexts(sequence: Block, report: Report, path: str) -> Lines:
    """``repositories`` as ``variableContexts``: a list with one repository for each task."""
    return _each(sequence, report, path, _repository)


def common_context(sequence: Block, report: Report, path: str) -> Lines:
    """``context.files`` as ``commonContext``."""
    return _each(sequence, report, path, _file)


def repository_of(text: str) -> dict[str, str] | None:
    """org, repo, branch and host of ``org/repo``, ``org/repo@branch``, ``host/org/repo`` or a clone URL.

    None for others, such as the URL of a folder.
    """
    found = _HOST.match(text)
    host = (found["host"] or found["ssh"]).lower() if found else ""
    path, at, branch = text[found.end() if found else 0 :].removesuffix("/").partition("@")
    names = path.split("/")
    if not host and len(names) > 2 and "." in names[0]:
        host, *names = names
    names = [unquote(x) if host else x for x in names]
    if len(names) > 2 and names[-2] == "_git":
        names.pop(-2)
    *groups, repo = names
    repo = repo.removesuffix(".git")
    if (
        not groups
        or not all((*groups, repo))
        or re.search(r"[:?#\s]", path)
        or _PAGES & set(names[2:])
        or (len(groups) > 1 and host in _WITHOUT_SUBGROUPS)
        or (at and not re.fullmatch(r"[^@\s]+", branch))
    ):
        return None
    fields = {"org": "/".join(groups), "repo": repo, "branch": branch, "host": host}
    return {key: value for key, value in fields.items() if value}


def _each(sequence: Block, report: Report, path: str, convert: Convert) -> Lines:
    lines: Lines = []
    for number, item in enumerate(sequence.parts):
        lines += item.lead
        converted = convert(item, f"{path}[{number}]", report)
        lines += comments(item.lines) if converted is None else converted
    return lines + sequence.tail


def _repository(item: Part, path: str, report: Report) -> Lines | None:
    column = item.column
    head = [f"{' ' * column}- - type: Repository"]
    inner = column + 2 * STEP
    if item.node.kind == "alias":
        return [*head, f"{' ' * inner}repository: {item.inline}"]
    if item.node.kind == "scalar":
        fields = repository_of(item.node.value)
        if fields is None:
            report.lost(
                path,
                f"{item.node.value!r} is neither org/repo nor the URL of a repository; removed",
            )
            return None
        _warn_of_host(fields, path, report)
        return [
            *head,
            f"{' ' * inner}repository:",
            *dump_lines({k: v for k, v in fields.items() if k != "host"}, inner + STEP),
            *shifted(_eol(item), inner + STEP),
        ]
    body = _kept(_with_url(_block(item), path, report), REPOSITORY_FIELDS, path, report)
    if not body.parts:
        return None
    return [*head, f"{' ' * inner}repository:", *_at(body, inner + STEP)]


def _file(item: Part, path: str, report: Report) -> Lines | None:
    column = item.column
    head = [f"{' ' * column}- type: File"]
    inner = column + STEP
    if item.node.kind == "alias":
        return [*head, f"{' ' * inner}file: {item.inline}"]
    if item.node.kind != "mapping":
        report.lost(path, "a file needs a name and a source; removed")
        return None
    block = _block(item)
    parts = []
    for part in block.parts:
        renamed = {"content": "inline", "path": "name"}.get(part.key, part.key)
        parts.append(part if renamed == part.key or block.get(renamed) else part.renamed(renamed))
    body = _kept(Block(parts, block.tail), ("name", "source", *SOURCE_FIELDS), path, report)
    if not body.parts:
        return None
    return [*head, f"{' ' * inner}file:", *_at(_sourced(body), inner + STEP)]


def _sourced(block: Block) -> Block:
    """Move inline, configMapKeyRef and secretKeyRef below source."""
    if block.get("source"):
        return block
    parts: list[Part] = []
    for part in block.parts:
        if part.key not in SOURCE_FIELDS:
            parts.append(part)
            continue
        head = f"{' ' * part.column}source:"
        moved = part.moved(part.column + STEP)
        lines = [head, *moved.lines]
        parts.append(Part("source", part.column, part.lead, lines, part.node))
    return Block(parts, block.tail)


def _block(item: Part) -> Block:
    """The fields of an item; flow style is converted to block style."""
    lines = item.undashed()
    try:
        return split_block(lines)
    except FlowStyleError:
        return split_block(dump_lines(yaml.safe_load("\n".join(lines)) or {"": None}, 0))


def _kept(block: Block, fields: Sequence[str], path: str, report: Report) -> Block:
    """The supported fields, and the comments of the others."""
    parts, orphans = [], Lines()
    for part in block.parts:
        if part.key in fields or part.key == "<<":
            parts.append(part)
            continue
        report.lost(f"{path}.{part.key}", "unknown field; removed")
        orphans += comments(part.lead)
    return Block(parts, [*orphans, *block.tail])


def _with_url(block: Block, path: str, report: Report) -> Block:
    """Replace a url with org and repo if they are missing."""
    url = block.get("url")
    if url is None or block.get("repo"):
        return block
    fields = repository_of(url.node.value)
    if fields is None:
        return block
    _warn_of_host(fields, path, report)
    given = {part.key for part in block.parts}
    parts: list[Part] = []
    for part in block.parts:
        if part is not url:
            parts.append(part)
            continue
        lead = part.lead
        for key in REPOSITORY_FIELDS:
            if key in fields and key not in given:
                line = f"{' ' * part.column}{key}: {scalar(fields[key])}"
                parts.append(Part(key, part.column, lead, [line], part.node))
                lead = []
    return Block(parts, block.tail)


def _warn_of_host(fields: dict[str, Any], path: str, report: Report) -> None:
    host = fields.get("host", _GITHUB)
    if host != _GITHUB:
        report.lost(
            path, f"the host {host} belongs into spec.git.urlTemplate of the WorkspaceConfig"
        )


def _at(block: Block, column: int) -> Lines:
    return shifted(block.text(), column - block.parts[0].column)


def _eol(item: Part) -> Lines:
    """The comment after an item of one line, as a line."""
    after = item.lines[0][item.node.end[1] :].strip() if item.node.kind == "scalar" else ""
    return [after] if after.startswith("#") else []
