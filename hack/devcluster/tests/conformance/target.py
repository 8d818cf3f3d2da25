"""Clusters to play against: a development cluster of our own, or any that a kubeconfig names."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import tempfile
from pathlib import Path

import yaml
from devcluster.cluster import DevCluster, DevClusterOptions
from devcluster.connection import Connection

from .ownloop import JumpingLoop
from .play import Results, Target, play_all
from .transcript import Exchange

RECORDED_AT = 1795412216.0  # 2026-11-23T05:36:56Z


def play_here(exchanges: list[Exchange]) -> Results:
    """Against a development cluster in this process, in time that jumps."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(_play_here(exchanges))


async def _play_here(exchanges: list[Exchange]) -> Results:
    loop = asyncio.get_running_loop()
    start = loop.time()
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        cluster = DevCluster(DevClusterOptions(directory=Path(folder), node=False))
        cluster.storage.clock = lambda: RECORDED_AT + loop.time() - start
        async with cluster:
            return await play_all(target_of(cluster.admin_kubeconfig), exchanges)


def play_there(kubeconfig: Path, exchanges: list[Exchange]) -> Results:
    """Against the cluster of a kubeconfig. It should be new: what the transcripts made must not be there."""
    return asyncio.run(play_all(target_of(kubeconfig), exchanges))


def target_of(kubeconfig: Path) -> Target:
    """The API server of a kubeconfig, with its user's credentials and without any."""
    admin = Connection.from_kubeconfig(kubeconfig)
    assert admin.ssl_context is not None, "the API server must serve HTTPS"
    anyone = ssl.create_default_context(cadata=_authority(kubeconfig))
    return Target(admin.url, admin.ssl_context, anyone, admin.headers)


def _authority(kubeconfig: Path) -> str:
    text = kubeconfig.read_text()
    config = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    cluster = config["clusters"][0]["cluster"]
    if "certificate-authority-data" in cluster:
        return base64.b64decode(cluster["certificate-authority-data"]).decode()
    return (kubeconfig.parent / cluster["certificate-authority"]).read_text()
