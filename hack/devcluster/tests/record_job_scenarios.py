"""Plays `job_scenarios` on a real control plane and writes what it did: `python record_job_scenarios.py KUBECONFIG FILE`.

The control plane must have a controller manager and no nodes.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import job_scenarios as scenarios
from devcluster.connection import Connection

Object = dict[str, Any]
AT_ONCE = 7
MERGE = "application/merge-patch+json"


class Api:
    """The real API."""

    def __init__(self, session: aiohttp.ClientSession, connection: Connection) -> None:
        self._session = session
        self._connection = connection

    async def call(
        self, method: str, path: str, body: Any = None, kind: str = "application/json"
    ) -> Any:
        async with self._session.request(
            method,
            self._connection.url + path,
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": kind},
            ssl=self._connection.ssl_context or True,
            raise_for_status=True,
        ) as response:
            return await response.json()

    async def follow(self, path: str, states: list[Object]) -> None:
        async with self._session.get(
            self._connection.url + path, ssl=self._connection.ssl_context or True
        ) as response:
            buffer = b""
            async for chunk in response.content.iter_any():
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    states.append(scenarios.job_state(event["type"], event["object"]))


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Recorder:
    """Plays one scenario."""

    def __init__(self, api: Api, name: str) -> None:
        self._api = api
        self._name = name
        self._namespace = f"{scenarios.namespace_of(name)}-{int(time.time())}"
        self._core = f"/api/v1/namespaces/{self._namespace}"
        self._jobs = f"/apis/batch/v1/namespaces/{self._namespace}/jobs"

    async def record(self) -> Object:
        api, name = self._api, self._name
        metadata = {"name": self._namespace}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        await api.call("POST", "/api/v1/namespaces", body)
        await asyncio.sleep(1)
        states: list[Object] = []
        watching = asyncio.create_task(api.follow(self._jobs + "?watch=1", states))
        await asyncio.sleep(1)
        begin = time.monotonic()
        await api.call("POST", self._jobs, scenarios.job_of(name))
        for when, what, *details in scenarios.SCENARIOS[name][1]:
            await asyncio.sleep(begin + when - time.monotonic())
            await self._do(what, details)
        await asyncio.sleep(begin + scenarios.length_of(name) - time.monotonic())
        watching.cancel()
        pods = (await api.call("GET", self._core + "/pods"))["items"]
        events = (await api.call("GET", self._core + "/events"))["items"]
        return {
            "note": name,
            "states": states,
            "pods": scenarios.sorted_pods(pods),
            "events": counted(events),
        }

    async def _do(self, what: str, details: list[Any]) -> None:
        api = self._api
        if what == "patch":
            await api.call("PATCH", self._jobs + "/j", details[0], MERGE)
            return
        if what == "remove":
            await api.call("DELETE", self._jobs + "/j", {"propagationPolicy": details[0]})
            return
        pods = (await api.call("GET", self._core + "/pods"))["items"]
        name = scenarios.nth(pods, details[0])["metadata"]["name"]
        path = f"{self._core}/pods/{name}"
        if what == "bind":
            target = {"apiVersion": "v1", "kind": "Node", "name": "node1"}
            body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}}
            await api.call("POST", path + "/binding", {**body, "target": target})
        elif what == "delete":
            await api.call("DELETE", path)
        else:
            status = {
                "run": lambda: scenarios.running(now()),
                "end": lambda: scenarios.ended(details[1], now()),
                "restart": lambda: scenarios.restarted(details[1], now()),
            }[what]()
            await api.call("PATCH", path + "/status", {"status": status}, MERGE)


def counted(events: list[Object]) -> list[Any]:
    """Events of the Job without names, and how often each happened."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for event in events:
        if event["involvedObject"]["kind"] == "Job":
            message = scenarios.nameless(event["message"])
            counts[event["type"], event["reason"], message] += event["count"]
    return sorted([*key, count] for key, count in counts.items())


async def record_all(kubeconfig: str) -> str:
    """The lines of the transcript."""
    connection = Connection.from_kubeconfig(Path(kubeconfig))
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(headers=connection.headers, timeout=timeout) as session:
        api = Api(session, connection)
        few = asyncio.Semaphore(AT_ONCE)

        async def record(name: str) -> Object:
            async with few:
                return await Recorder(api, name).record()

        records = await asyncio.gather(*map(record, scenarios.SCENARIOS))
    return "".join(json.dumps(record) + "\n" for record in records)


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(asyncio.run(record_all(sys.argv[1])))
