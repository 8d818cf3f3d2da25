"""Many tasks on one volume: nothing is corrupted, nothing is mixed up, and what the killed leave is cleaned up."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hack.gitserver import GitServer

from kubetask_controller.workspace import cache as caches
from kubetask_controller.workspace.cache import BARE_KEEP_SECONDS, lock
from kubetask_controller.workspace.taskfolders import TASK_KEEP_SECONDS, remove_old_task_folders
from support.workspace.origin import ENVIRON, commit
from support.workspace.taskpod import BRANCH, Make, TaskPod, git, repository, text

CLAIM = {"workspace": {"persistentVolumeClaim": {"claimName": "shared"}}}


def tasks(task: Make, count: int, **more: object) -> list[TaskPod]:
    """Tasks of one run that share a volume."""
    first = task(repository(), index=0, config=CLAIM, **more)
    others = [
        task(repository(), index=x, config=CLAIM, volume=first.volume, **more)
        for x in range(1, count)
    ]
    return [first, *others]


def bares(pod: TaskPod) -> list[Path]:
    assert pod.volume is not None
    return sorted(pod.volume.glob("repos/*.git"))


def fsck(path: Path) -> None:
    out = subprocess.run(
        ["git", "-C", str(path), "fsck", "--full", "--strict", "--no-dangling"],
        env=ENVIRON
        | {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.returncode == 0, out.stdout + out.stderr
    assert not out.stdout.strip()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_twenty_tasks_at_once_with_kills_among_them_corrupt_nothing(
    task: Make, origins: Path
) -> None:
    chance = random.Random(1)
    path = origins / "acme/billing.git"
    for number in range(8):
        commit(path, {f"data/{number}.bin": str(chance.random()) * 40000})
    pods = tasks(task, 20, git={"partialClone": False})
    stop = threading.Event()

    def keep_committing() -> None:
        number = 0
        while not stop.wait(0.2):
            number += 1
            commit(path, {f"news/{number}.txt": f"{number}\n" * 500})

    def live(pod: TaskPod, kill_after: float | None) -> int:
        with pod.start() as process:
            assert process.stdout is not None
            out = ""
            for line in process.stdout:
                out += line
                # It has the lock now, and git is at work.
                if kill_after is not None and line.startswith("fetching"):
                    time.sleep(kill_after)
                    _kill_all(process)
            process.wait()
            assert process.returncode == (0 if kill_after is None else -signal.SIGKILL), out
        return process.returncode

    committing = threading.Thread(target=keep_committing)
    committing.start()
    try:
        with ThreadPoolExecutor(20) as pool:
            when = [chance.uniform(0, 0.04) if x % 3 == 1 else None for x in range(20)]
            codes = list(pool.map(live, pods, when))
            killed = [pod for pod, code in zip(pods, codes, strict=True) if code]
            assert len(killed) == 7
            # As the Job makes a new Pod for a killed one.
            assert list(pool.map(live, killed, [None] * len(killed))) == [0] * len(killed)
    finally:
        stop.set()
        committing.join()
    (bare,) = bares(pods[0])
    fsck(bare)
    for index, pod in enumerate(pods):
        fsck(pod.directory / "billing")
        assert pod.git("branch", "--show-current") == BRANCH.replace("run-0", f"run-{index}")
        assert pod.git("status", "--porcelain") == ""
    left = [x for x in bare.rglob("*") if x.name.endswith(".lock") or x.name.startswith("tmp_")]
    assert left == []


def _kill_all(process: subprocess.Popen[str]) -> None:
    """What the end of a container does: git goes with it."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        pids = [int(x) for x in children.read_text().split()]
    except OSError:
        return
    process.kill()
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def test_what_a_killed_task_left_is_cleaned_up(task: Make) -> None:
    first, second = tasks(task, 2)
    first.prepare()
    (bare,) = bares(first)
    left = [
        bare / "packed-refs.lock",
        bare / "config.lock",
        bare / "refs/remotes/origin/main.lock",
        bare / "objects/pack/tmp_pack_abc",
        bare / "objects/17/tmp_obj_abc",
        bare / "shallow.lock",
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    second.prepare()
    assert [x for x in left if x.exists()] == []


def test_half_a_clone_is_made_anew(task: Make) -> None:
    first, second = tasks(task, 2)
    first.prepare()
    (bare,) = bares(first)
    (bare / "kubetask-ready").unlink()
    (bare / "HEAD").unlink()
    second.prepare()
    fsck(second.directory / "billing")


@pytest.mark.parametrize("what", ["HEAD", "objects", "contents"])
def test_a_bare_repository_that_broke_is_set_aside(task: Make, origins: Path, what: str) -> None:
    first, second = tasks(task, 2, git={"partialClone": False})
    first.prepare()
    (bare,) = bares(first)
    blob = git("rev-parse", "origin/main:README.md", cwd=bare)
    broken = {
        "HEAD": [bare / "HEAD"],
        "objects": [*bare.glob("objects/??/*")],
        "contents": [bare / "objects" / blob[:2] / blob[2:]],
    }[what]
    for path in broken:
        path.chmod(0o644)
        path.write_bytes(b"garbage")
    commit(origins / "acme/billing.git", {"new.txt": "new\n"})
    assert (second.prepare() / "billing/new.txt").exists()
    fsck(second.directory / "billing")
    # The first task may be running on what it borrowed from the old one.
    assert len(bares(first)) == 2


def test_settings_of_a_bare_repository_are_always_ours(task: Make, room: Path) -> None:
    first, second = tasks(task, 2)
    first.prepare()
    (bare,) = bares(first)
    (bare / "config").write_text(
        f"[core]\n\tfsmonitor = touch {room}/ran\n[credential]\n\thelper = !touch {room}/ran\n"
    )
    second.prepare()
    assert not (room / "ran").exists()
    assert "fsmonitor" not in (bare / "config").read_text()


def test_agents_do_not_see_what_other_tasks_of_their_repository_do(task: Make) -> None:
    first, second = tasks(task, 2)
    for pod in (first, second):
        pod.prepare()
        pod.git("checkout", "--quiet", "-b", "fix/dependencies")
        pod.git("config", "user.nickname", str(pod.index))
        (pod.directory / "billing/README.md").write_text(f"{pod.index}\n")
        pod.git("stash")
    assert first.git("config", "user.nickname") == "0"
    assert len(first.git("stash", "list").splitlines()) == 1
    first.git("stash", "pop")
    assert (first.directory / "billing/README.md").read_text() == "0\n"


def test_an_agent_may_only_read_from_what_tasks_share(task: Make) -> None:
    pod = task(repository(), config=CLAIM)
    mounts = {x["mountPath"]: x for x in pod.pod["containers"][0]["volumeMounts"]}
    own = f"tasks/{pod.directory.name}"
    assert mounts[f"/workspace/{own}"]["subPath"] == own
    assert mounts["/workspace/repos"]["subPath"] == "repos"
    assert mounts["/workspace/repos"]["readOnly"] is True
    assert "/workspace" not in mounts


def test_without_a_claim_there_is_nothing_of_other_tasks(task: Make) -> None:
    first, second = task(repository(), index=0), task(repository(), index=1)
    first.prepare()
    first.end()
    assert (second.prepare() / "billing/README.md").exists()
    fsck(second.directory / "billing")
    volumes = {x["name"]: x for x in second.pod["volumes"]}
    assert volumes["workspace"] == {"name": "workspace", "emptyDir": {"sizeLimit": "20Gi"}}


def test_a_warm_volume_fetches_only_what_is_new(
    task: Make, server: GitServer, origins: Path
) -> None:
    first, second = tasks(task, 2, git={"partialClone": False})
    first.prepare()
    (bare,) = bares(first)
    packs = sorted(bare.glob("objects/pack/*"))
    new = commit(origins / "acme/billing.git", {"new.txt": "new\n"})
    second.prepare()
    assert second.git("rev-parse", "HEAD") == new
    assert sorted(bare.glob("objects/pack/*")) == packs


def test_a_commit_that_vanishes_at_the_origin_stays_for_those_who_work_on_it(
    task: Make, origins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = origins / "acme/billing.git"
    first, second = tasks(task, 2, git={"partialClone": False})
    before = git("rev-parse", "main", cwd=path)
    commit(path, {"gone.txt": "gone\n"})
    first.prepare()
    git("update-ref", "refs/heads/main", before, cwd=path)
    git("gc", "--quiet", "--prune=now", cwd=path, environ=ENVIRON)
    monkeypatch.setattr(caches, "MAX_PACKS", -1)
    second.prepare()
    assert not (second.directory / "billing/gone.txt").exists()
    fsck(first.directory / "billing")
    first.git("commit", "--allow-empty", "--message", "Work")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("partial", [False, True])
def test_many_fetches_do_not_leave_many_packs(
    task: Make,
    origins: Path,
    server: GitServer,
    partial: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    most = 8
    monkeypatch.setattr(caches, "MAX_PACKS", most)
    server.token = ""
    path = origins / "acme/billing.git"
    settings = {
        "urlTemplate": f"{server.url}/{{org}}/{{repo}}.git",
        "partialClone": partial,
    }
    git("config", "uploadpack.allowFilter", "true", cwd=path)
    pod = task(repository(), config=CLAIM, git=settings)
    for round_ in range(most // 2 + 5):
        commit(path, {f"{round_}/{x}.txt": f"{round_} {x}\n" for x in range(8)})
        pod.prepare()
        (bare,) = bares(pod)
        git("repack", "--quiet", cwd=bare)
        if len(list(bare.glob("objects/pack/*.pack"))) > most:
            break
    commit(path, {"last.txt": "last\n"})
    pod.prepare()
    assert len(list(bare.glob("objects/pack/*.pack"))) < most
    fsck(pod.directory / "billing")
    assert pod.git("show", "HEAD~1:README.md") == "# billing"


def test_a_lock_goes_with_its_holder(room: Path) -> None:
    path = room / "lock"
    code = (
        "import fcntl, os, sys, time; file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); "
        "fcntl.flock(file, fcntl.LOCK_EX); print(1, flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(BlockingIOError), lock(path, wait=False):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with lock(path, wait=False):
        pass


def test_folders_of_tasks_of_long_ago_are_removed(task: Make) -> None:
    old, new = task(text("task.md"), index=0), None
    old.prepare()
    new = task(text("task.md"), index=1, volume=old.volume)
    new.prepare()
    assert old.directory.exists()
    remove_old_task_folders(
        old.directory.parent, keep=new.directory.name, now=time.time() + TASK_KEEP_SECONDS + 60
    )
    assert not old.directory.exists()
    assert new.directory.exists()


def test_a_bare_repository_that_nobody_uses_is_removed(task: Make, origins: Path) -> None:
    pod = task(repository(), config=CLAIM)
    pod.prepare()
    (bare,) = bares(pod)
    long_ago = time.time() - BARE_KEEP_SECONDS - 60
    os.utime(bare / "kubetask-ready", (long_ago, long_ago))
    task(text("task.md"), volume=pod.volume, index=1).prepare()
    assert not bare.exists()


def test_one_that_waits_says_so(task: Make, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tasks(task, 2)
    first.prepare()
    (bare,) = bares(first)
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with lock(first.volume / "locks" / f"{bare.name.partition('-')[0]}.lock"):
            held.set()
            free.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    with second.start() as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert next(x for x in lines if x.startswith("waiting")) == (
            "waiting for another task that uses the same repository\n"
        )
        free.set()
        process.communicate(timeout=30)
    holder.join()
    assert process.returncode == 0
