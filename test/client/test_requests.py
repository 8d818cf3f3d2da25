import asyncio
import contextlib
import json
import time
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from kubetask_controller.client import (
    APIStatusError,
    Client,
    PatchType,
    Resource,
    RestConfig,
    TransportError,
    retry,
)
from kubetask_controller.client.errors import (
    is_already_exists,
    is_conflict,
    is_connection_refused,
    is_expired,
    is_forbidden,
    is_internal_error,
    is_not_found,
    is_too_large_resource_version,
    is_too_many_requests,
    is_unauthorized,
)
from kubetask_controller.client.resources import JOBS, NAMESPACES, PODS
from kubetask_controller.client.tls import TLSConfig
from kubetask_controller.runtime.metrics import new_registry
from kubetask_controller.runtime.metrics.clients import PrometheusRestMetrics
from support.client.httpsapi import hang_up, never, status, text

THING = {"metadata": {"name": "thing"}}
BUSY = status(429, "TooManyRequests", "slow down", headers={"Retry-After": "0"})
DOWN = status(503, "ServiceUnavailable", "starting", headers={"Retry-After": "0"})


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(retry, "TRANSPORT_DELAYS", (0.01, 0.01, 0.01))


@pytest.fixture
def connecting(api, authority):
    """A client with options of its own."""

    def make(**options):
        config = RestConfig(api.url, tls=TLSConfig(ca=authority.ca))
        return Client(config, **{"user_agent": "test/1", **options})

    return make


async def test_each_verb_is_what_the_api_server_expects(client, api):
    await client.get(JOBS, "ns", "a", subresource="status")
    await client.list(PODS, params={"labelSelector": "x=y,z"})
    await client.create(JOBS, "ns", THING)
    await client.update(JOBS, "ns", "a", THING, subresource="status")
    await client.patch(JOBS, "ns", "a", {"x": 1}, params={"fieldManager": "me"})
    await client.delete(JOBS, "ns", "a", uid="u", grace_period_seconds=0)
    assert api.calls == [
        ("GET", "/apis/batch/v1/namespaces/ns/jobs/a/status"),
        ("GET", "/api/v1/pods"),
        ("POST", "/apis/batch/v1/namespaces/ns/jobs"),
        ("PUT", "/apis/batch/v1/namespaces/ns/jobs/a/status"),
        ("PATCH", "/apis/batch/v1/namespaces/ns/jobs/a"),
        ("DELETE", "/apis/batch/v1/namespaces/ns/jobs/a"),
    ]
    assert api.asked[1].query == {"labelSelector": "x=y,z"}
    assert json.loads(api.asked[2].body) == THING
    assert api.asked[4].query == {"fieldManager": "me"}
    assert json.loads(api.asked[5].body) == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "preconditions": {"uid": "u"},
        "gracePeriodSeconds": 0,
    }


async def test_a_write_may_be_answered_with_metadata_alone(client, api):
    await client.create(JOBS, "ns", THING, metadata_only=True)
    await client.update(JOBS, "ns", "a", THING, metadata_only=True)
    await client.patch(JOBS, "ns", "a", {"x": 1}, metadata_only=True)
    await client.create(JOBS, "ns", THING)
    partial = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
    # A server that cannot do it answers with the object.
    assert [x.headers["Accept"] for x in api.asked] == [
        *[f"{partial},application/json"] * 3,
        "application/json",
    ]


@pytest.mark.parametrize("kind", PatchType)
async def test_a_patch_says_what_it_is(client, api, kind):
    await client.patch(JOBS, "ns", "a", {}, patch_type=kind)
    assert api.asked[0].headers["Content-Type"] == kind.value


async def test_the_user_agent_says_who_asks(client, api):
    await client.get(NAMESPACES, None, "a")
    await client.component("leader-election").get(NAMESPACES, None, "a")
    agents = [x.headers["User-Agent"] for x in api.asked]
    assert agents == ["test/1", "test/1/leader-election"]


async def test_names_cannot_reach_beyond_their_place(client, api):
    await client.get(JOBS, "ns", "a/../../b?c=d")
    assert api.asked[0].path.endswith("/jobs/a%2F..%2F..%2Fb%3Fc%3Dd")
    with pytest.raises(ValueError, match="name"):
        await client.delete(JOBS, "ns", "")


async def test_a_server_below_a_path_is_spoken_to_there(api, authority):
    config = RestConfig(f"{api.url}/clusters/c1", tls=TLSConfig(ca=authority.ca))
    async with Client(config, user_agent="test/1") as client:
        await client.get(Resource("", "v1", "nodes", "Node", namespaced=False), None, "n")
    assert api.asked[0].path == "/clusters/c1/api/v1/nodes/n"


async def test_connections_are_reused(client, api):
    for _ in range(5):
        await client.get(NAMESPACES, None, "a")
    api.will(status(404, "NotFound"))
    with pytest.raises(APIStatusError):
        await client.get(NAMESPACES, None, "a")
    await client.create(NAMESPACES, None, THING)
    assert len({id(x.connection) for x in api.asked}) == 1


async def test_many_requests_go_side_by_side(client, api):
    together = asyncio.Barrier(150)

    async def meet(request):
        await together.wait()
        return web.json_response({})

    api.will(*[meet] * 150)
    await asyncio.gather(*(client.get(NAMESPACES, None, "a") for _ in range(150)))


@pytest.mark.parametrize(
    ("answer", "matches"),
    [
        (status(404, "NotFound", 'jobs "a" not found'), is_not_found),
        (status(409, "AlreadyExists"), is_already_exists),
        (status(409, "Conflict"), is_conflict),
        (status(410, "Expired"), is_expired),
        (status(410, "Gone"), is_expired),
        (status(403, "Forbidden"), is_forbidden),
        (status(429, "TooManyRequests"), is_too_many_requests),
        (status(401, "Unauthorized"), is_unauthorized),
        (status(500, "InternalError"), is_internal_error),
        (
            status(
                504,
                "Timeout",
                "Timeout: Too large resource version: 9, current: 1",
                details={"causes": [{"reason": "ResourceVersionTooLarge"}], "retryAfterSeconds": 1},
            ),
            is_too_large_resource_version,
        ),
    ],
)
async def test_a_refusal_is_an_error_that_can_be_told_from_others(client, api, answer, matches):
    every = (
        is_not_found,
        is_already_exists,
        is_conflict,
        is_expired,
        is_forbidden,
        is_too_many_requests,
        is_unauthorized,
        is_internal_error,
        is_too_large_resource_version,
    )
    api.will(answer)
    with pytest.raises(APIStatusError) as refused:
        await client.get(JOBS, "ns", "a")
    assert [check for check in every if check(refused.value)] == [matches]


async def test_a_refusal_keeps_what_the_server_said(client, api):
    details = {"kind": "jobs", "causes": [{"field": "spec.x", "message": "bad"}]}
    api.will(status(422, "Invalid", "spec.x: bad", details=details))
    with pytest.raises(APIStatusError, match=r"spec\.x: bad") as refused:
        await client.create(JOBS, "ns", THING)
    assert (refused.value.code, refused.value.reason) == (422, "Invalid")
    assert refused.value.details == details


@pytest.mark.parametrize(
    ("answer", "code", "reason", "message"),
    [
        (text("upstream is away\n", code=502), 502, "", "upstream is away"),
        (text("<html>", code=403, content_type="text/html"), 403, "Forbidden", "<html>"),
        (text("", code=404), 404, "NotFound", "Not Found"),
        (
            text("{not json", code=409, content_type="application/json"),
            409,
            "Conflict",
            "{not json",
        ),
        (text("[]", code=500, content_type="application/json"), 500, "InternalError", "[]"),
        (text("x" * 10_000, code=400), 400, "BadRequest", "x" * 2048),
        (lambda r: web.Response(status=302, headers={"Location": "/"}), 302, "", "Found"),
    ],
)
async def test_an_answer_that_is_no_status_is_still_an_error(
    client, api, answer, code, reason, message
):
    api.will(answer)
    with pytest.raises(APIStatusError) as refused:
        await client.create(JOBS, "ns", THING)
    error = refused.value
    assert (error.code, error.reason, error.message) == (code, reason, message)


@pytest.mark.parametrize("body", ["{", "[]", "null", ""])
async def test_an_answer_that_makes_no_sense_is_no_answer(client, api, body):
    api.will(text(body))
    with pytest.raises(TransportError, match="answer"):
        await client.create(JOBS, "ns", THING)
    assert len(api.asked) == 1, "the write may have been carried out"


@pytest.mark.parametrize("answer", [BUSY, DOWN])
@pytest.mark.parametrize("write", [False, True])
async def test_a_server_that_names_a_time_is_asked_again_whatever_the_request(
    client, api, answer, write
):
    api.will(answer, answer)
    if write:
        await client.create(JOBS, "ns", THING)
    else:
        await client.get(JOBS, "ns", "a")
    assert len(api.asked) == 3


async def test_the_time_that_a_server_names_is_waited_for(client, api):
    api.will(status(429, headers={"Retry-After": "1"}))
    started = time.monotonic()
    await client.get(JOBS, "ns", "a")
    assert time.monotonic() - started >= 1


@pytest.mark.parametrize("code", [429, 500, 503])
async def test_a_server_that_names_no_time_is_not_asked_again(client, api, code):
    api.will(status(code))
    with pytest.raises(APIStatusError):
        await client.get(JOBS, "ns", "a")
    assert len(api.asked) == 1


async def test_a_server_that_is_always_busy_is_asked_eleven_times(client, api):
    api.will(*[BUSY] * 20)
    with pytest.raises(APIStatusError):
        await client.get(JOBS, "ns", "a")
    assert len(api.asked) == 11


async def test_a_time_beyond_the_callers_is_not_waited_for(client, api):
    api.will(status(429, "TooManyRequests", headers={"Retry-After": "3600"}))
    started = time.monotonic()
    with pytest.raises(APIStatusError) as refused:
        await client.get(JOBS, "ns", "a", timeout=5)
    assert refused.value.retry_after == 3600
    assert time.monotonic() - started < 5


async def test_a_version_that_the_server_has_not_come_to_is_the_callers_business(client, api):
    cause = {"causes": [{"reason": "ResourceVersionTooLarge"}], "retryAfterSeconds": 1}
    api.will(status(504, "Timeout", details=cause, headers={"Retry-After": "1"}))
    with pytest.raises(APIStatusError):
        await client.list(JOBS)
    assert len(api.asked) == 1


async def test_a_read_without_an_answer_is_repeated(client, api):
    await client.get(JOBS, "ns", "a")
    api.will(hang_up, hang_up)
    await client.get(JOBS, "ns", "a")
    assert len(api.asked) == 4


async def test_a_read_that_never_gets_an_answer_is_an_error_in_the_end(client, api):
    api.will(*[hang_up] * 20)
    with pytest.raises(TransportError) as error:
        await client.get(JOBS, "ns", "a")
    assert not error.value.refused


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("verb", ["create", "update", "patch", "delete"])
async def test_a_write_without_an_answer_is_never_sent_twice(client, api, verb, warm):
    if warm:
        await client.get(JOBS, "ns", "a")  # aiohttp repeats PUT and DELETE on a kept connection
    already = len(api.asked)
    api.will(hang_up)
    calls = {
        "create": lambda: client.create(JOBS, "ns", THING),
        "update": lambda: client.update(JOBS, "ns", "a", THING),
        "patch": lambda: client.patch(JOBS, "ns", "a", THING),
        "delete": lambda: client.delete(JOBS, "ns", "a"),
    }
    with pytest.raises(TransportError) as error:
        await calls[verb]()
    assert len(api.asked) - already == 1
    assert not error.value.refused, "it may have been carried out"


@pytest.mark.parametrize("verb", ["get", "create"])
async def test_a_server_that_says_nothing_is_given_up(client, api, verb):
    api.will(never)
    call = client.get(JOBS, "ns", "a", timeout=0.2)
    if verb == "create":
        call.close()
        call = client.create(JOBS, "ns", THING, timeout=0.2)
    with pytest.raises(TransportError, match=r"no answer in 0\.2 s") as error:
        await call
    assert error.value.timed_out
    assert len(api.asked) == 1


async def test_a_server_that_begins_an_answer_and_stops_is_given_up(client, api):
    async def half(request):
        response = web.StreamResponse()
        response.content_length = 100
        await response.prepare(request)
        await response.write(b'{"metadata"')
        await asyncio.Event().wait()

    api.will(half)
    with pytest.raises(TransportError) as error:
        await client.get(JOBS, "ns", "a", timeout=0.2)
    assert error.value.timed_out


async def test_an_answer_cut_short_is_none(client, api):
    async def cut(request):
        response = web.StreamResponse()
        response.content_length = 100
        await response.prepare(request)
        await response.write(b'{"metadata"')
        request.transport.abort()
        return response

    api.will(cut)
    with pytest.raises(TransportError):
        await client.create(JOBS, "ns", THING)
    api.will(cut)
    await client.get(JOBS, "ns", "a")


async def test_where_nothing_listens_it_is_said_so_at_once(authority, unused_tcp_port_factory):
    config = RestConfig(f"https://127.0.0.1:{unused_tcp_port_factory()}")
    async with Client(config, user_agent="test/1") as client:
        with pytest.raises(TransportError) as error:
            await client.get(JOBS, "ns", "a")
    assert is_connection_refused(error.value)


async def test_a_name_that_does_not_exist_is_no_refusal(authority):
    config = RestConfig("https://nowhere.invalid:1")
    async with Client(config, user_agent="test/1") as client:
        with pytest.raises(TransportError) as error:
            await client.get(JOBS, "ns", "a", timeout=5)
    assert not is_connection_refused(error.value)


async def test_a_client_that_is_closed_says_so(connecting):
    client = connecting()
    with pytest.raises(TransportError, match="not open"):
        await client.get(JOBS, "ns", "a")
    async with client:
        pass
    with pytest.raises(TransportError, match="not open"):
        await client.get(JOBS, "ns", "a")


async def test_a_cancelled_request_leaves_nothing_behind_and_the_next_one_works(client, api):
    api.will(never)
    task = asyncio.create_task(client.get(JOBS, "ns", "a"))
    await api.arrival(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await client.get(JOBS, "ns", "a")


class Forbidden(Exception):
    """What a guard raises."""


@asynccontextmanager
async def slow_to_connect(port, opened):
    """A way to the server on which nothing passes before `opened` is set; its port, and whether somebody knocked."""
    arrived, relays = asyncio.Event(), []

    async def copy(reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def relay(reader, writer):
        relays.append(asyncio.current_task())
        arrived.set()
        await opened.wait()
        inner, outer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, outer), copy(inner, writer))

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], arrived
    finally:
        server.close()
        await asyncio.gather(*relays, return_exceptions=True)


async def test_a_guard_is_asked_before_each_attempt_of_a_write(client, api):
    asked = []

    def guard():
        asked.append(len(api.asked))
        if len(api.asked) == 3:
            raise Forbidden

    guarded = client.guarded(guard)
    await guarded.get(JOBS, "ns", "a")
    assert asked == []
    api.will(BUSY, BUSY, BUSY)
    with pytest.raises(Forbidden):
        await guarded.create(JOBS, "ns", THING)
    assert set(asked) == {1, 2, 3}
    assert len(api.asked) == 3, "what the guard forbids is not sent"
    await client.create(JOBS, "ns", THING)


async def test_a_guard_that_forbids_while_a_connection_is_made_is_heard(api, authority):
    opened, forbidden = asyncio.Event(), []

    def guard():
        if forbidden:
            raise Forbidden

    async with slow_to_connect(api.port, opened) as (port, arrived):
        config = RestConfig(f"https://127.0.0.1:{port}", tls=TLSConfig(ca=authority.ca))
        async with Client(config, user_agent="test/1") as client:
            writing = asyncio.create_task(client.guarded(guard).create(JOBS, "ns", THING))
            await arrived.wait()
            forbidden.append(True)
            opened.set()
            with pytest.raises(Forbidden):
                await writing
            assert api.asked == []
            await client.create(JOBS, "ns", THING)


async def test_without_a_limit_requests_do_not_wait(client, api):
    started = time.monotonic()
    await asyncio.gather(*(client.get(JOBS, "ns", "a") for _ in range(250)))
    # A limit of 20 a second with a burst of 30 makes it eleven seconds.
    assert time.monotonic() - started < 10


async def test_a_limit_lets_a_burst_pass_and_then_so_many_a_second(connecting, api):
    async with connecting(qps=0.01, burst=10) as client, asyncio.timeout(30):
        await asyncio.gather(*(client.get(JOBS, "ns", "a") for _ in range(10)))
    async with connecting(qps=50, burst=1) as client:
        started = time.monotonic()
        await asyncio.gather(*(client.get(JOBS, "ns", "a") for _ in range(16)))
        assert time.monotonic() - started >= 0.29


async def test_leader_election_does_not_stand_in_line(connecting, api):
    async with connecting(qps=0.1, burst=1) as client:
        await client.get(JOBS, "ns", "a")
        await client.component("leader-election").get(JOBS, "ns", "a", timeout=9)


async def test_who_gave_up_waiting_does_not_hold_up_those_who_come(connecting, api):
    async with connecting(qps=10, burst=1) as client:
        await client.get(JOBS, "ns", "a")
        crowd = [client.get(JOBS, "ns", "a", timeout=0.05) for _ in range(100)]
        assert all(
            isinstance(x, TransportError)
            for x in await asyncio.gather(*crowd, return_exceptions=True)
        )
        await client.get(JOBS, "ns", "a", timeout=5)


async def test_requests_are_measured(connecting, api):
    registry = new_registry()
    api.will(web.json_response, BUSY, web.json_response, hang_up)
    async with connecting(metrics=PrometheusRestMetrics(registry), qps=1000) as client:
        await client.get(JOBS, "ns", "a")
        await client.get(JOBS, "ns", "a")
        with pytest.raises(TransportError):
            await client.create(JOBS, "ns", THING)
    host = f"127.0.0.1:{api.port}"

    def sample(name, **labels):
        return registry.get_sample_value(f"rest_client_{name}", {"host": host, **labels})

    assert sample("requests_total", code="200", method="GET") == 2
    assert sample("requests_total", code="429", method="GET") == 1
    assert sample("requests_total", code="<error>", method="POST") == 1
    assert sample("request_retries_total", code="429", verb="GET") == 1
    assert sample("request_duration_seconds_count", verb="GET") == 3
    assert sample("rate_limiter_duration_seconds_count", verb="GET") == 3
    assert sample("response_size_bytes_sum", verb="GET") == 2 * len(json.dumps(THING))


async def test_looking_up_the_servers_name_is_measured(api, authority):
    registry = new_registry()
    url = api.url.replace("127.0.0.1", "localhost")
    tls = TLSConfig(ca=authority.ca, server_name="127.0.0.1")
    metrics = PrometheusRestMetrics(registry)
    async with Client(RestConfig(url, tls=tls), user_agent="test/1", metrics=metrics) as client:
        await client.get(JOBS, "ns", "a")
        await client.get(JOBS, "ns", "a")
    labels = {"host": f"localhost:{api.port}"}
    count = "rest_client_dns_resolution_duration_seconds_count"
    assert registry.get_sample_value(count, labels) == 1


async def test_a_large_body_arrives_whole(client, api):
    body = {"metadata": {"name": "thing"}, "data": "x" * 2_000_000}
    await client.update(JOBS, "ns", "a", body)
    assert json.loads(api.asked[0].body) == body
