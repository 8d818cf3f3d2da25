"""A stream of YAML documents, cut at its separators and put together again.

Guarantees: join(split(text)) is text, byte for byte; so what nobody touches stays as it is, be it
YAML or not.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_SEPARATOR = re.compile(r"^---[ \t]*(?:#[^\n]*)?(?:\n|\Z)|^---(?=[ \t])", re.MULTILINE)
"""The marker with its comment; or the marker alone where the document begins on its line. At the
start of a line it is a marker wherever it stands, even inside of a string (YAML 1.2, 9.1.2)."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document: the separator before it, empty for a first one without, and its text."""

    separator: str
    body: str


def split(text: str) -> list[Document]:
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


def join(documents: Iterable[Document]) -> str:
    """The stream of some documents."""
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
