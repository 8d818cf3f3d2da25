"""hack/tested.py leaves out the tests of the development cluster only while nothing of it has changed."""

from pathlib import Path

import pytest
from hack import tested


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which the tests of the development cluster have passed."""
    files = [*tested.OTHERS, "hack/devcluster/devcluster/base.py", "hack/devcluster/tests/x.jsonl"]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert not tested.passed(tmp_path)
    tested.record(tmp_path)
    return tmp_path


def test_what_passed_its_tests_need_not_run_them_again(checkout: Path) -> None:
    (checkout / "src").mkdir()
    (checkout / "src" / "product.py").write_text("changed")
    compiled = checkout / "hack/devcluster/devcluster/__pycache__"
    compiled.mkdir()
    (compiled / "base.cpython-311.pyc").write_bytes(b"")
    assert tested.passed(checkout)


@pytest.mark.parametrize(
    "name", ["devcluster/base.py", "tests/x.jsonl", "tests/new.py", "../requirements/dev.txt"]
)
def test_a_changed_or_new_file_makes_the_tests_run_again(checkout: Path, name: str) -> None:
    (checkout / tested.FOLDER / name).write_text("changed")
    assert not tested.passed(checkout)


def test_a_removed_or_renamed_file_makes_the_tests_run_again(checkout: Path) -> None:
    path = checkout / "hack/devcluster/tests/x.jsonl"
    path.rename(path.with_name("y.jsonl"))
    assert not tested.passed(checkout)
