"""What the controller remembers of a run between two reconciles.

Nothing here is truth: all of it follows from the snapshot, the status, the Jobs and the Pods, and is built anew after a
restart. It saves work (a task whose Job and Pods have not changed is not looked at again) and bridges the moments in
which the cache lags or an object is gone before it was looked at.
"""

from dataclasses import dataclass, field
from typing import Any

from kubetask_controller.reconcilers.batchrun.snapshot import Snapshot
from kubetask_controller.reconcilers.outcome import TaskState
from kubetask_controller.reconcilers.projections import JobView, PodView

Sources = tuple[JobView | None, tuple[PodView, ...]]


@dataclass(slots=True)
class RunMemory:
    """One run, by uid.

    Attributes:
        snapshot: the work, once it is settled.
        states: the last known state of each task, None for one that was never looked at.
        sources: what each state was made of.
        made: indexes whose Job was made, whether or not it is still there.
        unsure: indexes whose create had no answer.
        refusals: creates refused in a row.
        problem: what kept a create from having an answer; raised once the status is written.
        counted: indexes whose end was told to the metrics.
        files_made: the ConfigMaps of inline files are there.
        looked_back: Events were asked which Jobs had run before this process began.
        last_write: monotonic time of the last write of the status, in seconds.
        places: where inline texts are found: content key → ConfigMap.
        entries: the status entries by index, reused while the state is the same.
    """

    uid: str
    snapshot: Snapshot | None = None
    states: list[TaskState | None] = field(default_factory=list)
    sources: dict[int, Sources] = field(default_factory=dict)
    made: set[int] = field(default_factory=set)
    unsure: set[int] = field(default_factory=set)
    refusals: int = 0
    problem: Exception | None = None
    counted: set[int] = field(default_factory=set)
    files_made: bool = False
    places: dict[str, str] = field(default_factory=dict)
    looked_back: bool = False
    last_write: float = float("-inf")
    entries: dict[int, tuple[TaskState, dict[str, Any]]] = field(default_factory=dict)
