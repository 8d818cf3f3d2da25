"""No decision on a cache that has not seen what we wrote: KEP-5647's consistency store.

After each successful write a reconciler notes the resourceVersion it got; at the top of the next
reconcile of the same owner it asks whether the caches have come that far. If not, the reconcile is
put back with a delay. Bookmarks move a cache's resourceVersion too, so an object outside of its
selector does not hold anybody up.

Guarantees: what belongs to an owner that was deleted and made anew is forgotten; resourceVersions
that cannot be compared, and caches that are not known, never hold anybody up (it fails open). Does
not track deletions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from kubetask_controller.runtime.resourceversion import MalformedResourceVersionError, compare


class Versioned(Protocol):
    """A cache that knows how new it is; an Informer, for one."""

    def resource_version(self, namespace: str) -> str:
        """How new the content of that namespace is."""


class StaleCacheError(Exception):
    """A cache has not seen a write of ours yet: come back in a moment.

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
    """What was written for whom. One for each controller; owners are ``namespace/name``."""

    def __init__(self, informers: Mapping[str, Versioned]) -> None:
        """`informers` by name; looked up at each call, so that later ones count too."""
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
        """Note a write made on behalf of an owner, in that namespace.

        To be called with the resourceVersion of the answer, after the write and before anything
        else is awaited.
        """
        record = self._records.get(owner)
        if record is None or record.owner_uid != owner_uid:
            record = self._records[owner] = _Record(owner_uid)
        key = (informer_name, namespace)
        if not _behind(resource_version, record.written.get(key, "")):
            record.written[key] = resource_version

    def ensure_ready(self, owner: str, owner_uid: str) -> None:
        """Return if every cache has seen what was written for this owner.

        Raises:
            StaleCacheError: one has not; reconcile again, rate-limited.
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
        """Whether every cache has seen what was written for this owner."""
        try:
            self.ensure_ready(owner, owner_uid)
        except StaleCacheError:
            return False
        return True

    def clear(self, owner: str) -> None:
        """Forget an owner: it is gone or finished."""
        self._records.pop(owner, None)

    def __len__(self) -> int:
        """How many owners are waited for."""
        return len(self._records)


def _behind(has: str, needs: str) -> bool:
    try:
        return compare(has, needs) < 0
    except MalformedResourceVersionError:
        return False
