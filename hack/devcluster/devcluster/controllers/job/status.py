"""A Job's status: its conditions and counters, as a working copy that is compared and written. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
TERMINAL = ("Complete", "Failed")
SUCCESS_TARGET = "SuccessCriteriaMet"
FAILURE_TARGET = "FailureTarget"
_ORDER = (
    "conditions",
    "startTime",
    "completionTime",
    "active",
    "succeeded",
    "failed",
    "terminating",
    "uncountedTerminatedPods",
    "ready",
)


@dataclass(frozen=True, slots=True)
class Decision:
    """That a Job will end: `target` is SuccessCriteriaMet or FailureTarget."""

    target: str
    reason: str
    message: str

    @property
    def succeeds(self) -> bool:
        """Whether the Job will be complete."""
        return self.target == SUCCESS_TARGET

    @property
    def terminal(self) -> str:
        """The condition that records it."""
        return "Complete" if self.succeeds else "Failed"


def condition(status: Object, kind: str) -> Object | None:
    """The condition of a type when it is True."""
    for each in status.get("conditions") or ():
        if each["type"] == kind:
            return dict(each) if each["status"] == "True" else None
    return None


def is_finished(job: Object) -> bool:
    """Whether the Job has a terminal condition."""
    return finished_at(job) is not None


def finished_at(job: Object) -> str | None:
    """The time of the terminal condition."""
    status = job.get("status") or {}
    for kind in TERMINAL:
        found = condition(status, kind)
        if found is not None:
            return str(found.get("lastTransitionTime") or "")
    return None


def decided(status: Object) -> Decision | None:
    """The decision that an earlier sync wrote down."""
    for target in (SUCCESS_TARGET, FAILURE_TARGET):
        found = condition(status, target)
        if found is not None:
            return Decision(target, found.get("reason", ""), found.get("message", ""))
    return None


def add_condition(status: Object, kind: str, *, reason: str, message: str, now: str) -> None:
    """Append a condition that is True."""
    status["conditions"] = [
        *(status.get("conditions") or ()),
        _new(kind, "True", reason=reason, message=message, now=now),
    ]


def set_suspended(status: Object, suspended: bool, now: str) -> bool:
    """Set the Suspended condition; False when it has that value already (or the Job never was suspended)."""
    value = "True" if suspended else "False"
    reason, message = (
        ("JobSuspended", "Job suspended") if suspended else ("JobResumed", "Job resumed")
    )
    conditions = list(status.get("conditions") or ())
    changed = _new("Suspended", value, reason=reason, message=message, now=now)
    for index, each in enumerate(conditions):
        if each["type"] == "Suspended":
            if each["status"] == value:
                return False
            conditions[index] = changed
            break
    else:
        if not suspended:
            return False
        conditions.append(changed)
    status["conditions"] = conditions
    return True


def _new(kind: str, value: str, *, reason: str, message: str, now: str) -> Object:
    return {
        "type": kind,
        "status": value,
        "lastProbeTime": now,
        "lastTransitionTime": now,
        "reason": reason,
        "message": message,
    }


def set_count(status: Object, field: str, value: int) -> None:
    """Set a counter that is left out when zero."""
    if value:
        status[field] = value
    else:
        status.pop(field, None)


def uncounted(status: Object, kind: str) -> list[str]:
    """Uids of Pods that ended (`kind`: succeeded, failed) and are not in the counters yet."""
    return list((status.get("uncountedTerminatedPods") or {}).get(kind) or ())


def set_uncounted(status: Object, succeeded: list[str], failed: list[str]) -> None:
    """Write down which Pods ended and are not in the counters yet."""
    both = {"succeeded": succeeded, "failed": failed}
    status["uncountedTerminatedPods"] = {key: uids for key, uids in both.items() if uids}


def count_released(status: Object, tracked: Iterable[str]) -> bool:
    """Move ended Pods that lost their finalizer from the uncounted to the counters. Whether any did."""
    held = set(tracked)
    changed = False
    keep: dict[str, list[str]] = {}
    for kind in ("succeeded", "failed"):
        uids = uncounted(status, kind)
        keep[kind] = [uid for uid in uids if uid in held]
        released = len(uids) - len(keep[kind])
        if released:
            set_count(status, kind, status.get(kind, 0) + released)
            changed = True
    if changed:
        set_uncounted(status, keep["succeeded"], keep["failed"])
    return changed


def ordered(status: Object) -> Object:
    """The status with its fields in the order in which the API server writes them."""
    known = {key: status[key] for key in _ORDER if key in status}
    return {**known, **status}
