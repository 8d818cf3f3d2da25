"""hack/prose.py finds the words of styles/ in prose, and only in prose."""

from pathlib import Path

import pytest
from hack.prose import ROOT, configured, problems, rules, stale_references

RULES = rules(ROOT / "styles")


def found(name: str, text: str) -> list[str]:
    return problems(Path(name), text, RULES)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("page.md", "One line.\n\nThe user is told why.\n"),
        ("code.py", '"""First line.\n\nThe user is told why.\n"""\n'),
        ("code.py", "x = 1\ny = 2\n# The user is told why.\n"),
        ("code.py", "raise_for(\n    1,\n    f'The user is told {why}',\n)\n"),
        ("file.yaml", "kind: Job\nspec: {}\n# The user is told why.\n"),
        ("file.yml", "x:\n  y: 1\n  description: The user is told why.\n"),
        ("Makefile", "all:\n\ntest: ## Show what the user is told\n"),
        ("board.json", '{\n  "x": 1,\n  "title": "The user is told why"\n}\n'),
    ],
)
def test_a_word_of_the_vocabulary_is_found_with_its_line(name: str, text: str) -> None:
    (problem,) = found(name, text)
    assert problem.startswith(f"{name}:3: 'is told'")
    assert problem.endswith("[KubeTask.Metaphors]")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "page.md",
            "```\nwhat is this\n```\n\nSee `what is` and [it](what is).\n<!-- what is\nthis -->\n",
        ),
        ("code.py", "told = knows = asks(hears)\n# See ``what is`` here.\n"),
        ("file.yaml", "tells: knows\nwhat is: asks\n"),
    ],
)
def test_code_is_not_prose(name: str, text: str) -> None:
    assert found(name, text) == []


def test_a_substitution_names_the_better_wording() -> None:
    (problem,) = found("page.md", "The controller makes one Job for each task.\n")
    assert problem == "page.md:1: Use 'create' instead of 'makes one Job'. [KubeTask.Terms]"


def test_a_later_section_overrides_an_earlier_one(tmp_path: Path) -> None:
    for name in ("a.md", "b.md", "c.txt"):
        (tmp_path / name).touch()
    config = tmp_path / ".vale.ini"
    config.write_text("StylesPath = s\n[*.md]\nBasedOnStyles = K\n[b.md]\nBasedOnStyles =\n")
    assert configured(config) == {Path("a.md")}


def test_a_reference_to_a_file_or_function_that_does_not_exist_is_found() -> None:
    files = [Path("hack/prose.py"), Path("README.md")]
    text = "`prose.py`, `rules` and `main`; `hack/prose.py`, `nothing`; `absent.py`; `README.md`"
    assert stale_references(text, files) == [
        "hack/prose.py does not define nothing",
        "no file absent.py",
    ]
