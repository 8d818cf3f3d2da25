"""A server of ours on a real socket, and what a client sees of it."""

import asyncio
import contextlib

import aiohttp

from kubetask_controller.runtime.httpserver import HTTPServer


@contextlib.asynccontextmanager
async def serving(routes, **options):
    """The port of a server with these routes."""
    server, stop = HTTPServer("test", "127.0.0.1:0", routes, **options), asyncio.Event()
    running = asyncio.create_task(server.run(stop))
    await server.started.wait()
    try:
        yield server.port
    finally:
        stop.set()
        await running


async def fetch(port, path="/metrics", *, tls=None, token=None):
    """Status and text."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    scheme = "http" if tls is None else "https"
    async with aiohttp.ClientSession() as session:
        url = f"{scheme}://127.0.0.1:{port}{path}"
        async with session.get(url, headers=headers, ssl=tls or True) as response:
            return response.status, await response.text()


async def eventually(check):
    for _ in range(500):
        if await check():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it has not happened within ten seconds")
