"""How git signs in, and where its credentials are not found."""

import base64
import json
import os
import subprocess
from pathlib import Path

import pytest
from hack.gitserver import GitServer

from kubetask_controller.api.manifest import ManifestHost, ManifestRepository, TaskManifest
from kubetask_controller.workspace import gitconfig
from kubetask_controller.workspace.agent import pullrequests
from kubetask_controller.workspace.agent.publish import template_values
from kubetask_controller.workspace.credentials import secrets_to_mask
from kubetask_controller.workspace.gitconfig import TaskHost
from support.workspace.origin import TOKEN, authority, served
from support.workspace.taskpod import BRANCH, Make, TaskPod, repository

CREDENTIALS = {"credentials": {"secretRef": {"name": "git"}}}
SHARED = {"credentials": {"secretRef": {"name": "git"}, "shareWithAgent": True}}


def over(server: GitServer, **more: object) -> dict[str, object]:
    return {"urlTemplate": f"{server.url}/{{org}}/{{repo}}.git", **more}


@pytest.mark.parametrize(
    "secret",
    [
        {"username": "ada", "password": TOKEN},
        {"password": TOKEN},
        {"token": TOKEN},
        {"username": "x-access-token", "password": f"{TOKEN}\n"},
    ],
)
def test_a_repository_behind_a_token_is_cloned(
    task: Make, server: GitServer, secret: dict[str, str]
) -> None:
    pod = task(repository(), git=over(server, **CREDENTIALS), secret=secret)
    assert (pod.prepare() / "billing/README.md").exists()


def _host(position: int, *urls: str) -> TaskHost:
    repositories = [ManifestRepository(org="a", repo="b", url=x, path="b") for x in urls]
    return TaskHost(position, ManifestHost(url_template=""), f"/keys/{position}", repositories)


def test_each_repository_of_a_host_has_the_key_of_its_entry(tmp_path: Path) -> None:
    hosts = [
        _host(0, "git@git.example:acme/one.git"),
        _host(1, "ssh://git@git.example:22/acme/My%20two.git", "git@git.example:acme/three.git"),
        _host(2, "ssh://git@[fd00::1]:22/acme/four.git"),
    ]
    cases = gitconfig._cases(hosts)
    script = gitconfig._SSH.replace("{cases}", cases).partition("set -- -o")[0] + 'echo "$d"\n'
    commands = {
        ("git@git.example", "git-upload-pack 'acme/one.git'"): "/keys/0",
        ("git@git.example", "git-receive-pack '/acme/My two.git'"): "/keys/1",
        ("-p", "22", "git@git.example", "git-upload-pack 'acme/three.git'"): "/keys/1",
        ("git@git.example", "git-lfs-authenticate acme/three.git upload"): "/keys/1",
        ("git@git.example", "git-upload-pack 'other/three.git.x'"): "/keys/0",
        ("-p", "22", "git@fd00::1", "git-upload-pack '/acme/four.git'"): "/keys/2",
        ("other.example", "git-upload-pack 'acme/three.git'"): "/keys/0",
    }
    for arguments, folder in commands.items():
        done = subprocess.run(
            ["sh", "-c", script, "ssh", *arguments], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == folder, arguments


def test_bitbuckets_api_gets_the_e_mail_address_and_git_the_user(tmp_path: Path) -> None:
    for name, value in {"username": "ada", "email": "ada@x.example", "token": TOKEN}.items():
        (tmp_path / name).write_text(value)
    host = TaskHost(0, ManifestHost(url_template=""), str(tmp_path), [])
    assert pullrequests._sign_in(host, "Bitbucket", {}) == ("ada@x.example", TOKEN)
    assert pullrequests._sign_in(host, "BitbucketDataCenter", {}) == ("ada", TOKEN)
    masked = secrets_to_mask(tmp_path)
    assert base64.b64encode(f"ada@x.example:{TOKEN}".encode()).decode() in masked


def test_names_are_percent_encoded_once() -> None:
    repository = ManifestRepository(
        org="acme/My%20Project", repo="b", url="https://dev.azure.com/x", path="b"
    )
    manifest = TaskManifest(
        task_id="abcdefgh", task="t", namespace="n", branch="work", repositories=(repository,)
    )
    assert template_values(manifest, repository, "")["org"] == "acme/My Project"


def test_without_credentials_it_ends_clearly(task: Make, server: GitServer) -> None:
    reason, message = task(repository(), git=over(server)).fails()
    assert reason == "CloneFailed"
    assert message.startswith("acme/billing: could not read Username")


def test_with_wrong_credentials_it_ends_clearly_and_is_not_tried_again(
    task: Make, server: GitServer
) -> None:
    pod = task(repository(), git=over(server, **CREDENTIALS), secret={"token": "wrong-token"})
    reason, message = pod.fails()
    assert reason == "CloneFailed"
    assert message == f"acme/billing: Authentication failed for '{server.url}/acme/billing.git/'"
    assert len([x for x in server.requests if "info/refs" in x]) <= 3


def test_a_token_that_is_rotated_is_used_the_next_time(task: Make, origins: Path) -> None:
    with served(origins, token="first-token") as first:
        pod = task(repository(), git=over(first, **SHARED), secret={"token": "first-token"})
        pod.prepare()
        first.token = "second-token"
        with pytest.raises(AssertionError, match="Authentication failed"):
            pod.git("fetch", "origin")
        pod.sign_in({"token": "second-token"})
        pod.git("fetch", "origin")
        pod.prepare()


def test_an_agent_cannot_sign_in_unless_it_was_asked_for(task: Make, server: GitServer) -> None:
    pod = task(repository(), git=over(server, **CREDENTIALS), secret={"token": TOKEN})
    pod.prepare()
    mounts = [x["mountPath"] for x in pod.pod["containers"][0]["volumeMounts"]]
    assert "/kubetask/git" not in mounts
    assert "KUBETASK_GIT_CREDENTIALS" not in pod.environ("containers")
    # Its container has no such folder.
    (pod.room / "kubetask/git/token").unlink()
    with pytest.raises(AssertionError, match="could not read Username"):
        pod.git("fetch", "origin", GIT_TERMINAL_PROMPT="0")


def test_an_agent_that_was_given_the_credentials_pushes(
    task: Make, server: GitServer, origins: Path
) -> None:
    pod = task(repository(), git=over(server, **SHARED), secret={"token": TOKEN})
    pod.prepare()
    assert "KUBETASK_GIT_CREDENTIALS" in pod.environ("containers")
    pod.git("commit", "--allow-empty", "--message", "Work")
    pod.git("push", "--quiet", "origin", "HEAD")
    assert (origins / "acme/billing.git/refs/heads" / BRANCH).exists()


def test_credentials_are_not_shown_to_another_host(
    task: Make, server: GitServer, origins: Path
) -> None:
    with served(origins, token="of-the-other") as other:
        pod = task(repository(), git=over(server, **SHARED), secret={"token": TOKEN})
        pod.prepare()
        with pytest.raises(AssertionError, match="could not read Username"):
            pod.git("ls-remote", f"{other.url}/acme/billing.git", GIT_TERMINAL_PROMPT="0")


def test_credentials_are_found_nowhere(task: Make, server: GitServer) -> None:
    pod = task(
        repository(), git=over(server, **SHARED), secret={"username": "ada-of-acme", "token": TOKEN}
    )
    seen: set[str] = set()
    with pod.start(GIT_TRACE="1", GIT_CURL_VERBOSE="1") as process:
        assert process.stdout is not None
        log = ""
        for line in process.stdout:
            log += line
            seen |= _command_lines()
    assert process.returncode == 0, log
    assert any("git-remote-http" in x or "fetch" in x for x in seen)
    places = {
        "log": log,
        "process list": "\n".join(seen),
        "manifest": json.dumps(pod.manifest),
        "environment": json.dumps([pod.environ(), pod.environ("containers")]),
        "Job": json.dumps(pod.job),
        "termination message": pod.log.read_text(),
        **{str(x): x.read_text(errors="replace") for x in _files(pod)},
    }
    assert not [name for name, content in places.items() if TOKEN in content]


def test_what_fails_does_not_show_credentials_either(task: Make, server: GitServer) -> None:
    pod = task(repository("nope"), git=over(server, **CREDENTIALS), secret={"token": TOKEN})
    code, log = pod.run()
    assert code == 1
    assert TOKEN not in log + pod.log.read_text()
    left = json.loads(pod.log.read_text())
    assert left["reason"] == "CloneFailed"
    assert left["message"] == f"acme/nope: repository '{server.url}/acme/nope.git/' not found"


def test_a_server_is_trusted_by_the_bundle_of_the_workspace(
    task: Make, origins: Path, room: Path
) -> None:
    context, pem = authority(room)
    bundle = {"caBundle": {"configMapKeyRef": {"name": "ca", "key": "ca.crt"}}}
    with served(origins, token=TOKEN, tls=context) as server:
        settings = over(server, **SHARED, **bundle)
        pod = task(repository(), git=settings, secret={"token": TOKEN})
        (pod.room / "kubetask/ca/ca.crt").write_text(pem)
        pod.prepare()
        pod.git("fetch", "origin")
        environ = pod.environ("containers")
        # Other programs than git, by the variables that they know.
        assert pem.strip() in Path(environ["SSL_CERT_FILE"]).read_text()
        assert environ["NODE_EXTRA_CA_CERTS"] == environ["SSL_CERT_FILE"]


def test_a_server_that_nobody_vouches_for_is_not_trusted(
    task: Make, origins: Path, room: Path
) -> None:
    context, _ = authority(room)
    with served(origins, tls=context) as server:
        reason, message = task(repository(), git=over(server)).fails()
    assert reason == "CloneFailed"
    assert "certificate" in message


def _command_lines() -> set[str]:
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if folder.name != str(os.getpid()):
                found.add(b" ".join(words).decode(errors="replace"))
        except OSError:
            continue
    return found


def _files(pod: TaskPod) -> list[Path]:
    listed = subprocess.run(
        ["find", str(pod.volume), str(pod.room / "home"), str(pod.room / "tmp"), "-type", "f"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [Path(x) for x in listed.stdout.splitlines()]
