"""python -m hack.gitserver DIRECTORY: a git server over HTTP, ``git http-backend`` behind a small web server.

Serves every bare repository below a folder. With a token, nobody reads or writes without it. TLS where it is given a context.
As a program it prints its address and runs until SIGINT or SIGTERM.
"""

import argparse
import asyncio
import base64
import os
import signal
import ssl
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

CHUNK = 64 * 1024
MAX_BODY = 1024**3

IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@acme.example",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@acme.example",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer in place of git's. A text is shown by git as the server's words."""

    status: int
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


Misbehaviour = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
"""Answers a request in place of git, or returns None."""


class GitServer:
    """One server. Use as an async context manager; `url` is where it is."""

    def __init__(
        self,
        directory: Path,
        *,
        token: str = "",
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        """`directory` holds ``<org>/<repo>.git``; `token` is the password, whatever the username; it may be changed later."""
        self._directory = directory.resolve()
        self.token = token
        self._tls = tls
        self._host = host
        self._runner: web.AppRunner | None = None
        self.url = ""
        self.requests: list[str] = []
        self.failures: list[int | Refusal] = []
        """Status codes, or more, with which the next requests are answered."""
        self.misbehaviour: Misbehaviour | None = None
        self.broken_transfers = 0
        """How many of the next transfers break off."""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.+}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, 0, ssl_context=self._tls)
        await site.start()
        scheme = "https" if self._tls else "http"
        self.url = f"{scheme}://{self._host}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        if self.failures:
            failure = self.failures.pop(0)
            refusal = Refusal(failure) if isinstance(failure, int) else failure
            return web.Response(status=refusal.status, text=refusal.text, headers=refusal.headers)
        if self.misbehaviour and (answer := await self.misbehaviour(request)):
            return answer
        if not self._allowed(request):
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="git"'})
        backend = await asyncio.create_subprocess_exec(
            *("git", "http-backend"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Its messages for 404 and 403 are in the responses too.
            stderr=asyncio.subprocess.DEVNULL,
            env=self._environ(request),
        )
        assert backend.stdin is not None
        assert backend.stdout is not None
        feeding = asyncio.create_task(_feed(request, backend.stdin))
        try:
            response = await _head(backend.stdout)
            await response.prepare(request)
            if self.broken_transfers and request.path.endswith("git-upload-pack"):
                self.broken_transfers -= 1
                backend.kill()
                await response.write(b"0008NAK")
                raise ConnectionResetError("closed, as configured")
            while chunk := await backend.stdout.read(CHUNK):
                await response.write(chunk)
            await response.write_eof()
            return response
        except BaseException:
            backend.kill()
            raise
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await backend.wait()

    def _allowed(self, request: web.Request) -> bool:
        if not self.token:
            return True
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return False
        return base64.b64decode(value).decode().partition(":")[2] == self.token

    def _environ(self, request: web.Request) -> dict[str, str]:
        """As CGI has it."""
        environ = {
            "PATH": os.environ.get("PATH", os.defpath),
            "GIT_PROJECT_ROOT": str(self._directory),
            "GIT_HTTP_EXPORT_ALL": "1",
            # Pushes are for those who may come in at all.
            "REMOTE_USER": "git",
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "REMOTE_ADDR": request.remote or "",
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": "http.receivepack",
            "GIT_CONFIG_VALUE_0": "true",
            "GIT_CONFIG_KEY_1": "safe.directory",
            "GIT_CONFIG_VALUE_1": "*",
        }
        if "Git-Protocol" in request.headers:
            environ["GIT_PROTOCOL"] = request.headers["Git-Protocol"]
        return environ


def endless(chunk: bytes, *, pause: float = 0.0, banner: bytes = b"") -> Misbehaviour:
    """A server that begins as git's does, and then sends a chunk again and again."""

    async def answer(request: web.Request) -> web.StreamResponse | None:
        service = request.query.get("service", "git-upload-pack")
        kind = "advertisement" if "info/refs" in request.path else "result"
        response = web.StreamResponse(headers={"Content-Type": f"application/x-{service}-{kind}"})
        await response.prepare(request)
        await response.write(banner)
        try:
            while True:
                await response.write(chunk)
                await asyncio.sleep(pause)
        except ConnectionResetError:
            return response

    return answer


async def _feed(request: web.Request, stdin: asyncio.StreamWriter) -> None:
    try:
        # aiohttp has unpacked a compressed body already.
        async for chunk in request.content.iter_chunked(CHUNK):
            stdin.write(chunk)
            await stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        stdin.close()


async def _head(stdout: asyncio.StreamReader) -> web.StreamResponse:
    status, headers = 200, {}
    while line := (await stdout.readline()).decode().strip():
        name, _, value = line.partition(": ")
        if name.lower() == "status":
            status = int(value.split()[0])
        else:
            headers[name] = value
    return web.StreamResponse(status=status, headers=headers)


async def make_repository(path: Path, files: Mapping[str, str], *, branch: str = "main") -> None:
    """Make a bare repository with one commit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kubetask-git-") as temporary:
        work = Path(temporary)
        for file, text in files.items():
            target = work / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        await _git("init", "--quiet", f"--initial-branch={branch}", str(work))
        await _git("-C", str(work), "add", "--all")
        await _git("-C", str(work), "commit", "--quiet", "--message", "First commit")
        await _git("clone", "--quiet", "--bare", str(work), str(path))


async def _git(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "git", *arguments, env={**os.environ, **IDENTITY}
    )
    if await process.wait():
        raise RuntimeError(f"git {' '.join(arguments)} failed")


async def _main(directory: Path, host: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with GitServer(directory, host=host) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m hack.gitserver", description=__doc__)
    parser.add_argument("directory", type=Path, help="folder with <org>/<repo>.git")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    arguments = parser.parse_args()
    asyncio.run(_main(arguments.directory, arguments.host))
