from dataclasses import dataclass, field

import pytest

from kubetask_controller.runtime.handler import (
    EnqueueRequests,
    InformerSource,
    Predicate,
    enqueue_owner,
    enqueue_self,
    generation_changed,
)
from kubetask_controller.runtime.informer import Informer
from kubetask_controller.runtime.meta import (
    AlreadyOwnedError,
    OwnerReference,
    controller_of,
    set_controller_reference,
)
from kubetask_controller.runtime.reconcile import Request
from kubetask_controller.runtime.workqueue import DEFAULT_PRIORITY, LOW_PRIORITY
from support.runtime.script import RUNS, obj, view

RUN = OwnerReference("sample.example.com/v1alpha1", "Run", "r1", "u1")


@dataclass(frozen=True)
class Thing:
    name: str = "a"
    namespace: str = "ns"
    uid: str = "u"
    resource_version: str = "1"
    generation: int = 1
    labels: dict = field(default_factory=dict)
    annotations: dict = field(default_factory=dict)
    owner: OwnerReference | None = None


class Queue:
    """Remembers what is put into it."""

    def __init__(self):
        self.put = []

    def add(self, request, *, priority):
        self.put.append((request.name, priority, 0))

    def add_after(self, request, delay, *, priority):
        self.put.append((request.name, priority, delay))


@pytest.fixture
def queue():
    return Queue()


def handler(queue, *, mapping=enqueue_self, predicate=None, delay=0.0):
    return EnqueueRequests(queue, mapping, predicate or Predicate(), delay)


def test_a_new_object_is_reconciled(queue):
    handler(queue).on_add(Thing(), False)
    assert queue.put == [("a", DEFAULT_PRIORITY, 0)]


def test_what_was_there_before_waits_behind_what_changes(queue):
    handler(queue).on_add(Thing(), True)
    assert queue.put == [("a", LOW_PRIORITY, 0)]


@pytest.mark.parametrize("same_object", [True, False])
def test_a_resync_waits_behind_what_changes(queue, same_object):
    old = Thing()
    handler(queue).on_update(old, old if same_object else Thing())
    assert queue.put == [("a", LOW_PRIORITY, 0)]


def test_a_change_is_reconciled_once(queue):
    handler(queue).on_update(Thing(), Thing(resource_version="2"))
    assert queue.put == [("a", DEFAULT_PRIORITY, 0)]


def test_a_deletion_is_reconciled_whether_or_not_the_last_state_is_known(queue):
    handler(queue).on_delete(Thing(), False)
    handler(queue).on_delete(Thing("b"), True)
    assert queue.put == [("a", DEFAULT_PRIORITY, 0), ("b", DEFAULT_PRIORITY, 0)]


def test_when_an_object_changes_hands_both_owners_are_reconciled(queue):
    old = Thing(owner=RUN)
    new = Thing(
        owner=OwnerReference("sample.example.com/v2", "Run", "r2", "u2"), resource_version="2"
    )
    handler(queue, mapping=enqueue_owner("Run", "sample.example.com")).on_update(old, new)
    assert [name for name, _, _ in queue.put] == ["r1", "r2"]


def test_changes_that_are_gathered_are_delayed(queue):
    delayed = handler(queue, delay=0.25)
    delayed.on_add(Thing(), False)
    delayed.on_update(Thing(), Thing(resource_version="2"))
    delayed.on_delete(Thing(), False)
    assert queue.put == [("a", DEFAULT_PRIORITY, 0.25)] * 3


@pytest.mark.parametrize(
    "owner",
    [
        None,
        OwnerReference("sample.example.com/v1alpha1", "Walk", "r1", "u1"),
        OwnerReference("other.example.com/v1alpha1", "Run", "r1", "u1"),
        OwnerReference("v1", "Run", "r1", "u1"),
    ],
)
def test_an_owner_of_another_kind_causes_no_request(owner):
    assert list(enqueue_owner("Run", "sample.example.com")(Thing(owner=owner))) == []


def test_the_owner_is_named_in_the_objects_namespace_whatever_its_version():
    reference = OwnerReference("sample.example.com/v9", "Run", "r1", "u1")
    wanted = enqueue_owner("Run", "sample.example.com")(Thing(owner=reference))
    assert list(wanted) == [Request("ns", "r1")]


def test_the_owner_of_a_cluster_scoped_kind_has_no_namespace():
    reference = OwnerReference("v1", "Namespace", "team-a", "u1")
    mapping = enqueue_owner("Namespace", "", namespaced=False)
    assert list(mapping(Thing(owner=reference))) == [Request("", "team-a")]


def test_a_generation_predicate_passes_changes_of_the_spec_only():
    predicate = generation_changed()
    assert predicate.update(Thing(), Thing(generation=2))
    assert not predicate.update(Thing(), Thing(labels={"a": "b"}, resource_version="2"))
    assert predicate.create(Thing())
    assert predicate.delete(Thing())


def test_changes_that_a_predicate_filters_out_are_not_reconciled(queue):
    def never(*_):
        return False

    filtered = handler(queue, predicate=Predicate(never, never, never))
    filtered.on_add(Thing(), False)
    filtered.on_update(Thing(), Thing(resource_version="2"))
    filtered.on_delete(Thing(), False)
    assert queue.put == []


async def test_a_source_on_a_filled_informer_tells_what_is_there_and_then_what_changes(queue):
    informer = Informer(RUNS, project=view)
    source = InformerSource(informer, enqueue_self)
    assert source.unsynced() == ["runs.sample.example.com"]
    store = informer.reflector_store("")
    temporary = store.temporary()
    temporary.put(obj("old", 1))
    await store.replace(temporary, "1")
    assert source.unsynced() == []
    end = await source.start(queue)
    store.apply("ADDED", obj("new", 2))
    end()
    store.apply("ADDED", obj("unheard", 3))
    assert queue.put == [("old", LOW_PRIORITY, 0), ("new", DEFAULT_PRIORITY, 0)]


def test_the_controlling_owner_is_the_one_that_says_so():
    raw = {
        "metadata": {
            "name": "a",
            "namespace": "ns",
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "u0"},
                RUN.to_dict(),
            ],
        }
    }
    assert controller_of(raw) == RUN
    assert controller_of({"metadata": {}}) is None


def test_an_object_gets_one_controller_and_keeps_its_other_owners():
    other = {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "u0"}
    raw = {"metadata": {"namespace": "ns", "ownerReferences": [other]}}
    for _ in range(2):
        set_controller_reference(raw, RUN, owner_namespace="ns")
    assert raw["metadata"]["ownerReferences"] == [other, RUN.to_dict()]


def test_an_object_of_another_controller_is_left_alone():
    raw = {"metadata": {"namespace": "ns", "ownerReferences": [RUN.to_dict()]}}
    mine = OwnerReference(RUN.api_version, "Run", "r2", "u2")
    with pytest.raises(AlreadyOwnedError, match="Run r1"):
        set_controller_reference(raw, mine, owner_namespace="ns")


def test_an_owner_cannot_reach_into_another_namespace():
    with pytest.raises(ValueError, match="elsewhere"):
        set_controller_reference(
            {"metadata": {"namespace": "ns"}}, RUN, owner_namespace="elsewhere"
        )
    set_controller_reference({"metadata": {"namespace": "ns"}}, RUN, owner_namespace="")
