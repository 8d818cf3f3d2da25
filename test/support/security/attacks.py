"""The table of attacks in docs/threat-model.md: by whom, and which test tries it.

Run as a program it prints the tests that lie outside of this folder, for ``make attack``.
"""

import ast
import re
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3]
HERE = Path("test/security")
_ROW = re.compile(r"^\| ([a-z ]+) \| .* \| `(test/[\w/]+\.py)::(test_\w+)` \|$", re.MULTILINE)


@cache
def attacks() -> dict[tuple[str, str], str]:
    """File and function of a test, and who attacks."""
    text = (ROOT / "docs" / "threat-model.md").read_text()
    return {(file, test): who for who, file, test in _ROW.findall(text)}


def functions(file: str) -> dict[str, str]:
    """The test functions of a file, and their ids, which name their class."""
    found = {}
    for node in ast.parse((ROOT / file).read_text()).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        for each in inside:
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                found[each.name] = f"{file}::{prefix}{each.name}"
    return found


if __name__ == "__main__":
    elsewhere = [x for x in attacks() if not x[0].startswith(f"{HERE}/")]
    sys.stdout.write("\n".join(functions(file)[test] for file, test in elsewhere) + "\n")
