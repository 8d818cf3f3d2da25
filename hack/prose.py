"""Applies the style rules of styles/ to the paths of .vale.ini, without Vale.

python -m hack.prose            check every path of .vale.ini; exit 1 and name each place where a rule is broken
python -m hack.prose PATH…      check these files or folders, whether or not .vale.ini has them

It also checks that the files and functions that ARCHITECTURE.md names exist.
Vale reads the same two places, so there is one vocabulary. This program supports the rule types `substitution` and
`existence`. It checks text only: Markdown without code; comments, docstrings and messages of Python; comments and
descriptions of YAML, Makefiles and workflows; titles of a dashboard.
"""

import ast
import configparser
import io
import json
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
Lines = Iterator[tuple[int, str]]  # line number from 1, and the prose of it


@dataclass(frozen=True)
class Rule:
    """A pattern that prose must not contain. ``message`` has the match, and for a substitution the better wording."""

    name: str
    pattern: re.Pattern[str]
    message: str


def rules(styles: Path) -> list[Rule]:
    """The rules of a folder of Vale styles.

    Raises:
        ValueError: a rule has a type that this program cannot apply.
    """
    found = []
    for file in sorted(styles.glob("*/*.yml")):
        loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
        name, message = f"{file.parent.name}.{file.stem}", loaded["message"]
        if loaded["extends"] == "substitution":
            entries = {k: message.replace("%s", v, 1) for k, v in loaded["swap"].items()}
        elif loaded["extends"] == "existence":
            entries = dict.fromkeys(loaded["tokens"], message)
        else:
            raise ValueError(f"{file}: rules that extend {loaded['extends']} are not supported")
        flags = re.IGNORECASE if loaded.get("ignorecase") else 0
        for token, text in entries.items():
            found.append(Rule(name, re.compile(rf"\b(?:{token})\b", flags), text))
    return found


def _markdown(text: str) -> Lines:
    blank = re.compile(r"[^\n]")
    for pattern in (
        re.compile(r"^(`{3,}).*?^\1", re.MULTILINE | re.DOTALL),
        re.compile(r"<!-- outcomes.*?<!-- end of outcomes -->", re.DOTALL),
        re.compile(r"<!--.*?-->", re.DOTALL),
        re.compile(r"`[^`\n]+`"),
        re.compile(r"(?<=\])\([^)\n]+\)"),
        re.compile(r"^(?: {4,}).*$", re.MULTILINE),
    ):
        text = pattern.sub(lambda x: blank.sub("\N{ZERO WIDTH SPACE}", x[0]), text)
    yield from enumerate(text.splitlines(), 1)


def _python(text: str) -> Lines:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], _without_code(token.string)
    for node in ast.walk(ast.parse(text)):
        # A string without a space is a name, a key or a path.
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            for offset, line in enumerate(node.value.splitlines()):
                yield node.lineno + offset, _without_code(line)


def _without_code(line: str) -> str:
    return re.sub(r"(`+)[^`]+\1", "\N{ZERO WIDTH SPACE}", line)


def _comments(text: str) -> Lines:
    described = re.compile(
        r"^\s*-?\s*(?:description|summary|title|label|about|name|message): (.*)$"
    )
    for number, line in enumerate(text.splitlines(), 1):
        comment = re.search(r"(?:^|\s)#+ ?(.*)$", line)
        if found := comment or described.match(line):
            yield number, _without_code(found[1])


def _titles(text: str) -> Lines:
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.match(
            r'\s*"(?:title|description|displayName|legendFormat)": (".*?"),?$', line
        ):
            yield number, json.loads(found[1])


READERS: dict[str, Callable[[str], Lines]] = {
    ".md": _markdown,
    ".py": _python,
    ".yaml": _comments,
    ".yml": _comments,
    "": _comments,
    ".json": _titles,
}


def problems(path: Path, text: str, found: list[Rule]) -> list[str]:
    """One line for each place of a file where a rule is broken."""
    return [
        f"{path}:{number}: {rule.message.replace('%s', match[0])} [{rule.name}]"
        for number, line in sorted(READERS[path.suffix](text))
        for rule in found
        for match in rule.pattern.finditer(line)
    ]


def configured(config: Path) -> set[Path]:
    """The files to check, relative to the folder of .vale.ini. A later section overrides an earlier one, as in Vale."""
    parser = configparser.ConfigParser()
    parser.read_string("[top]\n" + config.read_text(encoding="utf-8"))
    found: set[Path] = set()
    for section in parser.sections()[1:]:
        matched = {x.relative_to(config.parent) for x in config.parent.glob(section)}
        found = found | matched if parser[section]["BasedOnStyles"] else found - matched
    return found


def stale_references(text: str, files: Iterable[Path]) -> list[str]:
    """Files and functions that a page names in code spans, and that do not exist.

    A path is the end of a path of the repository. Names follow it: `` `taskrun/plan.py`, `make_plan` and `halt` ``.
    """
    paths, found = {f"/{x}": x for x in files}, []
    reference = r"`([\w/.-]+\.(?:py|md|yaml|json))`((?:(?:, | and )`\w+`)*)"
    for path, names in re.findall(reference, text):
        matches = [x for key, x in paths.items() if key.endswith(f"/{path}")]
        if not matches:
            found.append(f"no file {path}")
        for name in re.findall(r"`(\w+)`", names):
            defined = re.compile(rf"^\s*(?:async )?(?:def|class) {name}\b", re.MULTILINE)
            if matches and not any(defined.search((ROOT / x).read_text()) for x in matches):
                found.append(f"{path} does not define {name}")
    return found


def main(arguments: list[str]) -> int:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    tracked = {Path(x) for x in listed.stdout.decode().split("\0") if x}
    if arguments:
        wanted = [Path(x).resolve().relative_to(ROOT) for x in arguments]
        files = {x for x in tracked if any(x.is_relative_to(y) for y in wanted)}
    else:
        files = configured(ROOT / ".vale.ini") & tracked
    applied, found = rules(ROOT / "styles"), []
    for path in sorted(x for x in files if x.suffix in READERS and (ROOT / x).is_file()):
        found += problems(path, (ROOT / path).read_text(encoding="utf-8"), applied)
    if not arguments:
        page = "ARCHITECTURE.md"
        stale = stale_references((ROOT / page).read_text(encoding="utf-8"), tracked)
        found += [f"{page}: {x}" for x in stale]
    print("\n".join([*found, f"prose: {len(files)} files, {len(found)} problems"]))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
