"""The status of a Pod, as a kubelet writes it.

Pure functions of the kubelet's state; phases follow getPhase of kubelet_pods.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from devcluster.apiserver import quantity

from .podstate import ContainerKind, ContainerState, PodState

Object = dict[str, Any]

OWN_CONDITIONS = (
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
)
FINAL_PHASES = ("Succeeded", "Failed")
DISRUPTION_TARGET = "DisruptionTarget"


def build(state: PodState, old: Object, *, host_ip: str, now: str) -> Object:
    """The status to write over `old`, the one that the API has."""
    pod, spec = state.pod, state.pod["spec"]
    computed = phase(state)
    generation = pod["metadata"].get("generation")
    status: Object = {} if generation is None else {"observedGeneration": generation}
    status["phase"] = _shown_phase(state, computed, old)
    conditions = _conditions(state, computed)
    status["conditions"] = merge_conditions(
        conditions, old.get("conditions") or (), generation, now
    )
    if state.failure is not None and state.final:
        status["reason"], status["message"] = state.failure
    status.update(hostIP=host_ip, hostIPs=[{"ip": host_ip}])
    if state.sandbox:
        status.update(podIP=state.ip, podIPs=[{"ip": state.ip}])
    status["startTime"] = old.get("startTime") or state.start_time
    if state.inits:
        status["initContainerStatuses"] = [_container_status(each) for each in state.inits]
    status["containerStatuses"] = [_container_status(each) for each in state.mains]
    status["qosClass"] = qos_class(spec)
    allocated = _allocated(spec)
    if allocated:
        status["allocatedResources"] = allocated
    for key in ("nominatedNodeName", "resize", "resourceClaimStatuses"):
        if key in old:
            status[key] = old[key]
    return status


# --- phase


def phase(state: PodState) -> str:
    """The phase that the containers' states amount to."""
    if state.failure is not None:
        return "Failed"
    failed, pending = _initialization(state.inits)
    if failed and state.restart_policy == "Never":
        return "Failed"
    running = stopped = succeeded = waiting = 0
    for each in state.mains:
        ended = each.terminated or (
            each.last_state.get("terminated") if "waiting" in each.state else None
        )
        if each.running:
            running += 1
        elif ended is not None:
            stopped += 1
            succeeded += ended["exitCode"] == 0
        else:
            waiting += 1
    if (pending or waiting) and not state.final:
        return "Pending"
    sidecars = any(each.running for each in state.inits if each.kind is ContainerKind.SIDECAR)
    if running or (sidecars and not state.final):
        return "Running"
    return _ended_phase(state, stopped == succeeded and not waiting)


def _ended_phase(state: PodState, good: bool) -> str:
    if state.final or state.terminating:
        return "Succeeded" if good else "Failed"
    if state.restart_policy == "Always":
        return "Running"
    if good:
        return "Succeeded"
    return "Failed" if state.restart_policy == "Never" else "Running"


def _initialization(inits: Iterable[ContainerState]) -> tuple[int, int]:
    """The number of init containers that failed, and of those not done."""
    failed = pending = 0
    for each in inits:
        if each.kind is ContainerKind.SIDECAR:
            pending += each.starting or not (each.running or each.terminated or each.last_state)
            continue
        ended = each.terminated or (
            each.last_state.get("terminated") if "waiting" in each.state else None
        )
        if ended is not None and ended["exitCode"] != 0:
            failed += 1
        if each.terminated is None or each.terminated["exitCode"] != 0:
            pending += 1
    return failed, pending


def _shown_phase(state: PodState, computed: str, old: Object) -> str:
    """A final phase is not reported before every container has ended."""
    if computed in FINAL_PHASES and not state.final:
        return str(old.get("phase") or "Pending")
    return computed


# --- conditions


def _conditions(state: PodState, computed: str) -> list[Object]:
    readiness = _readiness(state, computed)
    sandbox = state.sandbox and not (state.final or state.sandbox_stopped)
    conditions: list[Object] = [
        {"type": "PodReadyToStartContainers", "status": _flag(sandbox)},
        _initialized(state, computed),
        {"type": "Ready", **readiness},
        {"type": "ContainersReady", **readiness},
        {"type": "PodScheduled", "status": "True"},
    ]
    return conditions if state.disruption is None else [state.disruption, *conditions]


def _readiness(state: PodState, computed: str) -> Object:
    if computed == "Succeeded":
        return {"status": "False", "reason": "PodCompleted"}
    if computed == "Failed":
        return {"status": "False", "reason": "PodFailed"}
    sidecars = [each for each in state.inits if each.kind is ContainerKind.SIDECAR]
    unready = [each.name for each in (*sidecars, *state.mains) if not each.ready]
    if not unready:
        return {"status": "True"}
    message = f"containers with unready status: {_names(unready)}"
    return {"status": "False", "reason": "ContainersNotReady", "message": message}


def _initialized(state: PodState, computed: str) -> Object:
    if computed == "Succeeded":
        return {"type": "Initialized", "status": "True", "reason": "PodCompleted"}
    incomplete = [each.name for each in state.inits if not each.ready]
    if not incomplete or any(each.container_id for each in state.mains):
        return {"type": "Initialized", "status": "True"}
    message = f"containers with incomplete status: {_names(incomplete)}"
    return {
        "type": "Initialized",
        "status": "False",
        "reason": "ContainersNotInitialized",
        "message": message,
    }


def merge_conditions(
    new: Sequence[Object], old: Sequence[Object], generation: int | None, now: str
) -> list[Object]:
    """Conditions with their times; those of others stay, in front."""
    known = {each["type"]: each for each in old}
    own = {*OWN_CONDITIONS, *(each["type"] for each in new)}
    merged = [each for each in old if each["type"] not in own]
    for condition in new:
        before = known.get(condition["type"])
        same = before is not None and before["status"] == condition["status"]
        when = before.get("lastTransitionTime", now) if before is not None and same else now
        extra = {} if generation is None else {"observedGeneration": generation}
        merged.append({**condition, **extra, "lastTransitionTime": when})
    return merged


def _flag(value: bool) -> str:
    return "True" if value else "False"


def _names(names: Sequence[str]) -> str:
    return f"[{' '.join(names)}]"


# --- containers and resources


def _container_status(each: ContainerState) -> Object:
    status: Object = {
        "name": each.name,
        "state": each.state,
        "lastState": each.last_state,
        "ready": each.ready,
        "restartCount": each.restarts,
        "image": each.spec["image"],
        "imageID": each.image_id,
    }
    if each.container_id:
        status["containerID"] = each.container_id
    status["started"] = each.running and not each.starting
    return status


def _allocated(spec: Object) -> Object:
    """The requests of the Pod: the sum of containers and sidecars, or those of one init container where they are more.

    Limits count where nothing is requested.
    """
    inits = spec.get("initContainers") or ()
    sidecars = [each for each in inits if each.get("restartPolicy") == "Always"]
    together = _sum_of([*spec["containers"], *sidecars])
    for position, each in enumerate(inits):
        if each in sidecars:
            continue
        before = [other for other in inits[:position] if other in sidecars]
        for name, (amount, text) in _sum_of([*before, each]).items():
            if name not in together or amount > together[name][0]:
                together[name] = (amount, text)
    return {
        name: text or quantity.canonical(f"{amount:f}") for name, (amount, text) in together.items()
    }


def _sum_of(containers: Sequence[Object]) -> dict[str, tuple[Decimal, str]]:
    """By resource the sum, and its text where one container alone requests it."""
    total: dict[str, tuple[Decimal, str]] = {}
    for each in containers:
        resources = each.get("resources") or {}
        wanted = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
        for name, text in wanted.items():
            before = total.get(name)
            amount = quantity.parse(text) + (before[0] if before else 0)
            total[name] = (amount, "" if before else text)
    return total


def qos_class(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort, by requests and limits of cpu and memory."""
    containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
    guaranteed, anything = True, False
    for each in containers:
        resources = each.get("resources") or {}
        limits = resources.get("limits") or {}
        requests = {**limits, **(resources.get("requests") or {})}
        for name in ("cpu", "memory"):
            anything = anything or name in requests
            if name not in limits or quantity.parse(limits[name]) != quantity.parse(requests[name]):
                guaranteed = False
    if guaranteed and anything:
        return "Guaranteed"
    return "Burstable" if anything else "BestEffort"
