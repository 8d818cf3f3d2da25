import pytest

from kubetask_controller.runtime.consistency import ConsistencyStore, StaleCacheError
from kubetask_controller.runtime.meta import (
    MalformedResourceVersionError,
    compare,
    oldest,
)

JOBS = "jobs.batch"


class At:
    def __init__(self, version):
        self.version = version

    def resource_version(self, namespace):
        return self.version


@pytest.fixture
def jobs():
    return At("100")


@pytest.fixture
def store(jobs):
    return ConsistencyStore({JOBS: jobs})


def test_an_owner_for_whom_nothing_was_written_is_ready(store):
    assert store.ready("ns/run", "u1")


def test_an_owner_waits_until_the_cache_has_seen_what_was_written(store, jobs):
    store.wrote_at("ns/run", "u1", JOBS, "ns", "105")
    with pytest.raises(StaleCacheError, match=r"jobs\.batch is at 100, our last write at 105"):
        store.ensure_ready("ns/run", "u1")
    assert store.ready("ns/other", "u2")
    jobs.version = "104"
    assert not store.ready("ns/run", "u1")
    jobs.version = "105"
    assert store.ready("ns/run", "u1")
    assert len(store) == 0


def test_the_newest_of_several_writes_counts(store, jobs):
    for version in ("99", "120", "110"):
        store.wrote_at("ns/run", "u1", JOBS, "ns", version)
    jobs.version = "119"
    assert not store.ready("ns/run", "u1")
    jobs.version = "120"
    assert store.ready("ns/run", "u1")


def test_every_cache_that_was_written_to_must_have_caught_up():
    jobs, runs = At("100"), At("100")
    store = ConsistencyStore({JOBS: jobs, "runs": runs})
    store.wrote_at("ns/run", "u1", JOBS, "ns", "101")
    store.wrote_at("ns/run", "u1", "runs", "ns", "102")
    jobs.version = "200"
    with pytest.raises(StaleCacheError) as stale:
        store.ensure_ready("ns/run", "u1")
    assert stale.value.informer == "runs"


def test_an_owner_made_anew_does_not_wait_for_what_its_predecessor_wrote(store):
    store.wrote_at("ns/run", "u1", JOBS, "ns", "105")
    assert store.ready("ns/run", "u2")
    store.wrote_at("ns/run", "u2", JOBS, "ns", "110")
    assert not store.ready("ns/run", "u2")


def test_a_new_owner_replaces_what_was_noted_for_the_old_one(store, jobs):
    store.wrote_at("ns/run", "u1", JOBS, "ns", "500")
    store.wrote_at("ns/run", "u2", JOBS, "ns", "101")
    jobs.version = "101"
    assert store.ready("ns/run", "u2")


def test_a_cleared_owner_waits_for_nothing(store):
    store.wrote_at("ns/run", "u1", JOBS, "ns", "105")
    store.clear("ns/run")
    store.clear("ns/never")
    assert store.ready("ns/run", "u1")


@pytest.mark.parametrize(("has", "wrote"), [("", "105"), ("100", ""), ("1a", "105"), ("0", "0105")])
def test_versions_that_cannot_be_compared_hold_nobody_up(has, wrote):
    store = ConsistencyStore({JOBS: At(has)})
    store.wrote_at("ns/run", "u1", JOBS, "ns", wrote)
    assert store.ready("ns/run", "u1")


def test_an_unknown_cache_holds_nobody_up(store):
    store.wrote_at("ns/run", "u1", "pods", "ns", "105")
    assert store.ready("ns/run", "u1")


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [("9", "10", -1), ("10", "9", 1), ("10", "10", 0), ("18446744073709551616", "2", 1)],
)
def test_versions_compare_as_numbers_of_any_size(a, b, expected):
    assert compare(a, b) == expected


@pytest.mark.parametrize("bad", ["", "0", "01", "-1", "1.0", "abc", "٣"])
def test_what_is_no_number_cannot_be_compared(bad):
    with pytest.raises(MalformedResourceVersionError):
        compare(bad, "1")
    with pytest.raises(MalformedResourceVersionError):
        compare("1", bad)


def test_the_oldest_version_is_unknown_as_long_as_one_is():
    assert oldest(["12", "9", "100"]) == "9"
    assert oldest(["12", ""]) == ""
