"""What holds for all tests: where they run, in which order, and the fixtures of the installed product."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support.integration.installed import (
    _controller,
    controller,
    git_host,
    installed,
    kubectl,
    namespace,
    second,
)

__all__ = ["_controller", "controller", "git_host", "installed", "kubectl", "namespace", "second"]

HERE = Path(__file__).parent
PROCESSES = {"demo", "hosts", "image", "security", "simulation", "workspace"}
"""Folders whose tests start processes, all of them or nearly so."""
STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}
SLOW_SECONDS = 4.0

_started: list[str] = []

# How fast the machine is, or which cases chance picks, decides no test.
settings.register_profile(
    "any machine",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("any machine")


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event in STARTS:
        _started.append(f"{event} {arguments[:2]}")


sys.addaudithook(_note)


# --- what a test needs


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what a test needs; what needs nothing is a unit test."""
    folder = item.path.relative_to(HERE).parts[0] if HERE in item.path.parents else "devcluster"
    if folder == "integration" or "cluster" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.integration)
    if folder in PROCESSES:
        item.add_marker(pytest.mark.processes)
    tools = item.get_closest_marker("agents") and not item.get_closest_marker("smoke")
    if tools and not os.environ.get("KUBETASK_AGENTS"):
        item.add_marker(pytest.mark.skip("runs with make test-agents"))
    needs = ("integration", "processes", "browser", "agents")
    if folder != "devcluster" and not any(map(item.get_closest_marker, needs)):
        item.add_marker(pytest.mark.unit)


@pytest.fixture(autouse=True)
def a_unit_test_starts_no_process(request: pytest.FixtureRequest):
    """Fails a test of `make test-unit` that starts one."""
    before = len(_started)
    yield
    if request.node.get_closest_marker("unit"):
        found = _started[before:]
        assert not found, f"a test that starts a process is marked `processes`: {found}"


# --- the order


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each worker its share of the long tests first, file by file.

    pytest-xdist (`--dist=worksteal`) gives every worker as many tests as any other, in the order of this list, and takes
    from the end of the longest list for a worker that has none left. So what moves between workers are short tests, and
    no worker is left with a long one at the end. A file stays with one worker, for its fixtures' sake, as far as possible.
    """
    count = getattr(config, "workerinput", {}).get("workercount", 1)
    if count == 1:
        return
    files: dict[Path, list[pytest.Item]] = {}
    short: list[pytest.Item] = []
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("skip"):
            files.setdefault(item.path, []).append(item)
        else:
            short.append(item)
    shares: list[list[pytest.Item]] = [[] for _ in range(count)]
    loads = [0.0] * count
    for group in sorted(files.values(), key=_seconds, reverse=True):
        least = loads.index(min(loads))
        shares[least] += group
        loads[least] += _seconds(group)
    left, ordered = len(items), []
    for index, share in enumerate(shares):
        size = left // (count - index)
        filling = max(0, size - len(share))
        ordered += share + short[:filling]
        del short[:filling]
        left -= size
    items[:] = ordered + short


def _seconds(group: list[pytest.Item]) -> float:
    marks = filter(None, (x.get_closest_marker("slow") for x in group))
    return sum(x.args[0] if x.args else SLOW_SECONDS for x in marks)
