import asyncio
from contextlib import asynccontextmanager

import pytest

from kubetask_controller.client.resources import JOBS, NAMESPACES
from kubetask_controller.runtime.cache import (
    Cache,
    CacheSyncTimeoutError,
    DuplicateInformerError,
)
from kubetask_controller.runtime.informer import CacheNotStartedError
from support.runtime.memoryapi import MemoryAPI
from support.runtime.script import RUNS, Recorder, obj, view


@pytest.fixture
def api():
    return MemoryAPI()


@pytest.fixture
def client(api):
    return api.client()


@pytest.fixture
def cache(client, clock):
    return Cache(client, clock=clock, sync_period=None)


@asynccontextmanager
async def running(cache, clock):
    task = asyncio.create_task(cache.run())
    await clock.settle()
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_cache_shows_what_there_is_and_follows_it(api, cache, clock):
    api.put(RUNS, obj("a", 1))
    runs = cache.informer(RUNS, project=view, indexers={"color": lambda run: (run.color,)})
    async with running(cache, clock):
        await clock.run(cache.wait_for_sync(5))
        api.put(RUNS, obj("b", 2, color="red"))
        await clock.settle()
        assert sorted(run.name for run in runs.list()) == ["a", "b"]
        assert [run.name for run in runs.by_index("color", "red")] == ["b"]
        api.remove(RUNS, "default", "a")
        await clock.settle()
        assert runs.get("default", "a") is None


async def test_a_cache_that_was_not_started_is_not_read(cache):
    runs = cache.informer(RUNS, project=view)
    with pytest.raises(CacheNotStartedError, match=r"runs\.sample\.example\.com"):
        runs.list()


async def test_a_resource_is_watched_once(cache):
    cache.informer(RUNS, project=view)
    with pytest.raises(DuplicateInformerError):
        cache.informer(RUNS, project=view)
    cache.informer(JOBS, project=view)
    assert list(cache.informers) == ["runs.sample.example.com", "jobs.batch"]


async def test_who_waits_is_told_who_is_late(client, cache, clock):
    cache.informer(RUNS, project=view)
    client.connection.heard.clear()
    async with running(cache, clock):
        assert not cache.has_synced
        with pytest.raises(CacheSyncTimeoutError, match=r"after 5 s: runs\.sample\.example\.com"):
            await clock.run(cache.wait_for_sync(5))
        client.connection.heard.set()
        await clock.run(cache.wait_for_sync())
        assert cache.unsynced() == []


async def test_namespaces_that_are_late_are_named_one_by_one(client, clock):
    cache = Cache(client, namespaces=["one", "two", "one"], clock=clock)
    cache.informer(RUNS, project=view)
    cache.informer(NAMESPACES, project=view)
    assert cache.unsynced() == [
        "runs.sample.example.com in one",
        "runs.sample.example.com in two",
        "namespaces",
    ]


async def test_every_object_is_told_again_once_in_a_while(api, client, clock):
    cache = Cache(client, clock=clock, sync_period=3600, random=lambda: 0.5)
    api.put(RUNS, obj("a", 1))
    runs, recorder = cache.informer(RUNS, project=view), Recorder()
    runs.add_event_handler(recorder)
    async with running(cache, clock):
        assert recorder.take() == [("add!", "a")]
        await clock.advance(3599)
        assert recorder.take() == []
        await clock.advance(1)
        assert recorder.take() == [("update", "a")]


async def test_a_bug_in_an_index_ends_the_cache(api, cache, clock):
    api.put(RUNS, obj("a", 1))
    cache.informer(RUNS, project=view, indexers={"bad": lambda run: (1 / 0,)})
    async with running(cache, clock) as task:
        with pytest.raises(ZeroDivisionError):
            await task
