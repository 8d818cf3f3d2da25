"""An event loop of its own time: it never waits, never looks at a socket, and runs the same way each time.

Where `support.runtime.virtualtime` moves the time of a real loop, this one has none: when nothing is ready, the time is that
of the next timer. A schedule of minutes costs what its callbacks cost.
"""

import asyncio
import contextvars
import heapq
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

R = TypeVar("R")

MOST = 200_000
"""Callbacks after which a loop is astray: a schedule needs a thousand."""

_serial = itertools.count()


class _Task(asyncio.Task[Any]):
    """A task whose hash does not depend on its address: asyncio keeps tasks in sets, and cancels them in their order."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        self._serial = next(_serial)
        super().__init__(*args, **keywords)

    def __hash__(self) -> int:
        return self._serial

    __eq__ = object.__eq__


def _task(loop: asyncio.AbstractEventLoop, coro: Any, **keywords: Any) -> _Task:
    return _Task(coro, loop=loop, **keywords)


class AstrayError(RuntimeError):
    """Something goes on and on without an end."""


class VirtualLoop(asyncio.BaseEventLoop):
    """See the module. ``asyncio.sleep``, ``timeout`` and ``call_later`` obey its time."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 1000.0
        self.failures: list[dict[str, Any]] = []
        self.steps = 0
        self.set_task_factory(_task)
        self.set_exception_handler(lambda _, context: self.failures.append(context))

    def time(self) -> float:
        return self._now

    def _process_events(self, event_list: Any) -> None:
        raise NotImplementedError

    def _write_to_self(self) -> None:
        """Nothing to wake: all happens in one thread."""

    def _run_once(self) -> None:
        ready: Any = self._ready
        scheduled: Any = self._scheduled
        while scheduled and (not ready or scheduled[0]._cancelled or scheduled[0]._when <= self._now):
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if handle._cancelled:
                continue
            self._now = max(self._now, handle._when)
            ready.append(handle)
        if not ready:
            raise RuntimeError("nothing is left that could happen")
        if self.steps > MOST:
            self.steps = 0
            raise AstrayError(f"no end after {MOST} callbacks, at {self._now:.1f} s")
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                self.steps += 1
                handle._run()

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Run ``work``, then cancel whatever is left."""
        asyncio.set_event_loop(self)
        try:
            return self.run_until_complete(work)
        finally:
            left = sorted(asyncio.all_tasks(self), key=hash)
            for task in left:
                task.cancel()
            if left:
                self.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            asyncio.set_event_loop(None)
            self.close()

    def later(self, delay: float, callback: Callable[..., Any], *args: Any) -> asyncio.TimerHandle:
        """``call_later`` without the caller's context, which belongs to a controller."""
        return self.call_later(delay, callback, *args, context=_CONTEXT)


_CONTEXT = contextvars.Context()
