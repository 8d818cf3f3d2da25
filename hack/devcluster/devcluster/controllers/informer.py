"""A picture of one resource, kept by a watch.

Guarantees: every change is seen in order, once; after the watch broke (a restart of the API server) the picture is made whole again
and vanished objects are told as deleted. Objects are shared with the store: never change them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from devcluster.apiserver.local import GVR, LocalClient

Object = dict[str, Any]
Key = tuple[str, str]
Handler = Callable[[Object | None, Object | None], None]


def key_of(obj: Object) -> Key:
    """(namespace, name); the namespace of cluster-scoped objects is ''."""
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


class Informer:
    """Objects of `resource` by key. Handlers get (old, new): None for what was not or is no more."""

    def __init__(self, client: LocalClient, resource: GVR) -> None:
        self._client = client
        self._resource = resource
        self._handlers: list[Handler] = []
        self.objects: dict[Key, Object] = {}

    def add_handler(self, handler: Handler) -> None:
        """Call `handler` for every change from now on. It must not block."""
        self._handlers.append(handler)

    def observe(self, obj: Object) -> None:
        """Take in an object that was just written, before its event arrives."""
        self._apply("MODIFIED", obj)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self._reconcile_vanished()
            async for event in self._client.watch(self._resource):
                self._apply(event["type"], event["object"])
            await asyncio.sleep(0)

    def _reconcile_vanished(self) -> None:
        present = {key_of(each) for each in self._client.list(self._resource)}
        for key in [key for key in self.objects if key not in present]:
            self._apply("DELETED", self.objects[key])

    def _apply(self, kind: str, obj: Object) -> None:
        key = key_of(obj)
        old = self.objects.get(key)
        if kind == "DELETED":
            if old is None or old["metadata"]["uid"] != obj["metadata"]["uid"]:
                return
            del self.objects[key]
            self._tell(obj, None)
            return
        if old is not None:
            if _version(old) >= _version(obj):
                return
            if old["metadata"]["uid"] != obj["metadata"]["uid"]:
                self._tell(old, None)
                old = None
        self.objects[key] = obj
        self._tell(old, obj)

    def _tell(self, old: Object | None, new: Object | None) -> None:
        for handler in self._handlers:
            handler(old, new)


def _version(obj: Object) -> int:
    return int(obj["metadata"]["resourceVersion"])
