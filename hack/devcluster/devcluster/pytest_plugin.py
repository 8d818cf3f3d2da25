"""A cluster for tests: the fixture `cluster`, one for the session, on which every integration test runs unchanged.

Which one it is, the environment says (see `choice`): `KUBECONFIG` any cluster, `KUBEBUILDER_ASSETS` a folder of real
binaries, else the development cluster. A test says what it needs with `cluster.require("processes")` and is skipped where
that is missing. The ini option `devcluster_images` names a file of images for the development cluster's node.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .base import Cluster


def pytest_addoption(parser: pytest.Parser) -> None:
    """The plugin's ini option."""
    parser.addini(
        "devcluster_images",
        "file with the images that the development cluster's node knows",
        type="string",
        default="",
    )


@pytest.fixture(scope="session")
def cluster(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """The cluster of this session."""
    from .choice import chosen_cluster

    named = pytestconfig.getini("devcluster_images")
    images = pytestconfig.rootpath / named if named else None
    with chosen_cluster(tmp_path_factory.mktemp("cluster"), images=images) as chosen:
        yield chosen
