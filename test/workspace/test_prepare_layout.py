"""What an agent finds when it begins: files, repositories, variables, manifest."""

import hashlib
import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kubetask_controller.reconcilers.taskrun.contexts import merged
from support.workspace.origin import commit, make
from support.workspace.taskpod import BRANCH, UID, Make, TaskPod, git, repository, secret_file, text


def test_files_lie_in_the_task_folder_by_name(task: Make) -> None:
    folder = task(text("task.md", "Do it."), text("docs/guides/pr.md", "One a change.")).prepare()
    assert (folder / "task.md").read_text() == "Do it."
    assert (folder / "docs/guides/pr.md").read_text() == "One a change."


def test_a_file_is_read_only_and_no_link_out_of_the_folder(task: Make) -> None:
    path = task(text("task.md")).prepare() / "task.md"
    assert stat.S_IMODE(path.lstat().st_mode) == 0o444
    assert not path.is_symlink()


def test_a_secret_stays_in_its_volume_and_can_be_read_by_its_owner_alone(task: Make) -> None:
    pod = task(secret_file("keys/api.txt"), contents={"keys/api.txt": "hidden"})
    path = pod.prepare() / "keys/api.txt"
    assert path.is_symlink()
    assert path.read_text() == "hidden"
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    on_disk = [x for x in pod.volume.rglob("*") if x.is_file() and not x.is_symlink()]
    assert not [x for x in on_disk if b"hidden" in x.read_bytes()]


@pytest.mark.parametrize(
    ("context", "mode"),
    [
        ({"fsGroup": 1000}, 0o400),
        ({"runAsUser": 0}, 0o400),
        ({"runAsUser": 1000}, 0o444),
        ({}, 0o444),
    ],
)
def test_the_mode_of_a_secret_is_0400_where_its_reader_can_still_read_it(
    task: Make, context: dict[str, int], mode: int
) -> None:
    pod = task(secret_file("key"), config={"securityContext": context}).pod
    (files,) = (x["projected"]["sources"] for x in pod["volumes"] if x["name"] == "files")
    assert files[0]["secret"]["items"][0]["mode"] == mode


def test_a_repository_has_a_folder_of_its_own_on_a_fresh_branch(task: Make) -> None:
    pod = task(text("task.md"), repository("billing"))
    folder = pod.prepare()
    assert (folder / "billing/src/app.py").read_text() == "a = 1\n"
    assert pod.git("branch", "--show-current") == BRANCH
    assert pod.git("status", "--porcelain") == ""
    assert pod.git("rev-parse", "HEAD") == pod.git("rev-parse", "origin/main")


def test_a_task_that_is_no_part_of_a_run_has_its_own_branch(task: Make) -> None:
    pod = task(repository(), index=None, name="fix")
    pod.prepare()
    branch = pod.git("branch", "--show-current")
    assert branch.startswith("kubetask/fix-")
    assert branch == pod.environ("containers")["KUBETASK_BRANCH"]


def test_a_branch_can_be_named_to_start_from(task: Make, origins: Path) -> None:
    path = origins / "acme/billing.git"
    git("branch", "release/2.x", "main", cwd=path)
    last = commit(path, {"fix.txt": "only here\n"}, branch="release/2.x")
    pod = task(repository(branch="release/2.x"))
    assert (pod.prepare() / "billing/fix.txt").exists()
    assert pod.git("rev-parse", "HEAD") == last


def test_without_a_branch_the_default_branch_is_taken(task: Make, origins: Path) -> None:
    make(origins / "acme/old.git", branch="trunk")
    pod = task(repository("old"))
    pod.prepare()
    assert pod.git("rev-parse", "--abbrev-ref", "origin/HEAD", repo="old") == "origin/trunk"


def test_two_repositories_of_one_name_lie_in_folders_of_their_organisations(
    task: Make, origins: Path
) -> None:
    make(origins / "other/billing.git", {"other.txt": "o\n"})
    folder = task(repository("billing"), repository("billing", org="other")).prepare()
    assert (folder / "acme/billing/README.md").exists()
    assert (folder / "other/billing/other.txt").exists()


def test_one_repository_on_two_branches_lies_in_two_folders(task: Make, origins: Path) -> None:
    git("branch", "next", "main", cwd=origins / "acme/billing.git")
    pod = task(repository("billing", branch="main"), repository("billing", branch="next"))
    pod.prepare()
    assert [x["path"] for x in pod.manifest["repositories"]] == [
        "acme/billing@main",
        "acme/billing@next",
    ]
    assert pod.git("rev-parse", "origin/next", repo="acme/billing@next")


def test_the_variables_say_where_everything_is(task: Make) -> None:
    pod = task(text("task.md"), repository(), index=3)
    folder = pod.prepare()
    environ = pod.environ("containers")
    assert environ["TASK_NAME"] == "run-task-3"
    assert environ["TASK_NAMESPACE"] == "team"
    assert environ["BATCH_RUN_NAME"] == "run"
    assert environ["TASK_INDEX"] == "3"
    assert environ["KUBETASK_BRANCH"] == BRANCH.replace("run-0", "run-3")
    assert Path(environ["KUBETASK_TASK_DIR"]) == folder
    assert json.loads(Path(environ["KUBETASK_MANIFEST"]).read_text())["task"] == "run-task-3"
    assert Path(environ["HOME"]).is_dir()
    assert "KUBETASK_TASK_SPEC" not in environ
    assert pod.pod["containers"][0]["workingDir"] == f"/workspace/tasks/{folder.name}"


def test_the_manifest_names_files_and_repositories_and_no_content(task: Make) -> None:
    pod = task(text("task.md", "the prompt"), secret_file("key"), repository(branch="main"))
    pod.prepare()
    digest = hashlib.sha256(b"the prompt").hexdigest()
    assert pod.manifest["files"] == [
        {"name": "task.md", "source": "inline", "secret": False, "sha256": digest},
        {"name": "key", "source": "secret", "secret": True},
    ]
    (found,) = pod.manifest["repositories"]
    assert (found["org"], found["repo"], found["branch"]) == ("acme", "billing", "main")
    assert found["path"] == "billing"
    assert "the prompt" not in json.dumps(pod.manifest)


def test_the_variable_part_replaces_a_common_file_of_its_name(task: Make) -> None:
    common = [text("task.md", "common"), text("guide.md", "guide")]
    own = [text("task.md", "own"), repository()]
    folder = task(*merged(common, own)).prepare()
    assert (folder / "task.md").read_text() == "own"
    assert (folder / "guide.md").read_text() == "guide"
    assert (folder / "billing/README.md").exists()


@pytest.mark.parametrize("name", ["billing/README.md", "billing"])
def test_a_file_that_would_fall_into_a_repository_is_refused(task: Make, name: str) -> None:
    reason, message = task(text(name), repository()).fails()
    assert reason == "InvalidSpec"
    assert (
        message == f"file {name} conflicts with the folder billing of the task: choose another name"
    )


def test_a_file_that_is_not_mounted_is_told_by_its_name(task: Make) -> None:
    pod = task(text("task.md"))
    (pod.room / "kubetask/files/task.md").unlink()
    assert pod.fails() == ("ContextNotFound", "file task.md is not mounted")


def test_preparing_again_begins_anew(task: Make) -> None:
    pod = task(text("task.md"), repository())
    folder = pod.prepare()
    (folder / "billing/left-behind").touch()
    (folder / "task.md").unlink()
    pod.git("commit", "--allow-empty", "--message", "half of the work")
    pod.prepare()
    assert not (folder / "billing/left-behind").exists()
    assert (folder / "task.md").exists()
    assert pod.git("rev-parse", "HEAD") == pod.git("rev-parse", "origin/main")


def test_a_run_that_is_made_anew_under_its_old_name_begins_in_a_folder_of_its_own(
    task: Make,
) -> None:
    first = task(text("task.md"))
    second = task(text("task.md"), volume=first.volume, uid=UID.replace("1", "2"))
    assert first.prepare() != second.prepare()


def test_an_agent_commits_as_the_author_of_the_workspace(task: Make) -> None:
    pod = task(
        repository(), git={"author": {"name": 'Ada "the" First', "email": "ada@acme.example"}}
    )
    pod.prepare()
    pod.git("commit", "--allow-empty", "--message", "Work")
    assert pod.git("log", "-1", "--format=%an <%ae> %cn") == (
        'Ada "the" First <ada@acme.example> Ada "the" First'
    )


def test_another_user_than_the_one_that_prepared_can_work(
    task: Make, as_user: Callable[[int, Callable[[], None]], None]
) -> None:
    pod = task(text("task.md"), repository(), git={"partialClone": False})
    as_user(65532, lambda: _quietly(pod))

    def work() -> None:
        assert (pod.directory / "task.md").read_text()
        (pod.directory / "billing/src/app.py").write_text("a = 2\n")
        pod.git("commit", "--all", "--message", "Work")
        pod.git("push", "--quiet", "origin", "HEAD")
        pod.git("config", "--global", "alias.st", "status")

    # The origin is a folder here, and has to let both of them in.
    subprocess.run(["chmod", "-R", "a+rwX", str(pod.room.parent / "origins")], check=True)
    as_user(12345, work)
    pushed = git(
        "log",
        "-1",
        "--format=%s",
        BRANCH,
        cwd=pod.room.parent / "origins/acme/billing.git",
    )
    assert pushed == "Work"


def test_a_folder_that_another_user_left_is_moved_aside(
    task: Make, as_user: Callable[[int, Callable[[], None]], None]
) -> None:
    pod = task(repository(), git={"partialClone": False})
    as_user(65532, lambda: _quietly(pod))

    def leave() -> None:
        os.umask(0o022)
        (pod.directory / "billing/build").mkdir()
        (pod.directory / "billing/build/out").touch()

    as_user(12345, leave)
    as_user(65532, lambda: _quietly(pod))
    assert not (pod.directory / "billing/build").exists()
    assert (pod.directory / "billing/README.md").exists()


def _quietly(pod: TaskPod) -> None:
    pod.prepare()
