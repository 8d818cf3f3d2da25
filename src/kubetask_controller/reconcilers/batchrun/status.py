"""The status of a run: recomputed whole from the states of its tasks, and kept within the size of an object.

As a run grows, its status gives up what can be derived, in the order of ``Omitted``: contexts, then the times of tasks
that succeeded, then the entries that need no attention, then messages of failures. What remains at any size: phase,
reason, counters, usage, and the index ranges of created, succeeded and failed tasks.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic_core import to_json

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Omitted, Phase, Reason
from kubetask_controller.api.indexes import format_indexes
from kubetask_controller.reconcilers.batchrun.snapshot import Missing, Snapshot
from kubetask_controller.reconcilers.conditions import build_conditions
from kubetask_controller.reconcilers.projections import RunView
from kubetask_controller.reconcilers.taskrun.contexts import distinguishing
from kubetask_controller.reconcilers.taskrun.pending_reasons import PendingReason
from kubetask_controller.reconcilers.taskrun.plan import failures
from kubetask_controller.reconcilers.taskrun.recorded import task_fields, usage_json
from kubetask_controller.reconcilers.taskrun.state import UNSTARTED, TaskState
from kubetask_controller.reconcilers.taskrun.tracker import Tracker
from kubetask_controller.types import JSON

MAX_FAILED_ENTRIES = 1000
"""Entries of failed tasks that stay even in the largest run; more are in the index range alone."""

_ENVELOPE = 24 * 1024
"""Bytes kept free for metadata, managedFields and everything in the status but its entries and ranges."""

_HARMLESS = frozenset({Reason.STARTING, Reason.QUEUED, Reason.TASK_LIMIT, Reason.SUSPENDED})
"""Reasons of pending tasks that need no attention, or that the user has requested."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Phase, reason and message of a run."""

    phase: Phase
    reason: str
    message: str


def summarize(run: RunView, tracker: Tracker, blocked: PendingReason | None) -> Summary:
    """The state of the run as a whole.

    Args:
        run: its spec contains suspend and cancel.
        tracker: its tasks.
        blocked: what keeps tasks from starting: a limit, a refused Job.
    """
    states = tracker.states
    phases = Counter(x.phase if x else Phase.PENDING for x in states)
    total = len(states)
    if phases[Phase.SUCCEEDED] + phases[Phase.FAILED] == total:
        return _ended(run, states, phases)
    started = phases[Phase.RUNNING] + phases[Phase.SUCCEEDED] > 0 or any(
        x is not None and x.start_time for x in states
    )
    phase = Phase.RUNNING if started else Phase.PENDING
    counts = _counts(phases, total)
    if run.spec.get("cancel"):
        text = f"ending {phases[Phase.RUNNING]} running tasks; {counts}"
        return Summary(phase, Reason.CANCELLING, text)
    if run.spec.get("suspend"):
        going = f"; {phases[Phase.RUNNING]} tasks run on" if phases[Phase.RUNNING] else ""
        return Summary(phase, Reason.SUSPENDED, f"suspended, nothing new starts{going}")
    telling = _most_telling(states)
    limited = blocked is not None and blocked.reason == Reason.TASK_LIMIT
    if blocked is not None and limited and not _goes_on(run, states):
        return Summary(phase, blocked.reason, f"{counts}; {blocked.message}")
    if limited:
        # As long as the first tasks work, nobody has to do anything about the others.
        blocked = None
    # What needs a person comes before what passes by itself.
    if blocked is not None and blocked.reason not in _HARMLESS:
        waiting: PendingReason | None = blocked
    else:
        waiting = telling or blocked
    if started:
        why = f"; {waiting.reason}: {waiting.message}" if waiting else ""
        return Summary(phase, Reason.TASKS_RUNNING, counts + why)
    if waiting is not None:
        return Summary(phase, waiting.reason, waiting.message)
    queued = next((x for x in states if x is not None and x.reason == Reason.QUEUED), None)
    if any(x is not None and x.reason == Reason.STARTING for x in states):
        return Summary(phase, Reason.STARTING, "waiting for the first agent to start")
    if queued is not None and queued.message:
        return Summary(phase, Reason.QUEUED, queued.message)
    return Summary(phase, Reason.QUEUED, "waiting for its first Job")


def summarize_missing(run: RunView, missing: Missing) -> Summary:
    """The state of a run whose work is not known."""
    why = missing.reason
    if run.spec.get("cancel"):
        return Summary(Phase.FAILED, Reason.CANCELLED, "cancelled before it began")
    if missing.final:
        return Summary(Phase.FAILED, why.reason, why.message)
    if run.spec.get("suspend"):
        return Summary(Phase.PENDING, Reason.SUSPENDED, f"suspended; {why.reason}: {why.message}")
    return Summary(Phase.PENDING, why.reason, why.message)


def build_status(
    run: RunView,
    tracker: Tracker | None,
    snapshot: Snapshot | None,
    summary: Summary,
    *,
    now: str,
    entries: dict[int, Any],
) -> JSON:
    """The whole status of a run.

    Args:
        run: its present status gives the times that are kept.
        tracker: its tasks, None before its work is known.
        snapshot: its work.
        summary: phase, reason and message.
        now: RFC 3339, for transition times and the end.
        entries: entries of earlier calls by index, reused while the state is the same.
    """
    states: Sequence[TaskState | None] = tracker.states if tracker else ()
    phases = Counter(x.phase if x else Phase.PENDING for x in states)
    total = len(states)
    previous = run.status
    start = previous.get("startTime") or min(
        (x.start_time for x in states if x is not None and x.start_time), default=""
    )
    message = summary.message[: c.MAX_MESSAGE_LENGTH]
    status: JSON = {
        "observedGeneration": run.generation,
        "phase": summary.phase.value,
        "reason": str(summary.reason),
        "message": message,
        "done": f"{phases[Phase.SUCCEEDED] + phases[Phase.FAILED]}/{total}",
        "progress": {
            "total": total,
            "pending": phases[Phase.PENDING],
            "running": phases[Phase.RUNNING],
            "completed": phases[Phase.SUCCEEDED],
            "failed": phases[Phase.FAILED],
        },
        "conditions": build_conditions(
            summary.phase,
            summary.reason,
            message,
            previous=previous.get("conditions") or (),
            context={"now": now, "generation": run.generation},
        ),
    }
    if start:
        status["startTime"] = start
    if snapshot is not None and snapshot.name:
        status["batchSnapshot"] = snapshot.name
        if snapshot.digest:
            status["snapshotDigest"] = snapshot.digest
    if summary.phase.final:
        status["completionTime"] = previous.get("completionTime") or now
    if tracker is not None and (usage := usage_json(tracker.usage)):
        status["usage"] = usage
    if tracker is not None and snapshot is not None:
        status |= _ranges(tracker)
        status |= _entries(run, tracker, snapshot, entries)
    return status


def _goes_on(run: RunView, states: Sequence[TaskState | None]) -> bool:
    """Some task that may start has not ended."""
    first = run.spec.get("taskLimit")
    allowed = states if first is None else states[:first]
    later = states[len(allowed) :]
    return any(x is None or not x.final for x in allowed) or any(
        x is not None and not x.final for x in later
    )


def _ended(
    run: RunView, states: Sequence[TaskState | None], phases: Mapping[Phase, int]
) -> Summary:
    total, failed = len(states), phases[Phase.FAILED]
    if not failed:
        text = f"all {total} tasks succeeded" if total > 1 else "the task succeeded"
        return Summary(Phase.SUCCEEDED, Reason.TASKS_SUCCEEDED, text)
    reasons = Counter(x.reason for x in states if x is not None and x.phase is Phase.FAILED)
    listed = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    message = f"{failed} of {total} tasks failed: {listed}"
    if run.spec.get("cancel") and reasons[Reason.CANCELLED]:
        return Summary(Phase.FAILED, Reason.CANCELLED, message)
    limit = run.spec.get("maxFailures")
    if reasons[Reason.MAX_FAILURES_EXCEEDED] or (limit is not None and failures(states) > limit):
        return Summary(Phase.FAILED, Reason.MAX_FAILURES_EXCEEDED, message)
    for reason in (Reason.BUDGET_EXCEEDED, Reason.SNAPSHOT_LOST):
        if reasons[reason]:
            return Summary(Phase.FAILED, reason, message)
    return Summary(Phase.FAILED, Reason.TASKS_FAILED, message)


def _counts(phases: Mapping[Phase, int], total: int) -> str:
    ended = phases[Phase.SUCCEEDED] + phases[Phase.FAILED]
    return (
        f"{ended}/{total} done, {phases[Phase.RUNNING]} running, "
        f"{phases[Phase.PENDING]} pending, {phases[Phase.FAILED]} failed"
    )


def _most_telling(states: Sequence[TaskState | None]) -> PendingReason | None:
    """The reason of most tasks that cannot start, None where all of them may."""
    telling = [
        x
        for x in states
        if x is not None and x.phase is Phase.PENDING and x.reason not in _HARMLESS
    ]
    if not telling:
        return None
    reason, count = Counter(x.reason for x in telling).most_common(1)[0]
    example = next(x for x in telling if x.reason == reason)
    more = f" (and {count - 1} more tasks)" if count > 1 else ""
    return PendingReason(reason, example.message + more)


def _ranges(tracker: Tracker) -> JSON:
    by_phase: dict[Phase, list[int]] = {Phase.SUCCEEDED: [], Phase.FAILED: []}
    for index, state in enumerate(tracker.states):
        if state is not None and state.final:
            by_phase[state.phase].append(index)
    return {
        "startedIndexes": format_indexes(tracker.created),
        "completedIndexes": format_indexes(by_phase[Phase.SUCCEEDED]),
        "failedIndexes": format_indexes(by_phase[Phase.FAILED]),
    }


def _entries(run: RunView, tracker: Tracker, snapshot: Snapshot, cache: dict[int, Any]) -> JSON:
    """Entries within the remaining size of the object: kubectl apply stores the manifest once more in an annotation."""
    metadata = len(to_json(run.annotations)) + len(to_json(run.labels))
    spec = len(to_json(run.spec)) + len(run.work)
    budget = c.MAX_OBJECT_BYTES - _ENVELOPE - spec - metadata
    entries = [_entry(run, tracker, snapshot, index, cache) for index in range(tracker.total)]
    omitted: list[str] = []
    for step in (None, *Omitted):
        if step is not None:
            omitted.append(step.value)
            entries = _give_up(step, entries)
        if len(to_json(entries)) <= budget:
            break
    result: JSON = {"tasks": entries}
    if omitted:
        result["omitted"] = omitted
    return result


def _entry(
    run: RunView, tracker: Tracker, snapshot: Snapshot, index: int, cache: dict[int, Any]
) -> JSON:
    state = tracker.states[index]
    if state is None or not (state.final or tracker.was_created(index)):
        state = _unstarted(run, state or UNSTARTED, index, tracker.refused)
    cached = cache.get(index)
    if cached and cached[0] == state:
        return cached[1]  # type: ignore[no-any-return]
    entry: JSON = {
        "index": index,
        "contexts": _contexts(run, snapshot, index),
        "status": state.phase.value,
        "reason": str(state.reason),
    }
    if not entry["contexts"]:
        del entry["contexts"]
    if state.message:
        entry["message"] = state.message
    entry |= task_fields(state)
    cache[index] = (state, entry)
    return entry


def _unstarted(
    run: RunView, state: TaskState, index: int, refused: PendingReason | None
) -> TaskState:
    """What the entry of a task without a Job shows. The run has the message of a refusal, once for all of its tasks."""
    first = run.spec.get("taskLimit")
    if first is not None and index >= first:
        return replace(state, reason=Reason.TASK_LIMIT)
    if run.spec.get("suspend"):
        return replace(state, reason=Reason.SUSPENDED)
    return replace(state, reason=refused.reason if refused else Reason.QUEUED)


def _contexts(run: RunView, snapshot: Snapshot, index: int) -> list[JSON]:
    if index < len(snapshot.parts):
        return distinguishing(snapshot.variable(index))
    entries: Iterable[Any] = run.status.get("tasks") or ()
    return next((list(x.get("contexts") or ()) for x in entries if x["index"] == index), [])


def _give_up(step: Omitted, entries: Sequence[JSON]) -> list[JSON]:
    if step is Omitted.CONTEXTS:
        return [_without(x, "contexts") for x in entries]
    if step is Omitted.TIMES:
        return [
            _without(x, "startTime", "completionTime") if x["status"] == Phase.SUCCEEDED else x
            for x in entries
        ]
    if step is Omitted.TASKS:
        return [x for x in entries if x["status"] == Phase.FAILED or _is_retried(x)]
    # What exists in its entry alone comes first.
    first = sorted(entries, key=lambda x: not _is_retried(x))[:MAX_FAILED_ENTRIES]
    return [_without(x, "message", "result") for x in sorted(first, key=lambda x: x["index"])]


def unshown_replacements(tracker: Tracker, status: JSON) -> set[int]:
    """Tasks whose replacement is not in this status, because it has no room for their entries."""
    if not status.get("omitted"):
        return set()
    shown = {x["index"] for x in status["tasks"]}
    states = enumerate(tracker.states)
    return {i for i, x in states if x and x.replacements and not x.final and i not in shown}


def _is_retried(entry: JSON) -> bool:
    """The counters of a task that gets another Job are in its entry alone until that Job exists."""
    return "replacements" in entry and entry["status"] in (Phase.PENDING, Phase.RUNNING)


def _without(entry: JSON, *keys: str) -> JSON:
    return {k: v for k, v in entry.items() if k not in keys}
