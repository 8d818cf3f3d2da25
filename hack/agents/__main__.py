"""python -m hack.agents install: puts the pinned agent tools into .agents, from their lock files.

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
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = ROOT / ".agents"
OUTCOMES = INSTALLED / "outcomes"
PAGE = ROOT / "docs" / "agents.md"
LOCKS = Path(__file__).parent
TOOLS = ("claude", "gemini", "codex", "opencode", "goose")
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


def install() -> None:
    """Install the missing tools."""
    for tool in (*TOOLS, *(() if _node_is_new() else ("node",))):
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
        subprocess.run(npm, cwd=target, check=True)
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
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if options.command == "install":
        install()
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
