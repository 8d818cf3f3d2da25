"""Clones that cannot be made: what is tried again, what is not, and what is told."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hack.gitserver import GitServer

from kubetask_controller.api.manifest import ManifestRepository
from kubetask_controller.workspace.cache import RepositoryCache
from kubetask_controller.workspace.errors import PreparationError
from kubetask_controller.workspace.git import Git, GitError
from kubetask_controller.workspace.repositories import RETRY_DELAYS, Repositories
from support.workspace.origin import make
from support.workspace.taskpod import Make, git, repository, text


def test_a_repository_that_is_not_there(task: Make, template: str) -> None:
    reason, message = task(repository("nope")).fails()
    assert reason == "CloneFailed"
    url = template.format(org="acme", repo="nope").removeprefix("file://")
    assert message == f"acme/nope: '{url}' does not appear to be a git repository"


def test_a_branch_that_is_not_there(task: Make) -> None:
    assert task(repository(branch="nope")).fails() == (
        "CloneFailed",
        "acme/billing: couldn't find remote ref refs/heads/nope",
    )


def test_a_repository_without_a_commit(task: Make, origins: Path) -> None:
    git("init", "--quiet", "--bare", str(origins / "acme/empty.git"), cwd=origins)
    reason, message = task(repository("empty")).fails()
    assert reason == "CloneFailed"
    assert message == "acme/empty: the repository has no default branch"


def test_a_host_that_is_not_there_is_tried_for_half_a_minute(room: Path, say_nothing: None) -> None:
    slept: list[float] = []
    with pytest.raises(
        PreparationError, match=r"acme/billing: unable to access 'http://127\.0\.0\.1:1/"
    ):
        _clone(room, "http://127.0.0.1:1/acme/billing.git", slept.append)
    assert len(slept) == len(RETRY_DELAYS)
    assert all(x <= y <= 1.5 * x for x, y in zip(RETRY_DELAYS, slept, strict=True))


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_server_that_stumbles_is_asked_again(
    room: Path, server: GitServer, say_nothing: None, status: int
) -> None:
    server.token = ""
    server.failures = [status, status]
    slept: list[float] = []
    _clone(room, f"{server.url}/acme/billing.git", slept.append)
    assert len(slept) == 2


@pytest.mark.parametrize("status", [403, 404, 401])
def test_a_server_that_refuses_is_not_asked_again(
    room: Path, server: GitServer, say_nothing: None, status: int
) -> None:
    server.token = ""
    server.failures = [status] * 3
    slept: list[float] = []
    with pytest.raises(PreparationError):
        _clone(room, f"{server.url}/acme/billing.git", slept.append)
    assert slept == []


def test_a_transfer_that_breaks_off_is_tried_again(
    room: Path, server: GitServer, say_nothing: None
) -> None:
    server.token = ""
    server.broken_transfers = 1
    slept: list[float] = []
    _clone(room, f"{server.url}/acme/billing.git", slept.append)
    assert len(slept) == 1


def test_the_end_is_left_for_the_status(task: Make) -> None:
    pod = task(repository(branch="nope"))
    code, log = pod.run()
    assert code == 1
    assert json.loads(pod.log.read_text()) == {
        "reason": "CloneFailed",
        "message": "acme/billing: couldn't find remote ref refs/heads/nope",
    }
    assert log.splitlines()[-1] == (
        "CloneFailed: acme/billing: couldn't find remote ref refs/heads/nope"
    )


def test_a_volume_that_cannot_be_used_is_told(task: Make) -> None:
    pod = task(text("task.md"))
    (pod.volume / "tasks").touch()
    reason, message = pod.fails()
    assert reason == "WorkspaceError"
    assert message.startswith("the workspace volume is not usable: ")


def test_a_manifest_of_a_later_version_is_told(task: Make) -> None:
    pod = task(text("task.md"))
    spec = json.loads(pod.environ()["KUBETASK_TASK_SPEC"]) | {"version": 2}
    with pod.start(KUBETASK_TASK_SPEC=json.dumps(spec)) as process:
        process.communicate(timeout=60)
    assert process.returncode == 1
    left = json.loads(pod.log.read_text())
    assert left["reason"] == "InvalidSpec"
    assert left["message"].startswith("KUBETASK_TASK_SPEC: version: ")


def test_a_signal_ends_it_at_once(task: Make, server: GitServer) -> None:
    server.token = ""
    server.failures = [503] * 100
    pod = task(repository(), git={"urlTemplate": f"{server.url}/{{org}}/{{repo}}.git"})
    with pod.start() as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "retrying in" in line:
                process.send_signal(signal.SIGTERM)
                break
        process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("output", "transient"),
    [
        ("fatal: unable to access 'https://x/': Could not resolve host: x", True),
        ("error: RPC failed; curl 56 GnuTLS recv error (-9)\nfatal: early EOF", True),
        (
            "ssh: connect to host x port 22: Connection timed out\nfatal: Could not read from remote",
            True,
        ),
        ("kex_exchange_identification: read: Connection reset by peer", True),
        ("fatal: unable to access 'https://x/': The requested URL returned error: 503", True),
        ("fatal: unable to access 'https://x/': The requested URL returned error: 429", True),
        ("fatal: Authentication failed for 'https://x/'", False),
        (
            "git@x: Permission denied (publickey).\nfatal: the remote end hung up unexpectedly",
            False,
        ),
        ("remote: Repository not found.\nfatal: repository 'https://x/' not found", False),
        ("fatal: couldn't find remote ref refs/heads/timed out", False),
        ("Host key verification failed.\nfatal: Could not read from remote repository.", False),
    ],
)
def test_what_is_worth_another_try(output: str, transient: bool) -> None:
    assert GitError(("fetch",), output).transient is transient


@pytest.mark.parametrize(
    ("output", "limited"),
    [
        ("remote: API rate limit exceeded for user ID 1.\nfatal: could not read", True),
        ("remote: You have exceeded a secondary rate limit.", True),
        ("remote: This endpoint has been requested too many times. Try again later.", True),
        ("fatal: unable to access 'https://x/a/rate-limit/': The requested URL returned error: 429", True),
        ("fatal: repository 'https://x/acme/rate-limit.git/' not found", False),
        ("fatal: could not read Username for 'https://x/a/rate limited': No such device", False),
        ("fatal: couldn't find remote ref refs/heads/fix/rate-limited", False),
        (" ! [rejected]        HEAD -> rate-limit (fetch first)\nerror: failed to push", False),
        ("remote: error: src/rate limit.py: File rate-limit is 120.00 MB", False),
    ],
)  # fmt: skip
def test_a_name_is_no_rate_limit(output: str, limited: bool) -> None:
    assert GitError(("fetch",), output).rate_limited is limited


@pytest.mark.parametrize(
    "output",
    [
        "error: cannot lock ref 'refs/remotes/origin/main': unable to resolve reference",
        "fatal: refs/remotes/origin/main: reference broken",
        "fatal: bad shallow line: 1234",
        "fatal: unexpected line in /workspace/repos/x.git/packed-refs: x",
    ],
)
def test_broken_refs_are_a_corrupt_repository(output: str) -> None:
    assert GitError(("fetch",), output).corrupt


def test_the_words_of_ssh_are_told_and_not_those_of_git_after_them() -> None:
    output = (
        "git@x: Permission denied (publickey).\n"
        "fatal: Could not read from remote repository.\n\nPlease make sure you have the rights\n"
    )
    assert str(GitError(("fetch",), output)) == "git@x: Permission denied (publickey)."


HOSTILE_BRANCHES = [
    "--upload-pack=touch /tmp/x",
    "-b",
    "a..b",
    "a:b",
    "+main",
    "a b",
    "../x",
    "x.lock/",
    "@{-1}",
    "main^{tree}",
]
HOSTILE_REPOS = [
    "--help",
    "..",
    ".",
    "a/b",
    "x;touch",
    "a ",
    " a",
    "a\tb",
    "a%2fb",
    "%2e%2e",
    "$(id)",
    "{org}",
    "a\\b",
]
HOSTILE_ORGS = ["-oProxyCommand=x", "..", "a/../../b", "ext::sh -c id", "a//b", "a@b", "/etc"]
HOSTILE_URLS = [
    "ext::sh -c id",
    "fd::7",
    "git://h/a",
    "/etc",
    "-u",
    "https://u:p@h/a",
    "file:///a b",
]
HOSTILE_PATHS = [
    "..",
    "../x",
    "/etc",
    "a/../../b",
    ".kubetask",
    ".kubetask/x",
    "a//b",
    "a/.git",
    ".",
]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("branch", x) for x in HOSTILE_BRANCHES if x != "+main"),
        *(("repo", x) for x in HOSTILE_REPOS),
        *(("org", x) for x in HOSTILE_ORGS),
        *(("url", x) for x in HOSTILE_URLS),
        *(("path", x) for x in HOSTILE_PATHS),
    ],
)
def test_a_hostile_name_never_reaches_git(task: Make, field: str, value: str) -> None:
    pod = task(repository())
    spec = json.loads(pod.environ()["KUBETASK_TASK_SPEC"])
    spec["repositories"][0][field] = value
    with pytest.raises(PreparationError) as error:
        _prepare_with(pod, spec)
    assert error.value.reason == "InvalidSpec"
    assert f"repositories.0.{field}" in str(error.value)


def test_a_branch_that_begins_with_a_plus_is_a_branch(task: Make, origins: Path) -> None:
    git("branch", "+main", "main", cwd=origins / "acme/billing.git")
    pod = task(repository(branch="+main"))
    pod.prepare()
    assert pod.git("rev-parse", "refs/remotes/origin/+main") == pod.git("rev-parse", "HEAD")


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", ".kubetask/manifest.json", "a/../../b"])
def test_a_file_never_leaves_the_task_folder(task: Make, name: str) -> None:
    pod = task(text("task.md"))
    spec = json.loads(pod.environ()["KUBETASK_TASK_SPEC"])
    spec["files"][0]["name"] = name
    with pytest.raises(PreparationError) as error:
        _prepare_with(pod, spec)
    assert error.value.reason == "InvalidSpec"


def test_a_scheme_that_is_not_allowed_is_refused_by_git_too(room: Path) -> None:
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(room)}
    with pytest.raises(GitError, match="transport 'ext' not allowed"):
        Git(environ=environ)("ls-remote", "--", "ext::sh -c 'echo hello'")


def test_a_repository_cannot_bring_programs_that_the_preparation_runs(
    task: Make, origins: Path, room: Path
) -> None:
    ran = room / "ran"
    path = make(
        origins / "acme/evil.git",
        {
            ".gitattributes": "* filter=evil\n",
            ".gitconfig": f'[filter "evil"]\n\tsmudge = touch {ran}\n',
            ".gitmodules": f'[submodule "x"]\n\tpath = x\n\turl = ext::touch% {ran}\n',
            "hooks/post-checkout": f"#!/bin/sh\ntouch {ran}\n",
        },
    )
    folder = task(repository("evil")).prepare()
    assert (folder / "evil/.gitmodules").exists()
    assert path.exists()
    assert not ran.exists()


def _prepare_with(pod: object, spec: object) -> None:
    from kubetask_controller.workspace.prepare import prepare

    prepare({**pod.environ(), "KUBETASK_TASK_SPEC": json.dumps(spec)})


def _clone(room: Path, url: str, sleep: Callable[[float], None]) -> None:
    git_ = Git(environ={"PATH": "/usr/bin:/bin", "HOME": str(room)})
    repositories = Repositories(RepositoryCache(room / "repos", git_), git_, sleep=sleep)
    wanted = ManifestRepository(org="acme", repo="billing", branch="main", url=url, path="billing")
    repositories.prepare(wanted, branch="kubetask/run-0", target=room / "billing")


@pytest.fixture
def say_nothing(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert "password" not in capsys.readouterr().out
