"""A server with a history, whose caches lag, whose connections break, and which remembers every state it was in."""

import asyncio
import random
from contextlib import asynccontextmanager

from kubetask_controller.client import APIStatusError
from support.runtime.script import (
    BUSY,
    GONE,
    NO_STREAMING,
    REFUSED,
    RESET,
    SILENT,
    TOO_LARGE,
    Page,
    bookmark,
    obj,
)

BOOKMARKS = 60.0
INACTIVITY = 68.0
COLORS = ("red", "green", "blue")


class FlakyServer:
    """A ListerWatcher. Its faults are switched on and off by whoever has it; `heal` ends them all.

    Attributes:
        refuses: what every request ends with.
        streams: whether it knows sendInitialEvents.
        mute: watches say nothing, and nobody is told.
        lag: how many versions its caches are behind.
        page: items a page at most.
        loses_tokens: lists cannot be continued.
    """

    def __init__(self, chance=None):
        self.chance = chance or random.Random(0)
        self.version = 100
        self.oldest = 100
        self.states = {100: {}}
        self.history = []
        self.requests = []
        self.open_watches = 0
        self._changed = asyncio.Event()
        self._broken = asyncio.Event()
        self._ending = RESET
        self.heal()

    def heal(self):
        self.refuses = None
        self.streams = True
        self.mute = False
        self.lag = 0
        self.page = 3
        self.loses_tokens = False
        self._tell()

    @property
    def state(self):
        """What there is: names, and what is kept of an object."""
        return self.states[self.version]

    @property
    def served(self):
        """The version that the server's caches have come to."""
        return max(self.version - self.lag, 100)

    def write(self, name, color=None):
        """Make, change or (without a color) delete an object; one that is not there stays so."""
        before = self.state
        if color is None and name not in before:
            return
        self.version += 1
        after = dict(before)
        if color is None:
            kind, gone = "DELETED", after.pop(name)
            thing = obj(name, self.version, uid=gone[1], color=gone[0])
        else:
            kind = "MODIFIED" if name in before else "ADDED"
            uid = before[name][1] if name in before else f"uid-{self.version}"
            after[name] = (color, uid, str(self.version))
            thing = obj(name, self.version, uid=uid, color=color)
        self.states[self.version] = after
        self.history.append((self.version, {"type": kind, "object": thing}))
        self._tell()

    def compact(self):
        """Forget what happened before now."""
        self.oldest = self.version
        self.history = []

    def forget_states(self):
        """Keep only what is needed to go on; for long runs."""
        self.states = {v: s for v, s in self.states.items() if v >= self.version - 200}

    def break_watches(self, ending=RESET):
        """Every open watch ends: with an error, or as it should (None)."""
        self._ending = ending
        self._broken.set()
        self._broken = asyncio.Event()

    @asynccontextmanager
    async def list(self, params):
        self._request("list", params)
        start = 0
        token = params.get("continue")
        if token:
            if self.loses_tokens:
                raise fresh(GONE)
            version, start = map(int, token.split("/"))
        else:
            version = self._list_version(params.get("resourceVersion", ""))
        items = self._objects(version)
        limit = (
            min(int(params.get("limit", 0)) or len(items), self.page) if "limit" in params else 0
        )
        if limit and start + limit < len(items):
            page, more = items[start : start + limit], f"{version}/{start + limit}"
        else:
            page, more = items[start:], ""
        yield Page(page, str(version), more)

    @asynccontextmanager
    async def watch(self, params, *, timeout_seconds):
        self._request("watch", params)
        streamed = params.get("sendInitialEvents") == "true"
        wanted = params.get("resourceVersion", "")
        if streamed:
            if not self.streams:
                raise fresh(NO_STREAMING)
            first = self._list_version(wanted)
        else:
            first = int(wanted)
            if first < self.oldest:
                raise fresh(GONE)
        self.open_watches += 1
        events = self._events(first, streamed, timeout_seconds)
        try:
            yield events
        finally:
            self.open_watches -= 1
            await events.aclose()

    async def _events(self, version, streamed, timeout_seconds):
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_seconds
        mine = self._broken
        if streamed:
            items = self._objects(version)
            self.chance.shuffle(items)
            for item in items:
                yield {"type": "ADDED", "object": item}
                await asyncio.sleep(0)
                if mine.is_set():
                    self._end()
                    return
            yield bookmark(version, end=True)
        heard = booked = loop.time()
        while loop.time() < end:
            if mine.is_set():
                self._end()
                return
            if not self.mute:
                if version < self.oldest and version < self.served:
                    yield expired()
                    return
                while (event := self._next(version)) is not None:
                    version = event[0]
                    heard = loop.time()
                    yield event[1]
                if loop.time() - booked >= BOOKMARKS:
                    heard = booked = loop.time()
                    yield bookmark(version)
            if loop.time() - heard >= INACTIVITY:
                raise fresh(SILENT)
            await self._something(mine, 1.0)

    def _end(self):
        if self._ending is not None:
            raise fresh(self._ending)

    async def _something(self, mine, seconds):
        waits = [asyncio.create_task(e.wait()) for e in (self._changed, mine)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _next(self, version):
        for at, event in self.history:
            if version < at <= self.served:
                return at, event
        return None

    def _list_version(self, wanted):
        if wanted == "":
            return self.version
        if int(wanted) > self.served:
            raise fresh(TOO_LARGE)
        return self.served

    def _objects(self, version):
        return [
            obj(name, at, uid=uid, color=color)
            for name, (color, uid, at) in sorted(self.states[version].items())
        ]

    def _request(self, verb, params):
        self.requests.append(verb)
        if self.refuses is not None:
            raise fresh(self.refuses)

    def _tell(self):
        self._changed.set()
        self._changed = asyncio.Event()


REFUSALS = {
    "refused": REFUSED,
    "busy": BUSY,
    "reset": RESET,
    "internal": APIStatusError(code=500, reason="InternalError", message="etcd is away"),
    "forbidden": APIStatusError(code=403, reason="Forbidden", message="no"),
    "gone": GONE,
}


def fresh(error):
    """The same once more: one that was raised before keeps everything alive that stood on the stack."""
    again = type(error).__new__(type(error), *error.args)
    again.__dict__.update(error.__dict__)
    return again


def expired():
    status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    return {"type": "ERROR", "object": status}


def content(thing):
    """What a state keeps of an object."""
    return (thing.color, thing.uid, thing.resource_version)


def shown(informer):
    """The cache in the server's words."""
    return {thing.name: content(thing) for thing in informer.list()}
