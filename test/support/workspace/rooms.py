"""A room that any user may enter, origins in it, and tasks of them."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hack.gitserver import GitServer

from support.workspace.origin import TOKEN, make, served
from support.workspace.taskpod import Make, TaskPod


@pytest.fixture
def room() -> Iterator[Path]:
    """A folder that other users may enter too, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="kubetask-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def origins(room: Path) -> Path:
    """A folder of repositories with acme/billing in it."""
    make(room / "origins/acme/billing.git", {"README.md": "# billing\n", "src/app.py": "a = 1\n"})
    return room / "origins"


@pytest.fixture
def template(origins: Path) -> str:
    """git.urlTemplate for these repositories."""
    return f"file://{origins}/{{org}}/{{repo}}.git"


@pytest.fixture
def server(origins: Path) -> Iterator[GitServer]:
    """Serves them to whoever has the token."""
    with served(origins, token=TOKEN) as server:
        yield server


@pytest.fixture
def task(room: Path, template: str) -> Make:
    """Makes tasks: task(context, …, git={…}, volume=…, secret=…)."""
    made = 0

    def make_task(
        *contexts: dict[str, Any], git: dict[str, Any] | None = None, **more: Any
    ) -> TaskPod:
        nonlocal made
        made += 1
        pod = room / f"pod{made}"
        pod.mkdir()
        config = {"git": {"urlTemplate": template, **(git or {})}, **more.pop("config", {})}
        return TaskPod(pod, contexts, config, **more)

    return make_task


@pytest.fixture
def as_user(room: Path) -> Callable[[int, Callable[[], None]], None]:
    """Runs a function as another user, in a process of its own; a failure there fails the test."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")

    def run(uid: int, function: Callable[[], None]) -> None:
        errors = room / f"errors-{uid}"
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with errors.open("w") as out:
                    os.dup2(out.fileno(), 2)
                os.setgroups([])
                os.setgid(0)
                os.setuid(uid)
                function()
                code = 0
            except BaseException as error:
                os.write(2, repr(error).encode())
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert status == 0, errors.read_text()

    return run
