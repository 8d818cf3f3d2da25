"""The package's layout; import-linter checks its layers and that it has no import cycles."""

import ast
from collections import Counter
from pathlib import Path

import devcluster


def test_no_class_name_occurs_twice() -> None:
    files = Path(devcluster.__path__[0]).rglob("*.py")
    names = Counter(
        node.name
        for file in files
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in names.items() if count > 1] == []
