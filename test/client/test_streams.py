import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from kubetask_controller.client import APIStatusError, TransportError, rest
from kubetask_controller.client.resources import JOBS
from support.client.httpsapi import status

END = "END"


def streaming(*pieces, ends=True):
    """An answer that is sent piece by piece; numbers are seconds to wait, END cuts the connection."""

    async def answer(request):
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        for piece in pieces:
            if piece is END:
                request.transport.abort()
                return response
            if isinstance(piece, int | float):
                await asyncio.sleep(piece)
            else:
                await response.write(piece if isinstance(piece, bytes) else piece.encode())
        if not ends:
            await asyncio.Event().wait()
        return response

    return answer


def line(kind, **metadata):
    return json.dumps({"type": kind, "object": {"metadata": metadata}}) + "\n"


async def drain(stream, heard=None):
    async for each in stream:
        if heard is not None:
            heard.append(each)


async def drain_list(client, **more):
    async with client.list_stream(JOBS, **more) as stream:
        await drain(stream)


@asynccontextmanager
async def watching(client, **more):
    async with client.watch(JOBS, "ns", params={}, timeout_seconds=300, **more) as events:
        yield events


async def test_a_watch_asks_for_what_it_needs(client, api):
    api.will(streaming())
    params = {"resourceVersion": "5", "allowWatchBookmarks": "true"}
    async with client.watch(JOBS, "ns", params=params, timeout_seconds=423.7):
        pass
    assert api.asked[0].path == "/apis/batch/v1/namespaces/ns/jobs"
    assert api.asked[0].query == {**params, "watch": "1", "timeoutSeconds": "423"}


async def test_events_come_as_they_were_sent_until_the_server_ends_the_stream(client, api):
    api.will(streaming(line("ADDED", name="a") + line("MODIFIED", name="a"), line("BOOKMARK")))
    async with watching(client) as events:
        heard = [event["type"] async for event in events]
    assert heard == ["ADDED", "MODIFIED", "BOOKMARK"]


async def test_an_event_may_come_in_pieces(client, api):
    whole = line("ADDED", name="ü" * 100).encode()
    api.will(streaming(*(whole[n : n + 7] for n in range(0, len(whole), 7))))
    async with watching(client) as events:
        heard = [event async for event in events]
    assert heard == [json.loads(whole)]


async def test_a_watch_that_is_refused_is_an_error(client, api):
    api.will(status(410, "Expired", "too old"))
    with pytest.raises(APIStatusError, match="too old"):
        async with watching(client):
            pass


async def test_an_error_event_is_handed_on(client, api):
    gone = {"kind": "Status", "code": 410, "reason": "Expired"}
    api.will(streaming(json.dumps({"type": "ERROR", "object": gone}) + "\n"))
    async with watching(client) as events:
        assert [event["object"] async for event in events] == [gone]


@pytest.mark.parametrize(
    ("pieces", "says"),
    [
        ([line("ADDED"), END], ": "),
        ([line("ADDED"), "no json\n"], "cannot be parsed"),
        ([line("ADDED"), "[]\n"], "not an object"),
    ],
)
async def test_a_stream_that_breaks_gives_what_came_and_then_an_error(client, api, pieces, says):
    api.will(streaming(*pieces))
    heard = []
    async with watching(client) as events:
        with pytest.raises(TransportError, match=says):
            await drain(events, heard)
    assert [event["type"] for event in heard] == ["ADDED"]


async def test_an_event_cut_in_two_by_the_end_of_the_stream_is_not_given(client, api):
    api.will(streaming(line("ADDED"), '{"type": "ADD'))
    async with watching(client) as events:
        assert [event["type"] async for event in events] == ["ADDED"]


async def test_an_event_without_an_end_is_given_up_before_it_fills_the_memory(client, api):
    api.will(streaming(b'{"type": "ADDED", "object": "', *[b"x" * 2**20] * 12))
    async with watching(client) as events:
        with pytest.raises(TransportError):
            await anext(events)


async def test_a_watch_that_falls_silent_is_given_up(client, api):
    api.will(streaming(line("ADDED"), ends=False))
    async with watching(client, inactivity_timeout=0.3) as events:
        assert (await anext(events))["type"] == "ADDED"
        with pytest.raises(TransportError) as error:
            await anext(events)
    assert error.value.timed_out


async def test_bookmarks_keep_a_quiet_watch_alive(client, api):
    api.will(streaming(*[0.15, line("BOOKMARK")] * 5))
    async with watching(client, inactivity_timeout=0.4) as events:
        assert [event["type"] async for event in events] == ["BOOKMARK"] * 5


def test_silence_is_noticed_after_the_next_bookmark_is_due_and_before_history_is_lost():
    assert 60 < rest.INACTIVITY_LIMIT <= 70


async def test_a_watch_that_the_server_does_not_end_is_ended(client, api, monkeypatch):
    monkeypatch.setattr(rest, "WATCH_MARGIN", 0.3)
    api.will(streaming(*[0.05, line("BOOKMARK")] * 1000))
    async with client.watch(JOBS, "ns", params={}, timeout_seconds=0.2) as events:
        with pytest.raises(TransportError) as error:
            await drain(events)
    assert error.value.timed_out


async def test_a_stream_left_early_is_closed_and_others_go_on(client, api):
    api.will(streaming(line("ADDED"), ends=False))
    async with watching(client) as events:
        await anext(events)
        await client.get(JOBS, "ns", "a")
    await client.get(JOBS, "ns", "a")
    watch, *others = api.asked
    assert all(x.connection is not watch.connection for x in others)


async def test_the_items_of_a_list_come_one_by_one_and_its_metadata_at_the_end(client, api):
    items = [{"metadata": {"name": f"job-{n}", "note": '}]{["\\'}} for n in range(50)]
    body = json.dumps({"kind": "JobList", "items": items, "metadata": {"resourceVersion": "7"}})
    api.will(streaming(*(body[n : n + 11] for n in range(0, len(body), 11))))
    async with client.list_stream(JOBS, "ns", params={"limit": "500"}) as stream:
        # The API server omits the kind of each item.
        kind = {"apiVersion": "batch/v1", "kind": "Job"}
        assert [item async for item in stream] == [kind | item for item in items]
        assert stream.metadata == {"resourceVersion": "7"}
    assert api.asked[0].query == {"limit": "500"}


@pytest.mark.parametrize("items", ["[]", "null"])
async def test_a_list_may_be_empty(client, api, items):
    api.will(streaming('{"metadata": {"resourceVersion": "7"}, "items": ' + items + "}"))
    async with client.list_stream(JOBS) as stream:
        assert [item async for item in stream] == []
        assert stream.metadata == {"resourceVersion": "7"}


@pytest.mark.parametrize(
    "pieces",
    [
        ['{"items": [{"metadata": {}}', END],
        ['{"items": [{"metadata": {}}'],
        ['{"items": [nonsense]}'],
        ["[]"],
        [""],
    ],
)
async def test_a_list_that_breaks_off_is_an_error(client, api, pieces):
    api.will(streaming(*pieces))
    with pytest.raises(TransportError):
        await drain_list(client)


async def test_a_list_that_falls_silent_is_given_up(client, api):
    api.will(streaming('{"items": [{"metadata": {}},', ends=False))
    with pytest.raises(TransportError) as error:
        await drain_list(client, inactivity_timeout=0.2)
    assert error.value.timed_out
