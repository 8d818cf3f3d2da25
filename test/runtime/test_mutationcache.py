"""A reader that shows our own writes before the watch does, and forgets them once the watch has come as far."""

from dataclasses import dataclass

import pytest

from kubetask_controller.client.resources import JOBS
from kubetask_controller.runtime.informer import Informer, InformerOptions, ReflectorStore
from kubetask_controller.runtime.mutationcache import MutationCache


@dataclass(frozen=True)
class View:
    namespace: str
    name: str
    uid: str
    resource_version: str
    color: str = ""


def view(version, name="a", *, uid="u-a", color="", namespace="ns"):
    return View(namespace, name, uid, str(version), color)


def _project(raw):
    metadata = raw["metadata"]
    return View("ns", metadata["name"], metadata["uid"], metadata["resourceVersion"], raw["color"])


class StillClock:
    def monotonic(self):
        return 0.0


class Below:
    """The informer, moved by hand."""

    def __init__(self):
        indexers = {"color": lambda x: (x.color,) if x.color else ()}
        self.informer = Informer(
            JOBS, project=_project, indexers=indexers, options=InformerOptions(clock=StillClock())
        )
        self.informer.start()
        self.cache = MutationCache(self.informer, indexers)
        self._store: ReflectorStore[View] = self.informer.reflector_store("")
        self.bookmark(1)

    def bookmark(self, version):
        self._store.advance(str(version))

    def event(self, kind, obj):
        metadata = {"namespace": "ns", "name": obj.name, "uid": obj.uid}
        metadata["resourceVersion"] = obj.resource_version
        self._store.apply(kind, {"metadata": metadata, "color": obj.color})
        self.bookmark(obj.resource_version)


@pytest.fixture
def below():
    return Below()


@pytest.fixture
def cache(below):
    return below.cache


def test_without_writes_the_cache_below_is_shown(below, cache):
    below.event("ADDED", view(5, color="red"))
    assert cache.get("ns", "a") == view(5, color="red")
    assert (
        cache.list() == cache.list("ns") == cache.by_index("color", "red") == [view(5, color="red")]
    )
    assert (len(cache), cache.pending, cache.resource_version("ns")) == (1, 0, "5")
    assert cache.informer is below.informer


def test_a_created_object_is_shown_before_the_watch_shows_it(cache):
    cache.mutated(view(9, color="red"))
    assert cache.get("ns", "a") == view(9, color="red")
    assert cache.by_index("color", "red") == cache.list("ns") == [view(9, color="red")]
    assert cache.by_index("color", "blue") == []


def test_a_changed_object_is_found_under_its_new_value_alone(below, cache):
    below.event("ADDED", view(5, color="red"))
    cache.mutated(view(9, color="blue"))
    assert cache.by_index("color", "red") == []
    assert cache.by_index("color", "blue") == [view(9, color="blue")]
    assert cache.list() == [view(9, color="blue")]


@pytest.mark.parametrize("late", [9, 10])
def test_the_watch_takes_over_once_it_has_come_as_far(below, cache, late):
    below.event("ADDED", view(5))
    cache.mutated(view(9, color="ours"))
    below.event("MODIFIED", view(7, color="between"))
    assert cache.get("ns", "a") == view(9, color="ours")
    below.event("MODIFIED", view(late, color="theirs"))
    assert cache.get("ns", "a") == view(late, color="theirs")
    assert cache.pending == 0


def test_an_older_version_hides_no_newer_one(below, cache):
    below.event("ADDED", view(9))
    cache.mutated(view(5, color="old"))
    assert (cache.get("ns", "a"), cache.pending) == (view(9), 0)
    cache.mutated(view(12))
    cache.mutated(view(11))
    assert cache.get("ns", "a") == view(12)


def test_resource_versions_are_compared_as_numbers(below, cache):
    below.event("ADDED", view(99))
    cache.mutated(view(100, color="newer"))
    assert cache.get("ns", "a") == view(100, color="newer")


def test_versions_that_cannot_be_compared_leave_the_cache_below(below, cache):
    below.event("ADDED", view(9))
    cache.mutated(view("x"))
    assert cache.get("ns", "a") == view(9)


def test_an_object_that_was_created_and_deleted_since_disappears(below, cache):
    cache.mutated(view(9))
    below.bookmark(8)
    assert cache.get("ns", "a") == view(9)
    below.bookmark(9)
    assert (cache.get("ns", "a"), cache.list()) == (None, [])


def test_an_object_that_a_live_read_did_not_find_is_hidden(below, cache):
    below.event("ADDED", view(5, color="red"))
    cache.not_found(view(5))
    assert cache.get("ns", "a") is None
    assert cache.list() == cache.by_index("color", "red") == []
    below.event("DELETED", view(8))
    assert cache.pending == 0


def test_an_object_recreated_under_its_name_is_not_hidden_by_the_old_one(below, cache):
    below.event("ADDED", view(5))
    cache.not_found(view(5))
    cache.mutated(view(9, uid="u-b"))
    assert cache.get("ns", "a") == view(9, uid="u-b")
    below.event("DELETED", view(8))
    assert cache.get("ns", "a") == view(9, uid="u-b")
    below.event("ADDED", view(9, uid="u-b"))
    assert (cache.get("ns", "a"), cache.pending) == (view(9, uid="u-b"), 0)


def test_a_recreation_that_comes_as_one_event_ends_the_hiding(below, cache):
    below.event("ADDED", view(5))
    cache.not_found(view(5))
    below.event("MODIFIED", view(9, uid="u-b"))
    assert (cache.get("ns", "a"), cache.pending) == (view(9, uid="u-b"), 0)


def test_a_write_of_an_object_that_is_gone_is_forgotten(below, cache):
    below.event("ADDED", view(5))
    cache.mutated(view(7))
    cache.not_found(view(7))
    assert cache.get("ns", "a") is None
    cache.mutated(view(7, "b", uid="u-b"))
    below.event("ADDED", view(8, "b", uid="u-b"))
    below.event("DELETED", view(9, "b", uid="u-b"))
    assert cache.get("ns", "b") is None


def test_nothing_is_hidden_that_the_cache_does_not_show(cache):
    cache.not_found(view(5))
    assert cache.pending == 0


def test_what_nobody_asks_for_any_more_is_dropped_with_later_events(below, cache):
    for number in range(20):
        cache.mutated(view(10 + number, f"a{number}", uid=f"u{number}"))
    assert cache.pending == 20
    for number in range(10):
        below.event("MODIFIED", view(100 + number, "other", uid="u-o"))
    assert cache.pending == 0
