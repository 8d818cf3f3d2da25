"""Stand-ins for kubelets that move many Pods a second, for a control plane without nodes.

    python -m hack.benchmarks.kubelets --kubeconfig FILE [--run-seconds 0.2] [--in-flight 64]

A Pod is written as Running, stays so for the given time, and is written as Succeeded. A Pod with the annotation
``kubetask.io/benchmark: "fails"`` ends as Failed. It runs as a process of its own, watches only Pods that are Pending, and
reads of them only their metadata, so that it is never what a benchmark measures. After SIGTERM it prints one JSON object: how
many Pods it has ended, in how many seconds, and with how much processor time. With ``--starts`` it appends a line
``namespace/job/pod`` to a file before each Pod runs.
"""

import argparse
import asyncio
import json
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict

from kubetask_controller.client.config import load_config
from kubetask_controller.client.errors import APIStatusError, ClientError, is_not_found
from kubetask_controller.client.resources import PODS
from kubetask_controller.client.rest import Client
from kubetask_controller.client.streams import event_decoder

ANNOTATION = "kubetask.io/benchmark"
FAILS = "fails"
_WATCH_SECONDS = 3000.0
_TRIES = 120
_PENDING = {"fieldSelector": "status.phase=Pending"}


class _Metadata(TypedDict, total=False):
    name: str
    namespace: str
    uid: str
    resourceVersion: str
    annotations: dict[str, str]
    labels: dict[str, str]


class _Pod(TypedDict, total=False):
    apiVersion: str
    kind: str
    metadata: _Metadata


class Kubelets:
    """Moves every Pending Pod of a cluster."""

    def __init__(
        self, client: Client, *, run_seconds: float, in_flight: int, starts: Path | None = None
    ) -> None:
        self._client = client
        self._run_seconds = run_seconds
        self._starts = starts.open("a", buffering=1) if starts else None
        self._gate = asyncio.Semaphore(in_flight)
        self._seen: set[str] = set()
        self._ended = 0
        self._began: tuple[float, float] | None = None
        self._last = (0.0, 0.0)

    def report(self) -> dict[str, float]:
        """Pods that have ended, and from the first to the last of them the seconds and the seconds of processor time."""
        seconds, used = (x - y for x, y in zip(self._last, self._began or self._last, strict=True))
        return {"ended": self._ended, "seconds": seconds, "cpu": used}

    async def run(self) -> None:
        """Follow the Pods until cancelled; a server that is away is waited for."""
        async with asyncio.TaskGroup() as lives:
            while True:
                try:
                    await self._follow(lives)
                except ClientError as error:
                    print(f"kubelets: {error}", flush=True)
                    await asyncio.sleep(0.5)

    async def _follow(self, lives: asyncio.TaskGroup) -> None:
        listed = await self._client.list(PODS, params=_PENDING)
        for pod in listed["items"]:
            self._begin(pod["metadata"], lives)
        params = {**_PENDING, "resourceVersion": listed["metadata"]["resourceVersion"]}
        async with self._client.watch(
            PODS,
            params=params,
            timeout_seconds=_WATCH_SECONDS,
            inactivity_timeout=_WATCH_SECONDS,
            decode=event_decoder(_Pod),
        ) as events:
            async for event in events:
                if event["type"] == "ERROR":
                    return
                if event["type"] == "ADDED":
                    self._begin(event["object"]["metadata"], lives)

    def _begin(self, metadata: dict[str, Any], lives: asyncio.TaskGroup) -> None:
        if metadata["uid"] not in self._seen:
            self._seen.add(metadata["uid"])
            lives.create_task(self._live(metadata))

    async def _live(self, metadata: dict[str, Any]) -> None:
        failed = (metadata.get("annotations") or {}).get(ANNOTATION) == FAILS
        started = _now()
        self._began = self._began or (time.monotonic(), time.process_time())
        if self._starts:
            job = (metadata.get("labels") or {}).get("batch.kubernetes.io/job-name", "")
            self._starts.write(f"{metadata['namespace']}/{job}/{metadata['name']}\n")
        await self._write(metadata, running(started))
        await asyncio.sleep(self._run_seconds)
        await self._write(metadata, ended(started, _now(), failed=failed))
        self._ended += 1
        self._last = time.monotonic(), time.process_time()

    async def _write(self, metadata: dict[str, Any], status: dict[str, Any]) -> None:
        namespace, name = metadata["namespace"], metadata["name"]
        async with self._gate:
            for _ in range(_TRIES):
                try:
                    await self._client.patch(
                        PODS,
                        namespace,
                        name,
                        {"metadata": {"uid": metadata["uid"]}, "status": status},
                        subresource="status",
                        metadata_only=True,
                    )
                except ClientError as error:
                    if isinstance(error, APIStatusError) and (
                        is_not_found(error) or error.code < 500
                    ):
                        return
                    await asyncio.sleep(0.5)
                else:
                    return


def running(started: str) -> dict[str, Any]:
    """The status of a Pod whose agent runs."""
    return {
        "phase": "Running",
        "startTime": started,
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [_container({"running": {"startedAt": started}}, ready=True)],
    }


def ended(started: str, finished: str, *, failed: bool) -> dict[str, Any]:
    """The status of a Pod whose agent has ended."""
    terminated = {
        "exitCode": int(failed),
        "reason": "Error" if failed else "Completed",
        "startedAt": started,
        "finishedAt": finished,
        "message": "failed" if failed else "done",
    }
    return {
        "phase": "Failed" if failed else "Succeeded",
        "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [_container({"terminated": terminated}, ready=False)],
    }


def _container(state: dict[str, Any], *, ready: bool) -> dict[str, Any]:
    return {
        "name": "agent",
        "ready": ready,
        "restartCount": 0,
        "image": "agent",
        "imageID": "agent",
        "state": state,
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _main(options: argparse.Namespace) -> None:
    config = await load_config(kubeconfig=options.kubeconfig)
    async with Client(config, user_agent="kubetask-benchmark-kubelets") as client:
        kubelets = Kubelets(
            client,
            run_seconds=options.run_seconds,
            in_flight=options.in_flight,
            starts=options.starts,
        )
        following = asyncio.create_task(kubelets.run())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, following.cancel)
        try:
            await following
        except asyncio.CancelledError:
            print(json.dumps(kubelets.report()), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m hack.benchmarks.kubelets", description=__doc__)
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--run-seconds", type=float, default=0.2)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--starts", type=Path, help="a line for each Pod that runs")
    asyncio.run(_main(parser.parse_args()))
