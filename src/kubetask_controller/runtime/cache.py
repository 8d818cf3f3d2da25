"""The informers of a process: created before the start, filled by reflectors, awaited together.

Guarantees: one informer for each resource, so that nothing is watched twice; reads before the start
raise, and no read sends a request; a sync that times out names the informers that have not synced. A
fault of the program (an index function that raises) ends run().
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn

from kubetask_controller.client import Client, Resource
from kubetask_controller.client.streams import Decode, PartialType, event_decoder
from kubetask_controller.runtime.clock import Clock, Random, RealClock
from kubetask_controller.runtime.informer import Informer, InformerOptions
from kubetask_controller.runtime.listwatch import ListWatch
from kubetask_controller.runtime.metrics.clients import InformerMetrics
from kubetask_controller.runtime.reflector import Reflector, ReflectorOptions
from kubetask_controller.runtime.store import ALL_NAMESPACES, IndexFunction, T

SYNC_PERIOD = 10 * 3600.0
"""Seconds between resyncs, as in controller-runtime; up to a tenth more or less each time."""
SYNC_POLL = 0.1
"""Seconds between two checks whether informers have synced, as in client-go."""


class DuplicateInformerError(ValueError):
    """The resource has an informer already."""


class CacheSyncTimeoutError(TimeoutError):
    """Some informers did not sync in time; the message names them."""


@dataclass(frozen=True, slots=True)
class _Watched:
    informer: Informer[Any]
    label_selector: str
    field_selector: str
    decode: Decode


class Cache:
    """Runs one reflector for each informer and watched namespace."""

    def __init__(
        self,
        client: Client,
        *,
        namespaces: Sequence[str] | None = None,
        clock: Clock | None = None,
        metrics: InformerMetrics | None = None,
        sync_period: float | None = SYNC_PERIOD,
        random: Random = random.random,
    ) -> None:
        """`namespaces` restricts the cache; None and empty mean the whole cluster.

        `sync_period` is the seconds between resyncs, None for never.
        """
        self._client = client
        self._scopes = tuple(dict.fromkeys(namespaces or ())) or (ALL_NAMESPACES,)
        self._clock = clock or RealClock()
        self._metrics = metrics or InformerMetrics()
        self._sync_period = sync_period
        self._random = random
        self._watched: dict[str, _Watched] = {}

    @property
    def informers(self) -> Mapping[str, Informer[Any]]:
        """All informers by name, such as ``jobs.batch``."""
        return MappingProxyType({name: w.informer for name, w in self._watched.items()})

    def informer(
        self,
        resource: Resource,
        *,
        project: Callable[[dict[str, Any]], T],
        label_selector: str = "",
        field_selector: str = "",
        indexers: Mapping[str, IndexFunction[T]] | None = None,
        partial: PartialType | None = None,
    ) -> Informer[T]:
        """Create the informer of a resource; call it before run().

        An object that no longer matches a selector counts as deleted.

        Args:
            resource: to watch; a cluster-scoped one is watched once, whatever the namespaces.
            project: converts an object's JSON into the immutable view that is stored.
            label_selector: as in the API.
            field_selector: as in the API.
            indexers: name to function, as in Store.add_index.
            partial: a TypedDict of the fields that `project` reads, and of kind and apiVersion; the other fields of an
                event are skipped while it is parsed. None parses all fields.

        Raises:
            DuplicateInformerError: the resource has an informer.
        """
        name = str(resource)
        if name in self._watched:
            raise DuplicateInformerError(f"{name} has an informer already")
        options = InformerOptions(
            scopes=self._scopes if resource.namespaced else (ALL_NAMESPACES,),
            clock=self._clock,
            metrics=self._metrics,
        )
        informer = Informer(resource, project=project, indexers=indexers, options=options)
        self._watched[name] = _Watched(
            informer, label_selector, field_selector, event_decoder(partial)
        )
        return informer

    async def run(self) -> NoReturn:
        """Fill the informers until cancelled.

        Raises:
            Exception: the first fault of the program in any of them.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                for watched in self._watched.values():
                    watched.informer.start()
                    for scope in watched.informer.scopes:
                        reflector = self._reflector(watched, scope)
                        name = f"reflector/{watched.informer.name}/{scope}"
                        tasks.create_task(reflector.run(), name=name)
                    if self._sync_period:
                        tasks.create_task(self._resync(watched.informer))
                tasks.create_task(asyncio.Event().wait())
        except BaseExceptionGroup as group:
            raise _first(group) from None
        raise AssertionError("a cache ends by cancellation")

    @property
    def has_synced(self) -> bool:
        """Every informer has synced."""
        return not self.unsynced()

    def unsynced(self) -> list[str]:
        """The informers that have not synced: ``jobs.batch``, or ``jobs.batch in default``."""
        return [
            f"{watched.informer.name} in {scope}" if scope else watched.informer.name
            for watched in self._watched.values()
            for scope in watched.informer.unsynced_scopes
        ]

    async def wait_for_sync(self, timeout: float | None = None) -> None:
        """Return once has_synced.

        Raises:
            CacheSyncTimeoutError: some informers did not sync within `timeout` seconds.
        """
        started = self._clock.monotonic()
        while unsynced := self.unsynced():
            if timeout is not None and self._clock.monotonic() - started >= timeout:
                raise CacheSyncTimeoutError(
                    f"not synced after {timeout:g} s: {', '.join(unsynced)}"
                )
            await self._clock.sleep(SYNC_POLL)

    def _reflector(self, watched: _Watched, scope: str) -> Reflector:
        source = ListWatch(
            self._client,
            watched.informer.resource,
            scope,
            label_selector=watched.label_selector,
            field_selector=watched.field_selector,
            decode=watched.decode,
        )
        options = ReflectorOptions(clock=self._clock, random=self._random, metrics=self._metrics)
        store = watched.informer.reflector_store(scope)
        return Reflector(watched.informer.resource, source, store, options=options)

    async def _resync(self, informer: Informer[Any]) -> NoReturn:
        while True:
            await self._clock.sleep((self._sync_period or 0.0) * (0.9 + 0.2 * self._random()))
            await informer.resync()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception of a group of tasks; one is enough to explain the failure."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
