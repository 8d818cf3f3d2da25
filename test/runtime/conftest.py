import asyncio
from collections.abc import AsyncIterator

import pytest

from kubetask_controller.runtime.metrics import Metrics
from kubetask_controller.runtime.metrics import server as metricsserver
from support.runtime.virtualtime import FakeClock


@pytest.fixture
async def clock() -> AsyncIterator[FakeClock]:
    """Time that stands still until the test moves it."""
    clock = FakeClock(asyncio.get_running_loop())
    yield clock
    clock.close()


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def routes(metrics):
    return metricsserver.routes(metrics.registry)


@pytest.fixture(autouse=True)
async def no_task_is_left_behind() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    assert not left, f"tasks left behind: {left}"
