"""python -m devcluster: a Kubernetes for development and tests, in one process.

Prints a line that begins with "ready:" once it can be used; SIGTERM or Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import sys
import tempfile
from pathlib import Path

from .cluster import DevCluster, DevClusterOptions
from .images import Images

GC_THRESHOLD = 50_000


def main() -> int:
    """Run a cluster until a signal."""
    parser = argparse.ArgumentParser(prog="devcluster", description=__doc__)
    parser.add_argument(
        "--dir",
        type=Path,
        help="keys, kubeconfigs, logs and volumes; a temporary folder by default",
    )
    parser.add_argument(
        "--kubeconfig", type=Path, help="where the admin's kubeconfig goes; default: in --dir"
    )
    parser.add_argument("--port", type=int, default=0, help="of the API server; 0 takes a free one")
    parser.add_argument(
        "--http-port",
        type=int,
        help="serve plain HTTP there besides, on loopback, to whoever connects as the administrator; for benchmarks",
    )
    parser.add_argument(
        "--images",
        type=Path,
        help="YAML: image name -> entrypoint, cmd, env, path, working_dir, user",
    )
    parser.add_argument(
        "--no-controllers", action="store_true", help="leave Jobs and garbage alone"
    )
    parser.add_argument("--no-node", action="store_true", help="leave Pods unscheduled")
    parser.add_argument(
        "--seed", type=int, help="makes uids, generated names and faults reproducible"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="devcluster-") as temporary:
        options = DevClusterOptions(
            directory=(arguments.dir or Path(temporary)).resolve(),
            port=arguments.port,
            kubeconfig=arguments.kubeconfig,
            images=Images.from_file(arguments.images) if arguments.images else Images(),
            controllers=not arguments.no_controllers,
            node=not arguments.no_node,
            seed=arguments.seed,
            http_port=arguments.http_port,
        )
        asyncio.run(_run(options))
    return 0


async def _run(options: DevClusterOptions) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with DevCluster(options) as cluster:
        # What is there by now stays, and objects are trees: looking for cycles would find none and take its time.
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, 20, 100)
        if cluster.isolation_error:
            print(f"Pods are not run: {cluster.isolation_error}", flush=True)
        if cluster.http_url:
            print(f"plain HTTP: {cluster.http_url}", flush=True)
        print(f"ready: {cluster.url} kubeconfig {cluster.admin_kubeconfig}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    sys.exit(main())
