"""Partial clones: what is left out, what still works, and servers that cannot do it."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hack.gitserver import GitServer

from support.workspace.origin import ENVIRON, TOKEN, commit, served
from support.workspace.taskpod import BRANCH, Make, TaskPod, git, repository

CLAIM = {"workspace": {"persistentVolumeClaim": {"claimName": "shared"}}}


@pytest.fixture
def history(origins: Path) -> Path:
    """A repository in whose past is more than in its present."""
    path = origins / "acme/billing.git"
    for number in range(4):
        commit(path, {"big.txt": f"{number}\n" * 1000})
    git("config", "uploadpack.allowFilter", "true", cwd=path)
    return path


@pytest.fixture
def open_server(origins: Path, history: Path) -> Iterator[GitServer]:
    with served(origins) as server:
        yield server


def over(server: GitServer, **more: object) -> dict[str, object]:
    return {"urlTemplate": f"{server.url}/{{org}}/{{repo}}.git", **more}


def missing(pod: TaskPod) -> int:
    """How many contents the task does not have."""
    out = pod.git("rev-list", "--objects", "--all", "--missing=print")
    return sum(1 for x in out.splitlines() if x.startswith("?"))


def test_what_lies_in_the_past_is_left_out_and_the_present_is_whole(
    task: Make, open_server: GitServer
) -> None:
    pod = task(repository(), git=over(open_server))
    folder = pod.prepare()
    assert (folder / "billing/big.txt").read_text() == "3\n" * 1000
    assert missing(pod) == 3
    assert pod.git("status", "--porcelain") == ""


def test_the_past_is_fetched_when_it_is_asked_for(task: Make, open_server: GitServer) -> None:
    pod = task(repository(), git=over(open_server))
    pod.prepare()
    assert pod.git("show", "HEAD~2:big.txt").startswith("1\n1\n")
    assert missing(pod) == 2


def test_an_agent_without_the_server_works_and_commits(
    task: Make, origins: Path, history: Path
) -> None:
    with served(origins) as server:
        pod = task(repository(), git=over(server))
        pod.prepare()
    (pod.directory / "billing/big.txt").write_text("mine\n")
    pod.git("commit", "--all", "--message", "Work")
    assert "+mine" in pod.git("diff", "HEAD~1")
    assert len(pod.git("log", "--oneline").splitlines()) == 6


def test_what_was_committed_can_be_pushed(
    task: Make, open_server: GitServer, history: Path
) -> None:
    pod = task(repository(), git=over(open_server))
    pod.prepare()
    (pod.directory / "billing/big.txt").write_text("mine\n")
    pod.git("commit", "--all", "--message", "Work")
    pod.git("push", "--quiet", "origin", "HEAD")
    assert git("show", f"{BRANCH}:big.txt", cwd=history) == "mine"


def test_the_contents_are_brought_in_one_go_and_kept_for_other_tasks(
    task: Make, open_server: GitServer, history: Path
) -> None:
    commit(history, {f"src/{x}.txt": f"{x}\n" for x in range(50)})
    first = task(repository(), git=over(open_server), config=CLAIM)
    first.prepare()
    # Commits and trees in one request, all contents in a second; each after a request for the refs.
    assert len([x for x in open_server.requests if x.startswith("POST")]) <= 5
    open_server.requests.clear()
    second = task(repository(), git=over(open_server), config=CLAIM, volume=first.volume, index=1)
    assert (second.prepare() / "billing/src/49.txt").exists()
    assert len([x for x in open_server.requests if x.startswith("POST")]) <= 2


def test_a_server_that_cannot_filter_sends_everything(
    task: Make, open_server: GitServer, history: Path
) -> None:
    git("config", "uploadpack.allowFilter", "false", cwd=history)
    pod = task(repository(), git=over(open_server))
    assert (pod.prepare() / "billing/big.txt").exists()
    assert missing(pod) == 0


@pytest.mark.parametrize(
    ("settings", "partial"),
    [
        ({}, True),
        ({"credentials": {"secretRef": {"name": "git"}}}, False),
        ({"credentials": {"secretRef": {"name": "git"}, "shareWithAgent": True}}, True),
        ({"credentials": {"secretRef": {"name": "git"}}, "partialClone": True}, True),
        ({"partialClone": False}, False),
    ],
)
def test_nothing_is_left_out_that_the_agent_could_not_fetch(
    task: Make, open_server: GitServer, settings: dict[str, object], partial: bool
) -> None:
    open_server.token = TOKEN if "credentials" in settings else ""
    pod = task(repository(), git=over(open_server, **settings), secret={"token": TOKEN})
    pod.prepare()
    assert (missing(pod) > 0) is partial


@pytest.mark.parametrize(
    ("host", "shared", "partial"),
    [("", False, True), ("other", False, False), ("other", True, True)],
)
def test_credentials_of_the_hosts_that_a_task_uses_count(
    task: Make, host: str, shared: bool, partial: bool
) -> None:
    credentials = {"secretRef": {"name": "b"}, "shareWithAgent": shared}
    other = {"name": "other", "urlTemplate": "https://x/{org}/{repo}", "credentials": credentials}
    pod = task(repository(**({"host": host} if host else {})), git={"hosts": [other]})
    assert json.loads(pod.environ()["KUBETASK_TASK_SPEC"])["partial"] is partial


@pytest.mark.parametrize("partial", [False, True])
def test_a_repository_with_sha_256_names_is_prepared_and_pushed(
    task: Make, origins: Path, room: Path, partial: bool
) -> None:
    work, origin = room / "work", origins / "acme/modern.git"
    git("init", "--quiet", "--object-format=sha256", "--initial-branch=main", str(work), cwd=room)
    (work / "README.md").write_text("# modern\n")
    for arguments in (("add", "."), ("commit", "--quiet", "-m", "One"), ("tag", "-am", "v1", "v1")):
        git(*arguments, cwd=work, environ=ENVIRON)
    git("clone", "--quiet", "--bare", str(work), str(origin), cwd=room)
    git("config", "uploadpack.allowFilter", "true", cwd=origin)
    volume = room / "volume"
    for index in range(2):
        pod = task(
            repository("modern"),
            git={"partialClone": partial},
            config=CLAIM,
            volume=volume,
            index=index,
        )
        folder = pod.prepare() / "modern"
        (folder / "README.md").write_text("# more modern\n")
        assert pod.git("describe", "--tags", repo="modern") == "v1"
        pod.git("commit", "--quiet", "-am", "Two", repo="modern")
        pod.git("push", "--quiet", "origin", "HEAD", repo="modern")
        branch = pod.git("branch", "--show-current", repo="modern")
        made = git("rev-parse", branch, cwd=origin)
        assert (len(made), made) == (64, pod.git("rev-parse", "HEAD", repo="modern"))
    # The second task uses the bare repository of the first one.
    made = sorted(x.parent.name[-6:] for x in volume.rglob("kubetask-ready"))
    assert made == ["-0.git", "-1.git"]


def test_a_whole_and_a_partial_clone_of_one_origin_do_not_mix(
    task: Make, open_server: GitServer
) -> None:
    first = task(repository(), git=over(open_server), config=CLAIM)
    first.prepare()
    whole = over(open_server, partialClone=False)
    second = task(repository(), git=whole, config=CLAIM, volume=first.volume, index=1)
    second.prepare()
    assert missing(second) == 0
    subprocess.run(
        ["git", "-C", str(second.directory / "billing"), "fsck", "--full"],
        env=second.environ("containers"),
        check=True,
        capture_output=True,
    )
