"""A model of scheduler and kubelet: a Pod's way from its creation to its end, as pods-with-init.jsonl shows it.

What an agent does is decided by its image, by what its Pod mounts, and by the behaviour that the schedule gives to one try of
one task. Without one it runs for some seconds and leaves a result.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kubetask_controller.api import constants as c
from kubetask_controller.client.resources import CONFIGMAPS, PODS, Resource
from simulation.apiserver import Change, Stored, terminal

if TYPE_CHECKING:
    from simulation.world import World

JSON = dict[str, Any]
ACTOR = "kubelet"
GRACE = 2.0
"""Seconds between SIGTERM and the end of a container."""
LOOK = 5.0
"""Seconds between two looks at what keeps a Pod from starting."""

STUCK = {
    "img/missing": ("ImagePullBackOff", 'Back-off pulling image "img/missing"', c.Reason.IMAGE_PULL_BACK_OFF),
    "img/secret": ("CreateContainerConfigError", 'secret "llm" not found', c.Reason.CONTEXT_NOT_FOUND),
    "img/root": (
        "CreateContainerConfigError",
        "container has runAsNonRoot and image will run as root",
        c.Reason.CREATE_CONTAINER_CONFIG_ERROR,
    ),
    "img/named": (
        "PodInitializing",
        "Error: container has runAsNonRoot and image has non-numeric user (games), cannot verify user is non-root",
        c.Reason.CREATE_CONTAINER_CONFIG_ERROR,
    ),
}
"""Agent images that cannot start: the waiting reason, its text, and what a user should be told."""
DENIED = "img/denied"
NO_NODE = "img/nonode"


def expanded(value: Any) -> Any:
    """With ``x*600`` in texts written out."""
    if isinstance(value, str):
        return re.sub(r"(\w)\*(\d{3,})", lambda x: x[1] * int(x[2]), value)
    if isinstance(value, dict):
        return {key: expanded(item) for key, item in value.items()}
    return [expanded(x) for x in value] if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What one try of a task does. Times are in seconds.

    ``message`` is the termination message; None for the result that the simulation looks for in the status. With ``sidecar``
    a second container runs on after the agent has ended; ``hang`` means that it never ends by itself.
    """

    init: float = 0.4
    run: float = 3.0
    exit_code: int = 0
    message: str | None = None
    sidecar: float = 0.0
    hang: bool = False
    cost: float = 0.0
    init_fails: bool = False


@dataclass(slots=True)
class Try:
    """The truth about one Pod."""

    owner_uid: str
    index: int
    number: int
    pod_uid: str
    job_uid: str
    behaviour: Behaviour
    started: float | None = None
    ended: float | None = None
    by_itself: bool = False
    result: str = ""
    stuck: str = ""
    disrupted: bool = False
    refused: bool = False
    read: bool = True
    """False where the Pod was gone before anybody could have read its end."""


EVICTED, REMOVED = 5.0, 200.0
"""Seconds until the Pods of a node that does not answer are evicted, and until they are removed with the node."""


@dataclass
class Kubelet:
    """One node with room for everything."""

    world: "World"
    behaviours: dict[tuple[str, int, int], Behaviour] = field(default_factory=dict)
    """By owner's name, index and number of the try."""
    tries: dict[str, Try] = field(default_factory=dict)
    """By the Pod's uid."""
    by_task: dict[tuple[str, int], list[Try]] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    """Pods, by uid, on nodes that do not answer any more: their agents may run on, and nobody reports it."""
    _killed: dict[str, str] = field(default_factory=dict)

    def refusal(self, job: Stored) -> str:
        """Why admission refuses the Pods of a Job."""
        image = _agent(job.obj["spec"]["template"]["spec"]).get("image", "")
        return 'violates PodSecurity "restricted:latest": runAsNonRoot != true' if image == DENIED else ""

    def changed(self, resource: Resource, change: Change, actor: str) -> None:
        if resource is not PODS:
            return
        if change.old is None:
            assert change.new is not None
            self._new(change.new)
            return
        pod = change.new
        if pod is None:
            self._gone(change.old)
            return
        truth = self.tries[pod.uid]
        if pod.meta.get("deletionTimestamp") and not change.old.meta.get("deletionTimestamp"):
            self._kill(pod, "deleted", GRACE if truth.started is not None and truth.ended is None else 0.2)
        deadline = pod.obj["spec"].get("activeDeadlineSeconds")
        if deadline != change.old.obj["spec"].get("activeDeadlineSeconds") and pod.obj["spec"].get("nodeName"):
            self.world.loop.later(deadline, self._deadline, pod)

    def _new(self, pod: Stored) -> None:
        job_uid = pod.meta["ownerReferences"][0]["uid"]
        owner_uid, index, name = self.world.owner_of(job_uid)
        tries = self.by_task.setdefault((owner_uid, index), [])
        number = len(tries)
        behaviour = self.behaviours.get((name, index, number), Behaviour())
        truth = Try(owner_uid, index, number, pod.uid, job_uid, behaviour)
        self.tries[pod.uid] = truth
        tries.append(truth)
        self.world.loop.later(0.05, self._schedule, pod)

    def _schedule(self, pod: Stored) -> None:
        pod_now = self._now(pod)
        if pod_now is None or pod_now.meta.get("deletionTimestamp"):
            return
        spec, truth = pod_now.obj["spec"], self.tries[pod.uid]
        if _agent(spec).get("image") == NO_NODE or self.world.cordoned:
            truth.stuck = c.Reason.UNSCHEDULABLE
            text = "0/1 nodes are available: 1 node(s) were unschedulable."
            self._set(pod, lambda o: _pod_condition(o, "PodScheduled", "False", "Unschedulable", text))
            self.world.loop.later(LOOK, self._schedule, pod)
            return

        def edit(obj: JSON) -> None:
            obj["spec"]["nodeName"] = "node-1"
            _pod_condition(obj, "PodScheduled", "True")
            obj["status"]["startTime"] = self.world.now()
            _containers(obj, "waiting", {"reason": "PodInitializing"})

        truth.stuck = ""
        self._set(pod, edit)
        if self.world.refusing:
            truth.refused = True
            self._set(pod, _refuse)
            return
        deadline = spec.get("activeDeadlineSeconds")
        if deadline:
            self.world.loop.later(deadline, self._deadline, pod)
        self._mount(pod)

    def _mount(self, pod: Stored) -> None:
        if self._over(pod):
            return
        truth, missing = self.tries[pod.uid], self._missing(pod)
        if missing:
            if not truth.stuck:
                text = f'MountVolume.SetUp failed for volume "files" : configmap "{missing}" not found'
                self.world.event(pod, "Pod", "FailedMount", text)
            truth.stuck = c.Reason.CONTEXT_NOT_FOUND
            self.world.loop.later(LOOK, self._mount, pod)
            return
        truth.stuck = ""
        if not pod.obj["spec"].get("initContainers"):
            self._start(pod)
            return
        self._set(
            pod,
            lambda o: _container(
                o, "initContainerStatuses", c.CONTAINER_WORKSPACE, "running", {"startedAt": self.world.now()}
            ),
        )
        self.world.loop.later(truth.behaviour.init, self._prepared, pod)

    def _prepared(self, pod: Stored) -> None:
        if self._over(pod):
            return
        if self.tries[pod.uid].behaviour.init_fails:
            told = {
                "message": '{"reason": "CloneFailed", "message": "repository not found"}',
                "reason": "Error",
                "exitCode": 1,
            }

            def fail(obj: JSON) -> None:
                _container(obj, "initContainerStatuses", c.CONTAINER_WORKSPACE, "terminated", told | self._times())
                obj["status"]["phase"] = "Failed"

            self._set(pod, fail)
            return
        self._set(pod, self._init_done)
        self._start(pod)

    def _init_done(self, obj: JSON) -> None:
        if obj["spec"].get("initContainers"):
            ended = {"exitCode": 0, "reason": "Completed"} | self._times()
            _container(obj, "initContainerStatuses", c.CONTAINER_WORKSPACE, "terminated", ended)

    def _start(self, pod: Stored) -> None:
        """Start the agent, or say why it cannot be; a Pod keeps its image, so this one never will."""
        if self._over(pod):
            return
        truth, image = self.tries[pod.uid], _agent(pod.obj["spec"]).get("image", "")
        if image in STUCK:
            reason, text, truth.stuck = STUCK[image]
            if reason == "PodInitializing":
                self.world.event(pod, "Pod", "Failed", text)
            else:
                self._set(
                    pod,
                    lambda o: _container(
                        o, "containerStatuses", c.CONTAINER_AGENT, "waiting", {"reason": reason, "message": text}
                    ),
                )
            return
        truth.started, truth.stuck = self.world.loop.time(), ""
        self.world.agent_started(truth, pod)

        def edit(obj: JSON) -> None:
            obj["status"]["phase"] = "Running"
            for container in obj["spec"]["containers"]:
                _container(obj, "containerStatuses", container["name"], "running", {"startedAt": self.world.now()})
            if truth.behaviour.sidecar:
                _container(obj, "containerStatuses", "mesh", "running", {"startedAt": self.world.now()})

        self._set(pod, edit)
        if not truth.behaviour.hang:
            self.world.loop.later(truth.behaviour.run, self._ended, pod)

    def _ended(self, pod: Stored) -> None:
        """The agent ends by itself."""
        truth = self.tries[pod.uid]
        if self._over(pod) or truth.ended is not None:
            return
        truth.ended, truth.by_itself = self.world.loop.time(), True
        behaviour = truth.behaviour
        message = expanded(behaviour.message)
        if message is None and behaviour.exit_code == 0:
            truth.result = f"did {truth.index} try {truth.number} of {truth.owner_uid}"
            message = f'{{"summary": "{truth.result}", "usage": {{"costUSD": {behaviour.cost}}}}}'
        elif message is None and behaviour.cost:
            message = f'{{"summary": "in vain", "usage": {{"costUSD": {behaviour.cost}}}}}'
        state = {"exitCode": behaviour.exit_code, "reason": "Error" if behaviour.exit_code else "Completed"} | self._times()

        def edit(obj: JSON) -> None:
            _container(obj, "containerStatuses", c.CONTAINER_AGENT, "terminated", state | {"message": message or ""})
            if not behaviour.sidecar:
                obj["status"]["phase"] = "Failed" if behaviour.exit_code else "Succeeded"

        self.world.note(
            ACTOR, lambda t: f"agent of task {t.index} of {t.owner_uid} ended with {t.behaviour.exit_code}", truth
        )
        self._set(pod, edit)
        if behaviour.sidecar:
            self.world.loop.later(behaviour.sidecar, self._sidecar_ended, pod)

    def _sidecar_ended(self, pod: Stored) -> None:
        if not self._over(pod):
            self._end(pod, "")

    def _deadline(self, pod: Stored) -> None:
        now = self._now(pod)
        if now is not None and not terminal(now.obj):
            self._kill(pod, "DeadlineExceeded", GRACE)

    def disrupt(self, pod: Stored, reason: str) -> None:
        """Evict a Pod: the condition first, then the deletion."""
        self.tries[pod.uid].disrupted = True
        self._set(pod, lambda o: _pod_condition(o, "DisruptionTarget", "True", reason, "evicted"))
        self.world.server.delete(PODS, pod.meta["namespace"], pod.meta["name"], ACTOR)

    def lose(self, removed: bool) -> None:
        """The node of all present Pods does not answer: they are evicted, and stay until the node is removed, if it is."""
        for pod in self.world.server.all(PODS):
            if pod.obj["spec"].get("nodeName") and not terminal(pod.obj):
                self.lost.add(pod.uid)
                self.tries[pod.uid].read = False
                self.world.loop.later(EVICTED, self._evict_lost, pod)
                if removed:
                    self.world.loop.later(REMOVED, self._remove_lost, pod)

    def _evict_lost(self, pod: Stored) -> None:
        if self._now(pod) is not None:
            self.disrupt(pod, "DeletionByTaintManager")

    def _remove_lost(self, pod: Stored) -> None:
        if self._now(pod) is not None:
            truth = self.tries[pod.uid]
            truth.ended = truth.ended or self.world.loop.time()
            self._set(pod, lambda o: o["status"].update(phase="Failed"))

    def _kill(self, pod: Stored, why: str, grace: float) -> None:
        if pod.uid not in self._killed and pod.uid not in self.lost:
            self._killed[pod.uid] = why
            self.world.loop.later(grace, self._end, pod, why)

    def _end(self, pod: Stored, why: str) -> None:
        """All containers of a Pod have ended, killed or not."""
        now = self._now(pod)
        if now is None or terminal(now.obj) or pod.uid in self.lost:
            return
        truth = self.tries[pod.uid]
        ran = truth.started is not None and truth.ended is None
        if ran:
            truth.ended = self.world.loop.time()
        bad = bool(why) or truth.behaviour.exit_code != 0 or truth.ended is None

        def edit(obj: JSON) -> None:
            obj["status"]["phase"] = "Failed" if bad else "Succeeded"
            if why == "DeadlineExceeded":
                obj["status"] |= {"reason": why, "message": "Pod was active on the node longer than the specified deadline"}
            if ran:
                ended = {"exitCode": 137, "reason": "Error"} | self._times()
                _container(obj, "containerStatuses", c.CONTAINER_AGENT, "terminated", ended)
            if truth.behaviour.sidecar:
                _container(
                    obj, "containerStatuses", "mesh", "terminated", {"exitCode": 0, "reason": "Completed"} | self._times()
                )

        self._set(pod, edit)

    def _gone(self, pod: Stored) -> None:
        truth = self.tries.get(pod.uid)
        if truth is not None and truth.started is not None and truth.ended is None:
            truth.ended = self.world.loop.time()

    def _over(self, pod: Stored) -> bool:
        now = self._now(pod)
        return now is None or terminal(now.obj) or pod.uid in self._killed or pod.uid in self.lost

    def _now(self, pod: Stored) -> Stored | None:
        found = self.world.server.find(PODS, pod.meta["namespace"], pod.meta["name"])
        return found if found is not None and found.uid == pod.uid else None

    def _set(self, pod: Stored, edit: Callable[[JSON], Any]) -> None:
        self.world.server.change(PODS, pod, edit, ACTOR)
        self.world.check()

    def _times(self) -> JSON:
        return {"startedAt": self.world.now(-1.0), "finishedAt": self.world.now()}

    def _missing(self, pod: Stored) -> str:
        """A ConfigMap that a volume names and that is not there."""
        for volume in pod.obj["spec"].get("volumes") or ():
            sources = (volume.get("projected") or {}).get("sources") or ()
            for name in (x["configMap"]["name"] for x in sources if "configMap" in x):
                if self.world.server.find(CONFIGMAPS, pod.meta["namespace"], name) is None:
                    return name
        return ""


def _refuse(obj: JSON) -> None:
    """As the admission of a kubelet does: no container of the Pod has existed."""
    text = "Pod was rejected: Node didn't have enough resource: cpu, requested: 500, used: 3900, capacity: 4000"
    obj["status"] |= {"phase": "Failed", "reason": "OutOfcpu", "message": text}
    for key in ("initContainerStatuses", "containerStatuses"):
        obj["status"].pop(key, None)


def _agent(spec: JSON) -> JSON:
    return next((x for x in spec["containers"] if x["name"] == c.CONTAINER_AGENT), {})


def _containers(obj: JSON, kind: str, detail: JSON) -> None:
    for container in obj["spec"].get("initContainers") or ():
        _container(obj, "initContainerStatuses", container["name"], kind, detail)
    for container in obj["spec"]["containers"]:
        _container(obj, "containerStatuses", container["name"], kind, detail)


def _container(obj: JSON, key: str, name: str, kind: str, detail: JSON) -> None:
    statuses = obj["status"].setdefault(key, [])
    found = next((x for x in statuses if x["name"] == name), None)
    if found is None:
        found = {"name": name}
        statuses.append(found)
    if kind == "terminated" and "running" in found.get("state", {}):
        detail = detail | {"startedAt": found["state"]["running"]["startedAt"]}
    found["state"] = {kind: detail}


def _pod_condition(obj: JSON, kind: str, status: str, reason: str = "", message: str = "") -> None:
    conditions = obj["status"].setdefault("conditions", [])
    conditions[:] = [x for x in conditions if x["type"] != kind]
    conditions.append({"type": kind, "status": status, "reason": reason, "message": message})
