import asyncio
from time import thread_time

import pytest

from kubetask_controller.runtime import eventloop
from kubetask_controller.runtime.informer import (
    CacheNotStartedError,
    Informer,
    InformerOptions,
)
from support.runtime.script import RUNS, Counts, Recorder, added, deleted, modified, obj, view


@pytest.fixture
def metrics():
    return Counts()


@pytest.fixture
def informer(clock, metrics):
    informer = Informer(RUNS, project=view, options=InformerOptions(clock=clock, metrics=metrics))
    informer.start()
    return informer


async def fill(informer, *names, version="10", scope=""):
    store = informer.reflector_store(scope)
    await replace(store, *names, version=version)
    return store


async def replace(store, *names, version="10"):
    temporary = store.temporary()
    for name in names:
        temporary.put(obj(name, 1))
    await store.replace(temporary, version)


def apply(store, event):
    store.apply(event["type"], event["object"])
    store.advance(event["object"]["metadata"]["resourceVersion"])


async def test_handlers_hear_of_every_change_in_order(informer):
    recorder = Recorder()
    informer.add_event_handler(recorder)
    store = await fill(informer, "a")
    for event in (added("b", 11), modified("b", 12), deleted("b", 13), added("b", 14)):
        apply(store, event)
    assert recorder.heard == [
        ("add!", "a"),
        ("add", "b"),
        ("update", "b"),
        ("delete", "b"),
        ("add", "b"),
    ]


async def test_the_store_shows_a_change_when_handlers_hear_of_it(informer):
    seen = []

    class Looks(Recorder):
        def on_add(self, obj, initial):
            seen.append(informer.get("default", obj.name) is obj)

        def on_delete(self, obj, final_state_unknown):
            seen.append(informer.get("default", obj.name) is None)

    informer.add_event_handler(Looks())
    store = await fill(informer, "a")
    apply(store, deleted("a", 11))
    assert seen == [True, True]


async def test_an_event_contradicting_what_is_known_is_told_as_what_it_means(informer):
    recorder = Recorder()
    store = await fill(informer, "a")
    informer.add_event_handler(recorder)
    recorder.take()
    apply(store, added("a", 11))
    apply(store, modified("new", 12))
    apply(store, deleted("never seen", 13))
    assert recorder.heard == [("update", "a"), ("add", "new"), ("delete", "never seen")]


async def test_it_has_synced_only_when_all_handlers_have_been_called(informer):
    synced_at = []

    class Looks(Recorder):
        def on_add(self, obj, initial):
            synced_at.append(informer.has_synced)

    informer.add_event_handler(Looks())
    await fill(informer, "a", "b")
    assert synced_at == [False, False]
    assert informer.has_synced


async def test_it_has_synced_only_when_all_namespaces_have(clock):
    options = InformerOptions(scopes=("one", "two"), clock=clock)
    informer = Informer(RUNS, project=view, options=options)
    await fill(informer, scope="one")
    assert (informer.has_synced, informer.unsynced_scopes) == (False, ["two"])
    await fill(informer, scope="two")
    assert informer.has_synced


async def test_a_late_handler_first_hears_of_everything_there_is(informer):
    store = await fill(informer, "a", "b")
    recorder = Recorder()
    informer.add_event_handler(recorder)
    assert recorder.take() == [("add!", "a"), ("add!", "b")]
    apply(store, deleted("a", 11))
    assert recorder.take() == [("delete", "a")]


async def test_a_removed_handler_hears_nothing_more_and_others_go_on(informer):
    leaver, stayer = Recorder(), Recorder()
    registration = informer.add_event_handler(leaver)
    informer.add_event_handler(stayer)
    store = await fill(informer, "a")
    informer.remove_event_handler(registration)
    informer.remove_event_handler(registration)
    apply(store, deleted("a", 11))
    assert leaver.take() == [("add!", "a")]
    assert stayer.take() == [("add!", "a"), ("delete", "a")]


async def test_handlers_may_come_and_go_while_they_are_called(informer):
    late, recorder = Recorder(), Recorder()

    class Swaps(Recorder):
        def on_add(self, obj, initial):
            super().on_add(obj, initial)
            informer.remove_event_handler(registration)
            informer.add_event_handler(late)

    swaps = Swaps()
    registration = informer.add_event_handler(swaps)
    informer.add_event_handler(recorder)
    await fill(informer, "a", "b")
    assert swaps.heard == [("add!", "a")]
    assert late.heard == recorder.heard == [("add!", "a"), ("add!", "b")]


async def test_a_handler_that_raises_is_counted_and_nobody_misses_anything(informer, metrics):
    class Fails(Recorder):
        def on_add(self, obj, initial):
            super().on_add(obj, initial)
            raise RuntimeError("no")

        on_update = on_delete = lambda self, *_: 1 / 0

    fails, recorder = Fails(), Recorder()
    informer.add_event_handler(fails)
    informer.add_event_handler(recorder)
    store = await fill(informer, "a", "b")
    apply(store, modified("a", 11))
    apply(store, deleted("b", 12))
    assert fails.heard == [("add!", "a"), ("add!", "b")]
    assert recorder.heard == [("add!", "a"), ("add!", "b"), ("update", "a"), ("delete", "b")]
    assert metrics.failures == 4


async def test_only_the_first_list_is_told_as_initial(informer):
    recorder = Recorder()
    informer.add_event_handler(recorder)
    store = await fill(informer, "a")
    await replace(store, "a", "b", version="20")
    assert recorder.heard == [("add!", "a"), ("add", "b")]


async def test_reads_before_the_start_are_refused(clock):
    informer = Informer(RUNS, project=view)
    for read in (
        lambda: informer.get("default", "a"),
        informer.list,
        lambda: informer.by_index("namespace", "default"),
    ):
        with pytest.raises(CacheNotStartedError, match=r"runs\.sample\.example\.com"):
            read()


async def test_the_version_follows_lists_events_deletions_and_bookmarks(informer):
    store = await fill(informer, "a", version="10")
    versions = [informer.resource_version("default")]
    for event in (modified("a", 11), deleted("a", 12)):
        apply(store, event)
        versions.append(informer.resource_version("default"))
    store.advance("20")
    versions.append(informer.resource_version("default"))
    assert versions == ["10", "11", "12", "20"]


async def test_the_version_survives_a_projection_that_drops_it(clock):
    from support.runtime.script import View

    informer = Informer(
        RUNS,
        project=lambda raw: View("default", raw["metadata"]["name"], "", ""),
        options=InformerOptions(clock=clock),
    )
    informer.start()
    store = await fill(informer, "a", version="10")
    apply(store, modified("a", 11))
    assert informer.resource_version("default") == "11"
    # without versions nothing tells that the object has not changed
    recorder = Recorder()
    informer.add_event_handler(recorder)
    await replace(store, "a", version="12")
    assert recorder.heard == [("add!", "a"), ("update", "a")]


async def test_a_resync_tells_of_each_object_with_old_and_new_the_same(informer):
    same = []

    class Looks(Recorder):
        def on_update(self, old, new):
            same.append(old is new)

    informer.add_event_handler(Looks())
    await fill(informer, "a", "b")
    await informer.resync()
    assert same == [True, True]


async def test_statistics_tell_how_long_nothing_was_heard(informer, clock, metrics):
    look = metrics.statistics[informer.name]
    assert (look().synced, look().last_event_age, look().resource_version) == (False, None, "")
    store = await fill(informer, "a")
    clock.stall(30)
    assert (look().synced, look().objects, look().last_event_age) == (True, 1, 30)
    store.advance("11")
    assert (look().last_event_age, look().resource_version) == (0, "11")


async def test_a_large_list_is_delivered_without_holding_up_the_event_loop(informer):
    class Slow(Recorder):
        def on_add(self, obj, initial):
            until = thread_time() + 0.001
            while thread_time() < until:
                pass

    informer.add_event_handler(Slow())
    # Time of this thread alone: how busy the machine is says nothing.
    longest, last = 0.0, thread_time()

    async def heartbeat():
        nonlocal longest, last
        while True:
            await asyncio.sleep(0)
            longest, last = max(longest, thread_time() - last), thread_time()

    beat = asyncio.create_task(heartbeat())
    await asyncio.sleep(0)
    await fill(informer, *(f"o{i}" for i in range(200)))
    beat.cancel()
    await asyncio.gather(beat, return_exceptions=True)
    assert longest < 0.1


async def test_following_a_large_informer_lets_everything_else_run(informer, monkeypatch):
    monkeypatch.setattr(eventloop, "SLICE", 0.0)
    names = [f"thing-{i}" for i in range(10)]
    store = await fill(informer, *names)
    recorder = Recorder()
    following, turns = asyncio.create_task(informer.follow(recorder)), 0
    while not following.done():
        await asyncio.sleep(0)
        turns += 1
        if turns == 3:
            # What changes meanwhile is distributed as a change, and as new all the same; what goes is not new.
            apply(store, modified("thing-8", 20))
            apply(store, deleted("thing-9", 21))
    assert turns > 8
    assert [x for x in recorder.heard if x[0] == "add!"] == [("add!", name) for name in names[:9]]
    assert [x for x in recorder.heard if x[0] != "add!"] == [
        ("update", "thing-8"),
        ("delete", "thing-9"),
    ]


async def test_following_that_is_cancelled_leaves_no_handler(informer, monkeypatch):
    monkeypatch.setattr(eventloop, "SLICE", 0.0)
    store = await fill(informer, *(f"thing-{i}" for i in range(10)))
    recorder = Recorder()
    following = asyncio.create_task(informer.follow(recorder))
    await asyncio.sleep(0)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    count = len(recorder.heard)
    apply(store, added("new", 30))
    assert len(recorder.heard) == count < 10
