"""The fixtures of `rooms`, and a Pod with a real tool."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hack.agents.__main__ import SMOKE_TOOL

from support.agents.models import Models, Script
from support.agents.realpod import KEY, Launch, RealPod, config, installed
from support.workspace.origin import commit, make
from support.workspace.rooms import as_user, origins, room, server, task, template
from support.workspace.taskpod import TaskPod, repository, secret_file, text

__all__ = ["as_user", "origins", "room", "server", "task", "template"]


@pytest.fixture
def launch(room: Path, origins: Path, server: Any) -> Iterator[Launch]:
    """Makes a prepared Pod: launch(tool, script, prompt=…, files=…, key=…, read_only=…, secrets=…, **config)."""
    if os.geteuid() != 0:
        pytest.skip("only root can become the user of a Pod here")
    with ExitStack() as stack:
        made = 0
        wanted = bool(os.environ.get("KUBETASK_AGENTS"))

        def start(
            tool: str,
            script: Script,
            *,
            prompt: str = "- Make the readme better.",
            repositories: tuple[str, ...] = ("billing",),
            files: dict[str, str] | None = None,
            home: dict[str, str] | None = None,
            key: bool = True,
            read_only: bool = False,
            secrets: dict[tuple[str, str], str] | None = None,
            **more: Any,
        ) -> RealPod:
            nonlocal made
            made += 1
            if not wanted and tool != SMOKE_TOOL:
                pytest.skip("runs with make test-agents")
            if not installed(tool):
                assert not wanted, f"{tool} is not installed"
                pytest.skip(f"{tool} is not installed: make test-agents runs it")
            models = stack.enter_context(Models(script))
            folder = room / f"pod{made}"
            folder.mkdir()
            for name, content in (files or {}).items():
                repo, _, path = name.partition("/")
                _write(origins, repo, path, content)
            contexts = [
                text("task.md", prompt),
                secret_file("key.txt"),
                *(repository(x) for x in repositories),
            ]
            spec = config(tool, models, server.url, key=key, **more)
            contents = {"key.txt": "hidden-in-a-file\n"}
            login = {"username": "git-user", "password": server.token}
            pod = TaskPod(folder, contexts, spec, secret=login, contents=contents)
            for name, content in (home or {}).items():
                path = folder / "home/agent" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)
            _open(folder / "home")
            secrets = secrets or {("models", "api-key"): KEY}
            real = RealPod(pod, tool, models, secrets, read_only)
            real.prepare()
            return real

        yield start


def _write(origins: Path, repo: str, path: str, content: str) -> None:
    where = origins / f"acme/{repo}.git"
    if not where.exists():
        make(where, {path: content})
    else:
        commit(where, {path: content})


def _open(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
