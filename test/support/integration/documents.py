"""Pages of docs/, whose commands are run as they stand."""

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parents[3] / "docs"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block. `sh` is run; `text` and `yaml` after it are what it printed, or shown for themselves."""

    page: str
    line: int
    language: str
    text: str


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, by its path from docs/."""
    whole = (DOCS / page).read_text()
    return [
        Block(page, whole[: found.start()].count("\n") + 1, found[1], found[2])
        for found in _FENCE.finditer(whole)
    ]
