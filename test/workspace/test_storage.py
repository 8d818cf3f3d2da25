"""Volumes without Unix modes or locks, as SMB and NFSv3 have them: real mounts by FUSE (bindfs), real git.

A mount of SMB shows every file as 0777. It takes a change of modes for granted (`noperm`), or refuses it to everybody but
the owner that the mount names. A server of NFSv3 without a lock manager refuses every lock with ENOLCK: `hack.refuse`
does that here.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kubetask_controller.api.constants import Reason
from kubetask_controller.workspace.git import GitError
from support.workspace.origin import commit
from support.workspace.taskpod import PREPARE, Make, TaskPod, git, repository

CLAIM = {"workspace": {"persistentVolumeClaim": {"claimName": "shared"}}}
MODELESS = ("--perms=0777", "--chown-ignore")
ANSWER_SECONDS = 60


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """The folder, shown by a file system with other habits; skipped where FUSE is not to be had."""
    if shutil.which("bindfs") is None:
        pytest.skip("bindfs is not installed")
    # Over itself, while it is empty: bindfs opens the folder before it mounts.
    command = ["bindfs", "--no-allow-other", *options, str(folder), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"FUSE does not mount here: {done.stderr.strip()}")
    try:
        yield
    finally:
        unmount = shutil.which("fusermount3") or "fusermount"
        subprocess.run([unmount, "-u", "-z", str(folder)], check=True)


def start(pod: TaskPod, *before: str) -> tuple[int, str]:
    """The init container as a process, perhaps behind another program."""
    done = subprocess.run(
        [*before, sys.executable, "-c", PREPARE],
        cwd=Path(__file__).parents[2],
        env={**pod.environ(), "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=ANSWER_SECONDS,
    )
    return done.returncode, done.stdout


def work(pod: TaskPod) -> list[str]:
    """What an agent does with `--commit`; the files that its commit has changed."""
    (pod.directory / "billing/new.txt").write_text("new\n")
    pod.git("add", "--all")
    pod.git("commit", "--quiet", "--message", "Work")
    return pod.git("show", "--format=", "--raw").splitlines()


@pytest.fixture
def executable(origins: Path) -> None:
    commit(origins / "acme/billing.git", {"run.sh": "#!/bin/sh\n"})


@pytest.mark.usefixtures("executable")
def test_on_storage_without_modes_a_commit_has_the_agents_changes_alone(task: Make) -> None:
    first = task(repository(), config=CLAIM)
    assert first.volume is not None
    with mounted(first.volume, *MODELESS, "--chmod-ignore"):
        code, log = start(first)
        assert code == 0, log
        assert (first.directory / "billing/README.md").stat().st_mode & 0o777 == 0o777
        assert first.git("status", "--porcelain") == ""
        (changed,) = work(first)
        assert changed.split()[1] == "100644"
        second = task(repository(), config=CLAIM, volume=first.volume, index=1)
        code, log = start(second)
        assert code == 0, log
        assert second.git("status", "--porcelain") == ""
        git("fsck", "--strict", cwd=second.directory / "billing")


def test_storage_that_refuses_a_change_of_modes_names_the_mount_option(task: Make) -> None:
    pod = task(repository(), config=CLAIM)
    assert pod.volume is not None
    with mounted(pod.volume, *MODELESS, "--chmod-deny"):
        code, log = start(pod)
    assert code == 1, log
    said = pod.log.read_text()
    assert "WorkspaceError" in said
    assert "noperm" in said


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("fatal: write error: No space left on device\nfatal: index-pack failed", "sizeLimit"),
        ("error: unable to write file x: Disk quota exceeded\nerror: RPC failed", "sizeLimit"),
        ("fatal: could not create leading directories of 'x': Read-only file system", "read-only"),
        ("error: insufficient permission for adding an object to repository database", "fsGroup"),
        ("fatal: cannot mkdir x: Permission denied", "fsGroup"),
        ("error: unable to read sha1 file: Stale file handle", "storage of the volume"),
    ],
)
def test_a_volume_that_git_cannot_use_is_no_fault_of_the_repository(
    output: str, words: str
) -> None:
    error = GitError(("fetch",), output)
    assert error.reason == Reason.WORKSPACE_ERROR
    assert words in str(error)
    assert not error.transient
    assert not error.corrupt


@pytest.mark.parametrize(
    "output",
    [
        "git@example.com: Permission denied (publickey).\nfatal: Could not read from remote repository.",
        "remote: fatal: write error: No space left on device\nfatal: the remote end hung up unexpectedly",
    ],
)
def test_what_is_wrong_on_the_servers_side_is_not_the_volumes(output: str) -> None:
    assert GitError(("fetch",), output).reason == Reason.CLONE_FAILED


NO_LOCKS = (sys.executable, "-m", "hack.refuse", "flock", "ENOLCK")


def test_storage_without_locks_names_the_mount_option(task: Make) -> None:
    pod = task(repository(), config=CLAIM)
    code, log = start(pod, *NO_LOCKS)
    assert code == 1, log
    said = pod.log.read_text()
    assert "WorkspaceError" in said
    assert "ENOLCK" in said
    assert "local_lock=flock" in said
