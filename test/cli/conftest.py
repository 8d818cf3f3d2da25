import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from kubetask_controller.cli import program
from kubetask_controller.cli.terminal import Terminal
from support.cli.cliobjects import Cli, Outcome
from support.cli.fakeapi import FakeApi, serving


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with serving(FakeApi()) as api:
        yield api


@pytest.fixture
def kubeconfig(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Context `here` has namespace team, context `there` has namespace other."""
    contexts = {"here": "team", "there": "other"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{api.port}"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [
            {"name": name, "context": {"cluster": "c", "user": "u", "namespace": namespace}}
            for name, namespace in contexts.items()
        ],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.setattr("kubetask_controller.cli.follow.PAUSE", 0.01)
    monkeypatch.setattr("kubetask_controller.cli.logs.stream.PAUSE", 0.01)
    return path


@pytest.fixture
def cli(kubeconfig: Path) -> Cli:
    """Runs a command line as in a pipe."""

    async def run(*arguments: str, stdin: str = "") -> Outcome:
        out, err = io.StringIO(), io.StringIO()
        try:
            terminal = Terminal(out, err, io.StringIO(stdin))
            code = int(await program.run_command(arguments, terminal))
        except SystemExit as end:
            code = int(end.code or 0)
        return Outcome(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(autouse=True)
async def no_task_is_left_behind() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    assert not left, f"tasks left behind: {left}"
