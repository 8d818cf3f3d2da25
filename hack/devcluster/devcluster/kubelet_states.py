"""The states through which a kubelet moves a Pod, as recorded on a real 1.36 node.

Pure functions from a Pod and its scripted `Outcome` to the statuses to write, one after the other. Times are of the wall
clock, whole seconds, as Kubernetes writes them.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

OUTCOME_ANNOTATION = "devcluster.dev/outcome"
STEP_SECONDS = 0.02
RUN_SECONDS = 0.05
SIGTERM_EXIT = 143
DEADLINE_MESSAGE = "Pod was active on the node longer than the specified deadline"
_OWN_CONDITIONS = (
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
)
_NAMES = {
    "exitCode": "exit_code",
    "message": "message",
    "reason": "reason",
    "runSeconds": "run_seconds",
    "waiting": "waiting",
    "waitingMessage": "waiting_message",
    "initExitCode": "init_exit_code",
    "initMessage": "init_message",
    "unschedulable": "unschedulable",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The scripted end of a Pod. In the annotation the fields are camelCase: `{"exitCode": 3, "message": "…"}`.

    The Pod runs for `run_seconds` (inf, in JSON null: until it is deleted, its deadline passes or its annotation changes) and
    ends with `exit_code`, the termination message `message` and, when not the usual one, the container's `reason` (OOMKilled
    …). `waiting` (ImagePullBackOff, CreateContainerConfigError, ContainerCreating …) keeps it from starting; `unschedulable`,
    a message, from getting a node. `init_exit_code` other than 0 fails its last init container.
    """

    exit_code: int = 0
    message: str = ""
    reason: str = ""
    run_seconds: float = RUN_SECONDS
    waiting: str = ""
    waiting_message: str = ""
    init_exit_code: int = 0
    init_message: str = ""
    unschedulable: str = ""

    @classmethod
    def decode(cls, raw: Mapping[str, Any]) -> Outcome:
        """From the annotation's JSON. Raises ValueError for a field that does not exist."""
        unknown = set(raw) - set(_NAMES)
        if unknown:
            raise ValueError(f"{OUTCOME_ANNOTATION}: unknown {', '.join(sorted(unknown))}")
        fields = {_NAMES[key]: value for key, value in raw.items()}
        if "run_seconds" in fields and fields["run_seconds"] is None:
            fields["run_seconds"] = math.inf
        return cls(**fields)

    @property
    def schedule(self) -> bool:
        """Whether the Pod gets a node."""
        return not self.unschedulable


@dataclass(frozen=True, slots=True)
class Step:
    """One state: written `after` seconds. While waiting for an `interruptible` one a deletion or deadline ends the Pod."""

    after: float
    status: Callable[[Object], Object]
    interruptible: bool = True


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ended(pod: Object) -> bool:
    """Whether a Pod has ended."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def seconds_to_deadline(pod: Object) -> float | None:
    """Seconds until the Pod's deadline; None when it has no deadline or has not started."""
    limit = pod["spec"].get("activeDeadlineSeconds")
    started = (pod.get("status") or {}).get("startTime")
    if limit is None or started is None:
        return None
    start = datetime.datetime.fromisoformat(started)
    return float(limit) - (datetime.datetime.now(datetime.UTC) - start).total_seconds()


def steps(pod: Object, outcome: Outcome) -> Iterator[Step]:
    """The states of a Pod from its binding on."""
    if outcome.unschedulable:
        yield Step(0, lambda old: _unschedulable(pod, old, outcome.unschedulable))
        yield Step(math.inf, lambda old: old)
        return
    inits = pod["spec"].get("initContainers") or ()
    creating = "PodInitializing" if inits else "ContainerCreating"
    pending = _Look(ready_reason="ContainersNotReady", initialized=not inits)
    pending.containers = {"waiting": {"reason": creating}}
    pending.inits = {"waiting": {"reason": "PodInitializing"}}
    yield Step(0, lambda old: pending.status(pod, old))
    yield Step(STEP_SECONDS, lambda old: pending.but(sandbox=True).status(pod, old))
    if outcome.waiting:
        waiting = {"reason": outcome.waiting}
        if outcome.waiting_message:
            waiting["message"] = outcome.waiting_message
        stuck = pending.but(
            sandbox=outcome.waiting != "ContainerCreating", containers={"waiting": waiting}
        )
        yield Step(STEP_SECONDS, lambda old: stuck.status(pod, old))
        yield Step(math.inf, lambda old: old)
        return
    if inits:
        yield from _initialize(pod, pending, outcome)
        if outcome.init_exit_code:
            return
    yield Step(STEP_SECONDS, lambda old: running(pod, old))
    yield from ending(pod, outcome)


def _initialize(pod: Object, pending: _Look, outcome: Outcome) -> Iterator[Step]:
    started = pending.but(sandbox=True, inits_started=True)
    yield Step(
        STEP_SECONDS,
        lambda old: started.but(inits={"running": {"startedAt": now()}}).status(pod, old),
    )
    if not outcome.init_exit_code:
        return
    state = _terminated(outcome.init_exit_code, outcome.init_message, "Error")
    failed = pending.but(sandbox=True, inits=state, ready_reason="PodFailed")
    yield Step(STEP_SECONDS, lambda old: failed.status(pod, old), interruptible=False)
    over = failed.but(sandbox=False, phase="Failed")
    yield Step(STEP_SECONDS, lambda old: over.status(pod, old), interruptible=False)


def running(pod: Object, old: Object) -> Object:
    """All containers run."""
    look = _Look(phase="Running", sandbox=True, ready=True, inits=_terminated(0, "", "Completed"))
    look.containers = {"running": {"startedAt": now()}}
    return look.status(pod, old)


def ending(pod: Object, outcome: Outcome) -> Iterator[Step]:
    """From running to the end."""
    good = outcome.exit_code == 0
    reason = outcome.reason or ("Completed" if good else "Error")
    state = _terminated(outcome.exit_code, outcome.message, reason)
    last = _Look(
        phase="Running", sandbox=True, containers=state, inits=_terminated(0, "", "Completed")
    )
    last = last.but(ready_reason="PodCompleted" if good else "PodFailed", completed=good)
    yield Step(outcome.run_seconds, lambda old: last.status(pod, old))
    over = last.but(sandbox=False, phase="Succeeded" if good else "Failed")
    yield Step(STEP_SECONDS, lambda old: over.status(pod, old), interruptible=False)


def cut_short(pod: Object, old: Object, why: str) -> Object:
    """The last status of a Pod that was deleted or ran out of time (`why` is Deleted or DeadlineExceeded)."""
    look = _Look(phase="Failed", ready_reason="PodFailed", inits=_terminated(0, "", "Completed"))
    look.containers = _terminated(SIGTERM_EXIT, "", "Error")
    status = look.status(pod, old)
    # A container that has not started stays as it was, as a kubelet leaves it: it has no end.
    for field in ("containerStatuses", "initContainerStatuses"):
        before = {each["name"]: each for each in old.get(field) or ()}
        for each in status.get(field) or ():
            known = before.get(each["name"])
            if known is not None and "waiting" in known["state"]:
                each["state"] = known["state"]
    if why == "DeadlineExceeded":
        status.update(reason=why, message=DEADLINE_MESSAGE)
    return status


@dataclass(slots=True)
class _Look:
    """One state of a Pod; every container is in the same state."""

    phase: str = "Pending"
    sandbox: bool = False
    initialized: bool = True
    ready: bool = False
    completed: bool = False
    ready_reason: str = ""
    inits_started: bool = False
    containers: Object | None = None
    inits: Object | None = None

    def but(self, **changes: Any) -> _Look:
        """A changed copy."""
        copy = _Look(**{name: getattr(self, name) for name in _Look.__slots__})
        for name, value in changes.items():
            setattr(copy, name, value)
        return copy

    def status(self, pod: Object, old: Object) -> Object:
        """The status to write over `old`."""
        spec = pod["spec"]
        status: Object = {"phase": self.phase, "startTime": old.get("startTime") or now()}
        generation = pod["metadata"].get("generation")
        if generation is not None:
            status["observedGeneration"] = generation
        status["conditions"] = _merge(
            self._conditions(spec), old.get("conditions") or (), generation
        )
        status["containerStatuses"] = self._container_statuses(
            spec["containers"], self.containers or {}, old, "containerStatuses"
        )
        if spec.get("initContainers"):
            status["initContainerStatuses"] = self._container_statuses(
                spec["initContainers"], self.inits or {}, old, "initContainerStatuses"
            )
        return status

    def _conditions(self, spec: Object) -> list[Object]:
        unready: Object = {"status": "True" if self.ready else "False"}
        if not self.ready:
            unready["reason"] = self.ready_reason
            if self.ready_reason == "ContainersNotReady":
                unready["message"] = f"containers with unready status: {_names(spec['containers'])}"
        initialized: Object = {
            "type": "Initialized",
            "status": "True" if self.initialized else "False",
        }
        if self.completed:
            initialized["reason"] = "PodCompleted"
        elif not self.initialized:
            initialized["reason"] = "ContainersNotInitialized"
            initialized["message"] = (
                f"containers with incomplete status: {_names(spec['initContainers'])}"
            )
        return [
            {"type": "PodReadyToStartContainers", "status": "True" if self.sandbox else "False"},
            initialized,
            {"type": "Ready", **unready},
            {"type": "ContainersReady", **unready},
            {"type": "PodScheduled", "status": "True"},
        ]

    def _container_statuses(
        self, containers: Sequence[Object], state: Object, old: Object, field: str
    ) -> list[Object]:
        before = {each["name"]: each for each in old.get(field) or ()}
        init = field == "initContainerStatuses"
        good_init = init and state.get("terminated", {}).get("exitCode") == 0
        return [
            {
                "name": each["name"],
                "state": _keep_start(state, before.get(each["name"])),
                "lastState": {},
                "ready": good_init or (self.ready and not init),
                "restartCount": 0,
                "image": each["image"],
                "imageID": "",
                "started": "running" in state,
            }
            for each in containers
        ]


def _unschedulable(pod: Object, old: Object, message: str) -> Object:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
    }
    conditions = _merge([condition], old.get("conditions") or (), pod["metadata"].get("generation"))
    return {"phase": "Pending", "conditions": conditions}


def _terminated(exit_code: int, message: str, reason: str) -> Object:
    state: Object = {"exitCode": exit_code, "reason": reason}
    if message:
        state["message"] = message
    return {"terminated": state}


def _keep_start(state: Object, before: Object | None) -> Object:
    """A terminated state with its times: it began when the container was seen to run, or ended as it was."""
    ended_before = ((before or {}).get("state") or {}).get("terminated")
    if "terminated" not in state:
        return state
    if ended_before is not None and ended_before["exitCode"] == state["terminated"]["exitCode"]:
        return {"terminated": ended_before}
    started = (((before or {}).get("state") or {}).get("running") or {}).get("startedAt") or now()
    return {"terminated": {**state["terminated"], "startedAt": started, "finishedAt": now()}}


def known_conditions(history: Object, latest: Object) -> list[Object]:
    """The conditions that we wrote last, after those that others have written meanwhile."""
    own = [each for each in history.get("conditions") or () if each["type"] in _OWN_CONDITIONS]
    seen = (latest.get("status") or {}).get("conditions") or ()
    return [each for each in seen if each["type"] not in _OWN_CONDITIONS] + own


def _merge(new: list[Object], old: Sequence[Object], generation: int | None) -> list[Object]:
    """Conditions with their times; those of others (DisruptionTarget) stay in front."""
    known = {each["type"]: each for each in old}
    merged: list[Object] = [each for each in old if each["type"] not in _OWN_CONDITIONS]
    for condition in new:
        before = known.get(condition["type"])
        same = before is not None and before["status"] == condition["status"]
        when = before["lastTransitionTime"] if before is not None and same else now()
        extra = {} if generation is None else {"observedGeneration": generation}
        merged.append({**condition, **extra, "lastTransitionTime": when})
    return merged


def _names(containers: Sequence[Object]) -> str:
    return "[" + " ".join(each["name"] for each in containers) + "]"
