from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.cli.fakeapi import FakeApi
from support.cli.pagekit import Page, opened


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of the program that a person would not notice are none."""
    for name in ("cli.follow.PAUSE", "cli.logs.stream.PAUSE", "cli.ui.streams.LOG_WAIT"):
        monkeypatch.setattr(f"kubetask_controller.{name}", 0.01)
    monkeypatch.setattr("kubetask_controller.cli.ui.streams.SETTLE", 0.02)
    monkeypatch.setattr("kubetask_controller.cli.ui.streams.TICK", 0.5)


@pytest.fixture
async def page(api: FakeApi, tmp_path: Path, quick: None) -> AsyncIterator[Page]:
    async with opened(api, tmp_path) as page:
        yield page
