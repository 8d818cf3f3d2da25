"""Block mappings and sequences as parts of lines that can be moved, renamed and left out.

A part has its own lines, with the comments inside of it, and the comment and blank lines before
it. A comment after a part belongs to it where it is indented deeper than the part's key or dash,
else to what follows. No line of the input is ever lost by cutting.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from kubetask_controller.cli.manifests import BlockDumper
from kubetask_controller.cli.migrate.documents import Node, parse_document

Lines = list[str]


@dataclass(frozen=True, slots=True)
class Part:
    """An entry of a mapping, or an item of a sequence.

    Attributes:
        key: the entry's key; empty for an item.
        column: column of its key or dash.
        lead: comments and blank lines before it.
        lines: its lines.
        node: its value; positions refer to the lines of the block.
    """

    key: str
    column: int
    lead: Lines
    lines: Lines
    node: Node

    @property
    def inline(self) -> str:
        """The rest of its first line after the key's colon or the dash."""
        line = self.lines[0][self.column :]
        if not self.key:
            return line[1:].strip()
        return line[_key_width(line) :].partition(":")[2].strip()

    def renamed(self, key: str) -> "Part":
        """The same part under another key."""
        first = self.lines[0]
        width = _key_width(first[self.column :])
        first = first[: self.column] + key + first[self.column + width :]
        return replace(self, key=key, lines=[first, *self.lines[1:]])

    def moved(self, column: int) -> "Part":
        """The same part at another column."""
        delta = column - self.column
        return replace(
            self,
            column=column,
            lead=shifted(self.lead, delta),
            lines=shifted(self.lines, delta),
        )

    def undashed(self) -> Lines:
        """The lines of an item, with a blank instead of the dash; without a blank first line."""
        first = self.lines[0]
        first = f"{first[: self.column]} {first[self.column + 1 :]}"
        return [first, *self.lines[1:]] if first.strip() else self.lines[1:]

    def text(self) -> Lines:
        """All its lines."""
        return [*self.lead, *self.lines]


@dataclass(frozen=True, slots=True)
class Block:
    """The parts of a mapping or sequence, and the lines that follow the last."""

    parts: Sequence[Part]
    tail: Lines

    def text(self) -> Lines:
        """All lines."""
        return [*(line for part in self.parts for line in part.text()), *self.tail]

    def get(self, key: str) -> Part | None:
        """The entry of a key."""
        return next((x for x in self.parts if x.key == key), None)


class FlowStyleError(ValueError):
    """The mapping or sequence is in flow style."""


def split_block(lines: Sequence[str]) -> Block:
    """The parts of a block mapping or sequence.

    Raises:
        FlowStyleError: the lines are not a block mapping or sequence.
    """
    node = parse_document("\n".join(lines) + "\n")
    if node is None or not node.block:
        raise FlowStyleError
    entries: list[tuple[str, int, int, Node]] = []
    if node.kind == "mapping":
        for key, value in node.entries:
            entries.append((key.value, key.start[0], key.start[1], value))
    else:
        bound = 0
        for item in node.items:
            # The dash is on the item's line, or alone on a previous line.
            line = next(n for n in range(item.start[0], bound - 1, -1) if _dash(lines[n], node))
            entries.append(("", line, node.start[1], item))
            bound = item.last_line + 1
    return _parts(lines, entries)


def _parts(lines: Sequence[str], entries: Sequence[tuple[str, int, int, Node]]) -> Block:
    parts: list[Part] = []
    lead = list(lines[: entries[0][1]])
    for number, (key, first, column, value) in enumerate(entries):
        following = entries[number + 1][1] if number + 1 < len(entries) else len(lines)
        end = max(value.last_line, first) + 1
        deeper = [n for n in range(end, following) if _comment_column(lines[n]) > column]
        end = deeper[-1] + 1 if deeper else end
        parts.append(Part(key, column, lead, list(lines[first:end]), value))
        lead = list(lines[end:following])
    return Block(parts, lead)


def shifted(lines: Iterable[str], delta: int) -> Lines:
    """The lines, moved right by `delta` columns, or left as far as possible."""
    moved = []
    for line in lines:
        room = len(line) - len(line.lstrip(" "))
        moved.append(" " * max(room + delta, 0) + line[room:] if line.strip() else line)
    return moved


def comments(lines: Iterable[str]) -> Lines:
    """The lines that are comments or blank."""
    return [line for line in lines if not line.strip() or _comment_column(line) >= 0]


def eol_comment(part: Part) -> str:
    """The comment at the end of the part's first line, if its value starts on a later line."""
    return part.inline if part.inline.startswith("#") else ""


def dump_lines(value: Any, column: int) -> Lines:
    """A value as block YAML."""
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 20)
    return shifted(text.removesuffix("...\n").rstrip("\n").split("\n"), column)


def scalar(value: str) -> str:
    """A string as a YAML scalar, quoted if necessary."""
    return dump_lines(value, 0)[0]


class _Dumper(BlockDumper):
    """Indents lists, and writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _dash(line: str, node: Node) -> bool:
    column = node.start[1]
    return line[column : column + 1] == "-" and not line[:column].strip(" -?:")


def _comment_column(line: str) -> int:
    """The column of a comment line; -1 for other lines."""
    stripped = line.lstrip(" ")
    return len(line) - len(stripped) if stripped.startswith("#") else -1


def _key_width(line: str) -> int:
    """Length of the key at the start of a line, including quotes."""
    if line[:1] in ("'", '"'):
        return line.index(line[0], 1) + 1
    return len(line.partition(":")[0].rstrip())
