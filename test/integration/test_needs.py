"""`hack/node.sh --needs` names, for each capability of a cluster, the tests that require it."""

import re
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
SCRIPT = HERE.parents[1] / "hack" / "node.sh"
ROWS = {
    "processes": ("nodes and an image", "the development cluster"),
    "loopback": ("an address", "the development cluster"),
    "scripted-pods": ("scripted Pods",),
    "images": ("images",),
    "faults": ("faults",),
}
"""For each capability the rows of the table that may name a test; the first column is 26 characters wide."""


def _table() -> dict[str, str]:
    done = subprocess.run([SCRIPT, "--needs"], capture_output=True, text=True, check=True)
    rows: dict[str, str] = {}
    name = ""
    for line in done.stdout.splitlines():
        name = line[:26].strip() or name
        rows[name] = rows.get(name, "") + line[26:] + " "
    return rows


def test_the_table_of_needs_names_every_test_module_that_requires_something() -> None:
    rows = _table()
    for file in set(HERE.glob("test_*.py")) - {Path(__file__)}:
        text = file.read_text()
        calls = " ".join(re.findall(r"cluster\.require\(([^)]*)\)", text))
        required = {x for x in ROWS if f'"{x}"' in calls}
        if "git_host:" in text:
            required |= {"processes", "loopback"}
        for capability in required:
            named = " ".join(rows[x] for x in ROWS[capability])
            assert re.search(rf"\b{file.stem}\b", named), f"{file.stem} needs {capability}"


def test_the_table_names_no_test_that_does_not_exist() -> None:
    named = set(re.findall(r"\btest_\w+", " ".join(_table().values())))
    assert named <= {x.stem for x in HERE.glob("test_*.py")}
