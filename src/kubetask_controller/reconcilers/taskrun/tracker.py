"""What the controller remembers of a BatchRun or Task between two reconciles.

Nothing here is the truth: all of it follows from the snapshot, the status, the Jobs and the Pods, and is rebuilt after a
restart. It saves work (a task whose Job and Pods have not changed is not decided again) and covers the moments in which
a request has no answer yet.

``Tracker`` owns this state. Methods named after events change it, and it returns no mutable set or list.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace

from kubetask_controller.api.constants import Phase, Reason
from kubetask_controller.reconcilers.projections import JobView
from kubetask_controller.reconcilers.taskrun.pending_reasons import PendingReason
from kubetask_controller.reconcilers.taskrun.recorded import Recorded, UsageTotal
from kubetask_controller.reconcilers.taskrun.state import TaskRules, TaskState

RETRY_FIRST, RETRY_MOST = 1.0, 120.0
"""Seconds until a refused create is tried again: the first time, and at most."""


class Tracker:
    """The tasks of one owner, by index; a Task has index 0 alone.

    Args:
        uid: of the owner.
        job_names: the name of each task's Job.
        recorded: the recorded state in the owner's status.
        observed_at: monotonic time in seconds; the owner was in the cache by then.
    """

    def __init__(
        self, uid: str, job_names: Sequence[str], recorded: Recorded, observed_at: float
    ) -> None:
        total = len(job_names)
        self.uid = uid
        self.observed_at = observed_at
        self._names = job_names
        self._index = {name: index for index, name in enumerate(job_names)}
        self._states: list[TaskState | None] = [recorded.states.get(i) for i in range(total)]
        self._created = {i for i in recorded.created if i < total}
        self._recorded_final = {i for i, x in enumerate(self._states) if x is not None and x.final}
        self._recorded_replacements = {
            i: x.replacements
            for i, x in enumerate(self._states)
            if x is not None and x.replacements
        }
        self._counted = set(self._recorded_final)
        self._usage = recorded.usage
        self._unrecorded: set[int] = set()
        self._dirty: dict[int, None] | None = None
        self._rules: TaskRules | None = None
        self._in_flight: dict[int, None] = {}
        self._unanswered: dict[int, float] = {}
        self._ending: dict[int, PendingReason] = {}
        self._since: dict[str, float] = {}
        self._gated_at: dict[str, float] = {}
        self._timers: dict[int, float] = {}
        self._strangers: dict[str, None] = {}
        self._refusals = 0
        self._refused_since: dict[int, float] = {}
        self._absent: set[int] = set()
        self._retry_at = 0.0
        self.refused: PendingReason | None = None
        """Why the last creates were refused; None once one succeeded."""
        self.looked_back = False
        """Whether Events were read for Jobs of earlier processes."""
        self.inherited = False
        """Whether an earlier process has reconciled the owner: a create that it sent may still be carried out."""

    # Observed facts --------------------------------------------------------------------------------

    @property
    def total(self) -> int:
        """How many tasks there are."""
        return len(self._states)

    @property
    def states(self) -> Sequence[TaskState | None]:
        """The state of each task, None for one that has no Job and never had one."""
        return self._states

    @property
    def usage(self) -> UsageTotal:
        """What the ended tasks used together."""
        return self._usage

    @property
    def created(self) -> frozenset[int]:
        """Tasks whose present Job was created, whether or not it still exists."""
        return frozenset(self._created)

    def job_name(self, index: int) -> str:
        """The name of a task's Job."""
        return self._names[index]

    def index_of(self, job_name: str) -> int | None:
        """The task whose Job has that name, None for a foreign name."""
        return self._index.get(job_name)

    def was_created(self, index: int) -> bool:
        """The present Job of the task was created at some time."""
        return index in self._created

    def is_unanswered(self, index: int) -> bool:
        """A create of the task's Job had no answer: it may exist."""
        return index in self._unanswered

    def unanswered_for(self, index: int, now: float) -> float:
        """Seconds since the last create of the task's Job failed to get an answer; 0 where each has one."""
        return now - self._unanswered.get(index, now)

    def ending(self, index: int) -> PendingReason | None:
        """The reason for which the task is being ended."""
        return self._ending.get(index)

    def is_recorded_final(self, index: int) -> bool:
        """The status records the end of the task."""
        return index in self._recorded_final

    def is_replacement_recorded(self, index: int) -> bool:
        """The status records that the present Job of the task is replaced."""
        state = self._states[index]
        return state is not None and self._recorded_replacements.get(index, 0) >= state.replacements

    def awaits_record(self) -> bool:
        """An action waits until the status records it: the replacement of a Job, or the stop of a running task."""
        return bool(self._unrecorded)

    def unstarted(self) -> list[int]:
        """Tasks that may get a Job: not ended, and their present Job was never created."""
        return [
            i
            for i, x in enumerate(self._states)
            if i not in self._created and not (x is not None and x.final)
        ]

    def pending_creates(self) -> list[int]:
        """Tasks whose Job may exist without being known: in flight, or without an answer."""
        return [*self._in_flight, *(x for x in self._unanswered if x not in self._in_flight)]

    def retry_in(self, now: float) -> float:
        """Seconds until refused creates may be tried again, 0 for now."""
        return max(0.0, self._retry_at - now)

    def refused_for(self, index: int, now: float) -> float:
        """Seconds since the task's create has been refused, with every try in between; 0 where it is not."""
        return now - self._refused_since.get(index, now)

    def is_absent(self, index: int) -> bool:
        """A look-up after the last create without an answer found no Job."""
        return index in self._absent

    # What to decide again --------------------------------------------------------------------------

    def mark(self, index: int) -> None:
        """The Job or a Pod of the task has changed, or will be worth a look."""
        if self._dirty is not None:
            self._dirty[index] = None

    def mark_job(self, job_name: str) -> None:
        """As ``mark``, by the name of the Job."""
        index = self._index.get(job_name)
        if index is not None:
            self.mark(index)

    def look_again(self, index: int, at: float) -> None:
        """Decide the task again at that monotonic time, whether or not something changes; the earliest time counts."""
        self._timers[index] = min(at, self._timers.get(index, at))

    def next_due(self, now: float) -> float:
        """Seconds until the next task is to be decided again, 0 for none."""
        return max(min(self._timers.values()) - now, 0.001) if self._timers else 0.0

    def take_dirty(self, rules: TaskRules, now: float) -> list[int]:
        """Tasks to decide: all of them at first and when the rules have changed. Marks set from now on are kept."""
        everything = self._dirty is None or rules != self._rules
        due = [index for index, at in self._timers.items() if at <= now]
        for index in due:
            del self._timers[index]
        dirty = range(self.total) if everything else sorted({*(self._dirty or ()), *due})
        self._dirty, self._rules = {}, rules
        return [i for i in dirty if not ((x := self._states[i]) is not None and x.final)]

    def holds_for(self, fact: str, now: float, *, holds: bool) -> float:
        """Seconds since a fact was first observed that has been observed ever since; 0 where it does not hold."""
        if not holds:
            self._since.pop(fact, None)
            return 0.0
        return now - self._since.setdefault(fact, now)

    def gated_ago(self, job_uid: str, now: float, *, gated: bool) -> float | None:
        """Seconds since a queue was last observed to hold the Job or its Pod back; None for never."""
        if gated:
            self._gated_at[job_uid] = now
        return now - self._gated_at[job_uid] if job_uid in self._gated_at else None

    def is_new_stranger(self, job_uid: str) -> bool:
        """Whether this foreign Job, which names the owner as its own, is seen for the first time."""
        if job_uid in self._strangers or len(self._strangers) > 100:
            return False
        self._strangers[job_uid] = None
        return True

    def missing_for(self, what: str, now: float) -> float:
        """Seconds since something was first missed, such as the Pod of a finished Job."""
        return self.holds_for(f"missing/{what}", now, holds=True)

    # What happened ---------------------------------------------------------------------------------

    def decided(self, index: int, state: TaskState | None) -> None:
        """The state machine gave this state. A final state stays."""
        old = self._states[index]
        if old is not None and old.final:
            return
        self._states[index] = state
        if state is not None and state.final:
            self._timers.pop(index, None)
        if state is not None and state.final and index not in self._counted:
            self._usage = self._usage + UsageTotal.read((state.result or {}).get("usage"))

    def adopt(self, recorded: Recorded) -> None:
        """Another process has written the status: what it recorded for good holds here too.

        Two processes act at once for as long as a lease allows, or longer where leader election is off. An end that one of
        them recorded is never taken back by the other.
        """
        # It may have created Jobs that its status does not name yet.
        self.looked_back = False
        for index, state in recorded.states.items():
            if index >= self.total:
                continue
            known = self._states[index]
            if state.final and index not in self._recorded_final:
                self._states[index] = state
                self._recorded_final.add(index)
                if index not in self._counted:
                    self._counted.add(index)
                    if known is None or not known.final:
                        self._usage = self._usage + UsageTotal.read(
                            (state.result or {}).get("usage")
                        )
            elif state.replacements > (known.replacements if known else 0):
                self._states[index] = state
                self._recorded_replacements[index] = state.replacements
                self._created.discard(index)
                self.mark(index)
        for index in recorded.created:
            known = self._states[index] if index < self.total else None
            newer = known is not None and known.replacements > self._recorded_replacements.get(
                index, 0
            )
            if index < self.total and index not in self._created and not newer:
                self._created.add(index)
                self.mark(index)

    def seen(self, index: int, job: JobView) -> None:
        """A Job of the task exists."""
        state = self._states[index]
        if state is not None and job.replacement < state.replacements:
            return
        self._created.add(index)
        self._unanswered.pop(index, None)
        self._refused_since.pop(index, None)

    def replaced(self, index: int, state: TaskState) -> None:
        """The task gets a new Job that replaces its present one."""
        self._states[index] = state
        self._unrecorded.add(index)
        self._created.discard(index)
        self._refused_since.pop(index, None)
        self._ending.pop(index, None)

    def must_be_recorded(self, index: int) -> None:
        """The Job of an ended task is deleted after the status records the end."""
        if index not in self._recorded_final:
            self._unrecorded.add(index)

    def is_ending(self, index: int, reason: PendingReason) -> None:
        """The task is being ended for this reason; the first one counts."""
        self._ending.setdefault(index, reason)

    def creating(self, index: int) -> None:
        """A create is about to be sent."""
        self._in_flight[index] = None

    def created_job(self, index: int, state: TaskState, look_again_at: float) -> None:
        """The Job was created, or was found to be there."""
        self._answered(index)
        self._created.add(index)
        self._states[index] = state
        self.not_refused()
        # A Job that is deleted before the cache has shown it never appears there, and no event comes.
        self.mark(index)
        self.look_again(index, look_again_at)

    def was_run(self, index: int) -> None:
        """An Event shows that an earlier process created the Job."""
        self._answered(index)
        self._created.add(index)
        self.mark(index)

    def may_have_started(self, index: int, job: JobView) -> None:
        """The Job had a Pod while nobody recorded it: its agent counts as started."""
        known = self._states[index] or TaskState(Phase.PENDING, Reason.STARTING, job_name=job.name)
        if not known.final:
            attempts = max(known.attempts, job.earlier_attempts + 1)
            self._states[index] = replace(known, attempts=attempts)
            self.mark(index)

    def not_created(self, index: int) -> None:
        """It is certain that no Job was created."""
        self._answered(index)

    def not_sent(self, index: int) -> None:
        """The create was not sent. An earlier one without an answer may still be carried out."""
        self._in_flight.pop(index, None)

    def unanswered(self, index: int, now: float) -> None:
        """The create had no answer by this monotonic time."""
        self._in_flight.pop(index, None)
        self._absent.discard(index)
        self._unanswered[index] = now

    def failed(self, index: int, reason: str, message: str) -> None:
        """The task ends without a Job of its own."""
        self._answered(index)
        known = self._states[index] or TaskState(Phase.PENDING, Reason.QUEUED)
        self.decided(index, replace(known, phase=Phase.FAILED, reason=reason, message=message))

    def absent(self, index: int) -> None:
        """A look-up found no Job of a create that had no answer."""
        self._absent.add(index)

    def limited(self) -> None:
        """Creates are not tried, since a limit is met: that is what the tasks wait for now."""
        self._retry_at, self.refused = 0.0, None

    def not_refused(self) -> None:
        """Creates succeed, or the user does not want them."""
        self._refusals, self._retry_at, self.refused = 0, 0.0, None
        self._refused_since.clear()

    def refused_create(
        self, indexes: Iterable[int], reason: PendingReason, now: float, jitter: float
    ) -> None:
        """Creates of these tasks are refused: wait longer each time.

        ``jitter`` in [0, 1) spreads owners that wait for the same thing.
        """
        self.refused = reason
        for index in indexes:
            self._refused_since.setdefault(index, now)
        delay = min(RETRY_FIRST * 2**self._refusals, RETRY_MOST)
        self._refusals = min(self._refusals + 1, 16)
        self._retry_at = now + delay * (0.5 + jitter / 2)

    def _answered(self, index: int) -> None:
        self._in_flight.pop(index, None)
        self._unanswered.pop(index, None)
        self._absent.discard(index)

    # The status to write -------------------------------------------------------------------------

    def recorded(
        self, states: Sequence[TaskState | None], unshown: Container[int] = ()
    ) -> list[TaskState]:
        """These states are in the status; those of them that ended and were not counted before.

        ``unshown``: tasks for whose replacement the status has no room.
        """
        ended = []
        self._unrecorded = {
            i
            for i in self._unrecorded
            if (x := self._states[i]) is not None and (x != states[i] or i in unshown)
        }
        for index, state in enumerate(states):
            if state is None:
                continue
            if state.replacements and index not in unshown:
                self._recorded_replacements[index] = state.replacements
            if state.final:
                self._recorded_final.add(index)
                if index not in self._counted:
                    self._counted.add(index)
                    ended.append(state)
        return ended


class Trackers:
    """The trackers of all owners of one kind, by uid; marked at each change of a Job or Pod."""

    def __init__(self) -> None:
        self._trackers: dict[str, Tracker] = {}

    def get(self, uid: str) -> Tracker | None:
        """The tracker of an owner."""
        return self._trackers.get(uid)

    def add(self, tracker: Tracker) -> Tracker:
        """Follow an owner."""
        self._trackers[tracker.uid] = tracker
        return tracker

    def forget(self, uid: str) -> None:
        """The owner is gone or has ended."""
        self._trackers.pop(uid, None)

    def mark(self, owner_uid: str, job_name: str) -> None:
        """The Job, or a Pod of it, has changed."""
        tracker = self._trackers.get(owner_uid)
        if tracker is not None:
            tracker.mark_job(job_name)

    def uids(self) -> Iterable[str]:
        """The owners that are followed."""
        return tuple(self._trackers)

    def __len__(self) -> int:
        return len(self._trackers)
