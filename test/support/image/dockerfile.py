"""The Dockerfile as instructions by stage, and a build of a stage in a plain folder."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = (
    *("/opt/agent", "/opt/kubetask", "/opt/build", "/home/agent", "/workspace", "/src"),
    *("/usr/local/bin", "/usr/local/lib/node_modules", "/var/lib/apt/lists"),
)
"""Absolute paths of the image that a build here puts below its own folder."""


@dataclass
class Stage:
    """One FROM, and what follows it."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def values(self, instruction: str) -> list[str]:
        """The values of an instruction, in order."""
        return [value for name, value in self.steps if name == instruction]


def stages(text: str) -> dict[str, Stage]:
    """Stages by name."""
    import io

    parser = DockerfileParser(fileobj=io.BytesIO(text.encode()))
    found: dict[str, Stage] = {}
    stage: Stage | None = None
    for step in parser.structure:
        name, value = step["instruction"], step["value"]
        if name == "FROM":
            base, _, label = re.sub(r"\s+[Aa][Ss]\s+", "\0", value).partition("\0")
            stage = found[label] = Stage(label, base)
        elif stage is not None and name != "COMMENT":
            stage.steps.append((name, value))
    return found


def lineage(found: dict[str, Stage], name: str) -> list[Stage]:
    """A stage after those that it is made from."""
    stage = found[name]
    return [*(lineage(found, stage.base) if stage.base in found else []), stage]


def variables(values: list[str]) -> dict[str, str]:
    """The pairs of ENV or ARG instructions."""
    return dict(pair.split("=", 1) for value in values for pair in value.split())


_APT = """#!/bin/sh
for word; do test "$word" != install || simulate=--simulate; done
exec /usr/bin/apt-get -o Dir::State::lists="{root}/var/lib/apt/lists" -o Dir::Cache="{root}/apt" \\
    -o APT::Sandbox::User= $simulate "$@"
"""
"""Of apt-get, all but the installation itself: the lists are fetched, every package is looked for in them."""


class Builder:
    """Runs a stage's steps in a folder: its commands as they stand, but for where the image's paths lie.

    Attributes:
        root: the folder that stands for the image's root.
        others: roots of the stages that it copies from, by name.
        ran: the commands of RUN steps, as the Dockerfile has them.
        environ: of its containers.
    """

    def __init__(self, root: Path, others: "dict[str, Path] | None" = None) -> None:
        self.root = root
        self.others = others or {}
        bin = root / "bin"
        bin.mkdir(parents=True)
        # As every base image has it.
        (root / "home").mkdir(exist_ok=True)
        python = bin / "python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        self._workdir = root
        self.environ = {"PATH": f"{bin}:/usr/local/bin:/usr/bin:/bin", "HOME": str(root)}
        inherited = ("PIP_", "SSL_", "REQUESTS_", "HTTP", "http", "NO_PROXY", "no_proxy")
        self.environ |= {k: v for k, v in os.environ.items() if k.startswith(inherited)}
        self.ran: list[str] = []

    def with_apt(self) -> "Builder":
        """Carry out steps of the system's package manager too, as far as they change nothing here."""
        for folder in ("var/lib/apt/lists/partial", "apt/archives/partial"):
            (self.root / folder).mkdir(parents=True)
        shim = self.root / "bin" / "apt-get"
        shim.write_text(_APT.format(root=self.root))
        shim.chmod(0o755)
        return self

    def build(self, stage: Stage) -> None:
        """Carry out its steps; those of the system's package manager only `with_apt`."""
        for name, value in stage.steps:
            if name == "ENV":
                self.environ |= {
                    k: self.local(v).replace("$PATH", self.environ["PATH"])
                    for k, v in variables([value]).items()
                    if not k.startswith("KUBETASK_")
                }
            elif name == "WORKDIR":
                self._workdir = Path(self.local(value))
                self._workdir.mkdir(parents=True, exist_ok=True)
            elif name == "COPY" and value.startswith("--from="):
                origin, source, target = value.split()
                self._copy_from(origin.removeprefix("--from="), source, target)
            elif name == "COPY":
                self._copy(*value.split())
            elif name == "RUN" and ("apt-get" not in value or (self.root / "bin/apt-get").exists()):
                self._run(self.local(value))
                self.ran.append(value)

    def local(self, text: str) -> str:
        """The text with the image's absolute paths below the folder of this build."""
        pattern = "|".join(re.escape(x) for x in FOLDERS)
        return re.sub(rf"(?<![\w.]){'(' + pattern + ')'}(?=[/\s:\"]|$)", rf"{self.root}\1", text)

    def _copy(self, *paths: str) -> None:
        *sources, target = paths
        for source in sources:
            into = self._workdir / target
            if (ROOT / source).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / source, into, ignore=ignored, dirs_exist_ok=True)
            else:
                shutil.copy(ROOT / source, into)

    def _copy_from(self, stage: str, source: str, target: str) -> None:
        if stage not in self.others:
            return
        path, into = self.others[stage] / source.lstrip("/"), self.root / target.lstrip("/")
        into.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, into, symlinks=True, dirs_exist_ok=True)
        else:
            shutil.copy(path, into)

    def _run(self, command: str) -> None:
        self._workdir.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self._workdir,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def program(stage: Stage) -> str:
    """What a container of it starts."""
    (entrypoint,) = stage.values("ENTRYPOINT")
    return str(json.loads(entrypoint)[0])
