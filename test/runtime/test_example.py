"""The example of docs/runtime.md does what it says."""

import asyncio
import importlib.util
import re
from pathlib import Path

from kubetask_controller.client.resources import CONFIGMAPS, JOBS
from kubetask_controller.runtime.manager import Manager, ManagerOptions
from kubetask_controller.runtime.metrics import Metrics
from support.runtime.memoryapi import MemoryAPI

PAGE = Path(__file__).resolve().parents[2] / "docs" / "runtime.md"


def example(directory):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    path = directory / "reporter.py"
    path.write_text(code)
    spec = importlib.util.spec_from_file_location("reporter", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def job(name, failed):
    metadata = {"name": name, "namespace": "ns", "uid": f"uid-{name}"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "status": {"failed": failed},
    }


async def test_the_example_reports_jobs_that_have_failed(clock, tmp_path):
    reporter, api, stop = example(tmp_path), MemoryAPI(), asyncio.Event()
    api.put(JOBS, job("early", 1))
    api.put(JOBS, job("fine", 0))
    manager = Manager(api.client(), ManagerOptions(), metrics=Metrics(), clock=clock)
    reporter.set_up(manager)
    running = asyncio.create_task(manager.start(stop))
    await clock.advance(1)
    api.put(JOBS, job("late", 2))
    await clock.advance(1)
    reports = {x["metadata"]["name"]: x["data"]["failed"] for x in api.all(CONFIGMAPS)}
    assert reports == {"early-report": "1", "late-report": "2"}
    stop.set()
    await clock.run(running)


def test_every_test_that_the_page_names_exists():
    tests = {path.stem for path in (PAGE.parents[1] / "test").rglob("test_*.py")}
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))
    assert named <= tests
