"""A model of kube-controller-manager: the Job controller and the garbage collector.

The Job controller follows jobs.jsonl and pods-with-init.jsonl of a 1.36 control plane: conditions come in two steps with the
finalizers of the Pods in between, Pods that are on their way out count when they have ended where there is a
podFailurePolicy, and at once where there is none.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from kubetask_controller.client.errors import APIStatusError
from kubetask_controller.client.resources import JOBS, PODS, Resource
from simulation.apiserver import Change, Stored, terminal

if TYPE_CHECKING:
    from simulation.world import World

JSON = dict[str, Any]
ACTOR, COLLECTOR = "job-controller", "garbage-collector"
TRACKING = "batch.kubernetes.io/job-tracking"
SYNC = 0.05
FINISH = 0.08
"""Seconds between the two steps of a Job's end."""
REPLACE = 8.0
REFUSED = 10.0


@dataclass
class JobController:
    """Looks at a Job a moment after it or one of its Pods has changed."""

    world: "World"
    _due: set[tuple[str, str]] = field(default_factory=set)
    _seen: dict[str, int] = field(default_factory=dict)
    _not_before: dict[str, float] = field(default_factory=dict)

    def changed(self, resource: Resource, change: Change, actor: str) -> None:
        if resource is JOBS:
            self.enqueue(change.key[1], change.key[2])
        elif resource is PODS:
            stored = change.new or change.old
            assert stored is not None
            for ref in stored.meta.get("ownerReferences") or ():
                self.enqueue(change.key[1], ref["name"])

    def enqueue(self, namespace: str, name: str, delay: float = 0.0) -> None:
        key = (namespace, name)
        if delay:
            self.world.loop.later(delay, self.enqueue, namespace, name)
        elif key not in self._due:
            self._due.add(key)
            self.world.loop.later(SYNC + self.world.slow("job-controller"), self._sync, key)

    def _sync(self, key: tuple[str, str]) -> None:
        self._due.discard(key)
        world, server = self.world, self.world.server
        job = server.find(JOBS, *key)
        pods = [x for x in server.all(PODS) if x.meta["namespace"] == key[0] and _owner_name(x) == key[1]]
        for pod in pods:
            if job is None or _owner_uid(pod) != job.uid:
                self._untrack(pod)
        if job is None:
            return
        pods = [x for x in pods if _owner_uid(x) == job.uid]
        if finished(job.obj):
            for pod in pods:
                self._untrack(pod)
        elif job.meta.get("deletionTimestamp"):
            for pod in pods:
                if terminal(pod.obj):
                    self._untrack(pod)
        else:
            self._manage(job, pods)
        world.check()

    def _manage(self, job: Stored, pods: list[Stored]) -> None:
        status = job.obj.get("status") or {}
        policy = job.obj["spec"].get("podFailurePolicy")
        target = next((x for x in status.get("conditions") or () if x["type"] in _TARGETS), None)
        succeeded, failed, ignored, verdict = 0, 0, 0, None
        ended: list[Stored] = []
        for pod in pods:
            if not _tracked(pod):
                continue
            going = bool(pod.meta.get("deletionTimestamp"))
            if pod.obj["status"]["phase"] == "Succeeded":
                succeeded += 1
                ended.append(pod)
            elif pod.obj["status"]["phase"] == "Failed" or (going and policy is None):
                action = _action(policy, pod.obj)
                if action == "FailJob":
                    which = f"Pod {pod.meta['namespace']}/{pod.meta['name']}"
                    text = f"{which} has condition DisruptionTarget matching FailJob rule at index 0"
                    verdict = ("FailureTarget", "PodFailurePolicy", text)
                failed += action != "Ignore"
                ignored += action == "Ignore"
                ended.append(pod)
        active = [x for x in pods if _tracked(x) and x not in ended]
        counted = status.get("failed", 0) + failed
        if target is None:
            if succeeded:
                verdict = ("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods")
            elif verdict is None and counted > job.obj["spec"].get("backoffLimit", 6) and failed:
                verdict = ("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
        if verdict and target is None:
            self._write(job, partial(self._target, verdict))
            self.enqueue(job.meta["namespace"], job.meta["name"], FINISH)
            return
        if target is not None:
            for pod in active:
                if not pod.meta.get("deletionTimestamp"):
                    self._delete(pod)
            if active:
                return
            for pod in ended:
                self._untrack(pod)
            self._write(job, partial(self._finish, target, counted, succeeded or status.get("succeeded", 0)))
            return
        for pod in ended:
            self._untrack(pod)
        if job.obj["spec"].get("suspend"):
            for pod in active:
                self._untrack(pod)
                self._delete(pod)
            self._write(job, partial(self._suspended, counted))
            return
        self._write(job, partial(self._count, counted, len(active)))
        if job.obj["spec"].get("parallelism") == 0:
            return
        if active or (policy and any(x.meta.get("deletionTimestamp") and not terminal(x.obj) for x in pods)):
            return
        if ended:
            delay = REPLACE if ignored else 10.0 * 2 ** max(0, counted - 1)
            self._not_before[job.uid] = self.world.loop.time() + delay
            self.enqueue(job.meta["namespace"], job.meta["name"], delay)
        elif self.world.loop.time() >= self._not_before.get(job.uid, 0.0):
            self._create_pod(job, self._seen.get(job.uid, 0))

    def _create_pod(self, job: Stored, number: int) -> None:
        world, spec = self.world, job.obj["spec"]["template"]
        refused = world.kubelet.refusal(job)
        if refused:
            world.event(job, "Job", "FailedCreate", f"Error creating: pods {job.meta['name']!r} is forbidden: {refused}")
            self._not_before[job.uid] = world.loop.time() + REFUSED
            self.enqueue(job.meta["namespace"], job.meta["name"], REFUSED)
            return
        self._seen[job.uid] = number + 1
        name = f"{job.meta['name'][:50]}-{_suffix(job.uid, number)}"
        meta = {
            "name": name,
            "labels": (spec["metadata"].get("labels") or {})
            | {"batch.kubernetes.io/controller-uid": job.uid, "batch.kubernetes.io/job-name": job.meta["name"]},
            "annotations": spec["metadata"].get("annotations") or {},
            "finalizers": [TRACKING],
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "name": job.meta["name"],
                    "uid": job.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec["spec"], "status": {"phase": "Pending"}}
        try:
            world.server.create(PODS, job.meta["namespace"], to_json(pod), ACTOR)
        except APIStatusError:
            return
        world.event(job, "Job", "SuccessfulCreate", f"Created pod: {name}", "Normal")
        self._write(job, partial(self._count, (job.obj.get("status") or {}).get("failed", 0), 1))

    def _target(self, verdict: tuple[str, str, str], obj: JSON) -> None:
        _condition(obj, verdict, self.world.now())

    def _finish(self, target: JSON, failed: int, succeeded: int, obj: JSON) -> None:
        final = "Complete" if target["type"] == "SuccessCriteriaMet" else "Failed"
        _condition(obj, (final, target["reason"], target["message"]), self.world.now())
        status = obj["status"]
        status |= {"failed": failed, "succeeded": succeeded, "active": 0}
        if final == "Complete":
            status["completionTime"] = self.world.now()

    def _count(self, failed: int, active: int, obj: JSON) -> None:
        status = obj.setdefault("status", {})
        for condition in status.get("conditions") or ():
            if condition["type"] == "Suspended":
                condition["status"] = "False"
        status.setdefault("startTime", self.world.now())
        status |= {"active": active, "failed": failed}

    def _suspended(self, failed: int, obj: JSON) -> None:
        status = obj.setdefault("status", {})
        status |= {"active": 0, "failed": failed}
        status.pop("startTime", None)
        known = status.setdefault("conditions", [])
        if any(x["type"] == "Suspended" and x["status"] == "True" for x in known):
            return
        known[:] = [x for x in known if x["type"] != "Suspended"]
        _condition(obj, ("Suspended", "JobSuspended", "Job suspended"), self.world.now())

    def _write(self, job: Stored, edit: Any) -> None:
        self.world.server.change(JOBS, job, edit, ACTOR)

    def _untrack(self, pod: Stored) -> None:
        def edit(obj: JSON) -> None:
            obj["metadata"]["finalizers"] = [x for x in obj["metadata"].get("finalizers") or () if x != TRACKING]

        if _tracked(pod):
            self.world.server.change(PODS, pod, edit, ACTOR)

    def _delete(self, pod: Stored) -> None:
        if self.world.server.find(PODS, pod.meta["namespace"], pod.meta["name"]) is not None:
            self.world.server.delete(PODS, pod.meta["namespace"], pod.meta["name"], ACTOR)


@dataclass
class GarbageCollector:
    """Deletes what belongs to an owner that is gone, some time later."""

    world: "World"

    def changed(self, resource: Resource, change: Change, actor: str) -> None:
        if change.new is None:
            assert change.old is not None
            self.world.loop.later(self.world.gc_delay(), self._collect, change.old.uid)
        elif change.old is None:
            for ref in change.new.meta.get("ownerReferences") or ():
                if not self.world.server.exists(ref["uid"]):
                    self.world.loop.later(self.world.gc_delay(), self._collect, ref["uid"])
        elif "foregroundDeletion" in (change.new.meta.get("finalizers") or ()):
            self.world.loop.later(self.world.gc_delay(), self._foreground, resource, change.new)

    def _foreground(self, resource: Resource, owner: Stored) -> None:
        if self.world.over:
            return
        if self._collect(owner.uid):
            self.world.loop.later(1.0, self._foreground, resource, owner)
            return

        def edit(obj: JSON) -> None:
            obj["metadata"]["finalizers"] = [x for x in obj["metadata"]["finalizers"] if x != "foregroundDeletion"]

        self.world.server.change(resource, owner, edit, COLLECTOR)

    def _collect(self, uid: str) -> int:
        """Delete the dependents; how many there were."""
        count, server = 0, self.world.server
        for resource in (*self.world.collected, PODS):
            for stored in list(server.owned(resource, uid)):
                count += 1
                if not stored.meta.get("deletionTimestamp"):
                    server.delete(resource, stored.meta["namespace"], stored.meta["name"], COLLECTOR, uid=stored.uid)
        self.world.check()
        return count


def finished(job: JSON) -> str:
    """ "Complete", "Failed" or nothing."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return condition["type"]
    return ""


_TARGETS = ("SuccessCriteriaMet", "FailureTarget")


def _condition(obj: JSON, verdict: tuple[str, str, str], now: str) -> None:
    kind, reason, message = verdict
    conditions = obj.setdefault("status", {}).setdefault("conditions", [])
    conditions.append(
        {
            "type": kind,
            "status": "True",
            "reason": reason,
            "message": message,
            "lastTransitionTime": now,
            "lastProbeTime": now,
        }
    )


def _action(policy: JSON | None, pod: JSON) -> str:
    """What the podFailurePolicy says of a failed Pod; the first rule that matches counts."""
    conditions = {(x["type"], x["status"]) for x in pod["status"].get("conditions") or ()}
    for rule in (policy or {}).get("rules") or ():
        if any((x["type"], x.get("status", "True")) in conditions for x in rule.get("onPodConditions") or ()):
            return rule["action"]
        codes = rule.get("onExitCodes")
        if codes and any((code in codes["values"]) == (codes["operator"] == "In") for code in _codes(pod, codes)):
            return rule["action"]
    return "Count"


def _codes(pod: JSON, rule: JSON) -> list[int]:
    return [
        x["state"]["terminated"]["exitCode"]
        for key in ("initContainerStatuses", "containerStatuses")
        for x in pod["status"].get(key) or ()
        if rule.get("containerName") in (None, x["name"]) and (x["state"].get("terminated") or {}).get("exitCode")
    ]


def _tracked(pod: Stored) -> bool:
    return TRACKING in (pod.meta.get("finalizers") or ())


def _owner_uid(stored: Stored) -> str:
    return next((x["uid"] for x in stored.meta.get("ownerReferences") or ()), "")


def _owner_name(stored: Stored) -> str:
    return next((x["name"] for x in stored.meta.get("ownerReferences") or ()), "")


def _suffix(uid: str, number: int) -> str:
    return f"{uid[-4:]}{number}"
