import pytest

from support.runtime.script import (
    BUSY,
    EXPIRED,
    REFUSED,
    RESET,
    SILENT,
    APIStatusError,
    Page,
    ReflectorHarness,
    Server,
    Watch,
    added,
    bookmark,
    deleted,
    error,
    modified,
    obj,
)

LIST = Page([obj("a", 5)], "10")


async def test_a_watch_that_ends_goes_on_at_the_last_version_without_list_or_delay(clock):
    server = Server(
        lists=[LIST],
        watches=[Watch([added("b", 11), bookmark(15)], open_for=300), Watch([deleted("b", 16)])],
    )
    async with ReflectorHarness(clock, server, streaming=False) as rig:
        await clock.advance(300)
        assert rig.names == ["a"]
        assert rig.informer.resource_version("default") == "16"
    assert server.calls[1:] == [
        ("watch", {"allowWatchBookmarks": "true", "resourceVersion": "10"}),
        ("watch", {"allowWatchBookmarks": "true", "resourceVersion": "15"}),
    ]
    assert rig.metrics.ends == ["closed"]


@pytest.mark.parametrize(
    ("end", "reason"), [(RESET, "broken"), (SILENT, "silent")], ids=["broken", "silent"]
)
async def test_a_watch_that_breaks_goes_on_without_a_list(clock, end, reason):
    server = Server(lists=[LIST], watches=[Watch([added("b", 11)], open_for=70, ends_with=end)])
    async with ReflectorHarness(clock, server, streaming=False) as rig:
        await clock.advance(70)
        assert rig.names == ["a", "b"]
    assert server.verbs == ["list", "watch", "watch"]
    assert server.versions("watch") == ["10", "11"]
    assert rig.metrics.ends == [reason]


async def test_watches_that_break_after_their_first_event_do_not_become_a_storm(clock):
    cut_off = [Watch([modified("a", n)], open_for=0.01, ends_with=RESET) for n in range(11, 111)]
    server = Server(lists=[LIST], watches=cut_off)
    async with ReflectorHarness(clock, server, streaming=False) as rig:
        await clock.advance(60)
        assert rig.informer.resource_version("default") > "12"
    assert server.verbs.count("list") == 1
    assert server.verbs.count("watch") <= 8


async def test_a_list_that_names_a_time_is_not_asked_for_before(clock):
    busy = APIStatusError(code=429, reason="TooManyRequests", retry_after=20.0)
    server = Server(lists=[busy, LIST])
    async with ReflectorHarness(clock, server, streaming=False):
        await clock.advance(19.9)
        assert server.verbs == ["list"]
        await clock.advance(0.2)
        assert server.verbs == ["list", "list", "watch"]


async def test_a_list_that_names_an_hour_is_sent_again_after_a_minute(clock):
    away = APIStatusError(code=503, retry_after=3600.0)
    server = Server(lists=[away, LIST])
    async with ReflectorHarness(clock, server, streaming=False):
        await clock.advance(59.9)
        assert server.verbs == ["list"]
        await clock.advance(0.2)
        assert server.verbs == ["list", "list", "watch"]


@pytest.mark.parametrize("end", [None, RESET], ids=["closed", "broken"])
async def test_a_watch_that_ends_at_once_with_nothing_waits_and_lists(clock, end):
    short = Watch([], open_for=0.5, ends_with=end)
    server = Server(lists=[LIST, LIST], watches=[short])
    async with ReflectorHarness(clock, server, streaming=False) as rig:
        await clock.advance(0.5)
        assert server.verbs == ["list", "watch"]
        await clock.advance(0.8)
        assert server.verbs == ["list", "watch", "list", "watch"]
    assert rig.metrics.ends == ["short"]


@pytest.mark.parametrize("refusal", [REFUSED, BUSY, error(429, "TooManyRequests")], ids=str)
async def test_an_absent_or_busy_server_is_asked_again_without_a_list(clock, refusal):
    attempts = [Watch([refusal]) if isinstance(refusal, dict) else refusal for _ in range(12)]
    server = Server(lists=[LIST], watches=attempts)
    async with ReflectorHarness(clock, server, streaming=False) as rig:
        # 0.8 s, doubled each time, up to 30 s
        for delay in (0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30):
            before = len(server.calls)
            await clock.advance(delay - 0.01)
            assert len(server.calls) == before
            await clock.advance(0.01)
            assert len(server.calls) == before + 1
    assert server.verbs.count("list") == 1
    assert set(server.versions("watch")) == {"10"}
    assert len(rig.metrics.ends) == 9


async def test_a_server_that_names_a_time_is_not_asked_before(clock):
    busy = APIStatusError(code=429, retry_after=20)
    server = Server(lists=[LIST], watches=[busy])
    async with ReflectorHarness(clock, server, streaming=False):
        await clock.advance(19.9)
        assert len(server.calls) == 2
        await clock.advance(0.1)
        assert len(server.calls) == 3


async def test_jitter_doubles_a_delay_at_most(clock):
    server = Server(lists=[LIST], watches=[BUSY, BUSY])
    async with ReflectorHarness(clock, server, streaming=False, jitter=0.5):
        await clock.advance(1.19)
        assert len(server.calls) == 2
        await clock.advance(0.01)
        assert len(server.calls) == 3


async def test_delays_start_over_after_two_quiet_minutes(clock):
    server = Server(lists=[LIST], watches=[BUSY, BUSY, Watch([], open_for=121), BUSY])
    async with ReflectorHarness(clock, server, streaming=False):
        await clock.advance(0.8 + 1.6 + 121)
        calls = len(server.calls)
        await clock.advance(0.8)
        assert len(server.calls) == calls + 1


@pytest.mark.parametrize(
    "refusal", [RESET, APIStatusError(code=500), APIStatusError(code=403)], ids=str
)
async def test_a_watch_that_cannot_be_opened_for_another_reason_waits_and_lists(clock, refusal):
    server = Server(lists=[LIST, LIST], watches=[refusal])
    async with ReflectorHarness(clock, server, streaming=False):
        assert server.verbs == ["list", "watch"]
        await clock.advance(0.8)
        assert server.verbs == ["list", "watch", "list", "watch"]


async def test_an_expired_watch_lists_from_the_last_version(clock):
    server = Server(lists=[LIST, LIST], watches=[Watch([added("b", 11), EXPIRED])])
    async with ReflectorHarness(clock, server, streaming=False) as rig:
        await clock.advance(0.8)
        assert server.versions("list") == ["0", "11"]
    assert rig.metrics.ends == ["expired"]
    assert rig.metrics.lists == 2


async def test_versions_of_leading_additions_are_not_trusted_when_the_watch_began_nowhere(clock):
    nowhere = Page([], "")
    events = [added("a", 9), added("b", 4)]
    server = Server(
        lists=[nowhere],
        watches=[
            Watch(events, open_for=5),
            Watch([*events, modified("a", 10)], open_for=5),
            Watch(),
        ],
    )
    async with ReflectorHarness(clock, server, streaming=False) as rig:
        await clock.advance(10)
        assert rig.names == ["a", "b"]
        assert rig.informer.resource_version("") == "10"
    assert server.versions("watch") == ["", "", "10"]


async def test_an_internal_error_costs_one_list(clock):
    server = Server(
        lists=[LIST, LIST], watches=[Watch([1, error(500, "InternalError")]), Watch([60])]
    )
    async with ReflectorHarness(clock, server, streaming=False) as rig:
        await clock.advance(10)
        assert rig.metrics.ends == ["internal_error"]
    assert server.verbs == ["list", "watch", "list", "watch"]


@pytest.mark.parametrize(("jitter", "seconds"), [(0.0, 300), (0.5, 450), (0.999, 599.7)])
async def test_the_server_is_asked_to_end_a_watch_after_five_to_ten_minutes(clock, jitter, seconds):
    server = Server(lists=[LIST])
    async with ReflectorHarness(clock, server, streaming=False, jitter=jitter):
        assert server.timeouts == [pytest.approx(seconds)]


async def test_events_that_make_no_sense_are_dropped_and_counted(clock):
    table = {"apiVersion": "meta.k8s.io/v1", "kind": "Table", "metadata": {"resourceVersion": "12"}}
    nonsense = [
        {"type": "ADDED", "object": table},
        {"type": "SURPRISE", "object": obj("x", 13)},
        {"type": "ADDED"},
        {"type": "ADDED", "object": {"apiVersion": "batch/v1", "kind": "Job", "metadata": {}}},
    ]
    server = Server(lists=[LIST], watches=[Watch([*nonsense, added("b", 14)])])
    async with ReflectorHarness(clock, server, streaming=False) as rig:
        assert rig.names == ["a", "b"]
        assert rig.metrics.dropped == 4


async def test_an_object_that_cannot_be_projected_stays_as_it_was_known(clock):
    broken = obj("a", 11)
    del broken["metadata"]["uid"]
    broken["spec"] = None
    server = Server(
        lists=[LIST, Page([broken], "12")],
        watches=[Watch([{"type": "MODIFIED", "object": broken}, EXPIRED])],
    )
    async with ReflectorHarness(clock, server, streaming=False) as rig:
        await clock.advance(1)
        assert rig.informer.get("default", "a").resource_version == "5"
        assert rig.metrics.lists == 2
        assert rig.metrics.dropped == 2
        assert rig.recorder.heard == [("add!", "a")]


@pytest.mark.parametrize("when", [0, 1], ids=["before it is open", "while it is open"])
async def test_stopping_closes_the_watch(clock, when):
    server = Server(lists=[LIST])
    rig = ReflectorHarness(clock, server, streaming=False)
    async with rig:
        await clock.advance(when)
        assert server.open_watches == 1
    assert rig.task.cancelled()
    assert server.open_watches == 0


async def test_a_fault_of_the_program_ends_the_reflector(clock):
    server = Server(lists=[LIST])
    rig = ReflectorHarness(clock, server, streaming=False)
    rig.informer.add_index("bad", lambda o: 1 / 0)
    async with rig:
        assert isinstance(rig.task.exception(), ZeroDivisionError)
