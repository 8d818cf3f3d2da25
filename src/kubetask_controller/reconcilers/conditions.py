"""The state table: which conditions go with a phase and a reason.

The rules by which Flux (kstatus), Argo CD, Argo Workflows, Tekton steps and ``kubectl wait`` distinguish an end from a wait:
conditions persist as False instead of vanishing, Reconciling and Stalled are never True together, and
``lastTransitionTime`` moves only when the status of the condition does.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from kubetask_controller.api.constants import ConditionType, Phase, Reason

_TRUE: dict[str, frozenset[ConditionType]] = {
    "active": frozenset({ConditionType.RECONCILING}),
    "suspended": frozenset({ConditionType.SUSPENDED}),
    "succeeded": frozenset({ConditionType.COMPLETE, ConditionType.READY}),
    "failed": frozenset({ConditionType.FAILED, ConditionType.STALLED}),
}

_ORDER = (
    ConditionType.COMPLETE,
    ConditionType.FAILED,
    ConditionType.SUSPENDED,
    ConditionType.READY,
    ConditionType.RECONCILING,
    ConditionType.STALLED,
)


def build_conditions(
    phase: Phase,
    reason: str,
    message: str,
    *,
    previous: Iterable[Mapping[str, Any]],
    context: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """All six conditions of a BatchRun or Task.

    Args:
        phase: the phase of the object.
        reason: its reason, which every condition carries.
        message: one line, the same for all.
        previous: the conditions that the object has now, for their transition times.
        context: ``now`` (RFC 3339) and ``generation`` of the object.
    """
    true = _TRUE[_row(phase, reason)]
    before = {x.get("type"): x for x in previous}
    conditions = []
    for kind in _ORDER:
        status = "True" if kind in true else "False"
        old = before.get(kind.value, {})
        same = old.get("status") == status and old.get("lastTransitionTime")
        conditions.append(
            {
                "type": kind.value,
                "status": status,
                "reason": str(reason),
                "message": message,
                "lastTransitionTime": old["lastTransitionTime"] if same else context["now"],
                "observedGeneration": context["generation"],
            }
        )
    return conditions


def _row(phase: Phase, reason: str) -> str:
    if phase is Phase.SUCCEEDED:
        return "succeeded"
    if phase is Phase.FAILED:
        return "failed"
    return "suspended" if reason in (Reason.SUSPENDED, Reason.TASK_LIMIT) else "active"
