import asyncio
import contextlib
import socket

import aiohttp
import pytest

from kubetask_controller.runtime.eventloop import Heartbeat
from kubetask_controller.runtime.healthz import HealthChecks
from kubetask_controller.runtime.httpserver import HTTPServer, split_address
from kubetask_controller.runtime.manager import Manager, ManagerOptions
from support.runtime.memoryapi import MemoryAPI
from support.runtime.overhttp import eventually, fetch, serving
from support.runtime.script import RUNS, view


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("", None),
        ("0", None),
        (":8080", (None, 8080)),
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("[::1]:0", ("::1", 0)),
    ],
)
def test_addresses_are_gos(address, expected):
    assert split_address(address) == expected


@pytest.mark.parametrize("address", ["8080", "localhost", "localhost:http", ":"])
def test_an_address_without_a_port_is_refused(address):
    with pytest.raises(ValueError, match="host:port"):
        split_address(address)


async def test_a_server_that_is_switched_off_does_nothing(routes):
    server = HTTPServer("off", "0", routes)
    await server.run(asyncio.Event())
    assert server.port == 0


async def test_the_port_is_closed_when_the_server_has_ended(routes):
    async with serving(routes) as port:
        pass
    with pytest.raises(aiohttp.ClientConnectorError):
        await fetch(port)


async def good():
    return None


def bad():
    raise RuntimeError("a secret reason")


@pytest.fixture
def checks():
    checks = HealthChecks("/readyz")
    checks.add("good", good)
    checks.add("bad", bad)
    return checks


async def test_a_path_is_healthy_when_all_its_checks_are(checks):
    async with serving(checks.routes()) as port:
        status, text = await fetch(port, "/readyz")
        assert status == 500
        assert text == "[+]good ok\n[-]bad failed: reason withheld\nreadyz check failed\n"
        assert await fetch(port, "/readyz?exclude=bad") == (200, "ok")
        assert await fetch(port, "/readyz?exclude=bad&verbose") == (
            200,
            "[+]good ok\n[+]bad excluded: ok\nreadyz check passed\n",
        )
        assert await fetch(port, "/readyz/good") == (200, "ok")
        assert (await fetch(port, "/readyz/bad"))[0] == 500
        assert (await fetch(port, "/readyz/none"))[0] == 404


async def test_a_path_without_checks_answers_as_long_as_the_process_does():
    async with serving(HealthChecks("/healthz").routes()) as port:
        assert await fetch(port, "/healthz") == (200, "ok")
        assert await fetch(port, "/healthz/ping") == (200, "ok")


def test_two_checks_of_one_name_are_refused(checks):
    with pytest.raises(ValueError, match="good"):
        checks.add("good", good)


async def test_an_event_loop_that_does_not_turn_is_unhealthy(clock):
    heartbeat, stop = Heartbeat(), asyncio.Event()
    heartbeat.check()
    running = asyncio.create_task(heartbeat.run(stop))
    await clock.advance(3600)
    heartbeat.check()
    clock.stall(31)
    with pytest.raises(RuntimeError, match="blocked"):
        heartbeat.check()
    await clock.advance(1)
    heartbeat.check()
    stop.set()
    await running


async def test_a_manager_answers_probes_before_its_caches_are_filled(metrics):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    api = MemoryAPI()
    client = api.client()
    client.connection.heard.clear()
    options = ManagerOptions(health_probe_bind_address=f"127.0.0.1:{port}")
    manager = Manager(client, options, metrics=metrics)
    manager.cache.informer(RUNS, project=view)
    stop = asyncio.Event()
    running = asyncio.create_task(manager.start(stop))

    async def answers(path, *expected):
        with contextlib.suppress(aiohttp.ClientConnectorError):
            return await fetch(port, path) == expected

    await eventually(lambda: answers("/healthz", 200, "ok"))
    status, text = await fetch(port, "/readyz")
    assert (status, text.splitlines()[0]) == (500, "[-]caches failed: reason withheld")
    client.connection.heard.set()
    await eventually(lambda: answers("/readyz", 200, "ok"))
    stop.set()
    await running
