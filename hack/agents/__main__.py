"""python -m hack.agents install [TOOL...]: puts the pinned agent tools into .agents, from their lock files.

With --within SECONDS it gives up after that time, says so, and exits with 0: the tests of the tool are skipped then.

python -m hack.agents table: writes what the tests with the real tools saw into docs/agents.md. With --check it fails where
the page differs.
"""

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = ROOT / ".agents"
OUTCOMES = INSTALLED / "outcomes"
PAGE = ROOT / "docs" / "agents.md"
LOCKS = Path(__file__).parent
TOOLS = ("claude", "gemini", "codex", "opencode", "goose")
SMOKE_TOOL = "goose"
"""The one that `make test` tries: a small program that starts fast and needs no Node.js."""
NATIVE = {"goose", "opencode"}
NODE_MAJOR = 22
BEGIN, END = "<!-- outcomes: written by make test-agents -->", "<!-- end of outcomes -->"
MAX_CELL = 150


def versions() -> dict[str, str]:
    """The version of each tool in its lock file."""
    found = {}
    for tool in (*TOOLS, "node"):
        wanted = json.loads((LOCKS / tool / "package.json").read_text())["dependencies"]
        ((_, found[tool]),) = wanted.items()
    return found


def install(tools: Sequence[str] = TOOLS, within: float | None = None) -> None:
    """Install the missing tools.

    Args:
        tools: the tools; Node.js is added if one of them needs a newer version.
        within: limit in seconds for all of them.

    Raises:
        subprocess.TimeoutExpired: the limit is exceeded.
        FileNotFoundError: npm is not installed.
        subprocess.CalledProcessError: npm fails.
    """
    ends = None if within is None else time.monotonic() + within
    needs_node = not set(tools) <= NATIVE and not _node_is_new()
    for tool in (*tools, *(("node",) if needs_node else ())):
        lock = LOCKS / tool / "package-lock.json"
        target = INSTALLED / tool
        mark = target / ".installed"
        digest = hashlib.sha256(lock.read_bytes()).hexdigest()
        if mark.exists() and mark.read_text() == digest:
            continue
        print(f"installing {tool} {versions()[tool]} into .agents", flush=True)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(LOCKS / tool / name, target / name)
        npm = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
        left = None if ends is None else max(0.0, ends - time.monotonic())
        subprocess.run(npm, cwd=target, check=True, timeout=left)
        mark.write_text(digest)


def _node_is_new() -> bool:
    try:
        told = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    found = re.match(r"v(\d+)\.", told.stdout)
    return found is not None and int(found[1]) >= NODE_MAJOR


def table() -> str:
    """The messages that a user sees, case by case, as Markdown."""
    rows: dict[str, dict[str, str]] = {}
    order: dict[str, int] = {}
    for path in OUTCOMES.glob("*.json"):
        seen = json.loads(path.read_text())
        rows.setdefault(seen["case"], {})[seen["tool"]] = _cell(seen)
        order[seen["case"]] = seen["order"]
    pinned = versions()
    head = [f"{x} {pinned[x]}" for x in TOOLS]
    lines = [f"| case | {' | '.join(head)} |", "|" + "---|" * (len(TOOLS) + 1)]
    cases = sorted(rows, key=lambda x: order[x])
    lines += [f"| {x} | {' | '.join(rows[x].get(y, '') for y in TOOLS)} |" for x in cases]
    return "\n".join(lines)


def _cell(seen: dict[str, str]) -> str:
    text = " ".join(seen["message"].split()).replace("|", "\\|")
    text = re.sub(r"http://127\.0\.0\.1:\d+", "URL", text)
    text = re.sub(r"(request id: )\S+", r"\1…", text).rstrip(".")
    text = text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 1]}…"
    return f"**{seen['reason']}** {text}".strip()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hack.agents", description=__doc__)
    parser.add_argument("command", choices=("install", "table"))
    parser.add_argument("tools", nargs="*", metavar="TOOL", default=TOOLS)
    parser.add_argument("--within", type=float, metavar="SECONDS")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_intermixed_args()
    if options.command == "install":
        try:
            install(options.tools, options.within)
        except (subprocess.SubprocessError, FileNotFoundError) as error:
            if options.within is None:
                raise
            print(f"Not installed, so its tests are skipped (make test-agents runs them): {error}")
        return 0
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if options.check:
        return int(wanted != page)
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
