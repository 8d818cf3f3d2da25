"""Clone and push over SSH, against a server of this machine. Needs Debian's openssh-server; skipped where it is not there."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kubetask_controller.api.manifest import TaskManifest
from kubetask_controller.workspace.agent.publish import PublishError, publish
from kubetask_controller.workspace.git import Git
from support.workspace.taskpod import BRANCH, Make, TaskPod, git, repository

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
WRAPPER = list(Path("/usr/lib").glob("*/libnss_wrapper.so"))

pytestmark = [
    pytest.mark.skipif(SSHD is None, reason="openssh-server is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="sshd lets only root sign others in"),
]


@dataclass
class SSHServer:
    url: str
    secret: dict[str, str]
    other_host_key: str


def _key(path: Path) -> str:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True
    )
    return path.with_suffix(".pub").read_text().strip()


@pytest.fixture
def sshd(room: Path, origins: Path) -> Iterator[SSHServer]:
    """A server that lets one key in."""
    folder = room / "ssh"
    folder.mkdir(mode=0o755)
    host, client, other = (_key(folder / x) for x in ("host", "client", "other"))
    (folder / "authorized").write_text(client + "\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    options = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "StrictModes": "no",
        "PidFile": "none",
        "UsePAM": "no",
        "KbdInteractiveAuthentication": "no",
    }
    lines = [f"-o{k}={v}" for k, v in options.items()]
    log = (folder / "log").open("w")
    assert SSHD is not None
    with (
        log,
        subprocess.Popen([SSHD, "-D", "-e", "-f", "/dev/null", *lines], stderr=log) as process,
    ):
        _wait(port)
        known = f"[127.0.0.1]:{port} "
        yield SSHServer(
            f"ssh://root@127.0.0.1:{port}{origins}/{{org}}/{{repo}}.git",
            {
                # A Secret's text often ends without a newline, which ssh would not take.
                "ssh-privatekey": (folder / "client").read_text().rstrip("\n"),
                "known_hosts": known + host + "\n",
            },
            known + other + "\n",
        )
        process.terminate()


def _wait(port: int) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("sshd did not start")


def over(sshd: SSHServer, *, shared: bool = False) -> dict[str, object]:
    credentials = {"secretRef": {"name": "git"}, "shareWithAgent": shared}
    return {"urlTemplate": sshd.url, "credentials": credentials}


def test_a_repository_is_cloned_with_the_key(task: Make, sshd: SSHServer) -> None:
    pod = task(repository(), git=over(sshd), secret=sshd.secret)
    assert (pod.prepare() / "billing/README.md").exists()
    assert not list((pod.room / "tmp").iterdir())


def test_an_agent_that_was_given_the_key_pushes(task: Make, sshd: SSHServer, origins: Path) -> None:
    pod = task(repository(), git=over(sshd, shared=True), secret=sshd.secret)
    pod.prepare()
    pod.git("commit", "--allow-empty", "--message", "Work")
    pod.git("push", "--quiet", "origin", "HEAD")
    assert git("log", "-1", "--format=%s", BRANCH, cwd=origins / "acme/billing.git") == "Work"


def test_the_key_lies_in_no_file_that_containers_share(
    task: Make, sshd: SSHServer, room: Path
) -> None:
    seen, real = room / "seen", shutil.which("ssh")
    (room / "bin").mkdir()
    program = room / "bin/ssh"
    program.write_text(
        f'#!/bin/sh\nfind "$TMPDIR" -type f -exec cat {{}} + >> {seen}; exec {real} "$@"\n'
    )
    program.chmod(0o755)
    pod = task(repository(), git=over(sshd), secret=sshd.secret)
    with pod.start(PATH=f"{room}/bin:{os.environ['PATH']}") as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert seen.exists()
    assert "PRIVATE KEY" not in seen.read_text()


def test_the_words_of_a_hook_are_the_reason_over_ssh_too(
    task: Make, sshd: SSHServer, origins: Path
) -> None:
    hook = origins / "acme/billing.git/hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        "#!/bin/sh\necho 'Gitea: Not allowed to push to protected branch' >&2\nexit 1\n"
    )
    hook.chmod(0o755)
    pod = task(repository(), git=over(sshd, shared=True), secret=sshd.secret)
    pod.prepare()
    pod.git("commit", "--allow-empty", "--message", "Work")
    git_ = Git(environ=pod.environ("containers"))
    with pytest.raises(PublishError) as error:
        publish(
            TaskManifest.model_validate(pod.manifest),
            pod.directory,
            git_,
            message="Work",
            commit=True,
            push=True,
        )
    assert error.value.reason == "PushRejected"
    assert str(error.value) == "acme/billing: Gitea: Not allowed to push to protected branch"


def test_without_known_hosts_the_first_key_of_a_host_is_trusted(
    task: Make, sshd: SSHServer
) -> None:
    secret = {"ssh-privatekey": sshd.secret["ssh-privatekey"]}
    pod = task(repository(), git=over(sshd), secret=secret)
    pod.prepare()
    assert "ssh-ed25519" in (pod.room / "home/agent/.kubetask-known-hosts").read_text()


def test_a_host_with_another_key_is_not_trusted(task: Make, sshd: SSHServer) -> None:
    secret = {**sshd.secret, "known_hosts": sshd.other_host_key}
    assert task(repository(), git=over(sshd), secret=secret).fails() == (
        "CloneFailed",
        "acme/billing: Host key verification failed.",
    )


def test_a_key_that_is_not_let_in_ends_clearly(task: Make, sshd: SSHServer, room: Path) -> None:
    secret = {**sshd.secret, "ssh-privatekey": (room / "ssh/other").read_text()}
    reason, message = task(repository(), git=over(sshd), secret=secret).fails()
    assert reason == "CloneFailed"
    assert message == "acme/billing: root@127.0.0.1: Permission denied (publickey)."


def test_a_key_that_is_rotated_is_used_the_next_time(
    task: Make, sshd: SSHServer, room: Path
) -> None:
    pod = task(repository(), git=over(sshd, shared=True), secret=sshd.secret)
    pod.prepare()
    (room / "ssh/authorized").write_text((room / "ssh/other.pub").read_text())
    with pytest.raises(AssertionError, match="Permission denied"):
        pod.git("fetch", "origin")
    pod.sign_in({"ssh-privatekey": (room / "ssh/other").read_text()})
    pod.git("fetch", "origin")


@pytest.mark.skipif(not WRAPPER, reason="libnss-wrapper is not installed")
def test_a_user_without_a_name_signs_in(
    task: Make, sshd: SSHServer, as_user: Callable[[int, Callable[[], None]], None]
) -> None:
    pod: TaskPod = task(repository(), git=over(sshd), secret=sshd.secret)

    def prepare() -> None:
        pod.prepare()

    as_user(12345, prepare)
    assert (pod.directory / "billing/README.md").exists()
