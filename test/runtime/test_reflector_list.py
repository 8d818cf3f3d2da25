import asyncio

import pytest

from support.runtime.script import (
    BUSY,
    EXPIRED,
    GONE,
    NO_STREAMING,
    REFUSED,
    RESET,
    SILENT,
    TOO_LARGE,
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

LIVE = [added("a", 5), added("b", 3), bookmark(7, end=True)]


async def test_a_streamed_list_goes_on_as_the_watch_on_the_same_connection(clock):
    server = Server(watches=[Watch([*LIVE, 1, modified("a", 8)])])
    async with ReflectorHarness(clock, server) as rig:
        assert rig.names == ["a", "b"]
        assert rig.informer.resource_version("default") == "7"
        assert rig.recorder.take() == [("add!", "a"), ("add!", "b")]
        await clock.advance(1)
        assert rig.recorder.take() == [("update", "a")]
        assert rig.informer.resource_version("default") == "8"
    assert server.calls == [
        (
            "watch",
            {
                "allowWatchBookmarks": "true",
                "sendInitialEvents": "true",
                "resourceVersionMatch": "NotOlderThan",
            },
        )
    ]
    assert server.open_watches == 0


async def test_nothing_is_seen_of_a_streamed_list_before_its_last_bookmark(clock):
    server = Server(watches=[Watch([added("a", 5), bookmark(6), 5, bookmark(7, end=True)])])
    async with ReflectorHarness(clock, server) as rig:
        assert (rig.names, rig.informer.has_synced) == ([], False)
        await clock.advance(5)
        assert (rig.names, rig.informer.has_synced) == (["a"], True)


async def test_changes_inside_a_streamed_list_are_part_of_it(clock):
    events = [added("a", 1), added("b", 2), modified("a", 3, color="red"), deleted("b", 4)]
    async with ReflectorHarness(
        clock, Server(watches=[Watch([*events, bookmark(5, end=True)])])
    ) as rig:
        assert [(o.name, o.color) for o in rig.informer.list()] == [("a", "red")]
        assert rig.recorder.heard == [("add!", "a")]


@pytest.mark.parametrize("refusal", [NO_STREAMING, RESET, SILENT], ids=str)
async def test_without_streaming_the_list_is_read_in_pages_and_the_next_round_streams_again(
    clock, refusal
):
    server = Server(
        watches=[refusal, Watch([EXPIRED]), Watch(LIVE)], lists=[Page([obj("a", 5)], "6")]
    )
    async with ReflectorHarness(clock, server) as rig:
        assert rig.names == ["a"]
        assert server.verbs == ["watch", "list", "watch"]
        await clock.advance(1)
        assert rig.names == ["a", "b"]
        assert server.verbs == ["watch", "list", "watch", "watch"]
        assert server.calls[-1][1]["sendInitialEvents"] == "true"


async def test_a_silent_streamed_list_is_warned_of_every_ten_seconds(clock, capsys):
    async with ReflectorHarness(clock, Server(watches=[Watch([added("a", 1)])])):
        await clock.advance(25)
    assert capsys.readouterr().out.count("Streamed list sends nothing") == 2


@pytest.mark.parametrize("refusal", [REFUSED, BUSY], ids=str)
async def test_a_busy_or_absent_server_is_asked_again_for_the_stream_after_a_delay(clock, refusal):
    server = Server(watches=[refusal, refusal, Watch(LIVE)])
    async with ReflectorHarness(clock, server) as rig:
        await clock.advance(0.8)
        assert len(server.calls) == 2
        await clock.advance(1.5)
        assert len(server.calls) == 2
        await clock.advance(0.1)
        assert rig.names == ["a", "b"]
    assert server.verbs == ["watch"] * 3


async def test_an_error_inside_a_streamed_list_starts_it_anew_without_what_came_before(clock):
    first = Watch([added("ghost", 1), error(429, "TooManyRequests")])
    async with ReflectorHarness(clock, Server(watches=[first, Watch(LIVE)])) as rig:
        await clock.advance(1)
        assert rig.names == ["a", "b"]


async def test_a_streamed_list_that_is_cut_off_starts_anew(clock):
    first = Watch([added("ghost", 1)], open_for=2)
    async with ReflectorHarness(clock, Server(watches=[first, Watch(LIVE)])) as rig:
        await clock.advance(3)
        assert rig.names == ["a", "b"]
        assert rig.recorder.heard == [("add!", "a"), ("add!", "b")]


@pytest.mark.parametrize("refusal", [GONE, TOO_LARGE], ids=str)
async def test_a_version_that_the_stream_cannot_serve_is_dropped_at_once(clock, refusal):
    server = Server(watches=[Watch([*LIVE, EXPIRED]), refusal, Watch(LIVE)])
    async with ReflectorHarness(clock, server):
        await clock.advance(1)
    assert server.versions("watch") == ["", "7", ""]


async def test_the_first_list_is_paged_and_takes_what_is_at_hand(clock):
    pages = [Page([obj("a", 5)], "10", "t1"), Page([obj("b", 4)], "11", "t2"), Page([], "12")]
    server = Server(lists=pages)
    async with ReflectorHarness(clock, server, streaming=False) as rig:
        assert rig.names == ["a", "b"]
        assert rig.informer.resource_version("default") == "10"
    assert server.calls[:3] == [
        ("list", {"resourceVersion": "0", "limit": "500"}),
        ("list", {"limit": "500", "continue": "t1"}),
        ("list", {"limit": "500", "continue": "t2"}),
    ]


async def test_a_relist_asks_for_one_piece_not_older_than_what_is_known(clock):
    server = Server(
        lists=[Page([obj("a", 5)], "10"), Page([obj("a", 5)], "20")], watches=[Watch([EXPIRED])]
    )
    async with ReflectorHarness(clock, server, streaming=False):
        await clock.advance(1)
    assert server.calls[2] == ("list", {"resourceVersion": "10"})


async def test_a_server_without_a_watch_cache_is_always_asked_in_pages(clock):
    server = Server(
        lists=[Page([obj("a", 5)], "10", "t1"), Page([], "10"), Page([obj("a", 5)], "20")],
        watches=[Watch([EXPIRED])],
    )
    async with ReflectorHarness(clock, server, streaming=False):
        await clock.advance(1)
    assert server.calls[3] == ("list", {"resourceVersion": "10", "limit": "500"})


async def test_a_list_whose_token_expires_is_read_once_more_in_one_piece(clock):
    pages = [Page([obj("ghost", 5)], "10", "t1"), GONE, Page([obj("a", 5)], "20")]
    server = Server(lists=pages)
    async with ReflectorHarness(clock, server, streaming=False) as rig:
        assert rig.names == ["a"]
        assert rig.informer.resource_version("default") == "20"
    assert server.calls[2] == ("list", {"resourceVersion": "0"})


@pytest.mark.parametrize("refusal", [GONE, TOO_LARGE], ids=str)
async def test_a_version_that_cannot_be_listed_is_dropped_at_once(clock, refusal):
    server = Server(
        lists=[Page([], "10"), refusal, Page([obj("a", 5)], "20"), Page([], "30")],
        watches=[Watch([EXPIRED]), Watch([EXPIRED])],
    )
    async with ReflectorHarness(clock, server, streaming=False) as rig:
        await clock.advance(1)
        assert rig.names == ["a"]
        assert server.versions("list") == ["0", "10", ""]
        # and it is trusted again once a list has succeeded
        await clock.advance(2)
        assert server.versions("list") == ["0", "10", "", "20"]


async def test_a_list_that_fails_is_tried_again_with_growing_delays(clock):
    server = Server(lists=[RESET, REFUSED, RESET, Page([obj("a", 5)], "20")])
    async with ReflectorHarness(clock, server, streaming=False) as rig:
        await clock.advance(0.8 + 1.6 + 3.2)
        assert rig.names == ["a"]
    assert server.verbs == ["list"] * 4 + ["watch"]


async def test_a_new_list_tells_of_deletions_first_and_keeps_what_has_not_changed(clock):
    server = Server(
        watches=[
            Watch([added("a", 1), added("b", 2), added("c", 3), bookmark(4, end=True), EXPIRED]),
            Watch([added("new", 9), added("b", 8), added("c", 3), bookmark(9, end=True)]),
        ]
    )
    async with ReflectorHarness(clock, server) as rig:
        rig.recorder.take()
        kept = rig.informer.get("default", "c")
        await clock.advance(1)
        assert rig.recorder.take() == [("delete?", "a"), ("add", "new"), ("update", "b")]
        assert rig.informer.get("default", "c") is kept


async def test_cancellation_does_not_wait_for_a_list(clock):
    class Stuck(Page):
        async def __aiter__(self):
            await asyncio.Event().wait()
            yield

    rig = ReflectorHarness(clock, Server(lists=[Stuck([], "1")]), streaming=False)
    async with rig:
        assert rig.server.verbs == ["list"]
    assert rig.task.cancelled()
