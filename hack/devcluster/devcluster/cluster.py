"""The development cluster, put together: API server, controllers and a node, in the event loop of the caller.

`DevCluster` is for callers with an event loop of their own; tests and the demo use `process.DevClusterProcess`, which
runs the same in a process of its own and can be used with blocking calls.
"""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from .apiserver import admission
from .apiserver.app import close_streams, create_app
from .apiserver.auth import kubeconfig
from .apiserver.auth.bootstrap import bootstrap
from .apiserver.auth.identity import AUTHENTICATED, MASTERS
from .apiserver.auth.security import Security
from .apiserver.faults import Faults
from .apiserver.interfaces import User
from .apiserver.server import ApiServer, ApiServerOptions, create_server
from .controllers import Controllers
from .images import Images
from .listener import TLSListener
from .node import IsolationError, Node, NodeOptions
from .storage import Storage

ADMIN = "kubernetes-admin"
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class DevClusterOptions:
    """Settings.

    `directory` holds keys, kubeconfigs and the files of Pods. `port` 0 selects a free one. `kubeconfig` is the path of the
    admin's kubeconfig, by default `directory/admin.kubeconfig`. With `node` False, Pods stay unscheduled; with
    `controllers` False, Jobs get no Pods. With a `seed`, uids, generated names and faults are reproducible. `http_port`
    serves plain HTTP too, to every client on this machine, with the administrator's rights: for benchmarks.
    """

    directory: Path
    port: int = 0
    kubeconfig: Path | None = None
    images: Images = field(default_factory=Images)
    controllers: bool = True
    node: bool = True
    seed: int | None = None
    http_port: int | None = None


class DevCluster:
    """One cluster. Use as an async context manager."""

    def __init__(self, options: DevClusterOptions) -> None:
        self.options = options
        self.storage = Storage()
        self.security = Security(self.storage, options.directory / "pki")
        self.server: ApiServer | None = None
        self.faults = Faults(self.storage, seed=options.seed)
        self.isolation_error = ""
        self.url = ""
        self.http_url = ""
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    @property
    def admin_kubeconfig(self) -> Path:
        """A kubeconfig that may do everything."""
        return self.options.kubeconfig or self.options.directory / "admin.kubeconfig"

    async def _start(self) -> None:
        security, options = self.security, self.options
        self.server = server = create_server(
            self.storage,
            authenticator=security.authenticator,
            authorizer=security.authorizer,
            options=ApiServerOptions(seed=options.seed),
        )
        server.faults = self.faults
        admission.install(server.registry, security.authorizer, seed=options.seed)
        bootstrap(server.registry)
        security.install(server)
        port = await self._serve(server)
        self.url = f"https://{HOST}:{port}"
        where = kubeconfig.Server(self.url, security.authority.pem)
        pair = security.authority.client(ADMIN, [MASTERS])
        kubeconfig.write_certificate(self.admin_kubeconfig, where, ADMIN, pair)
        if options.controllers:
            controllers = Controllers(server.registry, root_ca=security.authority.pem.decode())
            self._stack.push_async_callback(controllers.stop)
            await controllers.start()
        if options.node:
            await self._start_node(server, port)

    async def _start_node(self, server: ApiServer, port: int) -> None:
        node = Node(
            server.registry,
            self.options.images,
            directory=self.options.directory / "node",
            tokens=self.security.tokens,
            subresources=server.subresources,
            options=NodeOptions(api=(HOST, port)),
        )
        self._stack.push_async_callback(node.stop)
        try:
            await node.start()
        except IsolationError as error:
            # The API works without a node; the caller reads `isolation_error` and reports it.
            self.isolation_error = str(error)

    async def _serve(self, server: ApiServer) -> int:
        app = create_app(
            self.storage,
            authenticator=self.security.authenticator,
            authorizer=self.security.authorizer,
            server=server,
        )
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0
        )
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        self._stack.push_async_callback(close_streams, server)
        self._stack.push_async_callback(self.faults.stop)
        self.faults.listener = listener = TLSListener(runner, HOST, self._tls())
        self._stack.callback(listener.close)
        port = await listener.start(self.options.port)
        if self.options.http_port is not None:
            await self._serve_plainly(runner, self.options.http_port)
        return port

    async def _serve_plainly(self, runner: web.AppRunner, port: int) -> None:
        self.security.authenticator.plain_user = User(ADMIN, groups=(MASTERS, AUTHENTICATED))
        site = web.TCPSite(runner, HOST, port)
        await site.start()
        self.http_url = f"http://{HOST}:{runner.addresses[-1][1]}"

    def _tls(self) -> ssl.SSLContext:
        authority = self.security.authority
        certificate, key = authority.server().write(self.options.directory / "pki", "apiserver")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(cadata=authority.pem.decode())
        context.verify_mode = ssl.CERT_OPTIONAL
        return context
