"""A client that costs next to nothing: requests are bytes that were made before, answers are not looked into.

What it measures is the server; an ordinary client in Python takes longer for a request than a server does.
"""

import asyncio
import ssl
import time
from collections.abc import Iterator, Sequence

END = b"\r\n\r\n"
LAST_CHUNK = b"\r\n0\r\n\r\n"


class RequestError(Exception):
    """An answer that was not expected; the message is the answer."""


def post(path: str, body: bytes) -> bytes:
    """A POST of JSON."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Accept: application/json\r\nUser-Agent: benchmark\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Poster(asyncio.Protocol):
    """One connection that sends the next request when an answer is there."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def next(self) -> None:
        """Send a request; with none left the connection is done."""
        assert self._transport is not None
        request = next(self._requests, None)
        if request is not None:
            self._transport.write(request)
            return
        self._transport.close()
        if not self.done.done():
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(END)
        if not found:
            return
        size = head.lower().partition(b"content-length:")[2]
        if size:
            length = int(size.split(b"\r\n", 1)[0])
        elif body.endswith(LAST_CHUNK):
            # Chunked, as an API server sends what does not fit into 2 KiB. One request is under way at a time.
            length = len(body)
        else:
            return
        if len(body) < length:
            return
        if head[9:12] != b"201":
            self.done.set_exception(RequestError(self._received.decode(errors="replace")))
            return
        self._received = body[length:]
        self.next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed the connection"))


async def send(
    port: int,
    requests: Sequence[bytes],
    *,
    connections: int,
    tls: ssl.SSLContext | None = None,
) -> float:
    """Seconds that it takes to have all requests answered with 201, so many of them under way at any time."""
    loop = asyncio.get_running_loop()
    rest = iter(requests)
    posters = []
    for _ in range(connections):
        _, poster = await loop.create_connection(
            lambda: _Poster(rest),
            "127.0.0.1",
            port,
            ssl=tls,
            server_hostname="localhost" if tls else None,
        )
        posters.append(poster)
    started = time.perf_counter()
    for poster in posters:
        poster.next()
    await asyncio.gather(*(x.done for x in posters))
    return time.perf_counter() - started


class Watcher(asyncio.Protocol):
    """One watch; counts events and throws them away."""

    def __init__(self, request: bytes, expected: int) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()
        self._request = request
        self._missing = expected
        self._left = 0
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def close(self) -> None:
        """End the watch."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self.opened.done():
            self._rest += data
            head, found, data = self._rest.partition(END)
            if not found:
                return
            if head[9:12] != b"200":
                self.opened.set_exception(RequestError(self._rest.decode(errors="replace")))
                return
            self._rest = b""
            self.opened.set_result(None)
        self._chunks(self._rest + data if self._rest else data)

    def _chunks(self, data: bytes) -> None:
        """Take chunked encoding apart; an event is a line."""
        at = 0
        while at < len(data):
            if self._left:
                end = min(len(data), at + self._left)
                self._missing -= data.count(b"\n", at, end)
                self._left -= end - at
                at = end
                continue
            end = data.find(b"\r\n", at + 2)
            if end < 0:
                break
            # The end of the chunk before, then the size of the next.
            self._left = int(data[at:end].strip(), 16)
            at = end + 2
        self._rest = data[at:]
        if self._missing <= 0 and not self.done.done():
            self.done.set_result(None)


async def watch(port: int, path: str, *, watchers: int, expected: int) -> list[Watcher]:
    """Open watches; each is done after `expected` events."""
    loop = asyncio.get_running_loop()
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    opened = []
    for _ in range(watchers):
        _, watcher = await loop.create_connection(
            lambda: Watcher(request, expected), "127.0.0.1", port
        )
        opened.append(watcher)
    await asyncio.gather(*(x.opened for x in opened))
    return opened
