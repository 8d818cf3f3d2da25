"""Replay: every recorded call made again, in order, and each answer compared with the recorded one."""

from __future__ import annotations

import asyncio
import io
import json
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from . import deeds
from .compare import Difference, canonical, differences
from .names import Names
from .transcript import Exchange

AGENT = "python-requests/2.33.0"  # who recorded; it names the manager in managedFields
LIMIT_SECONDS = 60.0
COMPARED_HEADERS = ("Warning", "Retry-After")
Object = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """A cluster to play against: its address, and how its admin and other users connect."""

    url: str
    admin: ssl.SSLContext
    anyone: ssl.SSLContext
    headers: dict[str, str] = field(default_factory=dict)


class Stage:
    """One cluster in the course of a replay."""

    def __init__(self, target: Target, session: aiohttp.ClientSession) -> None:
        self.target = target
        self.names = Names()
        self.tokens = {"stranger": "bad"}
        self._session = session

    # --- as deeds see it

    async def call(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Any:
        """A request as admin. Raises RuntimeError for anything but success."""
        data = None if body is None else json.dumps(body).encode()
        async with self._request(method, path, data, {"Content-Type": content_type}) as response:
            text = await response.text()
            if response.status >= 400:
                raise RuntimeError(f"{method} {path}: {response.status} {text}")
            return json.loads(text)

    async def pause(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    # --- recorded calls

    async def play(self, exchange: Exchange) -> list[Difference]:
        """Make a recorded call. Returns where the answer differs from the recorded one."""
        prepare = deeds.BEFORE.get(exchange.key)
        if prepare is not None:
            await prepare(self)
        if exchange.stream is not None:
            expected: Any = exchange.stream
            actual: Any = await self._watch(exchange)
        else:
            assert exchange.response is not None
            expected = {
                key: exchange.response[key] for key in ("code", "content-type", "headers", "body")
            }
            actual = await self._answer(exchange)
        self.names.learn(expected, actual)
        return list(differences(canonical(self.names.body(expected)), canonical(actual)))

    async def _answer(self, exchange: Exchange) -> Object:
        async with await self._send(exchange) as response:
            raw = (await response.read()).decode()
            body: Any = raw
            if response.content_type == "application/json" or raw.startswith("{"):
                body = json.loads(raw)
            headers = {
                name: ", ".join(response.headers.getall(name))
                for name in COMPARED_HEADERS
                if name in response.headers
            }
            kind = response.headers.get("Content-Type", "")
            return {"code": response.status, "content-type": kind, "headers": headers, "body": body}

    async def _watch(self, exchange: Exchange) -> list[Object]:
        async with await self._send(exchange) as response:
            moving = asyncio.create_task(self._move(deeds.DURING.get(exchange.key, [])))
            try:
                events = [json.loads(line) async for line in response.content if line.strip()]
                await moving
            finally:
                moving.cancel()
            return [*events, {"end-of-stream": response.status}]

    async def _move(self, script: Iterable[tuple[float, deeds.Deed]]) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        for seconds, deed in script:
            await asyncio.sleep(max(0.0, start + seconds - loop.time()))
            await deed(self)

    async def _send(self, exchange: Exchange) -> Any:
        request = exchange.request
        current = await self._current() if self.names.needs_current(request["path"]) else ""
        path = self.names.path(request["path"], current)
        user = deeds.user_of(exchange.file, exchange.index)
        return self._request(
            request["method"], path, self._data(exchange), request.get("headers") or {}, user
        )

    def _data(self, exchange: Exchange) -> bytes | None:
        body = exchange.request.get("body")
        if body is None:
            return None
        if not isinstance(body, str):
            return json.dumps(self.names.body(body)).encode()
        if body.startswith("<") and body.endswith(" bytes>"):
            size = int(body[1:].split(" ", 1)[0])
            return json.dumps(deeds.long_body(exchange.file, exchange.index, size)).encode()
        return self.names.text(body).encode()

    async def _current(self) -> str:
        """The newest resourceVersion."""
        found = await self.call("GET", "/api/v1/namespaces?limit=1")
        return str(found["metadata"]["resourceVersion"])

    def _request(
        self,
        method: str,
        path: str,
        data: bytes | None,
        headers: dict[str, str],
        user: str = "admin",
    ) -> Any:
        given = {"User-Agent": AGENT, "Accept": "*/*", **headers}
        if user == "admin":
            given |= self.target.headers
        elif user in self.tokens:
            given["Authorization"] = f"Bearer {self.tokens[user]}"
        context = self.target.admin if user == "admin" else self.target.anyone
        url = aiohttp.client.URL(self.target.url + path, encoded=True)
        return self._session.request(
            method,
            url,
            data=None if data is None else io.BytesIO(data),
            headers=given,
            ssl=context,
            skip_auto_headers=("Content-Type",),
        )


@asynccontextmanager
async def open_stage(target: Target) -> AsyncIterator[Stage]:
    """A stage with its connections."""
    timeout = aiohttp.ClientTimeout(total=LIMIT_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, read_bufsize=2**22) as session:
        yield Stage(target, session)


Results = dict[tuple[str, int], list[Difference]]


async def play_all(target: Target, exchanges: Iterable[Exchange]) -> Results:
    """Every call in order, on one cluster."""
    async with open_stage(target) as stage:
        return {exchange.key: await _safely(stage, exchange) for exchange in exchanges}


async def _safely(stage: Stage, exchange: Exchange) -> list[Difference]:
    """A call that breaks is a difference too, and does not keep later ones from being made."""
    try:
        return await stage.play(exchange)
    except (aiohttp.ClientError, TimeoutError, RuntimeError, LookupError, ValueError) as error:
        return [Difference("(call)", "an answer", f"{type(error).__name__}: {error}")]
