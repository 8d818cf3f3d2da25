"""Transcripts of a real control plane: files of requests with their answers, and of watches with their events."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "transcripts"
# In the order in which they were recorded, on one cluster: later files see what earlier ones did.
FILES = ("discovery", "crd", "custom-resources", "lists", "watches", "jobs", "core", "auth")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One recorded call. `response` is None for a watch, whose events are `stream`; the last of them records how it ended."""

    file: str
    index: int
    note: str
    request: dict[str, Any]
    response: dict[str, Any] | None
    stream: list[dict[str, Any]] | None

    @property
    def key(self) -> tuple[str, int]:
        """What it is known by: file and line, the topic's line being 0."""
        return (self.file, self.index)

    @property
    def title(self) -> str:
        """E.g. `lists-3: bad continue`."""
        return f"{self.file}-{self.index}: {self.note}"


def load(file: str, folder: Path = FOLDER) -> list[Exchange]:
    """The calls of one file."""
    lines = [json.loads(line) for line in (folder / f"{file}.jsonl").read_text().splitlines()]
    return [
        Exchange(
            file, index, line["note"], line["request"], line.get("response"), line.get("stream")
        )
        for index, line in enumerate(lines)
        if "request" in line
    ]


def load_all() -> list[Exchange]:
    """Every call of every file, in order."""
    return [exchange for file in FILES for exchange in load(file)]
