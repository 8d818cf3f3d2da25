"""A task's Pod with a real agent tool in it: the controller's own template, run in a namespace, from preparation to end."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hack.agents.__main__ import INSTALLED, ROOT

from kubetask_controller.workspace.agent.presets import PRESETS
from support.agents.models import Models
from support.agents.namespace import SYSTEM_PATH, Namespace
from support.workspace.taskpod import PREPARE, TaskPod

JSON = dict[str, Any]
Launch = Callable[..., "RealPod"]
"""The fixture `launch`."""
KEY = "sk-fake-9f8e7d6c5b4a-key"
"""The key of the model, in every tool's variable."""
MAIN = "from kubetask_controller.workspace.agent import main; main()"
SITE = "/opt/site"
SOURCE = "/opt/src"
TOOLS = "/opt/agents"

_CODEX_PROVIDER = (
    'model_providers.test={{name="test",base_url="{url}/v1",env_key="CODEX_API_KEY",'
    'wire_api="responses",request_max_retries=0}}'
)
ENVIRON: Mapping[str, Mapping[str, str]] = {
    "claude": {"ANTHROPIC_BASE_URL": "{url}"},
    "gemini": {"GOOGLE_GEMINI_BASE_URL": "{url}"},
    "codex": {},
    "opencode": {
        "OPENCODE_CONFIG_CONTENT": '{{"model":"openai/gpt-5","provider":{{"openai":'
        '{{"options":{{"baseURL":"{url}/v1"}}}}}}}}',
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
    },
    "goose": {"GOOSE_PROVIDER": "openai", "GOOSE_MODEL": "gpt-4o", "OPENAI_HOST": "{url}"},
}
"""What leads each tool to the server of the test instead of its maker's."""
ARGUMENTS: Mapping[str, Sequence[str]] = {
    "codex": ("-c", "model_provider=test", "-c", _CODEX_PROVIDER),
}
KEYS = {
    "claude": "ANTHROPIC_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "codex": "CODEX_API_KEY",
    "opencode": "OPENAI_API_KEY",
    "goose": "OPENAI_API_KEY",
}


def installed(tool: str) -> bool:
    return (INSTALLED / tool / ".installed").exists()


@dataclass
class Ended:
    """What a container left."""

    code: int
    log: str
    message: str
    transcript: str

    @property
    def result(self) -> JSON:
        value = json.loads(self.message)
        assert isinstance(value, dict)
        return value


@dataclass
class RealPod:
    """One task of one tool.

    Attributes:
        pod: the task, its volumes and its Job.
        tool: whose preset runs.
        models: the server that answers it.
        secrets: values of Secrets by name and key.
        read_only: the root file system.
    """

    pod: TaskPod
    tool: str
    models: Models
    secrets: Mapping[tuple[str, str], str] = field(default_factory=dict)
    read_only: bool = False

    def prepare(self) -> None:
        for path in (self.pod.room / "kubetask").rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o444)
        environ = self._environ("initContainers")
        with self._start([sys.executable, "-c", PREPARE], environ, "/") as process:
            out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, out.decode()

    def run(
        self,
        *arguments: str,
        extra: Sequence[str] = (),
        until: Callable[[str], bool] | None = None,
        timeout: float = 180,
    ) -> Ended:
        """Run the agent's container to its end; SIGTERM once the log satisfies `until`."""
        extra = (*(x.format(url=self.models.url) for x in ARGUMENTS.get(self.tool, ())), *extra)
        command = [sys.executable, "-c", MAIN, "--agent", self.tool, *arguments]
        command += ["--", *extra] if extra else []
        environ = self._environ("containers")
        lines: list[str] = []
        process = self._start(command, environ, environ["KUBETASK_TASK_DIR"])
        reader = threading.Thread(target=self._read, args=(process, lines))
        reader.start()
        signalled = until is None
        deadline = time.monotonic() + timeout
        try:
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise AssertionError(f"still running: {''.join(lines)[-3000:]}")
                if until is not None and not signalled and until("".join(lines)):
                    os.kill(Namespace.first(process), signal.SIGTERM)
                    signalled = True
                time.sleep(0.1)  # the process is polled; its output is awaited by the thread
        finally:
            # The death of its parent is no signal to a process that has changed its user.
            if process.poll() is None and (first := Namespace.first(process)):
                os.kill(first, signal.SIGKILL)
            process.kill()
            process.wait()
            reader.join()
        transcript = self.directory / ".kubetask/agent.log"
        text = transcript.read_text(errors="replace") if transcript.exists() else ""
        return Ended(process.returncode, "".join(lines), self.pod.log.read_text(), text)

    @property
    def directory(self) -> Path:
        """The task's folder, as this machine has it."""
        return self.pod.directory

    @staticmethod
    def _read(process: "subprocess.Popen[bytes]", lines: list[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            lines.extend(x.decode(errors="replace") for x in process.stdout)

    def _environ(self, containers: str) -> dict[str, str]:
        given: dict[str, str] = {}
        for variable in self.pod.pod[containers][0]["env"]:
            reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
            if reference:
                given[variable["name"]] = self.secrets[reference["name"], reference["key"]]
            else:
                given[variable["name"]] = variable.get("value", "").replace("$$", "$")
        path = f"{TOOLS}/{self.tool}/node_modules/.bin:{TOOLS}/node/node_modules/.bin"
        return {
            "PATH": f"{path}:{SYSTEM_PATH}",
            "PYTHONPATH": f"{SOURCE}:{SITE}",
            "PYTHONUNBUFFERED": "1",
            "LANG": "C.UTF-8",
            **given,
        }

    def _start(
        self, command: Sequence[str], environ: Mapping[str, str], cwd: str
    ) -> "subprocess.Popen[bytes]":
        room = self.pod.room
        binds = [
            (Path(sysconfig.get_paths()["purelib"]), SITE, False),
            (ROOT / "src", SOURCE, False),
            (INSTALLED, TOOLS, False),
            (room / "workspace", "/workspace", True),
            (room / "home/agent", "/home/agent", True),
            (room / "tmp", "/tmp", True),
            (room / "kubetask", "/kubetask", False),
            (self.pod.log, "/dev/termination-log", True),
        ]
        # The interpreter of a virtual environment is a link to the system's.
        command = [str(Path(command[0]).resolve()), *command[1:]]
        return Namespace(room, binds, self.read_only).start(command, environ=environ, cwd=cwd)


def config(tool: str, models: Models, git_url: str, *, key: bool = True, **more: Any) -> JSON:
    """A WorkspaceConfig that leads the tool to the test's server, and git to the test's host."""
    environ = {k: v.format(url=models.url) for k, v in ENVIRON[tool].items()}
    given = more.pop("env", ())
    names = {x["name"] for x in given}
    made: JSON = {
        "env": [*given, *({"name": k, "value": v} for k, v in environ.items() if k not in names)],
        "git": {
            "urlTemplate": f"{git_url}/{{org}}/{{repo}}.git",
            # The host of the pull requests that the models' last words name.
            "apiURL": "https://git.example/api/v3",
            "credentials": {"secretRef": {"name": "git"}, "shareWithAgent": True},
        },
        "agent": {"maxRetryWaitSeconds": 6, "idleTimeoutSeconds": 60, **more.pop("agent", {})},
        **more,
    }
    if key and "credentials" not in made:
        reference = {"name": "models", "key": "api-key"}
        made["credentials"] = [{"name": "models", "env": KEYS[tool], "secretRef": reference}]
    return made


assert set(ENVIRON) == set(KEYS) == set(PRESETS)
