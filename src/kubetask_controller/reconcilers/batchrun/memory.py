"""What the controller remembers of a run between two reconciles.

Nothing here is truth: all of it follows from the snapshot, the status, the Jobs and the Pods, and is built anew after a
restart. It saves work (a task whose Job and Pods have not changed is not looked at again) and bridges the moments in
which the cache lags or an object is gone before it was looked at.
"""

from dataclasses import dataclass, field
from typing import Any

from kubetask_controller.reconcilers.batchrun.snapshot import Snapshot
from kubetask_controller.reconcilers.outcome import TaskState


@dataclass(slots=True)
class RunMemory:
    """One run, by uid.

    Attributes:
        snapshot: the work, once it is settled.
        states: the last known state of each task, None for one that was never looked at.
        touched: indexes that something was heard of since, or None before the first look, which takes in everything.
        cancelled: what spec.cancel was at the last look.
        made: indexes whose Job was made, whether or not it is still there.
        unsure: indexes whose create had no answer.
        refusals: creates refused in a row.
        problem: what kept a create from having an answer; raised once the status is written.
        advanced: a Job was made since the last status.
        counted: indexes whose end was told to the metrics.
        files_made: the ConfigMaps of inline files are there.
        looked_back: Events were asked which Jobs had run before this process began.
        places: where inline texts are found: content key → ConfigMap.
        looked_at: monotonic time of the last look at the Jobs, in seconds.
        generation: the generation of the run at that look.
        unfinished: the last look left Jobs to create, for which it had no time.
        entries: the status entries by index, reused while the state is the same.
    """

    uid: str
    snapshot: Snapshot | None = None
    states: list[TaskState | None] = field(default_factory=list)
    touched: set[int] | None = None
    cancelled: bool = False
    made: set[int] = field(default_factory=set)
    unsure: set[int] = field(default_factory=set)
    refusals: int = 0
    problem: Exception | None = None
    advanced: bool = False
    counted: set[int] = field(default_factory=set)
    files_made: bool = False
    places: dict[str, str] = field(default_factory=dict)
    looked_back: bool = False
    looked_at: float = float("-inf")
    generation: int = -1
    unfinished: bool = False
    entries: dict[int, tuple[TaskState, dict[str, Any]]] = field(default_factory=dict)
