"""Each kind of fault, over real HTTPS with a plain client."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from devcluster.process import DevClusterProcess
from faults_lab import CONFIG_MAPS, FAULTS, FaultsLab, faults_lab


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[FaultsLab]:
    async with faults_lab(tmp_path) as lab:
        yield lab


# --- requests


async def test_latency_makes_requests_wait(lab: FaultsLab) -> None:
    await lab.admin.inject("latency", seconds=0.3, verbs=["create"])
    began = time.monotonic()
    assert (await lab.admin.make("a")).code == 201
    assert time.monotonic() - began >= 0.3
    began = time.monotonic()
    assert await lab.admin.exists("a")
    assert time.monotonic() - began < 0.3


async def test_a_lost_response_leaves_the_write_and_no_answer(lab: FaultsLab) -> None:
    await lab.admin.inject("lost-response", verbs=["create"], resources=["configmaps"], count=1)
    with pytest.raises(aiohttp.ClientError):
        await lab.admin.make("a")
    assert (await lab.admin.make("a")).body["reason"] == "AlreadyExists"


async def test_a_conflict_stands_in_place_of_the_write(lab: FaultsLab) -> None:
    await lab.admin.make("a")
    await lab.admin.inject("conflict", verbs=["update"], count=1)
    update = {"metadata": {"name": "a"}, "data": {"k": "v"}}
    answer = await lab.admin.call("PUT", f"{CONFIG_MAPS}/a", update)
    assert (answer.code, answer.body["reason"]) == (409, "Conflict")
    assert "the object has been modified" in answer.body["message"]
    assert "data" not in (await lab.admin.call("GET", f"{CONFIG_MAPS}/a")).body
    assert (await lab.admin.call("PUT", f"{CONFIG_MAPS}/a", update)).code == 200


async def test_too_many_requests_say_when_to_come_back(lab: FaultsLab) -> None:
    await lab.admin.inject("too-many-requests", retryAfter=7, verbs=["create"])
    answer = await lab.admin.make("a")
    assert (answer.code, answer.headers["Retry-After"]) == (429, "7")
    assert answer.body == "Too many requests, please try again later.\n"
    assert not await lab.admin.exists("a")


@pytest.mark.parametrize(
    ("code", "reason"),
    [(500, "InternalError"), (503, "ServiceUnavailable"), (504, "Timeout")],
)
async def test_a_server_error_is_worded_as_the_server_words_it(
    lab: FaultsLab, code: int, reason: str
) -> None:
    await lab.admin.inject("server-error", code=code, verbs=["create"])
    answer = await lab.admin.make("a")
    assert (answer.code, answer.body["reason"]) == (code, reason)
    assert not await lab.admin.exists("a")


async def test_a_server_error_may_hide_a_write_that_was_carried_out(lab: FaultsLab) -> None:
    await lab.admin.inject("server-error", code=504, carriedOut=True, verbs=["create"])
    assert (await lab.admin.make("a")).code == 504
    assert await lab.admin.exists("a")


async def test_a_refused_request_is_not_carried_out(lab: FaultsLab) -> None:
    await lab.admin.inject("refused", verbs=["create"])
    with pytest.raises(aiohttp.ClientError):
        await lab.admin.make("a")
    assert not await lab.admin.exists("a")


# --- watches


async def test_watches_are_closed_those_that_run_and_those_to_come(lab: FaultsLab) -> None:
    async with lab.admin.watch() as running:
        fault = await lab.admin.inject("closed-watch", resources=["configmaps"])
        assert await running.next() is None
    async with lab.admin.watch() as later:
        assert await later.next() is None
    await lab.admin.clear(fault)
    async with lab.admin.watch() as spared:
        await lab.admin.make("a")
        assert await spared.names(1) == ["a"]


async def test_a_watch_can_be_cut_after_a_while(lab: FaultsLab) -> None:
    await lab.admin.inject("closed-watch", mode="cut", seconds=0.3)
    async with lab.admin.watch() as stream:
        await lab.admin.make("a")
        assert await stream.names(1) == ["a"]
        with pytest.raises(aiohttp.ClientError):
            await stream.next()


async def test_a_silent_watch_says_nothing_until_it_is_healed(lab: FaultsLab) -> None:
    async with lab.admin.watch() as silent:
        fault = await lab.admin.inject("silent-watch", count=1)
        async with lab.admin.watch() as other:
            await lab.admin.make("a")
            assert await other.names(1) == ["a"]
        assert await silent.is_quiet()
        await lab.admin.clear(fault)
        assert await silent.names(1) == ["a"]


async def test_a_silent_watch_does_not_end_either(lab: FaultsLab) -> None:
    await lab.admin.inject("silent-watch")
    async with lab.admin.watch("timeoutSeconds=1&allowWatchBookmarks=true") as stream:
        with pytest.raises(TimeoutError):
            await stream.next(1.5)


async def test_a_lagging_watch_is_late_and_in_order(lab: FaultsLab) -> None:
    await lab.admin.inject("lagging-watch", seconds=0.4)
    async with lab.admin.watch() as stream:
        began = time.monotonic()
        await lab.admin.make("b")
        await asyncio.sleep(0.2)
        await lab.admin.make("a")
        assert await stream.names(1) == ["b"]
        assert 0.4 <= time.monotonic() - began < 0.6
        assert await stream.names(1) == ["a"]
        assert time.monotonic() - began >= 0.6


async def test_a_compacted_history_is_expired(lab: FaultsLab) -> None:
    await lab.admin.make("a")
    page = await lab.admin.call("GET", "/api/v1/namespaces?limit=1")
    await lab.admin.make("later")
    async with lab.admin.watch() as current:
        await lab.admin.inject("compact")
        async with lab.admin.watch("resourceVersion=1") as stream:
            event = await stream.next()
            assert event is not None
            assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
            assert await stream.next() is None
        # A watch that keeps up continues, as with etcd.
        await lab.admin.make("b")
        assert await current.names(1) == ["b"]
    token = page.body["metadata"]["continue"]
    answer = await lab.admin.call("GET", f"/api/v1/namespaces?limit=1&continue={token}")
    assert (answer.code, answer.body["reason"]) == (410, "Expired")


async def test_a_watch_that_lags_behind_a_compaction_ends_with_an_error(lab: FaultsLab) -> None:
    async with lab.admin.watch() as stream:
        fault = await lab.admin.inject("silent-watch")
        await lab.admin.make("a")
        await lab.admin.inject("compact")
        await lab.admin.clear(fault)
        event = await stream.next()
        assert event is not None
        assert (event["type"], event["object"]["reason"]) == ("ERROR", "Expired")


# --- the whole server


@pytest.mark.parametrize("lose_history", [False, True])
async def test_a_restart_cuts_all_and_refuses_until_it_is_back(
    lab: FaultsLab, lose_history: bool
) -> None:
    listed = await lab.admin.call("GET", CONFIG_MAPS)
    await lab.admin.make("a")
    async with lab.other.watch() as stream:
        await lab.admin.inject("restart", downSeconds=0.3, loseHistory=lose_history)
        with pytest.raises(aiohttp.ClientError):
            await stream.next()
    with pytest.raises(aiohttp.ClientConnectorError):
        await lab.admin.exists("a")
    await _until_back(lab)
    assert await lab.admin.exists("a")
    version = listed.body["metadata"]["resourceVersion"]
    async with lab.admin.watch(f"resourceVersion={version}") as stream:
        event = await stream.next()
        assert event is not None
        assert event["type"] == ("ERROR" if lose_history else "ADDED")


async def _until_back(lab: FaultsLab) -> None:
    async with asyncio.timeout(5):
        while True:
            try:
                await lab.admin.exists("a")
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.02)
            else:
                return


async def test_the_wall_clock_steps_and_delays_do_not(lab: FaultsLab) -> None:
    await lab.admin.inject("step-clock", seconds=3600)
    made = (await lab.admin.make("a")).body["metadata"]["creationTimestamp"]
    ahead = datetime.fromisoformat(made) - datetime.now(UTC)
    assert timedelta(minutes=59) < ahead < timedelta(minutes=61)
    async with lab.admin.watch("resourceVersion=1") as stream:
        assert await stream.names(1)  # history is kept by what has passed, not by the wall clock
    await lab.admin.inject("step-clock", seconds=-7200)
    shown = (await lab.admin.call("GET", FAULTS)).body
    assert shown["clockOffset"] == -3600


async def test_a_partitioned_user_hangs_until_it_is_healed(lab: FaultsLab) -> None:
    async with lab.other.watch() as stream:
        fault = await lab.admin.inject("partition", users=["other"])
        hanging = asyncio.create_task(lab.other.make("a"))
        await lab.admin.make("b")
        assert await stream.is_quiet()
        assert not hanging.done()
        assert not await lab.admin.exists("a")
        await lab.admin.clear(fault)
        assert (await hanging).code == 201
        assert await stream.names(2) == ["b", "a"]


async def test_a_partition_may_refuse(lab: FaultsLab) -> None:
    async with lab.other.watch() as stream:
        await lab.admin.inject("partition", users=["other"], mode="refuse")
        with pytest.raises(aiohttp.ClientError):
            await stream.next()
    with pytest.raises(aiohttp.ClientError):
        await lab.other.make("a")
    assert (await lab.admin.make("a")).code == 201


# --- rules


async def test_a_rule_concerns_only_what_it_names(lab: FaultsLab) -> None:
    for wanted in (
        {"verbs": ["delete"]},
        {"resources": ["secrets", "configmaps/status"]},
        {"namespaces": ["kube-*"]},
        {"names": ["b*"]},
        {"users": ["other"]},
        {"userAgents": ["kubectl/*"]},
    ):
        await lab.admin.inject("server-error", **wanted)
    assert (await lab.admin.make("a")).code == 201
    assert (await lab.other.make("c")).code == 500
    await lab.admin.inject("server-error", userAgents=["Python/*"], resources=["configmap?"])
    assert (await lab.admin.make("c")).code == 500


async def test_a_rule_counts_and_may_skip(lab: FaultsLab) -> None:
    await lab.admin.inject("server-error", verbs=["create"], skip=1, count=2)
    codes = [(await lab.admin.make(f"x{i}")).code for i in range(5)]
    assert codes == [201, 500, 500, 201, 201]
    shown = (await lab.admin.call("GET", FAULTS)).body
    assert shown["injected"] == {"server-error": 2}
    assert [(x["matched"], x["injected"]) for x in shown["rules"]] == [(5, 2)]


async def test_the_same_seed_brings_the_same_faults(tmp_path: Path) -> None:
    async def fates(directory: str, seed: int) -> list[int]:
        async with faults_lab(tmp_path / directory, seed=seed) as lab:
            await lab.admin.inject("server-error", verbs=["create"], probability=0.5)
            return [(await lab.admin.make(f"x{i}")).code for i in range(24)]

    first = await fates("a", 7)
    assert set(first) == {201, 500}
    assert await fates("b", 7) == first
    assert await fates("c", 8) != first


BAD_RULES: list[tuple[dict[str, object], str]] = [
    ({"kind": "earthquake"}, "kind: must be one of latency, "),
    ({"kind": "latency", "secs": 1}, "unknown fields: secs"),
    ({"kind": "latency", "verbs": "create"}, "verbs: must be a list of strings"),
    ({"kind": "latency", "probability": 2}, "probability: must be between 0 and 1"),
    ({"kind": "latency", "mode": "hang"}, "mode: must be one of none"),
    ({"kind": "server-error", "code": 404}, "code: must be between 500 and 599"),
    ({"kind": "step-clock"}, "seconds: must be a number"),
]


async def test_a_rule_that_makes_no_sense_is_refused(lab: FaultsLab) -> None:
    for rule, why in BAD_RULES:
        answer = await lab.admin.call("POST", FAULTS, rule)
        assert answer.code == 400
        assert why in answer.body["message"]


async def test_only_masters_make_faults(lab: FaultsLab) -> None:
    plain = lab.user(lab.kubeconfig("plain"))
    for method in ("GET", "POST", "DELETE"):
        assert (await plain.call(method, FAULTS, {"kind": "compact"})).code == 403


# --- from another process


@pytest.mark.slow
def test_tests_make_faults_by_blocking_calls(tmp_path: Path) -> None:
    with DevClusterProcess(tmp_path, seed=3) as cluster:
        faults, api = cluster.faults, cluster.connection
        assert faults.status()["seed"] == 3
        body = {"metadata": {"name": "a"}}
        with faults.inject("lost-response", verbs=["create"], count=1) as fault:
            with pytest.raises(OSError):  # noqa: PT011 - whichever way a cut connection shows
                api.post(CONFIG_MAPS, body)
            fault.wait_injected()
            assert api.get(f"{CONFIG_MAPS}/a")
        with faults.partition(user="kubernetes-admin", mode="refuse"), pytest.raises(OSError):  # noqa: PT011
            api.get(CONFIG_MAPS)
        assert faults.compact() > 1
        faults.restart(down_seconds=0.2)
        assert api.get(f"{CONFIG_MAPS}/a")
        assert faults.step_clock(60) == 60
        faults.inject("latency", seconds=0.01)
        faults.clear()
        assert faults.status()["rules"] == []
