"""The example operator, in virtual time; test/integration runs it on a cluster. And the tests that docs/runtime.md names."""

import asyncio
import re
from pathlib import Path

from examples.namespace_info.__main__ import ANNOTATION, set_up

from kubetask_controller.client.resources import CONFIGMAPS, NAMESPACES
from kubetask_controller.runtime.manager import Manager, ManagerOptions
from kubetask_controller.runtime.metrics import Metrics
from support.runtime.memoryapi import MemoryAPI

PAGE = Path(__file__).resolve().parents[2] / "docs" / "runtime.md"


def namespace(name, published, **labels):
    metadata = {"name": name, "uid": f"uid-{name}", "labels": labels}
    metadata["annotations"] = {ANNOTATION: published}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


async def test_the_example_publishes_the_labels_of_annotated_namespaces(clock):
    api, stop = MemoryAPI(), asyncio.Event()
    api.put(NAMESPACES, namespace("early", "true", team="a"))
    api.put(NAMESPACES, namespace("private", "false", team="b"))
    manager = Manager(api.client(), ManagerOptions(), metrics=Metrics(), clock=clock)
    set_up(manager)
    running = asyncio.create_task(manager.start(stop))
    await clock.advance(1)
    api.put(NAMESPACES, namespace("late", "true", team="c"))
    await clock.advance(1)
    published = {x["metadata"]["namespace"]: x["data"] for x in api.all(CONFIGMAPS)}
    assert published == {"early": {"team": "a"}, "late": {"team": "c"}}
    stop.set()
    await clock.run(running)


def test_every_test_that_the_page_names_exists():
    tests = {path.stem for path in (PAGE.parents[1] / "test").rglob("test_*.py")}
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))
    assert named <= tests
