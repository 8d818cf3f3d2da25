"""The controllers of the development cluster: what kube-controller-manager does for Jobs, Pods, namespaces and owned objects.

They work on the registry of an API server in the same process and event loop.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from devcluster.apiserver.local import LocalClient
from devcluster.apiserver.registry import Registry

from .base import Machinery, QueueController
from .cleanup import OrphanedPods, TTLAfterFinished
from .clock import Clock
from .feed import Feed
from .garbage import GarbageCollector
from .job import JobController, JobSettings
from .namespaces import NamespaceController
from .serviceaccounts import NamespaceDefaults

__all__ = ["Clock", "ControllerOptions", "Controllers", "JobSettings"]


@dataclass(frozen=True, slots=True)
class ControllerOptions:
    """Delays of the controllers' own, in seconds, divided by the clock's speed.

    `namespace_grace`: from a namespace's deletion to that of its content, so that watchers see it go.
    `node_gone`: from a node's end to that of the Pods bound to it.
    """

    job: JobSettings = field(default_factory=JobSettings)
    namespace_grace: float = 5.0
    node_gone: float = 40.0


class Controllers:
    """All of them. `root_ca` is the PEM that every namespace gets in its ConfigMap kube-root-ca.crt."""

    def __init__(
        self,
        registry: Registry,
        *,
        root_ca: str,
        clock: Clock | None = None,
        options: ControllerOptions | None = None,
    ) -> None:
        self._registry = registry
        self._root_ca = root_ca
        self._clock = clock or Clock(lambda: registry.storage.clock())
        self._options = options or ControllerOptions()
        self._feed: Feed | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start with the present objects and follow the cluster. Must run in the event loop that writes to the registry."""
        if self._feed is not None:
            return
        self._feed = feed = Feed(self._registry)
        controllers = self._controllers(Machinery(LocalClient(self._registry), feed, self._clock))
        feed.start()
        self._tasks = [
            asyncio.create_task(each.run(), name=f"controller-{each.name}") for each in controllers
        ]

    def _controllers(self, machinery: Machinery) -> list[QueueController]:
        # Writes are delivered in this order: the Job controller frees Pods before the collector deletes them.
        options = self._options
        return [
            JobController(machinery, options.job),
            NamespaceDefaults(machinery, self._root_ca),
            TTLAfterFinished(machinery),
            NamespaceController(machinery, options.namespace_grace),
            OrphanedPods(machinery, options.node_gone),
            GarbageCollector(machinery),
        ]

    async def stop(self) -> None:
        """Stop; nothing is left running. May be called twice."""
        if self._feed is not None:
            self._feed.stop()
            self._feed = None
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
