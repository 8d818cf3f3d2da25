"""An API server that serves only Jobs, as fast as possible: the server side of the runtime's benchmark.

    python -m hack.benchmarks.firehose --jobs 10000 --events 100000

Prints its port. A watch with sendInitialEvents gets all Jobs and then, after the client has created anything, the events;
without streaming it refuses those, and lists Jobs in pages. Plain HTTP: TLS is measured nowhere here.
"""

import argparse
import asyncio
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

FIRST_VERSION = 100_000
PIECE = 256 * 1024


def job(number: int, version: int) -> dict[str, Any]:
    """A Job as a run's tasks have it, with what the server and its controllers added."""
    name = f"nightly-task-{number}"
    uid = f"6f1c2f0e-0000-4000-8000-{number:012d}"
    labels = {
        "app.kubernetes.io/managed-by": "kubetask",
        "kubetask.io/batch-run": "nightly",
        "kubetask.io/task-index": str(number),
    }
    owner = {
        "apiVersion": "kubetask.io/v1alpha1",
        "kind": "BatchRun",
        "name": f"nightly-{number % 20}",
        "uid": f"7a1c2f0e-0000-4000-8000-{number % 20:012d}",
        "controller": True,
        "blockOwnerDeletion": True,
    }
    fields: dict[str, Any] = {
        f"f:field{n}": {".": {}, "f:name": {}, "f:value": {}} for n in range(30)
    }
    manager = {
        "manager": "kubetask-controller",
        "operation": "Update",
        "apiVersion": "batch/v1",
        "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": fields},
    }
    env = [{"name": f"VARIABLE_{n}", "value": f"value-{n}" * 3} for n in range(12)]
    container = {
        "name": "agent",
        "image": "quay.io/kubetask/agent:v1",
        "env": env,
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
        "volumeMounts": [{"name": f"v{n}", "mountPath": f"/mnt/{n}"} for n in range(5)],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": uid,
            "resourceVersion": str(version),
            "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": labels,
            "annotations": {"kubetask.io/workspace-config": "default"},
            "ownerReferences": [owner],
            "managedFields": [manager],
        },
        "spec": {
            "backoffLimit": 0,
            "parallelism": 1,
            "completions": 1,
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container] * 2}},
        },
        "status": {"active": 1, "startTime": "2026-01-01T00:00:00Z", "ready": version % 2},
    }


class Firehose:
    """The server."""

    def __init__(self, *, jobs: int, events: int, streams: bool) -> None:
        self._jobs, self._events, self._streams = jobs, events, streams
        self._go = asyncio.Event()
        self._initial = [_line("ADDED", job(n, FIRST_VERSION)) for n in range(jobs)]
        self._changes = [
            _line("MODIFIED", job(n % jobs, FIRST_VERSION + 1 + n)) for n in range(events)
        ]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        while head := await _head(reader):
            method, target, length = head
            await reader.readexactly(length)
            query = {k: v[0] for k, v in parse_qs(urlsplit(target).query).items()}
            if method == "POST":
                self._go.set()
                await _answer(writer, b"{}")
            elif query.get("watch") and query.get("sendInitialEvents") and not self._streams:
                await _answer(writer, b'{"kind":"Status","code":422}', status="422 No")
            elif query.get("watch"):
                await self._watch(writer, streamed="sendInitialEvents" in query)
            else:
                await _answer(writer, self._page(query))
        writer.close()

    async def _watch(self, writer: asyncio.StreamWriter, *, streamed: bool) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        if streamed:
            await _pour(writer, self._initial)
            end = {"k8s.io/initial-events-end": "true"}
            metadata = {"resourceVersion": str(FIRST_VERSION), "annotations": end}
            bookmark = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata}
            await _pour(writer, [_line("BOOKMARK", bookmark)])
        await self._go.wait()
        await _pour(writer, self._changes)
        await asyncio.Event().wait()

    def _page(self, query: dict[str, str]) -> bytes:
        start = int(query.get("continue", "0"))
        limit = int(query.get("limit", "0")) or self._jobs
        items = [job(n, FIRST_VERSION) for n in range(start, min(start + limit, self._jobs))]
        metadata = {"resourceVersion": str(FIRST_VERSION)}
        if start + limit < self._jobs:
            metadata["continue"] = str(start + limit)
        listing = {"apiVersion": "batch/v1", "kind": "JobList", "metadata": metadata}
        return json.dumps({**listing, "items": items}, separators=(",", ":")).encode()


def _line(kind: str, thing: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": thing}, separators=(",", ":")).encode() + b"\n"


async def _head(reader: asyncio.StreamReader) -> tuple[str, str, int] | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    method, target, _ = head[0].split()
    lengths = [x.split(":")[1] for x in head if x.lower().startswith("content-length:")]
    return method, target, int(lengths[0]) if lengths else 0


async def _answer(writer: asyncio.StreamWriter, body: bytes, *, status: str = "200 OK") -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    writer.write(head.encode() + b"\r\n\r\n" + body)
    await writer.drain()


async def _pour(writer: asyncio.StreamWriter, lines: list[bytes]) -> None:
    for piece in _pieces(lines):
        writer.write(piece)
        await writer.drain()


def _pieces(lines: list[bytes]) -> Iterator[bytes]:
    piece: list[bytes] = []
    size = 0
    for line in lines:
        piece.append(line)
        size += len(line)
        if size > PIECE:
            yield b"".join(piece)
            piece, size = [], 0
    yield b"".join(piece)


async def _main(options: argparse.Namespace) -> None:
    hose = Firehose(jobs=options.jobs, events=options.events, streams=not options.no_streaming)
    server = await asyncio.start_server(hose.serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m hack.benchmarks.firehose", description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--no-streaming", action="store_true")
    asyncio.run(_main(parser.parse_args()))
