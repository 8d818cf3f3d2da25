"""A cluster for tests: the fixture `cluster`, one for the session, on which every integration test runs unchanged.

The environment selects the cluster (see `choice`): `KUBECONFIG` any cluster, `KUBEBUILDER_ASSETS` a folder of real binaries,
else the development cluster. A test declares a capability that it needs with `cluster.require("processes")`, and is skipped
on clusters without it. The summary at the end names the cluster and counts the skipped tests for each missing capability.
The ini option `devcluster_images` names a file of images for the development cluster's node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .base import Cluster

OUTPUT_KEY = "devcluster"
SUMMARIES = pytest.StashKey[list[str]]()
"""Summaries of the clusters of this session; with workers, one of each."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The plugin's ini option."""
    parser.addini(
        "devcluster_images",
        "file with the images of the development cluster's node",
        type="string",
        default="",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin with no cluster."""
    config.stash[SUMMARIES] = []


@pytest.fixture(scope="session")
def cluster(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """The cluster of this session."""
    from .choice import chosen_cluster

    named = pytestconfig.getini("devcluster_images")
    images = pytestconfig.rootpath / named if named else None
    with chosen_cluster(tmp_path_factory.mktemp("cluster"), images=images) as chosen:
        summaries: list[str] = pytestconfig.stash[SUMMARIES]
        summaries.append(chosen.summary())
        yield chosen


# --- the summary


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker passes its summaries to the process that prints them."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[OUTPUT_KEY] = session.config.stash[SUMMARIES]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a worker of pytest-xdist handed over."""
    summaries: list[str] = node.config.stash[SUMMARIES]
    summaries.extend(getattr(node, "workeroutput", {}).get(OUTPUT_KEY, []))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Name the cluster, and count the skipped tests for each missing capability."""
    missing = skipped_for(terminalreporter.stats.get("skipped", []))
    known: list[str] = config.stash[SUMMARIES]
    summaries = dict.fromkeys(known)
    if not summaries and not missing:
        return
    terminalreporter.section("cluster")
    for line in summaries:
        terminalreporter.write_line(line)
    for capability, count in sorted(missing.items()):
        tests = "1 test" if count == 1 else f"{count} tests"
        terminalreporter.write_line(f"skipped because the cluster lacks {capability}: {tests}")
    if not missing:
        terminalreporter.write_line("no test was skipped because of a missing capability")


def skipped_for(reports: Iterable[Any]) -> Counter[str]:
    """The number of tests skipped for each missing capability; a test that lacked two counts for both."""
    from .base import LACKS

    missing: Counter[str] = Counter()
    for report in reports:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        _, lacks, named = reason.partition(LACKS)
        if lacks:
            missing.update(each.strip() for each in named.split(","))
    return missing
