"""A process that can be paused while others go on: its coroutines are not resumed, and its time passes."""

import asyncio
import types


class Freezer:
    """Holds the coroutines that run under it."""

    def __init__(self):
        self._running = asyncio.Event()
        self._running.set()

    def freeze(self):
        self._running.clear()

    def thaw(self):
        self._running.set()

    @property
    def frozen(self):
        return not self._running.is_set()

    async def run(self, work):
        """`work`, which takes no step while frozen; what befalls it then it learns when it is thawed."""
        return await self._steps(work)

    @types.coroutine
    def _steps(self, work):
        steps = work.__await__()
        error = None
        while True:
            try:
                waits_for = steps.send(None) if error is None else steps.throw(error)
            except StopIteration as stop:
                return stop.value
            error = None
            try:
                yield waits_for
            except BaseException as befell:
                error = befell
            while self.frozen:
                try:
                    yield from self._running.wait().__await__()
                except BaseException as befell:
                    error = befell
