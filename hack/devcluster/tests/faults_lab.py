"""A development cluster and a plain HTTPS client, for tests of faults."""

import asyncio
import gc
import json
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from devcluster.cluster import DevCluster, DevClusterOptions
from devcluster.connection import Connection

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
FAULTS = "/devcluster/faults"
SOON = 5.0
QUIET = 0.2


@dataclass
class Answer:
    """An answer of the server."""

    code: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


class Stream:
    """One watch."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self, timeout: float = SOON) -> dict[str, Any] | None:
        """The next event; None once the stream has ended in order. Raises TimeoutError, aiohttp.ClientError."""
        async with asyncio.timeout(timeout):
            line = await self._response.content.readline()
        return json.loads(line) if line else None

    async def names(self, count: int) -> list[str]:
        """The names of the next objects."""
        return [(await self.next())["object"]["metadata"]["name"] for _ in range(count)]  # type: ignore[index]

    async def is_quiet(self) -> bool:
        """Whether nothing comes for a moment. The stream cannot be used any more if something does."""
        try:
            await self.next(QUIET)
        except TimeoutError:
            return True
        return False


class Api:
    """One client of the cluster, as one user."""

    def __init__(self, url: str, session: aiohttp.ClientSession, tls: ssl.SSLContext) -> None:
        self._url, self._session, self._tls = url, session, tls

    async def call(self, method: str, path: str, body: Any = None) -> Answer:
        """One request. Raises aiohttp.ClientError when there is no answer."""
        async with self._session.request(
            method, self._url + path, json=body, ssl=self._tls
        ) as response:
            text = await response.text()
            headers = dict(response.headers)
            is_json = response.content_type == "application/json"
            return Answer(response.status, json.loads(text) if is_json else text, headers)

    async def make(self, name: str) -> Answer:
        """Create a ConfigMap."""
        return await self.call("POST", CONFIG_MAPS, {"metadata": {"name": name}})

    async def exists(self, name: str) -> bool:
        """Whether a ConfigMap is there."""
        return (await self.call("GET", f"{CONFIG_MAPS}/{name}")).code == 200

    async def inject(self, kind: str, **settings: Any) -> int:
        """Add a rule, or inject a one-time fault. Returns the rule's id."""
        answer = await self.call("POST", FAULTS, {"kind": kind, **settings})
        assert answer.code in (200, 201), answer.body
        return int(answer.body.get("id", 0))

    async def clear(self, id_: int) -> None:
        """Remove a rule."""
        assert (await self.call("DELETE", f"{FAULTS}?id={id_}")).code == 200

    @asynccontextmanager
    async def watch(self, query: str = "") -> AsyncIterator[Stream]:
        """A watch of ConfigMaps, by default from now on."""
        if not query:
            listed = await self.call("GET", CONFIG_MAPS)
            query = f"resourceVersion={listed.body['metadata']['resourceVersion']}"
        url = f"{self._url}{CONFIG_MAPS}?watch=1&{query}"
        async with self._session.get(url, ssl=self._tls) as response:
            try:
                yield Stream(response)
            finally:
                response.close()


class FaultsLab:
    """A cluster without controllers or node; `admin`, and `other`, a second user with the same rights."""

    def __init__(self, cluster: DevCluster, session: aiohttp.ClientSession) -> None:
        self.cluster = cluster
        self._session = session
        self.admin = self.user(cluster.admin_kubeconfig)
        self.other = self.user(self.kubeconfig("other", "system:masters"))

    def kubeconfig(self, user: str, *groups: str) -> Path:
        """A kubeconfig of a user."""
        from devcluster.apiserver.auth import kubeconfig

        authority = self.cluster.security.authority
        server = kubeconfig.Server(self.cluster.url, authority.pem)
        file = self.cluster.options.directory / f"{user}.kubeconfig"
        pair = authority.client(user, groups)
        return kubeconfig.write_certificate(file, server, user, pair)

    def user(self, file: Path) -> Api:
        """The client of a kubeconfig."""
        connection = Connection.from_kubeconfig(file)
        assert connection.ssl_context is not None
        return Api(self.cluster.url, self._session, connection.ssl_context)


@asynccontextmanager
async def faults_lab(directory: Path, *, seed: int | None = None) -> AsyncIterator[FaultsLab]:
    """A running cluster."""
    options = DevClusterOptions(directory=directory, controllers=False, node=False, seed=seed)
    async with (
        DevCluster(options) as cluster,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SOON, sock_read=None)) as session,
    ):
        yield FaultsLab(cluster, session)
    # asyncio leaves the transport of a connection that is cut during its TLS handshake to the garbage collector.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
