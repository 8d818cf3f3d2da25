"""What the reconcilers share: the cache's views, the client, and the memory of the leader."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from kubetask_controller.client.rest import Client
from kubetask_controller.reconcilers.evidence import Evidence
from kubetask_controller.reconcilers.jobcontrol import JobControl
from kubetask_controller.reconcilers.lastseen import LastSeen
from kubetask_controller.reconcilers.metrics import Recorder
from kubetask_controller.reconcilers.podtemplate import Images
from kubetask_controller.reconcilers.projections import JobView, PodView, ResourceView
from kubetask_controller.reconcilers.slots import SlotLedger
from kubetask_controller.reconcilers.times import format_time
from kubetask_controller.reconcilers.touched import Touched
from kubetask_controller.runtime.clock import Clock
from kubetask_controller.runtime.consistency import ConsistencyStore
from kubetask_controller.runtime.events import EventRecorder
from kubetask_controller.runtime.store import Reader

INDEX_OWNER = "owner"
"""Index of Jobs and Pods by the uid of their controlling owner."""
INDEX_BATCH = "batch"
"""Index of BatchRuns by the Batch they refer to: ``namespace/name``."""
INDEX_POOL = "pool"
"""Index of Jobs by the WorkspaceConfig in force: ``namespace/name``."""


def owner_key(kind: str, namespace: str, name: str) -> str:
    """How the consistency store knows an owner: one store serves both kinds."""
    return f"{kind}/{namespace}/{name}"


@dataclass(frozen=True, slots=True)
class Views:
    """The cache: what the API server has, as far as it was heard."""

    batches: Reader[ResourceView]
    runs: Reader[ResourceView]
    tasks: Reader[ResourceView]
    configs: Reader[ResourceView]
    jobs: Reader[JobView]
    pods: Reader[PodView]

    def jobs_of(self, owner_uid: str) -> Iterable[JobView]:
        """The Jobs that a run or Task controls."""
        return self.jobs.by_index(INDEX_OWNER, owner_uid)

    def pods_of(self, job_uid: str) -> Iterable[PodView]:
        """The Pods of a Job."""
        return self.pods.by_index(INDEX_OWNER, job_uid)


@dataclass(frozen=True, slots=True)
class Shared:
    """Everything a reconciler works with."""

    client: Client
    clock: Clock
    views: Views
    control: JobControl
    evidence: Evidence
    consistency: ConsistencyStore
    slots: SlotLedger
    last_seen: LastSeen
    touched: Touched
    events: EventRecorder
    recorder: Recorder
    images: Images

    def now(self) -> datetime:
        """The wall clock, UTC."""
        return self.clock.now()

    def timestamp(self) -> str:
        """Now, as the API server writes times."""
        return format_time(self.clock.now())
