"""Tables of benchmarks in docs/performance.md, each between two marks, with the machine, the date and the command."""

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from hack.benchmarks.running import ROOT

PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(x) + " |" for x in lines)


def write(mark: str, text: str, *, command: str, page: Path = PAGE) -> None:
    """Replace what stands between ``<!-- MARK -->`` and ``<!-- /MARK -->``.

    Raises:
        ValueError: the page does not have the marks.
    """
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    before, found, rest = page.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"{page} does not have the marks {begin} and {end}")
    body = f"{begin}\n\n    {command}\n\n{text}\n\n{machine()}\n\n{end}"
    page.write_text(before + body + after)


def machine() -> str:
    """One sentence on where and when something was measured."""
    names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    today = datetime.now(UTC).strftime("%-d %B %Y")
    return (
        f"Measured on {today} on {os.cpu_count()} cores of {names[0] if names else platform.machine()} with "
        f"{memory:.0f} GiB of memory, Python {platform.python_version()}."
    )
