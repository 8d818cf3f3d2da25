"""The node, put together: Node object, scheduler, volumes for claims, kubelet, logs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from devcluster.apiserver.errors import not_found
from devcluster.apiserver.interfaces import SubresourceRegistry, User
from devcluster.apiserver.local import LocalClient
from devcluster.apiserver.registry import Registry
from devcluster.controllers.clock import Clock
from devcluster.controllers.feed import Feed
from devcluster.images import Images

from .claims import Claims
from .containers import Containers
from .environment import Environment
from .isolation import IsolationError, find_runtime
from .kubelet import Kubelet, log_folder, pod_folder
from .logendpoint import LogEndpoint
from .nodeobject import register
from .options import NodeOptions
from .podstate import ContainerKind, ContainerState, PodState
from .podsubresources import PodSubresources
from .podworker import WorkerContext
from .runtime import Launcher, Runtime
from .scheduler import Scheduler
from .volumes import Tokens, VolumeContext

COMPONENT = "kubelet"


class Events:
    """Records Events as the kubelet of one node."""

    def __init__(self, client: LocalClient, node: str) -> None:
        self._client = client
        self._node = node

    def __call__(
        self,
        state: PodState,
        kind: str,
        reason: str,
        message: str,
        container: ContainerState | None,
    ) -> None:
        """Record an Event; an Event that the API refuses is dropped."""
        path = ""
        if container is not None:
            field = "containers" if container.kind is ContainerKind.MAIN else "initContainers"
            path = f"spec.{field}{{{container.name}}}"
        self._client.record_event(
            state.pod,
            type=kind,
            reason=reason,
            message=message,
            component=COMPONENT,
            host=self._node,
            field_path=path,
        )


Object = dict[str, Any]

STARTS_PER_CPU = 2


class Node:
    """The one node of a development cluster. Runs in the event loop that writes to the registry.

    `directory` holds the files of Pods: volumes while they run, logs until they are removed, and those of claims
    until the claims are removed. `subresources` get pods/log, pods/binding and pods/eviction when the node starts.
    """

    def __init__(
        self,
        registry: Registry,
        images: Images,
        *,
        directory: Path,
        tokens: Tokens | None = None,
        subresources: SubresourceRegistry | None = None,
        options: NodeOptions | None = None,
    ) -> None:
        self._registry = registry
        self._images = images
        self._directory = directory.resolve()
        self._tokens = tokens
        self._subresources = subresources
        self.options = options or NodeOptions()
        self._clock = Clock(lambda: registry.storage.clock(), speed=self.options.speed)
        self._feed: Feed | None = None
        self._kubelet: Kubelet | None = None
        self._launcher: Launcher | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the scheduler and the kubelet. Raises IsolationError if this machine cannot isolate containers."""
        if self._launcher is not None:
            return
        self._launcher = Launcher()
        await self._launcher.start()
        try:
            runtime = await find_runtime(self._launcher)
        except IsolationError:
            await self.stop()
            raise
        self._directory.mkdir(parents=True, exist_ok=True)
        self._directory.chmod(0o755)
        name = self.options.name
        user = User(
            f"system:node:{name}", groups=("system:nodes", "system:authenticated", "system:masters")
        )
        client = LocalClient(self._registry, manager="kubelet", user=user)
        register(client, self.options)
        claims = Claims(LocalClient(self._registry), self._directory / "claims")
        context = self._context(client, claims, runtime)
        self._kubelet = Kubelet(name, context, client)
        scheduler = Scheduler(
            LocalClient(self._registry, manager="kube-scheduler"), self._clock, claims.problem
        )
        self._serve(LogEndpoint(client, name, context, self._kubelet.worker))
        self._feed = feed = Feed(self._registry)
        feed.on("persistentvolumeclaims", claims.see)
        feed.on("persistentvolumeclaims", scheduler.something_changed)
        feed.on("nodes", scheduler.something_changed)
        feed.on("pods", scheduler.see)
        feed.on("pods", self._kubelet.see)
        feed.start()
        self._tasks = [
            asyncio.create_task(each.run(), name=f"node-{type(each).__name__.lower()}")
            for each in (scheduler, claims)
        ]

    def _context(self, client: LocalClient, claims: Claims, runtime: Runtime) -> WorkerContext:
        options = self.options
        environment = Environment(
            client,
            host_ip=options.host_ip,
            allocatable=options.capacity,
            service=options.service_environment(),
        )
        record = Events(client, options.name)
        return WorkerContext(
            client=client,
            clock=self._clock,
            containers=Containers(self._images, environment, record, self._clock, runtime=runtime),
            volumes=VolumeContext(
                client, self._tokens, claims.folder_of, options.host_ip, options.capacity
            ),
            record=record,
            folder=lambda pod: pod_folder(self._directory, pod),
            logs=lambda pod: log_folder(self._directory, pod),
            host_ip=options.host_ip,
            starting=asyncio.Semaphore(STARTS_PER_CPU * (os.cpu_count() or 1)),
        )

    def _serve(self, logs: LogEndpoint) -> None:
        if self._subresources is not None:
            self._subresources.register("", "pods", "log", logs)
            PodSubresources(self._registry).register(self._subresources)

    async def stop(self) -> None:
        """Kill every Pod's processes and wait until they are gone. The Pods' statuses stay. May be called twice."""
        if self._feed is not None:
            self._feed.stop()
            self._feed = None
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._kubelet is not None:
            await self._kubelet.stop()
            self._kubelet = None
        if self._launcher is not None:
            await self._launcher.stop()
            self._launcher = None

    def evict(self, namespace: str, name: str, message: str) -> None:
        """End a Pod as a node does under resource pressure: Failed, reason Evicted. Raises StatusError 404."""
        worker = self._kubelet.worker(namespace, name) if self._kubelet is not None else None
        if worker is None:
            raise not_found("", "pods", name)
        worker.evict(message)
