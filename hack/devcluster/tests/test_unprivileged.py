"""The cluster without root: with user namespaces it runs Pods, without them it reports the problem in one line."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
KUBECTL = Path(sys.executable).with_name("kubectl")
NOBODY = 65534
PATIENCE = 60
IMAGES = '"*": {path: ["${BIN}"], entrypoint: ["true"]}\n'


@dataclass
class Started:
    """A cluster, and its output up to readiness."""

    said: str
    environ: dict[str, str]

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """What kubectl prints."""
        done = subprocess.run(
            [str(KUBECTL), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environ,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


OPEN = """
hidden=$(mktemp -d) closed=$1; shift
mount --bind "$closed" "$hidden"
mount -t tmpfs -o mode=755 none "$closed"
while [ "$1" != -- ]; do
    mkdir -p "$closed/$1" && mount --bind "$hidden/$1" "$closed/$1"; shift
done
shift
exec "$@"
"""
"""In a mount namespace of its own: of a folder that others may not enter, show some folders to everybody."""


def somebody() -> list[str]:
    """What starts a program as a user who is not root and has no right at all.

    The tests' own programs may lie below a folder that is root's alone, such as its home; the user sees them all the same.
    """
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None or shutil.which("unshare") is None:
        pytest.skip("setpriv and unshare are not installed")
    identity = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    none = [f"--{x}=-all" for x in ("inh-caps", "ambient-caps", "bounding-set")]
    user = ["setpriv", *identity, *none, "--no-new-privs"]
    programs = [Path(x).resolve() for x in (sys.prefix, sys.base_prefix, ROOT)]
    closed = {y for x in programs if (y := _closed(x))}
    for folder in closed:
        shown = [str(x.relative_to(folder)) for x in programs if x.is_relative_to(folder)]
        user = ["unshare", "--mount", "sh", "-euc", OPEN, "sh", str(folder), *shown, "--", *user]
    return user


def _closed(path: Path) -> Path | None:
    """The outermost folder of the path that other users may not enter."""
    return next((x for x in reversed([path, *path.parents]) if not x.stat().st_mode & 0o001), None)


@contextmanager
def started(*before: str) -> Iterator[Started]:
    """`python -m devcluster` as an unprivileged user, with an empty HOME, optionally behind another program."""
    user = somebody()
    with tempfile.TemporaryDirectory(prefix="devcluster-test-") as name:
        home = Path(name)
        (home / "images.yaml").write_text(IMAGES)
        if user:
            os.chown(home, NOBODY, NOBODY)
        home.chmod(0o755)
        environ = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        arguments = ["--dir", str(home / "cluster"), "--images", str(home / "images.yaml")]
        with subprocess.Popen(
            [*user, *before, sys.executable, "-m", "devcluster", *arguments],
            cwd=home,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            said = ""
            try:
                for line in process.stdout:
                    said += line
                    if line.startswith("ready:"):
                        break
                assert "ready:" in said, said
                config = said.rpartition("kubeconfig ")[2].strip()
                yield Started(said, {**environ, "KUBECONFIG": config})
            finally:
                process.terminate()
        assert process.returncode == 0


def pod(script: str) -> str:
    mounts = [{"name": "tmp", "mountPath": "/tmp"}]
    container = {"name": "agent", "image": "a", "command": ["sh", "-c", script]}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p"},
            "spec": {
                "restartPolicy": "Never",
                "containers": [container | {"volumeMounts": mounts}],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
                "automountServiceAccountToken": False,
            },
        }
    )


@pytest.fixture
def user_namespaces() -> None:
    command = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    done = subprocess.run([*somebody(), *command], capture_output=True)
    if done.returncode:
        pytest.skip("this machine allows no user namespaces")


@pytest.mark.slow
@pytest.mark.usefixtures("user_namespaces")
def test_somebody_who_is_not_root_runs_pods_in_user_namespaces() -> None:
    with started() as cluster:
        assert "Pods are not run" not in cluster.said
        script = 'echo "hello from $(hostname)"; touch /tmp/mine; exit 3'
        for _ in range(100):
            accounts = cluster.kubectl("get", "serviceaccounts", "-o", "name")
            if "default" in accounts:
                break
            time.sleep(0.05)
        cluster.kubectl("create", "-f", "-", stdin=pod(script))
        cluster.kubectl(
            "wait", "--for=jsonpath={.status.phase}=Failed", "pod/p", f"--timeout={PATIENCE}s"
        )
        assert cluster.kubectl("logs", "p") == "hello from p\n"
        code = "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}"
        assert cluster.kubectl("get", "pod", "p", "-o", code) == "3"


@pytest.mark.slow
def test_without_user_namespaces_one_line_says_that_pods_are_not_run_and_why() -> None:
    with started(sys.executable, "-m", "hack.refuse", "unshare", "EPERM") as cluster:
        (line,) = [x for x in cluster.said.splitlines() if not x.startswith("ready:")]
        assert line.startswith("Pods are not run: ")
        assert "needs root" in line
        assert "user namespaces" in line
        assert "Operation not permitted" in line or "EPERM" in line
        # Everything but Pods works.
        assert "default" in cluster.kubectl("get", "namespaces", "-o", "name")
