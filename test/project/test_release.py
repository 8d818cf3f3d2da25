"""hack/release.py on a copy of the repository, with real git, the real build backend and the real kubectl."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

import pytest
import yaml
from dockerfile_parse import DockerfileParser
from hack.release import TARGETS

# The first test of a process builds the release that the others read.
pytestmark = [pytest.mark.processes, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
VERSION = "9.8.7"
COPIED = (
    "src",
    "config",
    "docs",
    ":(glob)hack/*",
    "hack/agents",
    "hack/demo",
    "Dockerfile",
    ".dockerignore",
)
COPIED += (
    "hack/requirements",
    ".gitignore",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "Makefile",
)
DIGESTS = {x: f"sha256:{hashlib.sha256(x.encode()).hexdigest()}" for x in TARGETS}
GIVEN = [f"--digest={k}={v}" for k, v in DIGESTS.items()]


@dataclass
class Copy:
    folder: Path

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.com", *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def release(self, *arguments: str, fails: bool = False) -> str:
        command = [sys.executable, "-m", "hack.release", *arguments]
        identity = {"GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.com"}
        environ = {**os.environ, **identity, "PYTHONPATH": str(self.folder)}
        done = subprocess.run(command, cwd=self.folder, env=environ, capture_output=True, text=True)
        assert done.returncode == int(fails), done.stdout + done.stderr
        return done.stderr if fails else done.stdout

    def write(self, path: str, text: str) -> None:
        (self.folder / path).write_text(text)

    def read(self, path: str) -> str:
        return (self.folder / path).read_text()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as it is in the working tree, with a prepared release in its second commit."""
    folder = tmp_path_factory.mktemp("release") / "prepared"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *COPIED],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for path in listed.stdout.split("\0"):
        if path and (ROOT / path).is_file():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, folder / path)
    result = Copy(folder)
    result.git("init", "--quiet", "--initial-branch=main")
    result.commit("Copy the repository")
    heading = "## [Unreleased]\n"
    text = result.read("CHANGELOG.md").replace(heading, f"{heading}\n### Added\n\n- A robot.\n", 1)
    text = text.replace(heading, f"{heading}\n## [{VERSION}] - YYYY-MM-DD\n", 1)
    result.write("CHANGELOG.md", text)
    result.release("prepare", VERSION)
    result.commit("Prepare the release")
    return folder


@pytest.fixture(scope="module")
def built(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artefacts of the prepared release."""
    output = tmp_path_factory.mktemp("built")
    _build(Copy(prepared), output)
    return output


def _build(copy: Copy, output: Path) -> None:
    copy.release("build", VERSION, f"--output={output}", "--no-sbom")
    copy.release("manifests", VERSION, f"--output={output}", *GIVEN)


@pytest.fixture
def copy(prepared: Path, tmp_path: Path) -> Copy:
    folder = tmp_path / "copy"
    subprocess.run(["git", "clone", "--quiet", str(prepared), str(folder)], check=True)
    return Copy(folder)


@pytest.mark.slow
@pytest.mark.long
def test_two_builds_of_a_commit_have_the_same_bytes_and_the_version_everywhere(
    built: Path, copy: Copy, tmp_path: Path
) -> None:
    _build(copy, tmp_path / "again")
    sums = (built / "SHA256SUMS").read_text()
    assert sums == (tmp_path / "again" / "SHA256SUMS").read_text()
    files = {x.name for x in built.iterdir()} - {"SHA256SUMS"}
    assert {line.split()[1] for line in sums.splitlines()} == files
    for line in sums.splitlines():
        digest, name = line.split()
        assert hashlib.sha256((built / name).read_bytes()).hexdigest() == digest

    with zipfile.ZipFile(built / f"kubetask_controller-{VERSION}-py3-none-any.whl") as wheel:
        metadata = f"kubetask_controller-{VERSION}.dist-info/METADATA"
        assert message_from_bytes(wheel.read(metadata))["Version"] == VERSION
        assert VERSION in wheel.read("kubetask_controller/version.py").decode()
    with tarfile.open(built / f"kubetask_controller-{VERSION}.tar.gz") as sdist:
        names = {x.partition("/")[2] for x in sdist.getnames()}
    assert {"pyproject.toml", "LICENSE", "src/kubetask_controller/version.py"} <= names
    assert not any(x.startswith(("config/", "docs/", "hack/")) for x in names)

    install = (built / "install.yaml").read_text()
    assert install.startswith(f"# KubeTask {VERSION}:")
    (deployment,) = [x for x in yaml.safe_load_all(install) if x and x["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    image = "quay.io/kubetask/kubetask-{0}:v" + VERSION + "@{1}"
    assert container["image"] == image.format("controller", DIGESTS["controller"])
    environ = {x["name"]: x.get("value") for x in container["env"]}
    assert environ["KUBETASK_WORKSPACE_IMAGE"] == image.format("workspace", DIGESTS["workspace"])
    images = (built / "images.txt").read_text().splitlines()
    assert images == [image.format(k, v) for k, v in DIGESTS.items()]


@pytest.mark.slow
def test_the_context_of_an_image_holds_all_that_its_dockerfile_copies(
    built: Path, copy: Copy, tmp_path: Path
) -> None:
    agents = {"claude", "gemini", "codex", "opencode", "goose"}
    for target in TARGETS:
        context = tmp_path / target
        with tarfile.open(built / f"context-{target}.tar") as tar:
            tar.extractall(context, filter="data")
        assert (context / ".dockerignore").exists()
        mine = {target.removeprefix("agent-")} & agents
        assert {x.name for x in (context / "hack/agents").glob("*")} == mine
        copied = [
            word
            for x in DockerfileParser(str(context / "Dockerfile")).structure
            if x["instruction"] == "COPY" and "--from=" not in x["value"]
            for word in x["value"].split()[:-1]
        ]
        others = {f"hack/agents/{x}/" for x in agents - mine}
        for path in copied:
            assert (context / path).exists() != path.startswith(tuple(others)), path
        tracked = copy.git("ls-files", "src").splitlines()
        assert all((context / x).is_file() for x in tracked)


def test_the_tag_is_annotated_with_the_part_of_the_changelog(copy: Copy) -> None:
    assert copy.release("tag", VERSION, "--dry-run") == f"annotated tag v{VERSION}\n"
    assert copy.git("tag", "--list") == ""
    copy.release("tag", VERSION)
    assert copy.git("cat-file", "-t", f"v{VERSION}") == "tag"
    message = copy.git("tag", "--list", "--format=%(contents)", f"v{VERSION}")
    assert message.splitlines() == [f"KubeTask {VERSION}", "", "### Added", "", "- A robot."]
    assert "exists at this commit" in copy.release("tag", VERSION)
    copy.git("commit", "--quiet", "--allow-empty", "--message", "Go on")
    assert f"the tag v{VERSION} exists at another commit" in copy.release(
        "tag", VERSION, fails=True
    )


def test_the_tag_is_signed_where_git_is_configured_to_sign(copy: Copy, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    copy.git("config", "gpg.format", "ssh")
    copy.git("config", "user.signingkey", str(key))
    copy.release("tag", VERSION)
    assert "-----BEGIN SSH SIGNATURE-----" in copy.git("cat-file", "tag", f"v{VERSION}")


def test_prepare_leaves_no_other_version_and_a_date(copy: Copy) -> None:
    copy.release("check", VERSION)
    assert re.search(rf"^## \[{VERSION}\] - \d{{4}}-\d\d-\d\d$", copy.read("CHANGELOG.md"), re.M)
    assert copy.release("notes", VERSION).strip() == "### Added\n\n- A robot."
    for path in ("config/manager/kustomization.yaml", "config/tenant/workspace-setup.yaml"):
        assert f"v{VERSION}" in copy.read(path)


def test_every_problem_of_a_commit_is_named_at_once(copy: Copy) -> None:
    copy.write("docs/new.md", "quay.io/kubetask/kubetask-agent:v0.0.1\n")
    changelog = copy.read("CHANGELOG.md")
    copy.write("CHANGELOG.md", changelog.replace(f"[{VERSION}]", "[9.9.9]"))
    version = copy.read("src/kubetask_controller/version.py")
    copy.write("src/kubetask_controller/version.py", version.replace(VERSION, "0.0.2"))
    copy.commit("Break it")
    copy.write("README.md", "changed\n")
    said = copy.release("build", VERSION, fails=True)
    assert "the tree has changes; commit them:\nM README.md" in said
    assert f"src/kubetask_controller/version.py does not have the version {VERSION}" in said
    assert "docs/new.md:1 names the version 0.0.1" in said
    assert f"CHANGELOG.md has no heading '## [{VERSION}] - DATE'" in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (GIVEN[1:], "the digest of controller is missing"),
        ([*GIVEN, "--digest=agent=sha256:12"], "agent=sha256:12 is not TARGET=sha256:…"),
        ([*GIVEN, f"--digest=robot={DIGESTS['agent']}"], "robot=sha256:"),
    ],
)
def test_manifests_need_the_digest_of_every_image(copy: Copy, given: list[str], said: str) -> None:
    assert said in copy.release("manifests", VERSION, *given, fails=True)


def test_a_dry_run_names_the_artefacts_and_writes_none(copy: Copy, tmp_path: Path) -> None:
    printed = copy.release("build", VERSION, "--dry-run", f"--output={tmp_path / 'out'}")
    assert f"kubetask-{VERSION}.cdx.json" in printed
    assert "context-agent-goose.tar" in printed
    assert not (tmp_path / "out").exists()


def test_what_the_repository_is_now_can_be_released_once_its_date_is_set(copy: Copy) -> None:
    """The version of version.py is the one of every image and has a part in the changelog."""
    copy.git("checkout", "--quiet", "HEAD~1")
    found = re.search(r'__version__ = "(.*)"', copy.read("src/kubetask_controller/version.py"))
    assert found is not None
    copy.release("prepare", found[1])
    copy.git("commit", "--quiet", "--all", "--allow-empty", "--message", "Prepare")
    copy.release("check", found[1])
