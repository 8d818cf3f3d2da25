"""The gate between a watch and its client: events pass at once, late, or not at all; the stream can be ended."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from aiohttp import web

from .rules import FaultKind, FaultRule, Subject

if TYPE_CHECKING:
    from devcluster.storage import Event, Watch


class WatchGate:
    """The gate of one watch. Without a rule it costs a look at `holds`."""

    def __init__(self, request: web.Request, subject: Subject) -> None:
        self.subject = subject
        self.expired = False
        self._request = request
        self._rules: list[FaultRule] = []
        self._watch: Watch | None = None
        self._ended = False
        self._changed = asyncio.Event()
        self._timers: list[asyncio.TimerHandle] = []

    # --- the side of the watch

    def attach(self, watch: Watch | None) -> None:
        """The store's watch, which ends with the gate; None for one that has failed already."""
        self._watch = watch
        if self._ended and watch is not None:
            watch.close()

    @property
    def holds(self) -> bool:
        """Whether anything holds events back."""
        return bool(self._rules)

    async def opened(self) -> None:
        """Wait for as long as nothing may pass."""
        while self._silent() and not self._ended:
            self._changed.clear()
            await self._changed.wait()

    async def passes(self, event: Event) -> None:
        """Wait until an event may pass."""
        while (wait := self._left(event)) > 0:
            self._changed.clear()
            try:
                async with asyncio.timeout(None if self._silent() else wait):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def is_due(self, event: Event) -> bool:
        """Whether an event may pass now."""
        return self._left(event) <= 0

    def _left(self, event: Event) -> float:
        if self._ended:
            return 0.0
        if self._silent():
            return 1.0
        late = [x.settings.seconds for x in self._rules if x.kind is FaultKind.LAGGING_WATCH]
        return event.time + max(late) - time.monotonic() if late else 0.0

    def _silent(self) -> bool:
        return any(x.kind in (FaultKind.SILENT_WATCH, FaultKind.PARTITION) for x in self._rules)

    # --- the side of the faults

    def add(self, rule: FaultRule) -> None:
        """Let a rule strike this watch."""
        settings = rule.settings
        if rule.kind is FaultKind.CLOSED_WATCH:
            loop = asyncio.get_running_loop()
            self._timers.append(
                loop.call_later(settings.seconds, self._end, settings.mode == "cut")
            )
        elif settings.mode == "refuse":
            self._end(True)
        else:
            self._rules.append(rule)
            self._changed.set()

    def remove(self, rule: FaultRule) -> None:
        """Take a rule back: what it held passes."""
        if rule in self._rules:
            self._rules.remove(rule)
            self._changed.set()

    def compact(self) -> None:
        """End the watch if it lags behind the compacted history. A watch that keeps up continues, as in etcd."""
        self.expired = self.expired or self.holds

    def close(self) -> None:
        """The watch has ended by itself."""
        for timer in self._timers:
            timer.cancel()

    def _end(self, cut: bool) -> None:
        self._ended = True
        self._changed.set()
        if cut:
            cut_connection(self._request)
        if self._watch is not None:
            self._watch.close()


def cut_connection(request: web.Request) -> None:
    """Drop a request's connection without another byte."""
    if request.transport is not None:
        request.transport.abort()
