"""The recordings of Jobs on a bare control plane, played again: every change of every Job, and their Events."""

from collections.abc import Callable
from typing import Any

import pytest
from controllers_lab import JOBS, ControllersLab, follow, load, open_lab, timeless
from devcluster.apiserver.local import CONFIGMAPS
from devcluster.storage import Event

Object = dict[str, Any]
LINES = {line["note"]: line for line in load("jobs.jsonl") if "note" in line}
EVENTS_OF_ALL = LINES["events of all these Jobs"]["response"]["body"]["items"]
STREAMS = {
    "ok": "all changes of Job ok, from its start to success",
    "bad": "backoffLimit 0 and a failing Pod",
    "late": "activeDeadlineSeconds 2 runs out",
    "sus": "suspended, resumed, suspended again",
    "ttl": "ttlSecondsAfterFinished 1",
    "pfp": "podFailurePolicy FailJob on exit code 42, backoffLimit 3",
    "del": "deleted in the background while its Pod runs",
    "fg": "deleted in the foreground",
}
NAMESPACE = "default"
SETTINGS = (
    "suspend",
    "backoffLimit",
    "activeDeadlineSeconds",
    "ttlSecondsAfterFinished",
    "podFailurePolicy",
)


def body_of(name: str) -> Object:
    """The Job as it was sent: its first recorded state without what the server filled in."""
    if name in ("ok", "nosa"):
        note = {
            "ok": "template change is refused",
            "nosa": "a Job whose service account is missing",
        }
        sent: Object = next(
            line["request"]["body"]
            for line in load("jobs.jsonl")
            if line.get("note") == note[name] and line["request"]["method"] == "POST"
        )
        return sent
    first = LINES[STREAMS[name]]["stream"][0]["object"]
    spec = {key: first["spec"][key] for key in SETTINGS if key in first["spec"]}
    pod = {"restartPolicy": "Never", "containers": [{"name": "agent", "image": "x"}]}
    metadata = {"name": name, "labels": first["metadata"]["labels"]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {**spec, "template": {"spec": pod}},
    }


def script(lab: ControllersLab, name: str) -> None:
    """Repeat the manual requests of a recording."""

    def to_pod(act: Callable[..., None], *arguments: Any) -> Callable[[], None]:
        return lambda: act(lab.pod(NAMESPACE, name), *arguments)

    def suspend(value: bool) -> Callable[[], Any]:
        return lambda: lab.client.patch(JOBS, NAMESPACE, name, {"spec": {"suspend": value}})

    def delete(policy: str) -> Callable[[], Any]:
        return lambda: lab.client.delete(JOBS, NAMESPACE, name, propagation=policy)

    deeds: dict[str, list[tuple[float, Callable[[], Any]]]] = {
        "ok": [(0.3, to_pod(lab.run_pod)), (1.4, to_pod(lab.end_pod))],
        "bad": [(0.3, to_pod(lab.end_pod, 1))],
        "late": [],
        "sus": [(1.3, suspend(False)), (2.9, suspend(True))],
        "ttl": [(0.3, to_pod(lab.end_pod))],
        "pfp": [(0.3, to_pod(lab.end_pod, 42))],
        "del": [(0.8, delete("Background"))],
        "fg": [(0.8, delete("Foreground"))],
    }
    for when, act in deeds[name]:
        lab.at(when, act)


def look(kind: str, obj: Object) -> Object:
    """What of a Job's change can be compared."""
    metadata = obj["metadata"]
    status = timeless(obj.get("status") or {})
    waiting = status.get("uncountedTerminatedPods") or {}
    if waiting:
        status["uncountedTerminatedPods"] = {key: len(uids) for key, uids in waiting.items()}
    for each in status.get("conditions") or ():
        each["message"] = without_suffix(each["message"])
    return {
        "type": kind,
        "generation": metadata.get("generation"),
        "finalizers": metadata.get("finalizers"),
        "deleting": "deletionTimestamp" in metadata,
        "grace": metadata.get("deletionGracePeriodSeconds"),
        "suspend": obj["spec"].get("suspend"),
        "status": status,
        "order": list(obj.get("status") or {}),
    }


def without_suffix(message: str) -> str:
    """A sentence without the generated suffix of a Pod's name."""
    head, found, tail = message.partition(" pod default/pfp-")
    return head + found + tail[5:] if found else message


def ours(events: list[Event]) -> list[Object]:
    return [look(event.type, event.current.object) for event in events]


def recorded(name: str) -> list[Object]:
    stream = LINES[STREAMS[name]]["stream"]
    return [look(each["type"], each["object"]) for each in stream if "object" in each]


def events_of(
    name: str, events: list[tuple[str, str, str, int]]
) -> list[tuple[str, str, str, int]]:
    """Events of a Job with its Pods' generated names taken away."""
    found = []
    for kind, reason, message, count in events:
        if reason in ("SuccessfulCreate", "SuccessfulDelete"):
            message = message[: message.index(f"{name}-") + len(name) + 1]
        found.append((kind, reason, without_suffix(message), count))
    return found


def recorded_events(name: str) -> list[tuple[str, str, str, int]]:
    return [
        (each["type"], each["reason"], each["message"], each["count"])
        for each in EVENTS_OF_ALL
        if each["involvedObject"]["name"] == name
    ]


@pytest.mark.parametrize("name", STREAMS)
async def test_job_changes_as_recorded(name: str) -> None:
    async with open_lab() as lab:
        lab.namespace(NAMESPACE)
        await lab.settle()
        watch = follow(lab)
        lab.client.create(JOBS, NAMESPACE, body_of(name))
        script(lab, name)
        await lab.pass_time(6)
        changes = ours(watch.drain())
        # The recording of the first Job began after it was made.
        assert changes[1 if name == "ok" else 0 :] == recorded(name)
        assert events_of(name, lab.events(NAMESPACE, name)) == events_of(
            name, recorded_events(name)
        )


@pytest.mark.parametrize("name", ["ok", "bad", "late", "pfp", "ttl"])
async def test_events_tell_of_the_state_that_they_were_recorded_for(name: str) -> None:
    async with open_lab() as lab:
        lab.namespace(NAMESPACE)
        await lab.settle()
        watch = follow(lab)
        lab.client.create(JOBS, NAMESPACE, body_of(name))
        script(lab, name)
        await lab.pass_time(6)
        versions = [str(event.revision) for event in watch.drain()]
        found = {
            reason: versions.index(version)
            for reason, version in lab.event_versions(NAMESPACE, name)
        }
        stream = LINES[STREAMS[name]]["stream"]
        known = [
            each["object"]["metadata"]["resourceVersion"] for each in stream if "object" in each
        ]
        if name == "ok":
            known.insert(0, "306")
        expected = {
            each["reason"]: known.index(each["involvedObject"]["resourceVersion"])
            for each in EVENTS_OF_ALL
            if each["involvedObject"]["name"] == name
        }
        assert found == expected


async def test_job_without_its_service_account_says_so() -> None:
    async with open_lab() as lab:
        lab.namespace(NAMESPACE)
        await lab.settle()
        lab.client.create(JOBS, NAMESPACE, body_of("nosa"))
        await lab.pass_time(1.5)
        status = lab.client.get(JOBS, NAMESPACE, "nosa")["status"]
        assert timeless(status) == timeless(LINES["its state"]["response"]["body"]["status"])
        assert lab.events(NAMESPACE, "nosa") == recorded_events("nosa")


async def test_objects_whose_owner_goes_or_never_was_are_collected() -> None:
    async with open_lab() as lab:
        lab.namespace(NAMESPACE)
        await lab.settle()
        owner = lab.client.create(CONFIGMAPS, NAMESPACE, LINES["owner"]["request"]["body"])
        owned = LINES["owned Job"]["request"]["body"]
        owned["metadata"]["ownerReferences"][0]["uid"] = owner["metadata"]["uid"]
        lab.client.create(JOBS, NAMESPACE, owned)
        lab.client.create(JOBS, NAMESPACE, LINES["owner that never was"]["request"]["body"])
        await lab.settle()
        assert lab.exists(JOBS, NAMESPACE, "owned")
        assert not lab.exists(JOBS, NAMESPACE, "orphan")
        lab.client.delete(CONFIGMAPS, NAMESPACE, "owner")
        await lab.settle()
        assert not lab.exists(JOBS, NAMESPACE, "owned")
