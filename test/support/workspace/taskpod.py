"""A task's Pod without a cluster: the volumes as folders, and its init container as a call or a process.

The Job comes from the controller's own template, so what is tested is what the two of them agree on.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubetask_controller.reconcilers.taskrun import names
from kubetask_controller.reconcilers.taskrun.files import Owner, pack
from kubetask_controller.reconcilers.taskrun.job_template import Template
from kubetask_controller.reconcilers.taskrun.pod_template import Images
from kubetask_controller.workspace.errors import PreparationError
from kubetask_controller.workspace.prepare import prepare

JSON = dict[str, Any]
UID = "5a9e0b1c-0000-4000-8000-000000000001"
BRANCH = f"kubetask/run-0-{names.task_suffix(UID)}"
"""The branch of task 0, as the controller names it by default."""
PREPARE = "from kubetask_controller.workspace.main import main; main(['prepare'])"


def text(name: str, inline: str = "Update dependencies") -> JSON:
    return {"type": "File", "file": {"name": name, "source": {"inline": inline}}}


def secret_file(name: str, secret: str = "s", key: str = "k") -> JSON:
    source = {"secretKeyRef": {"name": secret, "key": key}}
    return {"type": "File", "file": {"name": name, "source": source}}


def repository(repo: str = "billing", org: str = "acme", **more: str) -> JSON:
    return {"type": "Repository", "repository": {"org": org, "repo": repo, **more}}


@dataclass
class TaskPod:
    """One task. `volume` may be shared by several, as a claim is.

    Attributes:
        room: where its own volumes lie.
        contexts: what the task works with.
        config: the spec of its WorkspaceConfig.
        spec: that of its BatchRun or Task.
        index: of the task in its run; None for a Task.
        secret: the files of the git credentials.
        contents: those of the files from ConfigMaps and Secrets, by name.
    """

    room: Path
    contexts: Sequence[JSON]
    config: JSON = field(default_factory=dict)
    spec: JSON = field(default_factory=dict)
    index: int | None = 0
    name: str = "run"
    uid: str = UID
    volume: Path | None = None
    secret: Mapping[str, str] = field(default_factory=dict)
    contents: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.volume = self.volume or self.room / "workspace"
        self.log = self.room / "termination-log"
        folders = ("files", "git", "git-hosts", "git-signing", "ca")
        for folder in (*(f"kubetask/{x}" for x in folders), "home/agent", "tmp"):
            (self.room / folder).mkdir(parents=True, exist_ok=True)
            (self.room / folder).chmod(0o777)
        self.volume.mkdir(exist_ok=True)
        self.volume.chmod(0o777)
        self.log.touch()
        self.log.chmod(0o666)
        self.sign_in(self.secret)
        for context in self.contexts:
            if file := context.get("file"):
                name, source = file["name"], file["source"]
                path = self.room / "kubetask/files" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(source.get("inline", self.contents.get(name, "")))
                path.chmod(0o400 if "secretKeyRef" in source else 0o444)

    def sign_in(self, secret: Mapping[str, str]) -> None:
        """Put other content into the mounted Secret, as a rotation does."""
        for name, value in secret.items():
            (self.room / "kubetask/git" / name).write_text(value)

    def put(self, folder: str, files: Mapping[str, str]) -> None:
        """Mount another Secret, at a folder below /kubetask."""
        path = self.room / "kubetask" / folder
        path.mkdir(exist_ok=True)
        for name, value in files.items():
            (path / name).write_text(value)

    @property
    def job(self) -> JSON:
        kind = "Task" if self.index is None else "BatchRun"
        owner = Owner(kind, "team", self.name, self.uid)
        inline = pack(owner, self.contexts).places
        images = Images("workspace", "agent")
        template = Template(owner, {}, self.spec, self.config, "default", images, inline)
        return template.job(list(self.contexts), self.index)

    @property
    def pod(self) -> JSON:
        return self.job["spec"]["template"]["spec"]

    def environ(self, container: str = "initContainers") -> dict[str, str]:
        """The container's variables, with the folders of this machine in place of the Pod's."""
        env = {x["name"]: x.get("value", "") for x in self.pod[container][0]["env"]}
        given = {k: self._here(v.replace("$$", "$")) for k, v in env.items()}
        return {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(self.room / "tmp"),
            "TERMINATION_LOG": str(self.log),
            **given,
        }

    def place(self, path: str) -> str:
        """Where a path of the containers lies on this machine."""
        if Path(path).is_relative_to(self.room.parent):
            return path
        found = self._here(path)
        return found if found != path else f"{self.room}{path}"

    def _here(self, value: str) -> str:
        if value.startswith("{"):
            spec = json.loads(value)
            for key in ("credentials", "caBundle"):
                if key in spec:
                    spec[key] = self._here(spec[key])
            for host in spec.get("hosts", ()):
                if "credentials" in host:
                    host["credentials"] = self._here(host["credentials"])
            if "signing" in spec.get("checkout", {}):
                spec["checkout"]["signing"] = self._here(spec["checkout"]["signing"])
            spec["secretPaths"] = [self.place(x) for x in spec.get("secretPaths", ())]
            return json.dumps(spec)
        for mount in ("/workspace", "/kubetask", "/home/agent"):
            if value == mount or value.startswith(f"{mount}/"):
                base = self.volume if mount == "/workspace" else self.room / mount[1:]
                return f"{base}{value.removeprefix(mount)}"
        return value

    @property
    def directory(self) -> Path:
        return Path(self.environ()["KUBETASK_TASK_DIR"])

    @property
    def manifest(self) -> JSON:
        return json.loads((self.directory / ".kubetask/manifest.json").read_text())

    def prepare(self) -> Path:
        """Run the init container in this process; the task's folder."""
        before = os.umask(0o022)
        try:
            prepare(self.environ())
        finally:
            os.umask(before)
        return self.directory

    def fails(self) -> tuple[str, str]:
        """The reason and the sentence with which the preparation ends."""
        try:
            self.prepare()
        except PreparationError as error:
            return error.reason.value, str(error)
        raise AssertionError("it is prepared")

    def start(self, **environ: str) -> subprocess.Popen[str]:
        """Run the init container as a process."""
        return subprocess.Popen(
            [sys.executable, "-c", PREPARE],
            env={
                **self.environ(),
                "PYTHONPATH": os.pathsep.join(sys.path),
                "PYTHONUNBUFFERED": "1",
                **environ,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self) -> tuple[int, str]:
        """Run the init container as a process; its exit code and log."""
        with self.start() as process:
            out, _ = process.communicate(timeout=60)
        return process.returncode, out

    def git(self, *arguments: str, repo: str = "billing", **environ: str) -> str:
        """git as the agent's container has it, in one of the task's repositories."""
        return git(
            *arguments,
            cwd=self.directory / repo,
            environ={**self.environ("containers"), **environ},
        )

    def end(self) -> None:
        """What the end of the Pod does to an emptyDir."""
        shutil.rmtree(self.room)


def git(*arguments: str, cwd: Path, environ: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=cwd,
        env={**(environ or {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}), "LC_ALL": "C"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"git {arguments}: {done.stderr}"
    return done.stdout.strip()


Make = Callable[..., TaskPod]
"""The fixture `task`."""
