"""Checks commit messages: a subject of at most 72 characters, an imperative verb first, an empty line before the body.

python3 hack/commits.py FILE          a message in a file, as a commit-msg hook passes it
python3 hack/commits.py BASE..HEAD    every commit of a range except merges

It needs nothing but Python, so a hook can run it without the virtual environment.
"""

import re
import subprocess
import sys
from pathlib import Path

LIMIT = 72
SCOPE = re.compile(r"^[A-Z][\w./ -]*: ")
NOT_IMPERATIVE = re.compile(
    r"(?:add|fix|chang|remov|updat|creat|mov|renam|us|mak|delet|replac|improv|test)(?:e?d|ing|e?s)\b",
    re.IGNORECASE,
)
WRITTEN_BY_GIT = ("Merge ", "Revert ", "fixup! ", "squash! ", "amend! ")


def problems(message: str) -> list[str]:
    """The problems of a commit message, one sentence each."""
    scissors = message.partition("# ------------------------ >8 ------------------------")[0]
    lines = [x.rstrip() for x in scissors.splitlines() if not x.startswith("#")]
    while lines and not lines[0]:
        lines.pop(0)
    subject = lines[0] if lines else ""
    if subject.startswith(WRITTEN_BY_GIT):
        return []
    found = []
    if not subject:
        found.append("the subject is empty")
    if len(subject) > LIMIT:
        found.append(f"the subject has {len(subject)} characters, at most {LIMIT} are allowed")
    if subject.endswith("."):
        found.append("the subject ends with a period; remove it")
    if (verb := NOT_IMPERATIVE.match(SCOPE.sub("", subject))) is not None:
        found.append(f"the subject starts with {verb[0]!r}; use the imperative, such as 'Add'")
    if len(lines) > 1 and lines[1]:
        found.append("the second line is not empty; separate the body from the subject")
    return found


def _messages(argument: str) -> dict[str, str]:
    if ".." not in argument:
        return {argument: Path(argument).read_text(encoding="utf-8")}
    command = ["git", "log", "--no-merges", "--format=%h%n%B%x00", argument]
    log = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    entries = [x.strip("\n").partition("\n") for x in log.split("\0") if x.strip()]
    return {commit: message for commit, _, message in entries}


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    found = [f"{k}: {x}" for k, v in _messages(arguments[0]).items() for x in problems(v)]
    print("\n".join(found), end="\n" if found else "", file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
