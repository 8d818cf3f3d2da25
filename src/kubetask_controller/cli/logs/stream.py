"""Reads the log of one container line by line while it is written.

Guarantees: whole lines; after a broken connection, reading resumes at the timestamp of the last
line. Lines are bytes, because an agent may write any bytes.
"""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import aiohttp

from kubetask_controller.cli.follow import MAX_OUTAGE_SECONDS, PAUSE
from kubetask_controller.cli.logs.pods import is_over
from kubetask_controller.cli.session import Session
from kubetask_controller.client import APIStatusError, ClientError
from kubetask_controller.client.errors import is_not_found
from kubetask_controller.client.resources import PODS
from kubetask_controller.client.transport import CONNECT_TIMEOUT, Call, translated

MAX_LOG_LINE = 1024 * 1024
"""Maximum length of a line in bytes; a longer line is split."""
_FOREVER = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)
_ANSWER = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=60.0)
_STAMP = re.compile(rb"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)$")


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Options of reading a log.

    Attributes:
        container: name of the container.
        tail: number of last lines; None for all.
        follow: whether to follow the log until the container ends.
    """

    container: str
    tail: int | None = None
    follow: bool = False


async def log_lines(session: Session, pod: str, options: LogOptions) -> AsyncGenerator[bytes, None]:
    """The lines of a Pod's log, without their line ends.

    Raises:
        ClientError: there is no log, the server rejected the request, or its outage lasted too long.
    """
    if not options.follow:
        async with aclosing(_read(session, pod, options, _ANSWER, {})) as found:
            async for line in found:
                yield line
        return
    position = LogPosition()
    loop = asyncio.get_running_loop()
    last_response = loop.time()
    while True:
        try:
            async with aclosing(_read(session, pod, options, _FOREVER, position.resume())) as found:
                async for line in found:
                    last_response = loop.time()
                    text = position.take(line)
                    if text is not None:
                        yield text
            # A stream also ends when a node or a proxy closes it.
            if is_over(await session.client.get(PODS, session.namespace, pod), options.container):
                return
        except ClientError as error:
            if is_not_found(error) and position.moved:
                return
            refused = isinstance(error, APIStatusError) and error.code < 500
            if refused or loop.time() - last_response > MAX_OUTAGE_SECONDS:
                raise
        await asyncio.sleep(PAUSE)


class LogPosition:
    """A position in a log, based on the timestamps of lines."""

    def __init__(self) -> None:
        self._stamp = b""
        self._count = 0
        self._known_stamp = b""
        self._known_count = 0

    @property
    def moved(self) -> bool:
        """Whether a line was processed."""
        return bool(self._stamp)

    def resume(self) -> dict[str, str]:
        """Parameters for a new connection; lines that were processed before are dropped."""
        self._known_stamp, self._known_count = self._stamp, self._count
        self._count = 0
        found = _STAMP.match(self._stamp)
        # sinceTime has a precision of seconds.
        return {"sinceTime": (found[1] + found[2]).decode()} if found else {}

    def take(self, line: bytes) -> bytes | None:
        """The text of a line ``<time> <text>``; None if it was processed before."""
        stamp, _, text = line.partition(b" ")
        if not _STAMP.match(stamp):
            return line
        if stamp < self._known_stamp:
            return None
        if stamp == self._known_stamp and self._known_count:
            self._known_count -= 1
            self._stamp, self._count = stamp, self._count + 1
            return None
        self._count = self._count + 1 if stamp == self._stamp else 1
        self._stamp = stamp
        return text


async def _read(
    session: Session,
    pod: str,
    options: LogOptions,
    timeout: aiohttp.ClientTimeout,
    since: dict[str, str],
) -> AsyncGenerator[bytes, None]:
    params = {"container": options.container, **since}
    if options.follow:
        params |= {"follow": "true", "timestamps": "true"}
    if options.tail is not None and not since:
        params["tailLines"] = str(options.tail)
    call = Call("GET", PODS.path(session.namespace, pod, "log"), params)
    async with session.transport.open(call, timeout=timeout) as response:
        rest = b""
        while True:
            with translated(call):
                data = await response.content.readany()
            if not data:
                break
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line
            if len(rest) > MAX_LOG_LINE:
                yield rest
                rest = b""
    if rest:
        yield rest
