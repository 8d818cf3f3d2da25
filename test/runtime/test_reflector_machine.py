import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from support.runtime.flakyserver import COLORS, REFUSALS, FlakyServer, content, shown
from support.runtime.script import RESET, ReflectorHarness
from support.runtime.virtualtime import FakeClock

names = st.sampled_from("abcdefgh")


class Echo:
    """What a handler that believes everything it is told holds to be there."""

    def __init__(self):
        self.things = {}

    def on_add(self, obj, initial):
        assert obj.name not in self.things, "told of as new, and it was known"
        self.things[obj.name] = content(obj)

    def on_update(self, old, new):
        assert self.things[old.name] == content(old), "changed from what it was not"
        assert int(new.resource_version) > int(old.resource_version), "time went backwards"
        self.things[new.name] = content(new)

    def on_delete(self, obj, final_state_unknown):
        del self.things[obj.name]


class ReflectorAgainstFaults(RuleBasedStateMachine):
    """Whatever the server and the network do, the cache is what the server was at the cache's version."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock(self.loop)
        self.server = None
        self.echo = Echo()
        self.run(self.start())

    def run(self, work):
        return self.loop.run_until_complete(work)

    async def start(self):
        self.server = FlakyServer()
        self.rig = ReflectorHarness(self.clock, self.server, jitter=0.5)
        self.rig.informer.add_event_handler(self.echo)
        await self.rig.__aenter__()

    @rule(name=names, color=st.sampled_from((*COLORS, None)))
    def write(self, name, color):
        self.then(lambda: self.server.write(name, color))

    @rule(seconds=st.sampled_from((0.1, 1, 10, 70, 400)))
    def time_passes(self, seconds):
        self.run(self.clock.advance(seconds))

    @rule(kind=st.sampled_from((None, *sorted(REFUSALS))))
    def refuse(self, kind):
        self.then(lambda: setattr(self.server, "refuses", kind and REFUSALS[kind]))

    @rule(ending=st.sampled_from((RESET, None)))
    def break_watches(self, ending):
        self.then(lambda: self.server.break_watches(ending))

    @rule()
    def compact(self):
        self.then(self.server.compact)

    @rule(mute=st.booleans())
    def mute(self, mute):
        self.then(lambda: setattr(self.server, "mute", mute))

    @rule(streams=st.booleans())
    def stream(self, streams):
        self.server.streams = streams

    @rule(lag=st.integers(0, 5))
    def lag(self, lag):
        self.server.lag = lag

    @rule(loses=st.booleans())
    def lose_tokens(self, loses):
        self.server.loses_tokens = loses

    @rule()
    def heal(self):
        self.then(self.server.heal)

    @invariant()
    def the_cache_is_what_the_server_was(self):
        version = self.rig.informer.resource_version("default")
        if version:
            assert shown(self.rig.informer) == self.server.states[int(version)]
            assert self.echo.things == shown(self.rig.informer)
            assert self.rig.metrics.failures == 0, "the echo has protested"

    @invariant()
    def one_watch_at_a_time(self):
        assert self.server.open_watches <= 1

    def then(self, action):
        async def both():
            action()
            await self.clock.settle()

        self.run(both())

    def teardown(self):
        self.then(self.server.heal)
        # A delay of up to a minute, a watch that is mute for 68 seconds, and a bookmark.
        self.run(self.clock.advance(300))
        self.the_cache_is_what_the_server_was()
        assert shown(self.rig.informer) == self.server.state
        assert int(self.rig.informer.resource_version("default")) == self.server.version
        assert self.rig.informer.has_synced
        self.run(self.rig.__aexit__())
        assert self.server.open_watches == 0
        left = asyncio.all_tasks(self.loop)
        assert not left, left
        self.clock.close()
        self.loop.close()


ReflectorAgainstFaults.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestReflector = ReflectorAgainstFaults.TestCase
