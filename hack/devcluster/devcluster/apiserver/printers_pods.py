"""The cells of Pods."""

from __future__ import annotations

from typing import Any

from .printers import NONE, Object, age, get, name, since


def pod_cells(pod: Object, now: float) -> list[Any]:
    """Name, Ready, Status, Restarts, Age, IP, Node, Nominated Node, Readiness Gates."""
    ready, total, status, restarts = _summary(pod, now)
    ips = get(pod, "status", "podIPs", default=[])
    gates = get(pod, "spec", "readinessGates", default=[])
    true_types = {
        each["type"]
        for each in get(pod, "status", "conditions", default=[])
        if each.get("status") == "True"
    }
    met = sum(each["conditionType"] in true_types for each in gates)
    return [
        name(pod),
        f"{ready}/{total}",
        status,
        restarts,
        age(pod, now),
        ips[0].get("ip") or NONE if ips else NONE,
        get(pod, "spec", "nodeName", default="") or NONE,
        get(pod, "status", "nominatedNodeName", default="") or NONE,
        f"{met}/{len(gates)}" if gates else NONE,
    ]


def _is_sidecar(container: Object | None) -> bool:
    return container is not None and container.get("restartPolicy") == "Always"


class _Restarts:
    """Restarts counted, and the last one's time."""

    def __init__(self) -> None:
        self.count = 0
        self.last = ""

    def add(self, status: Object) -> None:
        self.count += status.get("restartCount", 0)
        finished = get(status, "lastState", "terminated", "finishedAt", default="")
        self.last = max(self.last, finished)

    def show(self, now: float) -> str:
        if self.count and self.last:
            return f"{self.count} ({since(self.last, now)} ago)"
        return str(self.count)


def _summary(pod: Object, now: float) -> tuple[int, int, str, str]:
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    reason = status.get("reason") or status.get("phase") or ""
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            reason = "SchedulingGated"
    inits = {each["name"]: each for each in spec.get("initContainers") or ()}
    total = len(spec.get("containers") or ()) + sum(_is_sidecar(each) for each in inits.values())
    init_reason, ready, all_restarts, sidecar_restarts = _init_reason(status, inits)
    restarts = all_restarts
    initialized = any(
        each["type"] == "Initialized" and each.get("status") == "True"
        for each in status.get("conditions") or ()
    )
    if init_reason:
        reason = init_reason
    if not init_reason or initialized:
        restarts = sidecar_restarts
        reason, running = _container_reason(status, reason, restarts)
        ready += running
    deleted = "deletionTimestamp" in pod["metadata"]
    if deleted and status.get("reason") == "NodeLost":
        reason = "Unknown"
    elif deleted and status.get("phase") not in ("Succeeded", "Failed"):
        reason = "Terminating"
    return ready, total, reason, restarts.show(now)


def _init_reason(status: Object, inits: dict[str, Object]) -> tuple[str, int, _Restarts, _Restarts]:
    every, sidecars = _Restarts(), _Restarts()
    ready = 0
    for index, container in enumerate(status.get("initContainerStatuses") or ()):
        state = container.get("state") or {}
        sidecar = _is_sidecar(inits.get(container["name"]))
        every.add(container)
        if sidecar:
            sidecars.add(container)
        terminated = state.get("terminated")
        if terminated is not None and terminated.get("exitCode", 0) == 0:
            continue
        if sidecar and container.get("started"):
            ready += bool(container.get("ready"))
            continue
        if terminated is not None:
            return "Init:" + _ended(terminated), ready, every, sidecars
        waiting = get(state, "waiting", "reason", default="")
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}", ready, every, sidecars
        return f"Init:{index}/{len(inits)}", ready, every, sidecars
    return "", ready, every, sidecars


def _ended(terminated: Object) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _container_reason(status: Object, reason: str, restarts: _Restarts) -> tuple[str, int]:
    running, error, has_running = 0, "", False
    for container in reversed(status.get("containerStatuses") or []):
        state = container.get("state") or {}
        restarts.add(container)
        waiting = get(state, "waiting", "reason", default="")
        if waiting:
            reason = waiting
        elif state.get("terminated") is not None:
            reason = _ended(state["terminated"])
            if state["terminated"].get("exitCode", 0) != 0:
                error = reason
        elif container.get("ready") and state.get("running") is not None:
            has_running = True
            running += 1
    if reason == "Completed":
        ready = any(
            each["type"] == "Ready" and each.get("status") == "True"
            for each in status.get("conditions") or ()
        )
        if has_running and ready:
            reason = "Running"
        elif error:
            reason = error
        elif has_running:
            reason = "NotReady"
    return reason, running
