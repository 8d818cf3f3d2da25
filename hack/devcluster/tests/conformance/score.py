"""Verdicts on a replay: what agrees, what differs, and what the list of differences we keep excuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from .compare import Difference
from .play import Results
from .transcript import FILES, Exchange

LEFT_OUT = Path(__file__).parent / "left_out.yaml"


@dataclass(slots=True)
class Exception_:
    """One entry of left_out.yaml: where, and why. `paths` are prefixes of paths in the answer; '' is all of it."""

    file: str
    call: int
    paths: tuple[str, ...]
    reason: str
    used: set[str] = field(default_factory=set)

    def excuses(self, exchange: Exchange, difference: Difference) -> bool:
        """Whether a difference is expected."""
        if exchange.key != (self.file, self.call):
            return False
        found = [path for path in self.paths if difference.path.startswith(path)]
        self.used.update(found)
        return bool(found)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of one call: differences that nothing excuses, and those that are listed."""

    exchange: Exchange
    differences: list[Difference]
    excused: list[Difference]


def left_out() -> list[Exception_]:
    """The list of known differences."""
    loaded = yaml.safe_load(LEFT_OUT.read_text()) or []
    return [
        Exception_(each["file"], each["call"], tuple(each.get("paths", [""])), each["reason"])
        for each in loaded
    ]


def judge(exchanges: Sequence[Exchange], results: Results) -> list[Comparison]:
    """A verdict on every call."""
    listed = left_out()
    verdicts = []
    for exchange in exchanges:
        found = results[exchange.key]
        excused = [each for each in found if any(entry.excuses(exchange, each) for entry in listed)]
        verdicts.append(
            Comparison(exchange, [each for each in found if each not in excused], excused)
        )
    return verdicts


def table(verdicts: Sequence[Comparison]) -> str:
    """The score, a line a file: calls, those that agree in full, agreeing, agreeing except for the list, the others."""
    lines = [f"{'transcript':<20}{'calls':>7}{'agree':>7}{'listed':>8}{'differ':>8}"]
    by_file = {each: [v for v in verdicts if v.exchange.file == each] for each in FILES}
    lines += [_line(file, own) for file, own in by_file.items() if own]
    return "\n".join([*lines, _line("all", verdicts)])


def _line(name: str, verdicts: Sequence[Comparison]) -> str:
    differ = sum(bool(each.differences) for each in verdicts)
    listed = sum(bool(each.excused) and not each.differences for each in verdicts)
    return f"{name:<20}{len(verdicts):>7}{len(verdicts) - differ - listed:>7}{listed:>8}{differ:>8}"
