"""What the reconcilers share: caches, live reads, requests, and what the process remembers."""

from dataclasses import dataclass
from datetime import datetime

from kubetask_controller.api.times import format_time
from kubetask_controller.client.rest import Client
from kubetask_controller.reconcilers.concurrency import ConcurrencyLimiter
from kubetask_controller.reconcilers.events import TombstoneStore
from kubetask_controller.reconcilers.freshness import FreshReader
from kubetask_controller.reconcilers.listers import Listers
from kubetask_controller.reconcilers.metrics import Recorder
from kubetask_controller.reconcilers.taskrun.jobs import JobControl
from kubetask_controller.reconcilers.taskrun.pending_reasons import EventLookup
from kubetask_controller.reconcilers.taskrun.pod_template import Images
from kubetask_controller.reconcilers.taskrun.tracker import Trackers
from kubetask_controller.runtime.clock import Clock
from kubetask_controller.runtime.consistency import ConsistencyStore
from kubetask_controller.runtime.events import EventRecorder


def owner_key(kind: str, namespace: str, name: str) -> str:
    """The key of an owner in the consistency store, which serves both kinds."""
    return f"{kind}/{namespace}/{name}"


@dataclass(frozen=True, slots=True)
class ReconcilerContext:
    """Everything a reconciler works with.

    Attributes:
        client: for writes and live reads; its writes pass the fence of the leader election.
        clock: wall and monotonic time.
        listers: the caches.
        fresh: live reads for decisions that no cache can prove.
        jobs: creates and ends Jobs.
        lookup: reads Events.
        consistency: own status writes that the cache does not show yet.
        limiter: maxConcurrentTasks.
        tombstones: the last versions of Jobs and Pods that are gone.
        trackers: the state of each owner that has not ended.
        events: Events on the owners.
        recorder: metrics.
        images: images that the flags name.
        default_ttl: seconds for which finished Jobs are kept if the owner sets no value; None for as long as the owner.
    """

    client: Client
    clock: Clock
    listers: Listers
    fresh: FreshReader
    jobs: JobControl
    lookup: EventLookup
    consistency: ConsistencyStore
    limiter: ConcurrencyLimiter
    tombstones: TombstoneStore
    trackers: Trackers
    events: EventRecorder
    recorder: Recorder
    images: Images
    default_ttl: int | None = None

    def now(self) -> datetime:
        """The wall clock, UTC."""
        return self.clock.now()

    def timestamp(self) -> str:
        """Now, as the API server writes times."""
        return format_time(self.clock.now())
