"""Follows a benchmark from outside for as little of the server's time as can be: no spec and no status is ever sent to it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self
from urllib.parse import quote

import aiohttp
from devcluster.connection import Connection

METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
_LINE = 1024 * 1024
_POLL = 0.5

Seen = Callable[[float, bool, dict[str, Any]], None]
"""Called with seconds, whether the Job was created (else it has succeeded), and its metadata."""


class Observer:
    """Sees Jobs come and succeed, and what kubectl's columns say of a BatchRun.

    Attributes:
        created: seconds since `begin` until each Job was there, in order.
        succeeded: the same for the first success of each.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._began = 0.0
        self._changed = asyncio.Condition()
        self._ended = False
        self._seen: Seen | None = None
        self.created: list[float] = []
        self.succeeded: list[float] = []

    @classmethod
    @asynccontextmanager
    async def connected(cls, connection: Connection) -> AsyncIterator[Self]:
        """An observer with connections of its own."""
        async with aiohttp.ClientSession(
            connection.url,
            headers=connection.headers,
            connector=aiohttp.TCPConnector(ssl=connection.ssl_context or True),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            read_bufsize=_LINE,
        ) as session:
            yield cls(session)

    def begin(self) -> None:
        """The clock starts."""
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since `begin`."""
        return time.monotonic() - self._began

    @asynccontextmanager
    async def following(
        self, namespace: str, *, selector: str = "", seen: Seen | None = None
    ) -> AsyncIterator[None]:
        """Count the Jobs of a namespace ("" for all), or those of them with the labels.

        A Job leaves the watch when it succeeds: the watch is of Jobs without success.
        """
        ready = asyncio.Event()
        self._seen, self._ended = seen, False
        self.created.clear()
        self.succeeded.clear()
        task = asyncio.create_task(self._followed(namespace, selector, ready))
        try:
            await asyncio.wait(
                {task, asyncio.create_task(ready.wait())}, return_when="FIRST_COMPLETED"
            )
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until_created(self, count: int) -> float:
        """Seconds until so many Jobs were there."""
        await self._wait_for(self.created, count)
        return self.created[count - 1]

    async def until_succeeded(self, count: int) -> float:
        """Seconds until so many Jobs had succeeded."""
        await self._wait_for(self.succeeded, count)
        return self.succeeded[count - 1]

    async def _wait_for(self, seen: list[float], count: int) -> None:
        """Raises RuntimeError when the watch has ended."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(seen) >= count or self._ended)
        if len(seen) < count:
            raise RuntimeError(f"the watch of Jobs has ended: {len(seen)} of {count} were seen")

    async def until_phase(self, namespace: str, name: str, phases: tuple[str, ...]) -> float:
        """Seconds until the column PHASE of a BatchRun is one of these."""
        path = f"/apis/kubetask.io/v1alpha1/namespaces/{namespace}/batchruns"
        params = {"fieldSelector": f"metadata.name={name}", "resourceVersion": "0"}
        while True:
            async with self._session.get(path, params=params, headers={"Accept": TABLE}) as answer:
                table = await answer.json()
            names = [x["name"] for x in table["columnDefinitions"]]
            for row in table["rows"]:
                if row["cells"][names.index("Phase")] in phases:
                    return self.seconds
            await asyncio.sleep(_POLL)

    async def phases(self, plural: str) -> list[str]:
        """The column PHASE of all objects of a kind, in no order."""
        path = f"/apis/kubetask.io/v1alpha1/{plural}?resourceVersion=0"
        async with self._session.get(path, headers={"Accept": TABLE}) as answer:
            table = await answer.json()
        column = [x["name"] for x in table["columnDefinitions"]].index("Phase")
        return [row["cells"][column] for row in table["rows"]]

    async def metrics(self) -> str:
        """The metrics of the API server, as text."""
        async with self._session.get("/metrics") as answer:
            return await answer.text()

    async def requests(self) -> dict[str, int]:
        """Requests that the server has answered, by "VERB resource/subresource"."""
        text = await self.metrics()
        found: dict[str, int] = {}
        for line in text.splitlines():
            if line.startswith("apiserver_request_total{"):
                series, _, value = line.rpartition(" ")
                labels = dict(
                    x.split("=", 1) for x in series[len("apiserver_request_total{") : -1].split(",")
                )
                key = f"{labels['verb']} {labels['resource']}".replace('"', "")
                if labels["subresource"] != '""':
                    key += f"/{labels['subresource']}".replace('"', "")
                found[key] = found.get(key, 0) + int(float(value))
        return found

    async def _follow(self, namespace: str, labels: str, ready: asyncio.Event) -> None:
        """Watch after watch: a server that is short of time closes the watches of slow readers."""
        selector = (
            quote("status.successful=0", safe="") + f"&labelSelector={quote(labels, safe='')}"
        )
        scope = f"namespaces/{namespace}/" if namespace else ""
        path = f"/apis/batch/v1/{scope}jobs?watch=1&fieldSelector={selector}&timeoutSeconds=3600"
        version = ""
        while True:
            url = f"{path}&resourceVersion={version}" if version else path
            async with self._session.get(url, headers={"Accept": METADATA}) as answer:
                answer.raise_for_status()
                ready.set()
                rest = line = b""
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        self._see(line)
                    async with self._changed:
                        self._changed.notify_all()
            if line:
                version = json.loads(line)["object"]["metadata"]["resourceVersion"]

    async def _followed(self, namespace: str, labels: str, ready: asyncio.Event) -> None:
        try:
            await self._follow(namespace, labels, ready)
        finally:
            async with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _see(self, line: bytes) -> None:
        # The type comes first; the rest is of no interest.
        kind = line[:20]
        added = b"ADDED" in kind
        if b"ERROR" in kind:
            raise RuntimeError(json.loads(line))
        if not added and b"DELETED" not in kind:
            return
        (self.created if added else self.succeeded).append(self.seconds)
        if self._seen is not None:
            self._seen(self.seconds, added, json.loads(line)["object"]["metadata"])
