"""Sets of completion indexes, as Jobs write them: `0-2,5`."""

from __future__ import annotations

from collections.abc import Iterable


def parse(text: str) -> set[int]:
    """The indexes in `text`."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def render(indexes: Iterable[int]) -> str:
    """Indexes in their compressed form; two neighbours are written `1,2`, more `1-3`."""
    runs: list[list[int]] = []
    for index in sorted(set(indexes)):
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    parts: list[str] = []
    for run in runs:
        joint = "," if len(run) == 2 else "-"
        parts.append(str(run[0]) if len(run) == 1 else f"{run[0]}{joint}{run[-1]}")
    return ",".join(parts)
