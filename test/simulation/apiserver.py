"""A model of the API server and etcd: objects, resourceVersions, what is refused, and the changes that watches hand out.

All values leave as fresh copies, decoded from the bytes that are stored. Refusals carry the code, reason and text of a real
server where the product reads them.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec
from pydantic_core import to_json

from kubetask_controller.client.errors import APIStatusError
from kubetask_controller.client.resources import CONFIGMAPS, JOBS, PODS, Resource

JSON = dict[str, Any]
Key = tuple[str, str, str]
"""Resource, namespace, name."""

ListOf = list
"""The built-in, which a method of that name hides."""
MAX_REQUEST = 3 * 1024 * 1024
MAX_OBJECT = 1536 * 1024
MAX_CONFIG_MAP = 1024 * 1024
EPOCH = datetime(2026, 1, 1, tzinfo=UTC) - timedelta(seconds=1000)
"""The wall time at loop time 0; a loop begins at 1,000."""

_decode: Callable[[bytes], Any] = msgspec.json.Decoder().decode


def refusal(code: int, reason: str, message: str = "", retry_after: float | None = None) -> Exception:
    return APIStatusError(code=code, reason=reason, message=message, retry_after=retry_after)


@dataclass(slots=True, eq=False)
class Change:
    """One entry of a resource's history, as etcd keeps it."""

    version: int
    at: float
    key: Key
    old: "Stored | None"
    new: "Stored | None"
    last: bytes = b""


@dataclass(slots=True, eq=False)
class Stored:
    """A version of an object. ``obj`` belongs to the server: nobody else changes it."""

    obj: JSON
    raw: bytes
    actor: str = ""

    @property
    def meta(self) -> JSON:
        return self.obj["metadata"]

    @property
    def uid(self) -> str:
        return self.obj["metadata"]["uid"]

    def copy(self) -> JSON:
        return _decode(self.raw)

    def labels(self) -> JSON:
        return self.meta.get("labels") or {}


def matches(stored: Stored | None, selector: tuple[tuple[str, str], ...]) -> bool:
    if stored is None:
        return False
    if not selector:
        return True
    labels = stored.labels()
    return all(labels.get(k) == v for k, v in selector)


def parse_selector(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((k, v) for k, _, v in (part.partition("=") for part in text.split(",") if part))


def timestamp(now: float) -> str:
    return _second(int(now))


@lru_cache(maxsize=4096)
def _second(second: int) -> str:
    return (EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class APIServer:
    """``listeners`` are called after each change, in the order in which they were added."""

    clock: Callable[[], float]
    admission: Callable[[Resource, JSON], None] = lambda _, __: None
    version: int = 100
    objects: dict[str, dict[tuple[str, str], Stored]] = field(default_factory=dict)
    history: dict[str, list[Change]] = field(default_factory=dict)
    listeners: list[Callable[[Resource, Change, str], None]] = field(default_factory=list)
    uids: int = 0
    live: dict[str, None] = field(default_factory=dict)
    """Uids of what exists."""
    max_object: int = MAX_OBJECT

    # Reading

    def find(self, resource: Resource, namespace: str, name: str) -> Stored | None:
        return self.objects.get(str(resource), {}).get((namespace, name))

    def all(self, resource: Resource) -> list[Stored]:
        return list(self.objects.get(str(resource), {}).values())

    def owned(self, resource: Resource, uid: str) -> Iterator[Stored]:
        for stored in self.all(resource):
            if any(ref["uid"] == uid for ref in stored.meta.get("ownerReferences") or ()):
                yield stored

    def exists(self, uid: str) -> bool:
        return uid in self.live

    def get(self, resource: Resource, namespace: str, name: str) -> Stored:
        found = self.find(resource, namespace, name)
        if found is None:
            raise refusal(404, "NotFound", f'{resource} "{name}" not found')
        return found

    def list(self, resource: Resource, namespace: str | None, labels: str, fields: str) -> "ListOf[Stored]":
        selector, wanted = parse_selector(labels), parse_selector(fields)
        return [
            x
            for x in self.all(resource)
            if (not namespace or x.meta.get("namespace") == namespace)
            and matches(x, selector)
            and all(_path(x.obj, path) == value for path, value in wanted)
        ]

    # Writing

    def create(self, resource: Resource, namespace: str, body: bytes, actor: str) -> Stored:
        obj = self._read(body)
        meta = obj["metadata"]
        name = meta.get("name") or f"{meta['generateName']}{self.uids:04x}"
        meta |= {"name": name, "namespace": namespace}
        _admit(resource, obj)
        if self.find(resource, namespace, name):
            raise refusal(409, "AlreadyExists", f'{resource} "{name}" already exists')
        self.admission(resource, obj)
        self.uids += 1
        meta |= {"uid": f"uid-{self.uids:05d}", "creationTimestamp": timestamp(self.clock()), "generation": 1}
        meta.pop("resourceVersion", None)
        if "kubetask" in resource.group:
            obj["status"] = {"observedGeneration": -1}
        return self._store(resource, None, obj, actor)

    def update(self, resource: Resource, namespace: str, name: str, body: bytes, actor: str, subresource: str = "") -> Stored:
        given = self._read(body)
        old = self.get(resource, namespace, name)
        meta = given["metadata"]
        if meta.get("uid") and meta["uid"] != old.uid:
            raise refusal(
                409, "Conflict", f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {old.uid}"
            )
        if meta.get("resourceVersion") and meta["resourceVersion"] != old.meta["resourceVersion"]:
            raise refusal(409, "Conflict", "the object has been modified; please apply your changes to the latest version")
        obj = old.copy()
        self._merge(resource, obj, given, subresource)
        return self._store(resource, old, obj, actor)

    def patch(self, resource: Resource, namespace: str, name: str, body: bytes, actor: str, subresource: str = "") -> Stored:
        """A merge patch; a uid or resourceVersion in it is a precondition, as on a real server."""
        change = self._read(body)
        old = self.get(resource, namespace, name)
        meta = change.get("metadata") or {}
        for key in ("uid", "resourceVersion"):
            if meta.get(key) and meta[key] != old.meta[key]:
                raise refusal(409, "Conflict", f"{key} in precondition: {meta[key]}, in object meta: {old.meta[key]}")
        obj = old.copy()
        self._merge(resource, obj, _merged(old.copy(), change), subresource)
        return self._store(resource, old, obj, actor)

    def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        actor: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: str = "Background",
        grace: float | None = None,
    ) -> Stored:
        old = self.get(resource, namespace, name)
        if uid and uid != old.uid:
            raise refusal(409, "Conflict", f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old.uid}")
        if resource_version and resource_version != old.meta["resourceVersion"]:
            raise refusal(409, "Conflict", "Precondition failed: ResourceVersion")
        finalizers = list(old.meta.get("finalizers") or ())
        if propagation == "Foreground" and "foregroundDeletion" not in finalizers:
            finalizers.append("foregroundDeletion")
        waits = resource is PODS and bool(old.obj["spec"].get("nodeName")) and grace != 0 and not terminal(old.obj)
        if not finalizers and not waits:
            return self.remove(resource, old, actor)
        obj = old.copy()
        obj["metadata"]["finalizers"] = finalizers
        obj["metadata"].setdefault("deletionTimestamp", timestamp(self.clock() + (30.0 if grace != 0 else 0.0)))
        obj["metadata"]["deletionGracePeriodSeconds"] = 0 if grace == 0 else 30
        return self._store(resource, old, obj, actor)

    def remove(self, resource: Resource, old: Stored, actor: str) -> Stored:
        """Take an object out, whatever holds it."""
        self.version += 1
        meta = old.meta
        del self.objects[str(resource)][meta.get("namespace", ""), meta["name"]]
        self.live.pop(meta["uid"], None)
        obj = old.copy()
        obj["metadata"]["resourceVersion"] = str(self.version)
        self._publish(resource, Change(self.version, self.clock(), self._key(resource, meta), old, None, to_json(obj)), actor)
        return old

    def change(self, resource: Resource, stored: Stored, edit: Callable[[JSON], Any], actor: str) -> Stored | None:
        """Edit an object as a part of the cluster does; None where it is gone. Nothing is written where nothing changes."""
        meta = stored.meta
        old = self.find(resource, meta.get("namespace", ""), meta["name"])
        if old is None or old.uid != stored.uid:
            return None
        obj = old.copy()
        edit(obj)
        if obj == old.obj:
            return old
        if obj.get("spec") != old.obj.get("spec"):
            obj["metadata"]["generation"] = obj["metadata"].get("generation", 0) + 1
        return self._store(resource, old, obj, actor)

    def clear(self) -> None:
        """Let go of everything."""
        for table in (self.objects, self.history, self.live, self.listeners):
            table.clear()

    # Inside

    def _merge(self, resource: Resource, obj: JSON, given: JSON, subresource: str) -> None:
        if subresource == "status":
            obj["status"] = given.get("status") or {}
            return
        status_apart = resource is JOBS or resource is PODS or "kubetask" in resource.group
        for key, value in given.items():
            if key not in ("metadata", "apiVersion", "kind") and not (key == "status" and status_apart):
                if key == "spec" and value != obj.get("spec"):
                    obj["metadata"]["generation"] = obj["metadata"].get("generation", 0) + 1
                obj[key] = value
        for key in ("labels", "annotations", "finalizers", "ownerReferences"):
            if key in given["metadata"]:
                obj["metadata"][key] = given["metadata"][key]

    def _read(self, body: bytes) -> JSON:
        if len(body) > MAX_REQUEST:
            raise refusal(413, "RequestEntityTooLarge", f"Request entity too large: limit is {MAX_REQUEST}")
        try:
            return _decode(body)
        except msgspec.DecodeError as error:
            raise refusal(400, "BadRequest", f"the object provided is unrecognized: {error}") from None

    def _store(self, resource: Resource, old: Stored | None, obj: JSON, actor: str) -> Stored:
        meta = obj["metadata"]
        if old is not None and meta.get("deletionTimestamp") and not meta.get("finalizers"):
            alive = resource is PODS and obj["spec"].get("nodeName") and not terminal(obj)
            if not alive or meta.get("deletionGracePeriodSeconds") == 0:
                return self.remove(resource, Stored(obj, to_json(obj)), actor)
        meta["resourceVersion"] = str(self.version + 1)
        raw = to_json(obj)
        # etcd keeps managedFields too, which grow with the number of fields.
        if len(raw) + 2048 > self.max_object:
            raise refusal(500, "InternalError", "etcdserver: request is too large")
        self.version += 1
        stored = Stored(obj, raw, actor)
        self.live[stored.uid] = None
        self.objects.setdefault(str(resource), {})[meta.get("namespace", ""), meta["name"]] = stored
        self._publish(resource, Change(self.version, self.clock(), self._key(resource, meta), old, stored), actor)
        return stored

    def _publish(self, resource: Resource, change: Change, actor: str) -> None:
        self.history.setdefault(str(resource), []).append(change)
        for listener in self.listeners:
            listener(resource, change, actor)

    @staticmethod
    def _key(resource: Resource, meta: JSON) -> Key:
        return str(resource), meta.get("namespace", ""), meta["name"]


def event_lines(change: Change, selector: tuple[tuple[str, str], ...]) -> tuple[str, bytes] | None:
    """What a watch with that selector is sent: the type of the event and its object; None for nothing."""
    before, after = matches(change.old, selector), matches(change.new, selector)
    if after:
        assert change.new is not None
        return ("MODIFIED" if before else "ADDED"), change.new.raw
    if not before:
        return None
    if change.new is None:
        return "DELETED", change.last
    assert change.old is not None
    # An object that leaves the selector is sent as it was, with the version of the change.
    obj = change.old.copy()
    obj["metadata"]["resourceVersion"] = str(change.version)
    return "DELETED", to_json(obj)


def terminal(pod: JSON) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _merged(target: Any, change: Any) -> Any:
    """RFC 7386."""
    if not isinstance(change, dict):
        return change
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def _path(obj: Any, path: str) -> str:
    if path == "status.successful":
        return str((obj.get("status") or {}).get("succeeded", 0))
    for part in path.split("."):
        obj = obj.get(part) if isinstance(obj, dict) else None
    return "" if obj is None else str(obj)


_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


def _admit(resource: Resource, obj: JSON) -> None:
    name = obj["metadata"]["name"]
    if not _NAME.fullmatch(name) or len(name) > (63 if resource is JOBS else 253):
        raise refusal(422, "Invalid", f'{resource.kind} "{name}" is invalid: metadata.name: Invalid value')
    if resource is CONFIGMAPS:
        total = sum(len(v.encode()) for v in (obj.get("data") or {}).values())
        if total > MAX_CONFIG_MAP:
            raise refusal(
                422, "Invalid", f'ConfigMap "{name}" is invalid: []: Too long: may not be more than {MAX_CONFIG_MAP} bytes'
            )
