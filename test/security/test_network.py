"""What somebody may try who reaches the controller's ports: fill its memory, keep its scrapers out, have it ask too much."""

import asyncio
import contextlib
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from kubetask_controller.client.resources import TOKENREVIEWS
from kubetask_controller.runtime.healthz import HealthChecks
from kubetask_controller.runtime.httpserver import ConnectionLimits, HTTPServer
from kubetask_controller.runtime.metrics import server as metricsserver
from kubetask_controller.runtime.metrics.auth import MetricsAuthorizer

QUICK = ConnectionLimits(connections=8, handshake=0.3, first_request=0.5, idle=0.5, request=0.5)
MIB = 2**20
TRUSTING = ssl.create_default_context()
TRUSTING.check_hostname, TRUSTING.verify_mode = False, ssl.CERT_NONE
SERVE = """
import asyncio
from aiohttp import web
from kubetask_controller.runtime.metrics import server as metricsserver
from kubetask_controller.runtime.httpserver import HTTPServer

async def answer(request):
    return web.Response(text="ok")

async def main():
    context = metricsserver.new_context()
    metricsserver.load_self_signed(context)
    server = HTTPServer("metrics", "127.0.0.1:0", [web.get("/metrics", answer)], tls=context)
    running = asyncio.create_task(server.run(asyncio.Event()))
    await server.started.wait()
    print("port", server.port, flush=True)
    await running

asyncio.run(main())
"""


class Process:
    """A metrics server in a process of its own, whose memory can be seen."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVE],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        lines = iter(self._process.stdout.readline, "")
        self.port = int(next(x for x in lines if x.startswith("port ")).split()[1])

    def memory(self) -> int:
        """Bytes of its resident set."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        (line,) = [x for x in status.splitlines() if x.startswith("VmRSS:")]
        return int(line.split()[1]) * 1024

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        with self._process:
            self._process.wait()


@pytest.fixture
def process() -> Iterator[Process]:
    found = Process()
    yield found
    found.stop()


async def test_idle_tls_connections_take_no_memory_for_long(process: Process) -> None:
    await _scraped(process.port)
    before = peak = process.memory()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(8):
            await asyncio.gather(
                *(stack.enter_async_context(_tls(process.port)) for _ in range(50))
            )
            peak = max(peak, process.memory())
        await _scraped(process.port)
    await _scraped(process.port)
    assert peak - before < 48 * MIB
    assert process.memory() - before < 40 * MIB


@contextlib.asynccontextmanager
async def serving(
    routes: list[web.RouteDef], *, tls: bool = False, **options: Any
) -> AsyncIterator[int]:
    context = None
    if tls:
        context = metricsserver.new_context()
        metricsserver.load_self_signed(context)
    server = HTTPServer("test", "127.0.0.1:0", routes, tls=context, **options)
    stop = asyncio.Event()
    running = asyncio.create_task(server.run(stop))
    await server.started.wait()
    try:
        yield server.port
    finally:
        stop.set()
        await running


async def _hello(request: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _large(request: web.Request) -> web.Response:
    return web.Response(body=bytes(32 * MIB))


async def _hangs(request: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


ROUTES = [web.get("/metrics", _hello), web.get("/large", _large), web.get("/hangs", _hangs)]
GET = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
SLOW = {
    "says nothing": b"",
    "begins a request and stops": b"GET /metrics HTT",
    "never ends its headers": b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: ",
    "never sends the body that it announces": b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
    "asks once and stays": GET,
    "does not read the answer": b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n",
    "asks for what never comes": b"GET /hangs HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW)
async def test_a_connection_that_idles_is_closed(sent: bytes) -> None:
    async with serving(ROUTES, limits=QUICK) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(sent)
        started = time.monotonic()
        if b"large" in sent:
            await _until_reset(writer)
        else:
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(reader.read(), 30)
        assert time.monotonic() - started < 5
        writer.close()


async def test_headers_that_drip_in_do_not_keep_a_connection_open() -> None:
    async with serving(ROUTES, limits=QUICK) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises(ConnectionError):
            await _drip(writer)
        writer.close()


async def _drip(writer: asyncio.StreamWriter) -> None:
    for number in range(200):
        writer.write(b"GET / HTTP/1.1\r\n" if not number else b"A: b\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def test_a_handshake_that_never_ends_is_given_up() -> None:
    async with serving(ROUTES, tls=True, limits=QUICK) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()


@pytest.mark.parametrize("tls", [False, True])
async def test_a_full_port_still_answers(tls: bool) -> None:
    limits = ConnectionLimits(connections=8)
    async with (
        serving(ROUTES, tls=tls, limits=limits) as port,
        contextlib.AsyncExitStack() as stack,
    ):
        for _ in range(40):
            await stack.enter_async_context(_tcp(port))
        await _scraped(port, tls=tls)


async def test_a_port_on_which_all_are_at_work_takes_no_more() -> None:
    limits, begun = ConnectionLimits(connections=2), asyncio.Semaphore(0)

    async def works(request: web.Request) -> web.Response:
        begun.release()
        return await _hangs(request)

    routes = [web.get("/hangs", works)]
    async with serving(routes, limits=limits) as port, contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            _, writer = await stack.enter_async_context(_tcp(port))
            writer.write(SLOW["asks for what never comes"])
            await begun.acquire()
        reader, _ = await stack.enter_async_context(_tcp(port))
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 30) == b""


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x00" * 1000,
        b"GET /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ],
    ids=["a huge header", "a huge path", "no HTTP", "two lengths"],
)
async def test_a_request_that_is_none_is_refused(request_bytes: bytes) -> None:
    async with serving(ROUTES, limits=QUICK) as port:
        async with _tcp(port) as (reader, writer):
            writer.write(request_bytes)
            answer = await asyncio.wait_for(reader.read(), 30)
            assert answer.startswith(b"HTTP/1.") is bool(answer)
            assert b" 200 " not in answer
        await _scraped(port, tls=False)


async def test_the_probes_answer_while_their_port_is_flooded() -> None:
    routes, limits = HealthChecks("/healthz").routes(), ConnectionLimits(connections=8)
    async with serving(routes, limits=limits) as port, contextlib.AsyncExitStack() as stack:
        for _ in range(100):
            await stack.enter_async_context(_tcp(port))
        await _scraped(port, "/healthz", tls=False)


class Reviews:
    """An API server that knows one scraper, and counts what it is asked."""

    def __init__(self) -> None:
        self.tokens = 0

    async def create(self, resource: Any, *_: Any, timeout: float) -> Any:
        if resource != TOKENREVIEWS:
            return {"status": {"allowed": True}}
        self.tokens += 1
        known = _[1]["spec"]["token"] == "good"
        return {"status": {"authenticated": known, "user": {"username": "prometheus"}}}


class Clock:
    """Stands still until a test moves it."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


async def test_unknown_tokens_are_asked_about_at_a_bounded_rate() -> None:
    reviews, clock = Reviews(), Clock()
    guard = MetricsAuthorizer(reviews, clock).middleware()  # type: ignore[arg-type]
    async with serving(ROUTES, middlewares=[guard]) as port, aiohttp.ClientSession() as session:
        assert await _status(session, port, "good") == 200
        codes = [await _status(session, port, f"unknown-{number}") for number in range(600)]
        assert codes.count(401) < 12
        assert codes.count(429) == 600 - codes.count(401)
        assert reviews.tokens < 13
        # Nor is the scraper that was let in before kept out once its answer is stale.
        clock.seconds += 61
        for number in range(100):
            await _status(session, port, f"more-{number}")
        assert await _status(session, port, "good") == 200


async def test_an_unknown_token_is_asked_about_once() -> None:
    reviews = Reviews()
    guard = MetricsAuthorizer(reviews, Clock()).middleware()  # type: ignore[arg-type]
    async with serving(ROUTES, middlewares=[guard]) as port, aiohttp.ClientSession() as session:
        assert [await _status(session, port, "unknown") for _ in range(50)] == [401] * 50
    assert reviews.tokens == 1


async def _status(session: aiohttp.ClientSession, port: int, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    async with session.get(f"http://127.0.0.1:{port}/metrics", headers=headers) as answer:
        return answer.status


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def _tcp(port: int, tls: Any = None) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def _tls(port: int) -> AsyncIterator[None]:
    """A connection that is idle once its handshake is over; it may be closed for another one."""
    try:
        async with _tcp(port, TRUSTING):
            yield
    except OSError:
        yield


async def _scraped(port: int, path: str = "/metrics", *, tls: bool = True) -> None:
    url = f"http{'s' if tls else ''}://127.0.0.1:{port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url, ssl=TRUSTING) as answer:
        assert answer.status == 200


async def _until_reset(writer: asyncio.StreamWriter) -> None:
    """Wait for the end of a connection of which nothing is read."""
    async with asyncio.timeout(30):
        while not writer.transport.is_closing():
            await asyncio.sleep(0.05)
            with contextlib.suppress(ConnectionError):
                writer.write(b" ")
