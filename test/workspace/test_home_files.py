"""Files below the agent's home folder."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from kubetask_controller.api.constants import Reason
from kubetask_controller.workspace.errors import PreparationError
from kubetask_controller.workspace.files import write_home_files


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """What the kubelet mounts: a key of a Secret, and a ConfigMap whose files are links to a folder of its own."""
    folder = tmp_path / "mounted"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "netrc").write_text("machine example.com")
    data = folder / "2" / "..2026_11_27"
    data.mkdir(parents=True)
    (folder / "2" / "..data").symlink_to(data.name)
    for name in ("SKILL.md", "check.sh"):
        (data / name).write_text(name)
        (folder / "2" / name).symlink_to(f"..data/{name}")
    return folder


def place(home: Path, mounted: Path, *files: dict[str, Any]) -> int:
    home.mkdir(exist_ok=True)
    return write_home_files({"KUBETASK_HOME_FILES": json.dumps(files)}, home, mounted)


def test_files_appear_below_home_with_their_modes(tmp_path: Path, mounted: Path) -> None:
    home = tmp_path / "home"
    count = place(
        home,
        mounted,
        {"path": ".claude/settings.json", "mode": 0o666, "inline": "{}"},
        {"path": ".netrc", "mode": 0o600, "source": 1, "key": "netrc"},
        {"path": ".claude/skills/review", "mode": 0o755, "source": 2},
    )
    assert count == 4
    assert (home / ".claude/settings.json").read_text() == "{}"
    assert (home / ".netrc").read_text() == "machine example.com"
    assert stat.S_IMODE((home / ".netrc").stat().st_mode) == 0o600
    skill = home / ".claude/skills/review"
    assert sorted(x.name for x in skill.iterdir()) == ["SKILL.md", "check.sh"]
    assert stat.S_IMODE((skill / "check.sh").stat().st_mode) == 0o755
    assert not (skill / "SKILL.md").is_symlink()


def test_a_second_try_ends_the_same(tmp_path: Path, mounted: Path) -> None:
    file = {"path": ".netrc", "mode": 0o400, "source": 1, "key": "netrc"}
    for _ in range(2):
        assert place(tmp_path / "home", mounted, file) == 1


def test_paths_that_exclude_each_other_are_an_error_that_names_the_field(
    tmp_path: Path, mounted: Path
) -> None:
    files = [
        {"path": "a", "mode": 0o666, "inline": ""},
        {"path": "a/b", "mode": 0o666, "inline": ""},
    ]
    with pytest.raises(PreparationError, match="homeFiles: a/b") as failed:
        place(tmp_path / "home", mounted, *files)
    assert failed.value.reason is Reason.INVALID_SPEC


def test_without_files_nothing_is_made(tmp_path: Path) -> None:
    assert write_home_files({}, tmp_path) == 0
