"""ARCHITECTURE.md names functions that exist, and the function that decides each reason and each status field."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubetask_controller.api import constants as c
from kubetask_controller.api.batchrun import BatchRunStatus
from kubetask_controller.api.constants import Reason
from kubetask_controller.api.status import TaskStatus
from kubetask_controller.api.task import TaskExecutionStatus

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "kubetask_controller"
TEXT = (ROOT / "ARCHITECTURE.md").read_text()
NAMED = re.findall(r"`([\w/]+\.py):([\w.]+)`", TEXT)


def section(title: str) -> Iterator[tuple[list[str], list[tuple[str, str]]]]:
    """The rows of a section's table: the names in the first column, and the functions in the second."""
    body = TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]
    for row in re.findall(r"^\| (`.*?) \| (.*) \|$", body, re.MULTILINE):
        yield re.findall(r"`(\w+)`", row[0]), re.findall(r"`([\w/]+\.py):([\w.]+)`", row[1])


@functools.cache
def parsed(path: str) -> ast.Module:
    """A file of the package, or of its reconcilers."""
    (file,) = [x for x in (SOURCE / path, SOURCE / "reconcilers" / path) if x.exists()]
    return ast.parse(file.read_text())


def definition(path: str, name: str) -> ast.AST:
    """The function or class of that name, or ``Class.method``."""
    node: ast.AST = parsed(path)
    for part in name.split("."):
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        found = [x for x in ast.iter_child_nodes(node) if isinstance(x, kinds) and x.name == part]
        assert len(found) == 1, f"{path} has no {name}"
        node = found[0]
    return node


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED)))
def test_every_function_that_the_page_names_exists(path: str, name: str) -> None:
    definition(path, name)


def test_the_trace_of_an_event_is_numbered_and_leads_through_every_layer() -> None:
    steps = re.findall(r"^(\d)\. (.*?)(?=^\d\. |\n\n)", TEXT, re.MULTILINE | re.DOTALL)
    trace = [text for _, text in steps if re.search(r"`[\w/]+\.py:", text)]
    assert len(trace) >= 8
    text = "".join(trace)
    for layer in ("client/", "runtime/", "reconcilers/", "batchrun/", "taskrun/", "status_writer"):
        assert f"`{layer}" in text


def test_every_reason_has_the_function_that_decides_it() -> None:
    rows = list(section("Where a reason is decided"))
    listed = [name for names, _ in rows for name in names]
    assert sorted(listed) == sorted(x.value for x in Reason)
    for names, functions in rows:
        decided = [reasons_of(path, name) for path, name in functions]
        assert set(names) <= set().union(*decided), names
        assert all(x & set(names) for x in decided), names


def reasons_of(path: str, name: str) -> set[str]:
    """The reasons in a function, in the constants of its file that it uses, and in the sets of reported reasons."""
    constants = {
        target.id: statement
        for statement in parsed(path).body
        if isinstance(statement, (ast.Assign, ast.AnnAssign))
        for target in (
            statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        )
        if isinstance(target, ast.Name)
    }
    nodes = [definition(path, name)]
    nodes += [
        constants[x.id] for x in ast.walk(nodes[0]) if isinstance(x, ast.Name) and x.id in constants
    ]
    found: set[str] = set()
    for node in (x for each in nodes for x in ast.walk(each) if isinstance(x, ast.Attribute)):
        if isinstance(node.value, ast.Name) and node.value.id == "Reason":
            found.add(Reason[node.attr].value)
        elif node.attr in ("PREPARATION_REASONS", "AGENT_REASONS"):
            found |= {x.value for x in getattr(c, node.attr)}
    return found


def test_every_status_field_has_the_function_that_decides_it() -> None:
    rows = list(section("Where a status field is decided"))
    fields = {
        field.alias or name
        for model in (BatchRunStatus, TaskExecutionStatus, TaskStatus)
        for name, field in model.model_fields.items()
    }
    listed = [name for names, _ in rows for name in names]
    assert sorted(listed) == sorted(fields)
    for names, functions in rows:
        texts = {
            node.value
            for path, name in functions
            for node in ast.walk(definition(path, name))
            if isinstance(node, ast.Constant)
        }
        assert set(names) <= texts, names
