import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from kubetask_controller.client import Client, load_config
from kubetask_controller.client.config import RestConfig
from kubetask_controller.client.tls import TLSConfig
from support.client.authority import Authority
from support.client.httpsapi import API


@pytest.fixture(autouse=True)
async def no_task_or_socket_is_left_behind() -> AsyncIterator[None]:
    """What a client leaves open fails the test: a ResourceWarning is an error here."""
    before = asyncio.all_tasks()
    yield
    for _ in range(10):  # the server's own need a moment to notice that a client has gone
        left = asyncio.all_tasks() - before - {asyncio.current_task()}
        await asyncio.sleep(0.01 if left else 0)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    assert not left, f"tasks left behind: {left}"


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def api(authority) -> AsyncIterator[API]:
    api = API()
    runner = await api.serve(authority)
    yield api
    await runner.cleanup()


@pytest.fixture
async def client(api, authority) -> AsyncIterator[Client]:
    """A client that trusts the server, and is nobody."""
    config = RestConfig(api.url, tls=TLSConfig(ca=authority.ca))
    async with Client(config, user_agent="test/1") as client:
        yield client


@pytest.fixture
def kubeconfig(api, authority, tmp_path):
    """Writes a kubeconfig for the server; its path."""

    def write(user=None, *, name="config", cluster=None, **context):
        body = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [
                {
                    "name": "it",
                    "cluster": {
                        "server": api.url,
                        "certificate-authority": str(authority.ca_file),
                        **(cluster or {}),
                    },
                }
            ],
            "users": [{"name": "me", "user": user or {}}],
            "contexts": [{"name": "here", "context": {"cluster": "it", "user": "me", **context}}],
        }
        path = tmp_path / name
        path.write_text(json.dumps(body))
        return path

    return write


@pytest.fixture
def connect(kubeconfig):
    """A client for a user of a kubeconfig."""

    class Connected:
        def __init__(self, user=None, **more):
            self._path = kubeconfig(user, **more)

        async def __aenter__(self):
            config = await load_config(kubeconfig=str(self._path))
            self._client = Client(config, user_agent="test/1")
            return await self._client.__aenter__()

        async def __aexit__(self, *error):
            await self._client.__aexit__(*error)

    return Connected
