"""The status of a run: recomputed whole from the states of its tasks, and kept within the size of an object.

As a run grows, its status gives up what can be derived, in the order of ``Omitted``: contexts, then the times of tasks
that succeeded, then the entries that need nobody's eye, then messages of failures. What remains at any size: phase,
reason, counters, and the index ranges of what was made, what succeeded and what failed.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Omitted, Phase, Reason
from kubetask_controller.reconcilers.batchrun.memory import RunMemory
from kubetask_controller.reconcilers.batchrun.snapshot import revision_name
from kubetask_controller.reconcilers.conditions import build_conditions
from kubetask_controller.reconcilers.contexts import distinguishing
from kubetask_controller.reconcilers.indexes import format_indexes
from kubetask_controller.reconcilers.outcome import TaskState
from kubetask_controller.reconcilers.projections import ResourceView
from kubetask_controller.reconcilers.waiting import Waiting

JSON = dict[str, Any]

MAX_FAILED_ENTRIES = 1000
"""Entries of failed tasks that stay even in the largest run; more are in the index range alone."""

_ENVELOPE = 24 * 1024
"""Bytes kept free for metadata, managedFields and everything in the status but its entries and ranges."""

_UNREMARKABLE = frozenset({Reason.STARTING, Reason.QUEUED})


@dataclass(frozen=True, slots=True)
class Summary:
    """Phase, reason and message of a run."""

    phase: Phase
    reason: Reason
    message: str


def summarize(
    run: ResourceView, states: Sequence[TaskState | None], blocked: Waiting | None
) -> Summary:
    """What the run as a whole is in.

    Args:
        run: its spec says whether it is suspended or cancelled.
        states: one entry a task, None for one that was not started.
        blocked: what keeps every task from starting: a missing Batch, a refused Job.
    """
    phases = Counter(x.phase if x else Phase.PENDING for x in states)
    total = len(states)
    if total and phases[Phase.SUCCEEDED] + phases[Phase.FAILED] == total:
        return _ended(run, states, phases)
    started = phases[Phase.RUNNING] + phases[Phase.SUCCEEDED] > 0 or any(
        x is not None and x.start_time for x in states
    )
    phase = Phase.RUNNING if started else Phase.PENDING
    counts = _counts(phases, total) if total else ""
    if run.spec.get("cancel"):
        return Summary(
            phase, Reason.CANCELLING, f"ending {phases[Phase.RUNNING]} running tasks; {counts}"
        )
    if run.spec.get("suspend"):
        going = f"; {phases[Phase.RUNNING]} tasks run on" if phases[Phase.RUNNING] else ""
        return Summary(phase, Reason.SUSPENDED, f"suspended, nothing new starts{going}")
    waiting = blocked or _most_telling(states)
    if started:
        why = f"; {waiting.reason}: {waiting.message}" if waiting else ""
        return Summary(phase, Reason.TASKS_RUNNING, counts + why)
    if waiting:
        return Summary(phase, waiting.reason, waiting.message)
    if any(x is not None and x.reason is Reason.STARTING for x in states):
        return Summary(phase, Reason.STARTING, "waiting for the first Pod to run")
    return Summary(phase, Reason.QUEUED, "waiting for a place")


def build_status(run: ResourceView, memory: RunMemory, summary: Summary, now: str) -> JSON:
    """The whole status of a run.

    Args:
        run: its present status gives the times that are kept.
        memory: states of the tasks and the snapshot.
        summary: phase, reason and message.
        now: RFC 3339, for transition times and the end.
    """
    states = memory.states
    phases = Counter(x.phase if x else Phase.PENDING for x in states)
    total = len(states)
    previous = run.status
    start = previous.get("startTime") or min(
        (x.start_time for x in states if x is not None and x.start_time), default=""
    )
    status: JSON = {
        "observedGeneration": run.generation,
        "phase": summary.phase.value,
        "reason": summary.reason.value,
        "message": summary.message[: c.MAX_MESSAGE_LENGTH],
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
            summary.message[: c.MAX_MESSAGE_LENGTH],
            previous=previous.get("conditions") or (),
            context={"now": now, "generation": run.generation},
        ),
    }
    if start:
        status["startTime"] = start
    if memory.snapshot is not None and "batchSpec" not in run.spec:
        status["batchSnapshot"] = revision_name(run)
    if summary.phase.final:
        status["completionTime"] = previous.get("completionTime") or now
    status |= _ranges(memory)
    status |= _entries(run, memory)
    return status


def _ended(
    run: ResourceView, states: Sequence[TaskState | None], phases: Mapping[Phase, int]
) -> Summary:
    total, failed = len(states), phases[Phase.FAILED]
    if not failed:
        return Summary(
            Phase.SUCCEEDED,
            Reason.TASKS_SUCCEEDED,
            f"all {total} tasks succeeded" if total > 1 else "the task succeeded",
        )
    reasons = Counter(x.reason for x in states if x is not None and x.phase is Phase.FAILED)
    listed = ", ".join(f"{count} {reason.value}" for reason, count in reasons.most_common())
    message = f"{failed} of {total} tasks failed: {listed}"
    if run.spec.get("cancel") and reasons[Reason.CANCELLED]:
        return Summary(Phase.FAILED, Reason.CANCELLED, message)
    if reasons[Reason.MAX_FAILURES_EXCEEDED]:
        return Summary(Phase.FAILED, Reason.MAX_FAILURES_EXCEEDED, message)
    return Summary(Phase.FAILED, Reason.TASKS_FAILED, message)


def _counts(phases: Mapping[Phase, int], total: int) -> str:
    ended = phases[Phase.SUCCEEDED] + phases[Phase.FAILED]
    return (
        f"{ended}/{total} done, {phases[Phase.RUNNING]} running, "
        f"{phases[Phase.PENDING]} pending, {phases[Phase.FAILED]} failed"
    )


def _most_telling(states: Sequence[TaskState | None]) -> Waiting | None:
    """The reason that most of the waiting tasks give, if it is one that somebody should look at."""
    telling = [
        x
        for x in states
        if x is not None and x.phase is Phase.PENDING and x.reason not in _UNREMARKABLE
    ]
    if not telling:
        if any(x is not None and x.reason is Reason.STARTING for x in states):
            return None
        held = next((x for x in states if x is not None and x.reason is Reason.QUEUED), None)
        return Waiting(held.reason, held.message) if held else None
    reason, count = Counter(x.reason for x in telling).most_common(1)[0]
    example = next(x for x in telling if x.reason is reason)
    more = f" (and {count - 1} more tasks)" if count > 1 else ""
    return Waiting(reason, example.message + more)


def _ranges(memory: RunMemory) -> JSON:
    by_phase: dict[Phase, list[int]] = {Phase.SUCCEEDED: [], Phase.FAILED: []}
    for index, state in enumerate(memory.states):
        if state is not None and state.final:
            by_phase[state.phase].append(index)
    return {
        "startedIndexes": format_indexes(memory.made),
        "completedIndexes": format_indexes(by_phase[Phase.SUCCEEDED]),
        "failedIndexes": format_indexes(by_phase[Phase.FAILED]),
    }


def _entries(run: ResourceView, memory: RunMemory) -> JSON:
    budget = c.MAX_OBJECT_BYTES - _ENVELOPE - len(to_json(run.spec))
    entries = [_entry(memory, index) for index in range(len(memory.states))]
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


def _entry(memory: RunMemory, index: int) -> JSON:
    state = memory.states[index] or TaskState(Phase.PENDING, Reason.QUEUED)
    cached = memory.entries.get(index)
    if cached and cached[0] == state:
        return cached[1]
    assert memory.snapshot is not None
    entry: JSON = {
        "index": index,
        "contexts": distinguishing(memory.snapshot.variable[index]),
        "status": state.phase.value,
        "reason": state.reason.value,
    }
    for key, value in (
        ("message", state.message),
        ("jobName", state.job_name),
        ("startTime", state.start_time),
        ("completionTime", state.completion_time),
        ("result", state.result),
    ):
        if value:
            entry[key] = value
    memory.entries[index] = (state, entry)
    return entry


def _give_up(step: Omitted, entries: Sequence[JSON]) -> list[JSON]:
    if step is Omitted.CONTEXTS:
        return [_without(x, "contexts") for x in entries]
    if step is Omitted.TIMES:
        return [
            _without(x, "startTime", "completionTime") if x["status"] == Phase.SUCCEEDED else x
            for x in entries
        ]
    if step is Omitted.TASKS:
        return [x for x in entries if x["status"] == Phase.FAILED]
    return [_without(x, "message", "result") for x in entries[:MAX_FAILED_ENTRIES]]


def _without(entry: JSON, *keys: str) -> JSON:
    return {k: v for k, v in entry.items() if k not in keys}
