"""Tables of benchmarks in docs/performance.md, each between two marks, with the machine, the date and the command.

What tables and pictures are made from is kept as JSON in hack/benchmarks/measured: a list of rows for each benchmark. A row
stays until the same size is measured again, so sizes may be measured one by one.
"""

import json
import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hack.benchmarks.running import ROOT

PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"
MEASURED = ROOT / "hack" / "benchmarks" / "measured"

Row = dict[str, Any]


def kept(name: str, folder: Path = MEASURED) -> list[Row]:
    """The rows that a benchmark has measured so far."""
    file = folder / f"{name}.json"
    rows: list[Row] = json.loads(file.read_text()) if file.exists() else []
    return rows


def keep(
    name: str, rows: Sequence[Row], *, key: Sequence[str], command: str, folder: Path = MEASURED
) -> list[Row]:
    """Keep rows in place of those with the same key, and return all, in the order of their keys.

    Each row says how it was measured: ``command`` and ``measured``, the machine and the date.
    """
    every = {tuple(x[k] for k in key): x for x in kept(name, folder)}
    for row in rows:
        every[tuple(row[k] for k in key)] = {**row, "command": command, "measured": machine()}
    ordered = [every[x] for x in sorted(every)]
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(ordered, indent=1) + "\n")
    return ordered


def write_rows(mark: str, text: str, rows: Sequence[Row], *, page: Path = PAGE) -> None:
    """As ``write``, with the commands and machines of rows that were kept."""
    commands = "\n    ".join(dict.fromkeys(x["command"] for x in rows))
    measured = "\n".join(dict.fromkeys(x["measured"] for x in rows))
    _replace(mark, f"    {commands}\n\n{text}\n\n{measured}", page)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(x) + " |" for x in lines)


def write(mark: str, text: str, *, command: str, page: Path = PAGE) -> None:
    """Replace what stands between ``<!-- MARK -->`` and ``<!-- /MARK -->``.

    Raises:
        ValueError: the page does not have the marks.
    """
    _replace(mark, f"    {command}\n\n{text}\n\n{machine()}", page)


def _replace(mark: str, text: str, page: Path) -> None:
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    before, found, rest = page.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"{page} does not have the marks {begin} and {end}")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def machine() -> str:
    """One sentence on where and when something was measured."""
    names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    today = datetime.now(UTC).strftime("%-d %B %Y")
    return (
        f"Measured on {today} on {os.cpu_count()} cores of {names[0] if names else platform.machine()} with "
        f"{memory:.0f} GiB of memory, Python {platform.python_version()}."
    )
