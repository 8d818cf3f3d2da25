"""Deletion of dependents with their owner, compared with recordings of a real control plane with chains of ConfigMaps."""

from typing import Any

from controllers_lab import JOBS, ControllersLab, follow, job, open_lab
from devcluster.apiserver.local import CONFIGMAPS, GVR, NAMESPACES

Object = dict[str, Any]
NAMESPACE = "team"
HOLD = "example.com/hold"
WIDGETS = GVR("example.com", "v1", "widgets")


def owner(
    obj: Object, *, block: bool = True, kind: str = "ConfigMap", version: str = "v1"
) -> Object:
    metadata = obj["metadata"]
    return {
        "apiVersion": version,
        "kind": kind,
        "name": metadata["name"],
        "uid": metadata["uid"],
        "blockOwnerDeletion": block,
    }


def make(lab: ControllersLab, name: str, *owners: Object, held: bool = False) -> Object:
    metadata: Object = {"name": name}
    if owners:
        metadata["ownerReferences"] = list(owners)
    if held:
        metadata["finalizers"] = [HOLD]
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    return lab.client.create(CONFIGMAPS, NAMESPACE, body)


def delete(lab: ControllersLab, name: str, propagation: str = "Background") -> None:
    lab.client.delete(CONFIGMAPS, NAMESPACE, name, propagation=propagation)


def release(lab: ControllersLab, name: str) -> None:
    lab.client.patch(CONFIGMAPS, NAMESPACE, name, {"metadata": {"finalizers": None}})


def state(lab: ControllersLab, name: str) -> tuple[bool, list[str], list[str]] | None:
    """(whether it is being deleted, finalizers, owners), or None when it is gone."""
    obj = lab.get(CONFIGMAPS, NAMESPACE, name)
    if obj is None:
        return None
    metadata = obj["metadata"]
    owners = [each["name"] for each in metadata.get("ownerReferences") or ()]
    return "deletionTimestamp" in metadata, metadata.get("finalizers") or [], owners


async def test_background_deletion_takes_the_whole_chain() -> None:
    async with open_lab(NAMESPACE) as lab:
        a = make(lab, "a")
        b = make(lab, "b", owner(a))
        make(lab, "c", owner(b))
        make(lab, "bystander")
        await lab.settle()
        delete(lab, "a")
        await lab.settle()
        assert [state(lab, name) for name in "abc"] == [None, None, None]
        assert state(lab, "bystander") is not None


async def test_object_with_another_owner_only_loses_the_reference() -> None:
    async with open_lab(NAMESPACE) as lab:
        a, other = make(lab, "a"), make(lab, "other")
        make(lab, "d", owner(a), owner(other))
        await lab.settle()
        delete(lab, "a")
        await lab.settle()
        assert state(lab, "d") == (False, [], ["other"])
        delete(lab, "other")
        await lab.settle()
        assert state(lab, "d") is None


async def test_foreground_deletion_waits_for_dependents_that_block() -> None:
    async with open_lab(NAMESPACE) as lab:
        a, other = make(lab, "a"), make(lab, "other")
        b = make(lab, "b", owner(a))
        make(lab, "c", owner(b), held=True)
        make(lab, "d", owner(a), owner(other))
        make(lab, "e", owner(a, block=False), held=True)
        await lab.settle()
        delete(lab, "a", "Foreground")
        await lab.settle()
        assert {name: state(lab, name) for name in "abcde"} == {
            "a": (True, ["foregroundDeletion"], []),
            "b": (True, ["foregroundDeletion"], ["a"]),
            "c": (True, [HOLD], ["b"]),
            "d": (False, [], ["other"]),
            "e": (True, [HOLD], ["a"]),
        }
        release(lab, "c")
        await lab.settle()
        assert {name: state(lab, name) for name in "abce"} == {
            "a": None,
            "b": None,
            "c": None,
            "e": (True, [HOLD], ["a"]),
        }


async def test_foreground_deletion_of_an_object_without_dependents_is_done_at_once() -> None:
    async with open_lab(NAMESPACE) as lab:
        make(lab, "a")
        await lab.settle()
        delete(lab, "a", "Foreground")
        assert state(lab, "a") == (True, ["foregroundDeletion"], [])
        await lab.settle()
        assert state(lab, "a") is None


async def test_orphans_stay_without_their_reference() -> None:
    async with open_lab(NAMESPACE) as lab:
        a = make(lab, "a")
        make(lab, "b", owner(a))
        await lab.settle()
        delete(lab, "a", "Orphan")
        await lab.settle()
        assert state(lab, "a") is None
        assert state(lab, "b") == (False, [], [])


async def test_owner_of_the_same_name_but_another_uid_is_no_owner() -> None:
    async with open_lab(NAMESPACE) as lab:
        a = make(lab, "a")
        make(lab, "kept", owner(a))
        stale = owner(a) | {"uid": "00000000-0000-0000-0000-000000000001"}
        make(lab, "gone", stale)
        await lab.settle()
        assert state(lab, "kept") is not None
        assert state(lab, "gone") is None


async def test_owner_in_another_namespace_does_not_count() -> None:
    async with open_lab(NAMESPACE, "other") as lab:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "far"}}
        far = lab.client.create(CONFIGMAPS, "other", body)
        make(lab, "a", owner(far))
        await lab.settle()
        assert state(lab, "a") is None


async def test_cluster_scoped_owner_counts() -> None:
    async with open_lab(NAMESPACE) as lab:
        namespace = lab.client.get(NAMESPACES, None, NAMESPACE)
        make(lab, "a", owner(namespace, kind="Namespace"))
        await lab.settle()
        assert state(lab, "a") is not None


async def test_owner_of_a_kind_that_is_not_served_leaves_the_object_alone() -> None:
    async with open_lab(NAMESPACE) as lab:
        a = make(lab, "a")
        make(lab, "b", owner(a, block=False, kind="Nothing", version="example.com/v1"))
        await lab.settle()
        assert state(lab, "b") is not None


async def test_what_was_left_while_no_collector_ran_is_found_at_its_start() -> None:
    async with open_lab(NAMESPACE) as lab:
        a = make(lab, "a")
        make(lab, "b", owner(a))
        await lab.settle()
        await lab.controllers.stop()
        delete(lab, "a")
        await lab.settle()
        assert state(lab, "b") is not None
        await lab.controllers.start()
        await lab.settle()
        assert state(lab, "b") is None


async def test_custom_resources_own_and_are_owned() -> None:
    async with open_lab(NAMESPACE) as lab:
        await lab.serve_custom_resource(WIDGETS, "Widget")
        body = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
        widget = lab.client.create(WIDGETS, NAMESPACE, body)
        reference = owner(widget, kind="Widget", version="example.com/v1")
        make(lab, "c", reference)
        child = {"apiVersion": "example.com/v1", "kind": "Widget"}
        child["metadata"] = {"name": "child", "ownerReferences": [reference]}  # type: ignore[assignment]
        lab.client.create(WIDGETS, NAMESPACE, child)
        owned = job("j", suspend=True)
        owned["metadata"]["ownerReferences"] = [reference | {"controller": True}]
        lab.client.create(JOBS, NAMESPACE, owned)
        await lab.settle()
        watch = follow(lab)
        lab.client.delete(WIDGETS, NAMESPACE, "w")
        await lab.settle()
        assert state(lab, "c") is None
        assert not lab.exists(WIDGETS, NAMESPACE, "child")
        assert [event.type for event in watch.drain()][-1] == "DELETED"


async def test_deleting_a_job_takes_its_pods_with_their_finalizer() -> None:
    async with open_lab(NAMESPACE) as lab:
        for policy in ("Background", "Foreground"):
            lab.client.create(JOBS, NAMESPACE, job("j", parallelism=3, completions=3))
            await lab.settle()
            assert len(lab.pods(NAMESPACE)) == 3
            lab.client.delete(JOBS, NAMESPACE, "j", propagation=policy)
            await lab.pass_time(2)
            assert lab.pods(NAMESPACE) == []
            assert not lab.exists(JOBS, NAMESPACE, "j")
