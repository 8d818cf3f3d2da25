"""`GET …/pods/<name>/log`: chooses the container as the API server does, refuses as the kubelet does, follows on request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web

from devcluster.apiserver.errors import StatusError, bad_request
from devcluster.apiserver.gotime import parse_time
from devcluster.apiserver.interfaces import SubresourceRequest
from devcluster.apiserver.local import PODS, LocalClient

from .logfiles import LogOptions, LogReader
from .podstate import ContainerState
from .podworker import PodWorker, WorkerContext
from .runtime import Process

Object = dict[str, Any]

FOLLOW_SECONDS = 1.0
_IMAGE_WAITS = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}


class LogEndpoint:
    """Serves the logs of one node's Pods. `worker(namespace, name)` gives the worker of a Pod that has not ended."""

    def __init__(
        self,
        client: LocalClient,
        node: str,
        context: WorkerContext,
        worker: Callable[[str, str], PodWorker | None],
    ) -> None:
        self._client = client
        self._node = node
        self._context = context
        self._worker = worker

    async def __call__(self, request: SubresourceRequest) -> web.StreamResponse:
        """Answer one request."""
        attributes = request.attributes
        pod = self._client.get(PODS, attributes.namespace, attributes.name)
        options = parse_options(request.request.query, self._context.clock.now())
        name = choose_container(pod, options.container)
        node = pod["spec"].get("nodeName")
        if not node:
            return web.Response(status=204)
        if node != self._node:
            raise StatusError(404, "NotFound", f'nodes "{node}" runs no processes')
        attempt = chosen_run(pod, name, previous=options.previous)
        path = self._context.logs(pod) / name / f"{attempt}.log"
        reader = LogReader(path, options)
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request.request)
        try:
            await _send(reader, response)
            if options.follow and not options.previous:
                container = self._container(pod, name)
                if container is not None and container.process is not None:
                    await _follow(container.process, reader, request.request, response)
            await response.write_eof()
        except ConnectionError:
            pass  # the reader has gone
        return response

    def _container(self, pod: Object, name: str) -> ContainerState | None:
        metadata = pod["metadata"]
        worker = self._worker(metadata["namespace"], metadata["name"])
        if worker is None or worker.state.pod["metadata"]["uid"] != metadata["uid"]:
            return None
        return next((each for each in worker.state.containers if each.name == name), None)


async def _follow(
    process: Process, reader: LogReader, request: web.Request, response: web.StreamResponse
) -> None:
    """Send new lines until the container has ended or the client has disconnected."""
    while not reader.exhausted and request.transport is not None:
        over = process.exited.done()
        await _send(reader, response)
        if over:
            return
        await process.log_growth(FOLLOW_SECONDS)


async def _send(reader: LogReader, response: web.StreamResponse) -> None:
    for piece in reader.read():
        await response.write(piece)
        await asyncio.sleep(0)


def parse_options(query: Any, now: float) -> LogOptions:
    """v1 PodLogOptions from a query. Raises StatusError for values that make no sense."""
    since = query.get("sinceSeconds")
    if since is not None:
        oldest = now - _number("sinceSeconds", since, least=1)
    elif query.get("sinceTime"):
        oldest = parse_time(query["sinceTime"]).timestamp()
    else:
        oldest = None
    tail, limit = query.get("tailLines"), query.get("limitBytes")
    return LogOptions(
        container=query.get("container", ""),
        follow=_true(query.get("follow")),
        previous=_true(query.get("previous")),
        timestamps=_true(query.get("timestamps")),
        tail=None if tail is None else _number("tailLines", tail, least=0),
        limit_bytes=None if limit is None else _number("limitBytes", limit, least=1),
        since=oldest,
    )


def _true(text: str | None) -> bool:
    return text in ("true", "1", "True", "t", "TRUE", "T")


def _number(field: str, text: str, *, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
    if value < least:
        raise StatusError(
            422,
            "Invalid",
            f'PodLogOptions "" is invalid: {field}: Invalid value: {value}: must be greater than or equal to {least}',
        )
    return value


def choose_container(pod: Object, wanted: str) -> str:
    """The container to read. Raises StatusError 400 when it has to be named, or is not there."""
    spec, name = pod["spec"], pod["metadata"]["name"]
    mains = [each["name"] for each in spec["containers"]]
    inits = [each["name"] for each in spec.get("initContainers") or ()]
    if wanted:
        if wanted not in (*mains, *inits):
            raise bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(mains) == 1:
        return str(mains[0])
    raise bad_request(
        f"a container name must be specified for pod {name}, choose one of: [{' '.join([*inits, *mains])}]"
    )


def chosen_run(pod: Object, name: str, *, previous: bool) -> int:
    """The run of a container to read. Raises StatusError 400 while there is none (kubelet's validateContainerLogStatus)."""
    where = f'container "{name}" in pod "{pod["metadata"]["name"]}"'
    status = pod.get("status") or {}
    found = [
        each
        for field in ("initContainerStatuses", "containerStatuses")
        for each in status.get(field) or ()
        if each["name"] == name
    ]
    if not found:
        raise bad_request(f"{where} is not available")
    state, restarts = found[0].get("state") or {}, found[0].get("restartCount", 0)
    last = (found[0].get("lastState") or {}).get("terminated")
    waiting = "waiting" in state
    if previous:
        if last is None:
            metadata = pod["metadata"]
            raise bad_request(
                f'previous terminated container "{name}" in pod "{metadata["name"]}" not found'
            )
        return int(restarts if waiting else restarts - 1)
    if not waiting or last is not None:
        return int(restarts)
    reason = state["waiting"].get("reason", "")
    raise bad_request(f"{where} is waiting to start: {_IMAGE_WAITS.get(reason, reason)}")
