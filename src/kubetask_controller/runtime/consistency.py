"""No decision on a cache that is older than our own writes: KEP-5647's consistency store.

After each successful write a reconciler records the resourceVersion of the answer; at its next
reconcile of the same owner it checks whether the caches are as new. If not, the reconcile is requeued
with a delay. Bookmarks advance a cache's resourceVersion too, so an object that no longer matches its
selector does not block.

Guarantees: the records of an owner that was deleted and recreated are dropped; resourceVersions that
cannot be compared, and unknown caches, never block (it fails open). Deletions are not tracked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from kubetask_controller.runtime.meta import MalformedResourceVersionError, compare


class Versioned(Protocol):
    """A cache with a resourceVersion, such as an Informer."""

    def resource_version(self, namespace: str) -> str:
        """The resourceVersion of that namespace's content."""


class StaleCacheError(Exception):
    """A cache is older than a write of ours: reconcile again in a moment.

    Attributes:
        informer: name of the cache, such as ``jobs.batch``.
    """

    def __init__(self, informer: str, *, has: str, needs: str) -> None:
        super().__init__(f"the cache of {informer} is at {has}, our last write at {needs}")
        self.informer = informer


@dataclass(slots=True)
class _Record:
    owner_uid: str
    # (informer, namespace) to the newest resourceVersion written.
    written: dict[tuple[str, str], str] = field(default_factory=dict)


class ConsistencyStore:
    """The writes for each owner. One store for each controller; owners are ``namespace/name``."""

    def __init__(self, informers: Mapping[str, Versioned]) -> None:
        """`informers` by name; read at each call, so that later ones count too."""
        self._informers = informers
        self._records: dict[str, _Record] = {}

    def wrote_at(
        self,
        owner: str,
        owner_uid: str,
        informer_name: str,
        namespace: str,
        resource_version: str,
    ) -> None:
        """Record a write for an owner, in that namespace.

        Call it with the resourceVersion of the answer, after the write and before anything else is
        awaited.
        """
        record = self._records.get(owner)
        if record is None or record.owner_uid != owner_uid:
            record = self._records[owner] = _Record(owner_uid)
        key = (informer_name, namespace)
        if not _behind(resource_version, record.written.get(key, "")):
            record.written[key] = resource_version

    def ensure_ready(self, owner: str, owner_uid: str) -> None:
        """Return if every cache is as new as the writes for this owner.

        Raises:
            StaleCacheError: one is older; reconcile again, rate-limited.
        """
        record = self._records.get(owner)
        if record is None:
            return
        if record.owner_uid == owner_uid:
            for (name, namespace), needs in record.written.items():
                informer = self._informers.get(name)
                has = "" if informer is None else informer.resource_version(namespace)
                if _behind(has, needs):
                    raise StaleCacheError(name, has=has, needs=needs)
        del self._records[owner]

    def ready(self, owner: str, owner_uid: str) -> bool:
        """Whether every cache is as new as the writes for this owner."""
        try:
            self.ensure_ready(owner, owner_uid)
        except StaleCacheError:
            return False
        return True

    def clear(self, owner: str) -> None:
        """Drop an owner that was deleted or has finished."""
        self._records.pop(owner, None)

    def __len__(self) -> int:
        """The number of owners with a write that a cache lacks."""
        return len(self._records)


def _behind(has: str, needs: str) -> bool:
    try:
        return compare(has, needs) < 0
    except MalformedResourceVersionError:
        return False
