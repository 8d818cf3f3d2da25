"""hack/commits.py accepts the messages that CONTRIBUTING.md asks for, and refuses others with a reason."""

import subprocess
import sys
from pathlib import Path

import pytest
from hack.commits import problems

SCRIPT = Path(__file__).resolve().parents[2] / "hack" / "commits.py"


@pytest.mark.parametrize(
    "message",
    [
        "Recreate the Job after a disruption\n\nIts Pod may be gone.\n",
        "Agents: keep the second process of gemini",
        "# a comment of the editor\nUse the newest status\n# another\n",
        "Add a field" + "\n\n# ------------------------ >8 ------------------------\n" + "x" * 90,
        "Merge branch 'of a name that is far longer than a subject is allowed to be' into main",
        f"{'Subject of 72 characters':.<71}x",
    ],
)
def test_a_subject_in_the_imperative_with_a_separate_body_is_accepted(message: str) -> None:
    assert problems(message) == []


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("", "empty"),
        ("\n# only comments\n", "empty"),
        ("x" * 73, "73 characters, at most 72"),
        ("Add a field.", "period"),
        ("Added a field", "'Added'; use the imperative"),
        ("Docs: fixes a link", "'fixes'; use the imperative"),
        ("Add a field\nthat nobody needs", "second line"),
    ],
)
def test_a_message_that_breaks_a_rule_is_refused_with_the_rule(message: str, reason: str) -> None:
    (found,) = problems(message)
    assert reason in found


@pytest.mark.processes
def test_a_range_names_each_commit_that_breaks_a_rule(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.com", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    git("init", "--quiet")
    for subject in ("Start", "Add a field", "Added another field"):
        git("commit", "--quiet", "--allow-empty", "--message", subject)
    bad = git("rev-parse", "--short", "HEAD").strip()
    command = [sys.executable, str(SCRIPT), "HEAD~2..HEAD"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"{bad}: the subject starts with 'Added'; use the imperative, such as 'Add'"
    ]
