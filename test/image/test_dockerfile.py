"""The images: what the Dockerfile says, and its steps run in a plain folder, as no engine is at hand everywhere."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from kubetask_controller.version import __version__
from support.image.dockerfile import FOLDERS, ROOT, Builder, lineage, program, stages, variables

TEXT = (ROOT / "Dockerfile").read_text()
STAGES = stages(TEXT)
TOOLS = ("claude", "gemini", "codex", "opencode", "goose")
TARGETS = ("controller", "workspace", "agent", *(f"agent-{x}" for x in TOOLS))
LOCKED = ("package.json", "package-lock.json")
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def test_there_is_a_target_for_each_image_of_the_manifests() -> None:
    assert set(TARGETS) <= set(STAGES)
    for name in ("controller", "workspace"):
        assert f"--target {name} " in TEXT


@pytest.mark.parametrize("target", TARGETS)
def test_a_container_starts_a_program_of_ours_without_root(target: str) -> None:
    family = lineage(STAGES, target)
    (entrypoint,) = [x for x in family if x.values("ENTRYPOINT")][-1:]
    assert program(entrypoint) in SCRIPTS
    user = [x for stage in family for x in stage.values("USER")][-1]
    # A number: a kubelet cannot tell of a name whether it is root's.
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert not [x for stage in family for x in stage.values("HEALTHCHECK")]


def test_the_base_can_be_pinned_by_digest_and_nothing_is_of_one_architecture() -> None:
    bases = {x.base for x in STAGES.values()} - set(STAGES)
    assert bases == {"${NODE_IMAGE}", "${PYTHON_IMAGE}"}
    assert not re.search(r"amd64|arm64|x86_64|aarch64|--platform", TEXT)
    assert not re.search(r"^\s*ADD|curl|wget|:latest", TEXT, re.MULTILINE)


def test_what_is_installed_is_pinned_by_hash() -> None:
    runs = [x for s in STAGES.values() for x in s.values("RUN")]
    installs = [x for x in runs if re.search(r"\bpip\b.* install ", x)]
    assert installs
    for each in installs:
        assert "--require-hashes" in each or "--no-index" in each
    runtime = (ROOT / "hack" / "requirements" / "runtime.txt").read_text()
    assert len(re.findall(r"^[a-z].*==", runtime, re.MULTILINE)) > 5
    assert not re.search(r"^rich==", runtime, re.MULTILINE)


def test_what_is_copied_is_let_through_to_the_build() -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    passed = [x[1:] for x in ignore if x.startswith("!")]
    for stage in STAGES.values():
        for value in stage.values("COPY"):
            if value.startswith("--from"):
                continue
            for source in value.split()[:-1]:
                assert (ROOT / source).exists()
                assert any(fnmatch(source, x) for x in passed), f"{source} is ignored"


def test_system_packages_leave_no_lists_behind() -> None:
    (step,) = [x for s in STAGES.values() for x in s.values("RUN") if "apt-get" in x]
    assert "--no-install-recommends" in step
    assert "rm -rf /var/lib/apt/lists/*" in step


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stage `build`, built."""
    builder = Builder(tmp_path_factory.mktemp("image"))
    builder.build(STAGES["build"])
    assert len(builder.ran) == len(STAGES["build"].values("RUN"))
    return builder.root


def _say(built: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    program, *rest = arguments
    path = built / "opt" / "kubetask" / "bin" / program
    return subprocess.run([path, *rest], env=environ, capture_output=True, text=True, check=False)


@pytest.mark.long
@pytest.mark.timeout(240)
class TestBuilt:
    """What a build of the Dockerfile's steps gives."""

    def test_the_controller_tells_its_version_and_revision(self, built: Path) -> None:
        (revision,) = [
            k for k, v in variables(STAGES["base"].values("ENV")).items() if v == "${REVISION}"
        ]
        assert "REVISION" in variables(STAGES["base"].values("ARG"))
        said = _say(built, "kubetask-controller", "--version", **{revision: "4f2a9c1"})
        assert said.stdout == f"kubetask {__version__} (revision 4f2a9c1)\n"

    @pytest.mark.parametrize("target", ["controller", "workspace", "agent"])
    def test_each_program_starts(self, built: Path, target: str) -> None:
        said = _say(built, program(STAGES[target]), "--help")
        assert said.returncode == 0
        assert said.stdout

    def test_it_holds_what_the_controller_needs_and_no_more(self, built: Path) -> None:
        assert "kubetask-controller[cli]" in _say(built, "kubectl-kubetask", "--version").stderr
        own = built / "opt" / "kubetask" / "bin" / "python"
        command = [sys.executable, "-m", "pip", "--python", str(own), "check"]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stdout
        assert "No module named pip" in _say(built, "python", "-m", "pip", "list").stderr

    def test_no_generated_class_of_the_kubernetes_package_is_installed(self, built: Path) -> None:
        (package,) = (built / "opt" / "kubetask" / "lib").glob("python3*/site-packages/kubernetes")
        size = sum(x.stat().st_size for x in package.rglob("*") if x.is_file())
        assert size < 8 * 2**20

    @pytest.mark.parametrize("kind", ["merged", "exec", "in-cluster"])
    def test_every_kind_of_credentials_is_loaded(
        self, built: Path, tmp_path: Path, kind: str
    ) -> None:
        said = _say(built, "python", "-c", LOAD, kind, str(tmp_path))
        assert (said.stdout, said.stderr) == ("https://10.0.0.1:6443 Bearer secret team\n", "")

    def test_the_kubernetes_package_is_not_imported_in_a_pod(
        self, built: Path, tmp_path: Path
    ) -> None:
        loaded = "\nprint([x for x in sys.modules if x.startswith('kubernetes')])"
        said = _say(built, "python", "-c", LOAD + loaded, "in-cluster", str(tmp_path))
        assert said.stdout.splitlines()[-1:] == ["[]"], said.stderr


LOAD = """
import asyncio, json, sys
from pathlib import Path
import kubetask_controller.app.wiring
from kubetask_controller.client.config import load_in_cluster, load_kubeconfig

kind, folder = sys.argv[1], Path(sys.argv[2])

def write(name, **sections):
    (folder / name).write_text(json.dumps(sections))
    return str(folder / name)

def kubeconfig(user):
    cluster = {"server": "https://10.0.0.1:6443"}
    context = {"cluster": "c", "user": "u", "namespace": "team"}
    first = write("first", clusters=[{"name": "c", "cluster": cluster}], **{"current-context": "x"})
    second = write(
        "second", users=[{"name": "u", "user": user}], contexts=[{"name": "x", "context": context}]
    )
    return load_kubeconfig(f"{first}:{second}")

async def main():
    if kind == "merged":
        config = kubeconfig({"token": "secret"})
    elif kind == "exec":
        version = "client.authentication.k8s.io/v1"
        said = {"apiVersion": version, "kind": "ExecCredential", "status": {"token": "secret"}}
        config = kubeconfig(
            {"exec": {"apiVersion": version, "command": "echo", "args": [json.dumps(said)]}}
        )
    else:
        for name, content in (("token", "secret"), ("ca.crt", "PEM"), ("namespace", "team")):
            (folder / name).write_text(content)
        service = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}
        config = load_in_cluster(folder, service)
    print(config.host, await config.credentials.authorization(), config.namespace)
    await config.credentials.close()

asyncio.run(main())
"""


def test_folders_that_agents_write_to_are_everybodys(tmp_path: Path) -> None:
    """A Pod may run as any user."""
    builder = Builder(tmp_path)
    builder.build(STAGES["git"])
    for folder in ("/home/agent", "/workspace"):
        assert folder in FOLDERS
        assert (tmp_path / folder.lstrip("/")).stat().st_mode & 0o7777 == 0o1777


@pytest.mark.parametrize("tool", TOOLS)
def test_an_agents_image_has_its_tool_from_a_lock_file_and_starts_it(tool: str) -> None:
    install, image = STAGES[tool], STAGES[f"agent-{tool}"]
    (copied,) = install.values("COPY")
    assert copied.split()[:-1] == [f"hack/agents/{tool}/{x}" for x in LOCKED]
    assert install.values("RUN") == ["npm ci --no-audit --no-fund"]
    assert image.values("COPY") == [f"--from={tool} /opt/agent /opt/agent"]
    assert variables(image.values("ENV"))["KUBETASK_AGENT"] == tool
    wanted = json.loads((ROOT / "hack/agents" / tool / "package.json").read_text())
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", x) for x in wanted["dependencies"].values())


@pytest.fixture(scope="module")
def node_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the steps need of the image of Node.js: node, npm and npx of this machine, where that image has them."""
    root = tmp_path_factory.mktemp("node")
    (root / "usr/local/bin").mkdir(parents=True)
    (root / "usr/local/lib").mkdir(parents=True)
    own = ROOT / ".agents/node/node_modules/.bin/node"
    node = own if own.exists() else shutil.which("node")
    npm = shutil.which("npm")
    assert node
    assert npm, "npm is not installed"
    shutil.copy(node, root / "usr/local/bin/node")
    modules = Path(npm).resolve().parents[2]
    shutil.copytree(modules / "npm", root / "usr/local/lib/node_modules/npm", symlinks=False)
    return root


@pytest.mark.agents
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("tool", TOOLS)
def test_every_step_of_an_agents_image_runs_and_gives_a_tool_that_starts(
    built: Path, node_image: Path, tmp_path: Path, tool: str
) -> None:
    if not os.environ.get("KUBETASK_AGENTS"):
        pytest.skip("runs with make test-agents")
    if shutil.which("apt-get") is None:
        pytest.skip("needs apt-get, as the image has it")
    family = lineage(STAGES, f"agent-{tool}")
    install = Builder(tmp_path / "install")
    install.build(STAGES["node"])
    install.build(STAGES[tool])
    others = {"build": built, "node": node_image, tool: install.root}
    image = Builder(tmp_path / "image", others).with_apt()
    for stage in family:
        image.build(stage)
    copied = {x.split()[0].removeprefix("--from=") for s in family for x in s.values("COPY")}
    assert copied == set(others)
    stages_of_it = [*family, STAGES["node"], STAGES[tool]]
    assert [*image.ran, *install.ran] == [x for s in stages_of_it for x in s.values("RUN")]

    def says(*command: str) -> str:
        bin = f"{image.root}/opt/agent/node_modules/.bin:{image.root}/usr/local/bin"
        path = f"{bin}:{image.root}/opt/kubetask/bin:/usr/bin:/bin"
        said = subprocess.run(
            ["env", *command],
            env={"PATH": path, "HOME": str(tmp_path), "NPM_CONFIG_UPDATE_NOTIFIER": "false"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return said.stdout + said.stderr

    wanted = json.loads((ROOT / "hack/agents" / tool / "package-lock.json").read_text())
    ((name, version),) = wanted["packages"][""]["dependencies"].items()
    assert wanted["packages"][f"node_modules/{name}"]["version"] == version
    assert version in says(tool, "--version")
    assert re.fullmatch(r"\d+\.\d+\.\d+", says("npm", "--version").strip())
    assert re.fullmatch(r"\d+\.\d+\.\d+", says("npx", "--version").strip())
    assert __version__ in says(program(STAGES["agent"]), "--version")
