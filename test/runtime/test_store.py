import pytest

from kubetask_controller.runtime.store import (
    NAMESPACE_INDEX,
    DuplicateIndexError,
    Store,
    UnknownIndexError,
)
from support.runtime.script import View


def thing(name, version="1", *, namespace="ns", uid=None, color=""):
    return View(namespace, name, uid or f"uid-{name}", version, color)


def colors(obj):
    return obj.color.split("+") if obj.color else ()


def names(objects):
    return [o.name for o in objects]


@pytest.fixture
def store():
    return Store({"color": colors})


def test_an_object_is_found_by_name_and_namespace(store):
    store.put("", thing("a"))
    assert store.get("ns", "a").name == "a"
    assert store.get("other", "a") is None
    assert len(store) == 1


def test_objects_of_a_namespace_are_listed_by_the_index_that_every_store_has(store):
    store.put("", thing("a"))
    store.put("", thing("b", namespace="other"))
    assert names(store.list()) == ["a", "b"]
    assert names(store.list("other")) == names(store.by_index(NAMESPACE_INDEX, "other")) == ["b"]


def test_an_object_may_stand_under_several_values(store):
    store.put("", thing("a", color="red+blue"))
    store.put("", thing("b", color="blue"))
    assert names(store.by_index("color", "blue")) == ["a", "b"]
    assert names(store.by_index("color", "red")) == ["a"]


def test_an_update_moves_an_object_between_values(store):
    store.put("", thing("a", color="red+blue"))
    store.put("", thing("a", color="blue+green"))
    found = {c: names(store.by_index("color", c)) for c in ("red", "blue", "green")}
    assert found == {"red": [], "blue": ["a"], "green": ["a"]}


def test_an_object_that_gives_a_value_twice_stands_there_once(store):
    store.put("", thing("a", color="red+red"))
    assert names(store.by_index("color", "red")) == ["a"]
    store.put("", thing("a", color="blue"))
    assert names(store.by_index("color", "red")) == []


def test_a_removed_object_leaves_no_trace_in_the_indexes(store):
    shard = store.new_shard()
    shard.put(thing("a", color="red+blue"))
    shard.remove("ns", "a")
    assert list(shard.index_values("color")) == list(shard.index_values(NAMESPACE_INDEX)) == []


def test_an_index_added_late_covers_what_is_there_and_what_is_on_its_way(store):
    store.put("", thing("a", color="red"))
    shard = store.new_shard()
    shard.put(thing("b", color="blue"))
    store.add_index("first letter", lambda o: [o.color[:1]])
    assert names(store.by_index("first letter", "r")) == ["a"]
    store.replace("", shard, "9")
    assert names(store.by_index("first letter", "b")) == ["b"]


def test_two_indexes_of_one_name_are_refused(store):
    with pytest.raises(DuplicateIndexError):
        store.add_index("color", colors)
    with pytest.raises(DuplicateIndexError):
        store.add_index(NAMESPACE_INDEX, colors)


def test_an_unknown_index_is_an_error_and_an_unknown_value_is_not(store):
    assert store.by_index("color", "none") == []
    with pytest.raises(UnknownIndexError):
        store.by_index("shape", "round")


def test_a_draft_is_not_seen_before_it_takes_over(store):
    store.put("", thing("a", color="red"))
    shard = store.new_shard()
    shard.put(thing("b", color="red"))
    assert names(store.by_index("color", "red")) == ["a"]
    changes = store.replace("", shard, "9")
    assert names(store.by_index("color", "red")) == ["b"]
    assert (names(changes.deleted), names(changes.added), changes.updated) == (["a"], ["b"], [])


def test_a_new_list_updates_what_differs_in_version_or_uid_and_nothing_else(store):
    for name in ("same", "newer", "other"):
        store.put("", thing(name))
    same = store.get("ns", "same")
    shard = store.new_shard()
    for obj in (thing("same"), thing("newer", "2"), thing("other", uid="another")):
        shard.put(obj)
    changes = store.replace("", shard, "9")
    assert [new.name for _, new in changes.updated] == ["newer", "other"]
    assert store.get("ns", "same") is same


def test_scopes_are_replaced_one_by_one_and_read_together():
    store = Store({"color": colors}, scopes=("one", "two"))
    store.put("one", thing("a", namespace="one", color="red"))
    store.put("two", thing("b", namespace="two", color="red"))
    assert names(store.by_index("color", "red")) == ["a", "b"]
    store.replace("one", store.new_shard(), "9")
    assert names(store.list()) == ["b"]
    assert (store.resource_version("one"), store.resource_version("two")) == ("9", "")
    assert store.get("three", "c") is None
