"""The page's server over a fake API server, and what a run leaves in a cluster."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from kubetask_controller.cli.session import Session, open_session
from kubetask_controller.cli.ui.server import Server, ServerSettings
from support.cli import scenes
from support.cli.fakeapi import FakeApi, Log

JSON = dict[str, Any]


def write_kubeconfig(path: Path, port: int) -> Path:
    """A kubeconfig with one context, of namespace team."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [
            {"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "team"}}
        ],
    }
    path.write_text(yaml.safe_dump(config))
    return path


@dataclass
class Page:
    """The server as a program sees it."""

    server: Server
    http: aiohttp.ClientSession
    session: Session
    serving: AsyncExitStack

    async def stop(self) -> None:
        """End the server, as Ctrl-C does."""
        await self.serving.aclose()

    @property
    def token(self) -> str:
        return self.server.url.partition("token=")[2]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.port}{path}"

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Status and text, with the token."""
        given = {"Authorization": f"Bearer {self.token}"} | headers
        async with self.http.get(self.url(path), headers=given) as answer:
            return answer.status, await answer.text()

    async def post(self, path: str, body: JSON, **headers: str) -> tuple[int, JSON]:
        given = {"Authorization": f"Bearer {self.token}"} | headers
        async with self.http.post(self.url(path), json=body, headers=given) as answer:
            return answer.status, await answer.json()

    @asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[AsyncIterator[JSON]]:
        """The messages of a stream, without pings."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with self.http.get(self.url(path), headers=headers) as answer:
            assert answer.status == 200, await answer.text()

            async def messages() -> AsyncIterator[JSON]:
                async for line in answer.content:
                    message = json.loads(line)
                    if message["type"] != "ping":
                        yield message

            yield messages()


@asynccontextmanager
async def opened(
    api: FakeApi, directory: Path, settings: ServerSettings | None = None
) -> AsyncIterator[Page]:
    """The server over an API server."""
    kubeconfig = write_kubeconfig(directory / "kubeconfig", api.port)
    async with (
        open_session(kubeconfig=str(kubeconfig)) as session,
        aiohttp.ClientSession(read_bufsize=2**22) as http,
    ):
        server = Server(session, settings or ServerSettings())
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(server.serving())
            yield Page(server, http, session, stack)


async def with_pods(api: FakeApi, run: JSON, indexes: range) -> None:
    """Pods, logs and Events of a run's tasks."""
    for entry in (run["status"]["tasks"][i] for i in indexes):
        if "startTime" not in entry:
            continue
        start = scenes.age(entry["startTime"])
        end = scenes.age(entry["completionTime"]) if "completionTime" in entry else None
        name, index = run["metadata"]["name"], entry["index"]
        pod = await api.put(
            "pods", scenes.pod(name, index, prepare=start + 25, work=start, end=end)
        )
        lines = [(0, f"\x1b[32mstep {k}\x1b[0m of service-{index}") for k in range(50)]
        api.logs[f"{pod['metadata']['name']}/agent"] = Log(lines, open=end is None)
        api.logs[f"{pod['metadata']['name']}/workspace"] = Log([(0, "cloned in 2.1 s")], open=False)
        await api.put("events", scenes.event(pod, "Pod", "Pulled", "in 1.2 s", start + 20))
        text = "MountVolume.SetUp failed: configmap not found"
        await api.put("events", scenes.event(pod, "Pod", "FailedMount", text, start + 24, True))
