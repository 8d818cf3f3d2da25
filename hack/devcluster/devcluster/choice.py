"""Selects the cluster for tests and benchmarks: KUBECONFIG, else KUBEBUILDER_ASSETS, else the development cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .base import Cluster
from .process import DevClusterProcess
from .real import ControlPlane, ExistingCluster


@contextmanager
def chosen_cluster(directory: Path, *, images: Path | None = None) -> Iterator[Cluster]:
    """The cluster that the environment selects, running. Its files are in `directory`; it is stopped at the end."""
    config, assets = os.environ.get("KUBECONFIG"), os.environ.get("KUBEBUILDER_ASSETS")
    if config:
        with ExistingCluster(Path(config).resolve(), directory) as existing:
            yield existing
    elif assets:
        with ControlPlane(Path(assets).resolve(), directory) as control_plane:
            yield control_plane
    else:
        with DevClusterProcess(directory, images=images) as own:
            yield own
