"""Attacks, grouped by attacker: a file each. The summary counts what was tried and what held.

A case of a parametrised test is one try. docs/threat-model.md has a table attack by attack; a test holds it to these files.
"""

from collections import Counter
from pathlib import Path

import pytest
from rooms import as_user, origins, room, server, task, template

__all__ = ["as_user", "origins", "room", "server", "task", "template"]

HERE = Path(__file__).parent
HELD, BROKEN = ("passed",), ("failed", "error")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Attacker by attacker: how many tries, and how many of them held."""
    counts: dict[str, Counter[str]] = {}
    for outcome in (*HELD, *BROKEN, "skipped", "xfailed"):
        for report in terminalreporter.stats.get(outcome, ()):
            path, _, _ = report.nodeid.partition("::")
            stem = Path(path).stem
            if Path(path).parent.name == HERE.name and stem.startswith("test_"):
                counts.setdefault(stem.removeprefix("test_"), Counter())[outcome] += 1
    if not counts:
        return
    terminalreporter.section("attacks")
    for attacker, found in sorted(counts.items()):
        terminalreporter.write_line(_line(attacker.replace("_", " "), found))
    terminalreporter.write_line(_line("all", sum(counts.values(), Counter())))


def _line(name: str, found: Counter[str]) -> str:
    held, broken = (sum(found[x] for x in outcomes) for outcomes in (HELD, BROKEN))
    rest = found.total() - held - broken
    return f"{name:<16} tries {held + broken:>4}   held {held:>4}   did not hold {broken:>3}   not run {rest:>3}"
