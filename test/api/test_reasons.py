"""The closed lists of reasons: each one is emitted by the product, and each one is explained."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from kubetask_controller.api.constants import REASONS_BY_PHASE, EventReason, Reason
from kubetask_controller.cli.ui.views import EVENT_WORDS

SOURCE = Path(__file__).resolve().parents[2] / "src" / "kubetask_controller"
EMITTERS = ("app", "reconcilers", "workspace")


@cache
def emitted() -> set[str]:
    """``Class.MEMBER`` of every member that the product uses outside of a comparison."""
    return {
        name
        for package in EMITTERS
        for path in (SOURCE / package).rglob("*.py")
        for name in used(path)
    }


def used(path: Path) -> Iterator[str]:
    compared: set[ast.AST] = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            compared.update(ast.walk(node))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node not in compared
        ):
            yield f"{node.value.id}.{node.attr}"


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_emitted_and_belongs_to_a_phase(reason: Reason) -> None:
    assert f"Reason.{reason.name}" in emitted()
    assert any(reason in reasons for reasons in REASONS_BY_PHASE.values())


@pytest.mark.parametrize("reason", EventReason)
def test_every_reason_of_an_event_is_emitted_and_explained(reason: EventReason) -> None:
    assert f"EventReason.{reason.name}" in emitted()
    assert EVENT_WORDS[reason]
