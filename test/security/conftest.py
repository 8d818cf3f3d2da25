"""Attacks, grouped by attacker. The summary counts what was tried and what held.

A case of a parametrised test is one try. Who attacks stands in the table of docs/threat-model.md.
"""

from collections import Counter

import pytest

from support.security.attacks import attacks
from support.workspace.rooms import as_user, origins, room, server, task, template

__all__ = ["as_user", "origins", "room", "server", "task", "template"]

HELD, BROKEN = ("passed",), ("failed", "error")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Attacker by attacker: how many tries, and how many of them held."""
    counts: dict[str, Counter[str]] = {}
    for outcome in (*HELD, *BROKEN, "skipped", "xfailed", "xpassed"):
        for report in terminalreporter.stats.get(outcome, ()):
            file, *_, name = report.nodeid.partition("[")[0].split("::")
            if who := attacks().get((file, name)):
                counts.setdefault(who, Counter())[outcome] += 1
    if not counts:
        return
    terminalreporter.section("attacks")
    for attacker, found in sorted(counts.items()):
        terminalreporter.write_line(_line(attacker, found))
    terminalreporter.write_line(_line("all", sum(counts.values(), Counter())))


def _line(name: str, found: Counter[str]) -> str:
    held, broken = (sum(found[x] for x in outcomes) for outcomes in (HELD, BROKEN))
    known, tries = found["xfailed"], found.total() - found["skipped"]
    return (
        f"{name:<14} tries {tries:>4}   held {held + found['xpassed']:>4}   known not to hold {known:>2}"
        f"   did not hold {broken:>2}   not run {found['skipped']:>2}"
    )
