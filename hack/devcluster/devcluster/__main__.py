"""The command `devcluster` (`python -m devcluster`): a Kubernetes for development and tests, in one process."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .cluster import DevClusterOptions

GC_THRESHOLD = 50_000
DESCRIPTION = """\
Run a Kubernetes control plane and one node in this process, for development and tests.
The command prints "ready: URL kubeconfig FILE" when the cluster accepts requests.
SIGTERM or Ctrl-C stops it, with every process that runs in its Pods."""
EPILOG = """\
example:
  devcluster --dir /tmp/dev &
  KUBECONFIG=/tmp/dev/admin.kubeconfig kubectl get namespaces"""


def main() -> int:
    """Run a cluster until a signal."""
    arguments = _parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="devcluster-") as temporary:
        asyncio.run(_run(_options(arguments, Path(temporary))))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="devcluster",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--dir",
        type=Path,
        help="directory for keys, kubeconfigs, logs and volumes (default: a temporary directory, removed at exit)",
    )
    parser.add_argument(
        "--kubeconfig",
        type=Path,
        help="file for the administrator's kubeconfig (default: admin.kubeconfig in --dir)",
    )
    parser.add_argument(
        "--port", type=int, default=0, help="HTTPS port of the API server (default: a free port)"
    )
    parser.add_argument(
        "--http-port",
        type=int,
        help="serve plain HTTP too, on loopback, with administrator rights for every client; for benchmarks",
    )
    parser.add_argument(
        "--images",
        type=Path,
        help="YAML file that maps image names to entrypoint, cmd, env, path, working_dir and user",
    )
    parser.add_argument(
        "--no-controllers", action="store_true", help="run no controllers: Jobs create no Pods"
    )
    parser.add_argument("--no-node", action="store_true", help="run no node: Pods stay pending")
    parser.add_argument(
        "--seed", type=int, help="seed for uids, generated names and the choices of faults"
    )
    return parser


def _options(arguments: argparse.Namespace, temporary: Path) -> DevClusterOptions:
    with _no_system_certificates():
        from .cluster import DevClusterOptions
        from .images import Images
    return DevClusterOptions(
        directory=(arguments.dir or temporary).resolve(),
        port=arguments.port,
        kubeconfig=arguments.kubeconfig,
        images=Images.from_file(arguments.images) if arguments.images else Images(),
        controllers=not arguments.no_controllers,
        node=not arguments.no_node,
        seed=arguments.seed,
        http_port=arguments.http_port,
    )


@contextlib.contextmanager
def _no_system_certificates() -> Iterator[None]:
    """Keep aiohttp from loading the system's CA certificates at import; that takes 0.1 s, and a server does not use them."""
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


async def _run(options: DevClusterOptions) -> None:
    from .cluster import DevCluster

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with DevCluster(options) as cluster:
        # Objects are trees: the garbage collector would look for cycles and find none.
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
