"""How many Pods a second the stand-in for kubelets ends, and what each costs it and the servers.

    KUBEBUILDER_ASSETS=DIR python -m hack.benchmarks.podrate [--pods 3000] [--write]

The Pods are there before the stand-in starts, and belong to nobody. Each takes two writes: Running and Succeeded.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from typing import Any
from urllib.parse import urlsplit

from hack.benchmarks import rawhttp, report
from hack.benchmarks.planes import Plane, kubelets, plane

from kubetask_controller.client.config import load_config
from kubetask_controller.client.resources import PODS
from kubetask_controller.client.rest import Client

NAMESPACE = "default"
HEADER = (
    "Pods",
    "ended a second",
    "CPU of the stand-in, a Pod",
    "so one core ends a second",
    "CPU of the servers, a Pod",
    "so this machine ends a second at most",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hack.benchmarks.podrate", description=__doc__)
    parser.add_argument("--pods", type=int, default=3000)
    parser.add_argument("--write", action="store_true", help="update docs/performance.md")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with plane(run_seconds=None) as one:
        servers = asyncio.run(_measure(one, options.pods))
        found = json.loads((one.directory / "kubelets.log").read_text().splitlines()[-1])
    row = (
        f"{found['ended']:,}",
        f"{found['ended'] / found['seconds']:.0f}",
        f"{1000 * found['cpu'] / found['ended']:.2f} ms",
        f"{found['ended'] / found['cpu']:.0f}",
        f"{1000 * servers / found['ended']:.1f} ms",
        f"{(os.cpu_count() or 1) * found['ended'] / (found['cpu'] + servers):.0f}",
    )
    print(dict(zip(HEADER, row, strict=True)))
    if options.write:
        command = f"python -m hack.benchmarks.podrate --pods {options.pods} --write"
        report.write("pods", report.table(HEADER, [row]), command=command)


async def _measure(one: Plane, count: int) -> float:
    """Seconds of processor time of the servers, from the start of the stand-in until all Pods have ended."""
    config = await load_config(kubeconfig=str(one.cluster.admin_kubeconfig))
    port = urlsplit(one.cluster.url).port
    assert port is not None
    async with Client(config, user_agent="kubetask-benchmark") as client:
        path = f"/api/v1/namespaces/{NAMESPACE}/pods"
        posts = [rawhttp.post(path, json.dumps(_pod(i)).encode()) for i in range(count)]
        await rawhttp.send(port, posts, connections=32, tls=one.cluster.connection.ssl_context)
        await one.quiet()
        servers = sum(one.cpu().values())
        with kubelets(one.cluster, one.directory, 0.2):
            params = {"fieldSelector": "status.phase!=Succeeded", "limit": "1"}
            while (await client.list(PODS, NAMESPACE, params=params))["items"]:  # noqa: ASYNC110
                await asyncio.sleep(0.5)
        return sum(one.cpu().values()) - servers


def _pod(number: int) -> dict[str, Any]:
    container = {"name": "agent", "image": "registry.example.com/agent:1"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"pod-{number}"},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }


if __name__ == "__main__":
    main()
