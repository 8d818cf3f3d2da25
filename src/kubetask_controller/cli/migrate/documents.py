"""A stream of YAML documents, split at its separators and joined again, and the nodes of a document with their positions.

Guarantees: join_documents(split_documents(text)) is text, byte for byte, whether it is YAML or not.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

_SEPARATOR = re.compile(r"^---[ \t]*(?:#[^\n]*)?(?:\n|\Z)|^---(?=[ \t])", re.MULTILINE)
"""The marker with its comment; or only the marker if the document starts on its line. At the start of
a line it is always a marker, even inside a string (YAML 1.2, 9.1.2)."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document: its separator, which is empty for a first document without one, and its text."""

    separator: str
    body: str


def split_documents(text: str) -> list[Document]:
    """The documents of a stream."""
    found = list(_SEPARATOR.finditer(text))
    documents = []
    if not found or found[0].start() > 0:
        end = found[0].start() if found else len(text)
        documents.append(Document("", text[:end]))
    for number, marker in enumerate(found):
        end = found[number + 1].start() if number + 1 < len(found) else len(text)
        documents.append(Document(marker.group(), text[marker.end() : end]))
    return documents


def join_documents(documents: Iterable[Document]) -> str:
    """The stream of the documents."""
    return "".join(x.separator + x.body for x in documents)


def concatenate(texts: Iterable[str]) -> str:
    """One stream of several files."""
    stream = ""
    for text in texts:
        if stream and not stream.endswith("\n"):
            stream += "\n"
        if stream and text and not text.startswith("---"):
            stream += "---\n"
        stream += text
    return stream


NodePosition = tuple[int, int]
"""Line and column, from 0."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node; `entries` are those of a mapping as (key, value), `items` those of a sequence."""

    kind: Literal["scalar", "mapping", "sequence", "alias"]
    start: NodePosition
    end: NodePosition
    flow: bool = False
    value: str = ""
    entries: Sequence[tuple["Node", "Node"]] = field(default_factory=list)
    items: Sequence["Node"] = field(default_factory=list)

    @property
    def block(self) -> bool:
        """Whether it is a mapping or sequence in block style."""
        return self.kind in ("mapping", "sequence") and not self.flow

    def get(self, key: str) -> "Node | None":
        """The value of a key of a mapping."""
        return next((value for name, value in self.entries if name.value == key), None)

    @property
    def last_line(self) -> int:
        """The last line that belongs to it."""
        line, column = self.end
        return line - 1 if column == 0 and self.end > self.start else line


def parse_document(text: str) -> Node | None:
    """The root of the first document; None for a document without content.

    Raises:
        yaml.YAMLError: the text is not YAML.
    """
    events = yaml.parse(text, Loader=yaml.SafeLoader)
    for event in events:
        if isinstance(event, yaml.NodeEvent):
            node = _node(event, events)
            return None if node.kind == "scalar" and not node.value else node
    return None


def _node(event: yaml.Event, events: Iterator[yaml.Event]) -> Node:
    start, end = _position(event.start_mark), _position(event.end_mark)
    if isinstance(event, yaml.AliasEvent):
        return Node("alias", start, end)
    if isinstance(event, yaml.ScalarEvent):
        return Node("scalar", start, end, value=event.value)
    children = []
    for inner in events:
        if isinstance(inner, yaml.CollectionEndEvent):
            end = _position(inner.end_mark)
            break
        children.append(_node(inner, events))
    flow = bool(getattr(event, "flow_style", False))
    if not flow and children:
        end = children[-1].end
        if children[-1].last_line < children[-1].end[0]:
            end = (children[-1].last_line, 1 << 16)
    if isinstance(event, yaml.SequenceStartEvent):
        return Node("sequence", start, end, flow, items=children)
    pairs = list(zip(children[::2], children[1::2], strict=True))
    return Node("mapping", start, end, flow, entries=pairs)


def _position(mark: Any) -> NodePosition:
    return mark.line, mark.column
