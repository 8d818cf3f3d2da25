"""Every recording of a Job on a real node: the kubelet's part is played, what the Job controller makes of it is compared."""

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from controllers_lab import JOBS, PODS, ControllersLab, follow, job, load, open_lab, timeless
from devcluster.apiserver.errors import StatusError
from devcluster.apiserver.local import GVR, RESOURCEQUOTAS, SERVICEACCOUNTS
from devcluster.storage import Event

Object = dict[str, Any]
CASES = [*load("pods.jsonl"), *load("pods-with-init.jsonl")]
NAMESPACE = "case"
LIMITRANGES = GVR("", "v1", "limitranges")
QUOTAS = {
    "quota of zero Pods": {"pods": "0"},
    "quota on cpu and memory: init container without resources, agent with": dict.fromkeys(
        ("limits.cpu", "limits.memory", "requests.cpu", "requests.memory"), "2Gi"
    ),
    "quota on cpu is used up, later there is room": {"limits.cpu": "50m"},
}
# Recorded times are rounded to a tenth; where a Pod's change and a sync fall together, the change came first.
EARLY = 0.04
TICK = 0.001
# A kubelet removes a Pod so long after it wrote its end; a finalizer may keep it for longer.
KUBELET_REMOVES = 0.75
AFTER_THE_LAST = 0.5
# From a change of a Pod to the look at its Job.
SYNC = 1.0


def unix(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def base_of(case: Object) -> float:
    """The wall time at second 0 that agrees with every time that the Job's states show."""
    low, high = -math.inf, math.inf
    seen: set[str] = set()
    for event in case["job_watch"]:
        times = [("", event["status"].get("startTime"))]
        times += [
            (each["type"] + each["status"], each["lastTransitionTime"])
            for each in event["status"].get("conditions") or ()
        ]
        for name, stamp in times:
            if stamp and name + stamp not in seen:
                seen.add(name + stamp)
                low = max(low, unix(stamp) - event["at"])
                high = min(high, unix(stamp) + 1 - event["at"])
    return (low + high) / 2


class Replay:
    """Replays the kubelet, the scheduler and the manual requests of one recording."""

    def __init__(self, lab: ControllersLab, case: Object) -> None:
        self.lab = lab
        self.case = case
        self.names = list(dict.fromkeys(each["name"] for each in case["pod_watch"]))
        self.uids: list[str] = []
        self.made: dict[str, str] = {}

    def follow_pods(self, new: Object | None, old: Object | None) -> None:
        """Begin with a Pod as soon as it is created."""
        if old is not None or new is None:
            return
        self.uids.append(new["metadata"]["uid"])
        if len(self.uids) > len(self.names):
            return
        recorded = self.names[len(self.uids) - 1]
        self.made[new["metadata"]["name"]] = recorded
        events = [each for each in self.case["pod_watch"] if each["name"] == recorded]
        status: Object = {}
        changed = self.lab.elapsed
        deletion = None
        for index, event in enumerate(events[1:]):
            delay = max(event["at"] - events[0]["at"] - EARLY, 0.01) + index * TICK
            when = self.lab.elapsed + delay
            deleted, before = event.get("deletionTimestamp"), deletion
            deletion = deleted
            if deleted and not before and self._deleted_by_people():
                self.lab.at(when, self._do(new, self._delete))
            if event["type"] == "DELETED" or (before and deleted != before):
                self.lab.at(
                    min(when, changed + KUBELET_REMOVES), self._do(new, self.lab.remove_pod)
                )
            elif event["status"] != status:
                status, changed = event["status"], when
                self.lab.at(when, self._do(new, self._writer(status)))

    def _writer(self, status: Object) -> Callable[[Object], None]:
        def write(pod: Object) -> None:
            if not pod["spec"].get("nodeName") and status.get("startTime"):
                self.lab.bind(pod)
            self.lab.client.mutate(
                PODS,
                NAMESPACE,
                pod["metadata"]["name"],
                lambda current: {**current, "status": status},
                subresource="status",
            )

        return write

    def _deleted_by_people(self) -> bool:
        return self.case["note"].startswith(("agent evicted", "evicted, ", "running agent's Pod"))

    def _delete(self, pod: Object) -> None:
        grace = 0 if "by force" in self.case["note"] else None
        name = pod["metadata"]["name"]
        self.lab.client.delete(PODS, NAMESPACE, name, grace_period_seconds=grace)

    def _do(self, made: Object, act: Callable[[Object], None]) -> Callable[[], None]:
        def run() -> None:
            pod = self.lab.get(PODS, NAMESPACE, made["metadata"]["name"])
            if pod is not None:
                act(pod)

        return run

    def normal(self, status: Object) -> Object:
        """A status of ours as the recording would have it: its uids by the order of Pods, without lastProbeTime."""
        return normalised(status, self.uids, self.made)


def normalised(status: Object, uids: list[str], names: dict[str, str] | None = None) -> Object:
    """`names` are ours and those that the recording has in their place."""
    status = dict(status)
    status["conditions"] = [
        {key: value for key, value in each.items() if key != "lastProbeTime"}
        for each in status.get("conditions") or ()
    ]
    for ours, recorded in (names or {}).items():
        for each in status["conditions"]:
            each["message"] = each["message"].replace(f"/{ours} ", f"/{recorded} ")
    waiting = status.get("uncountedTerminatedPods") or {}
    status["uncountedTerminatedPods"] = {
        key: [uids.index(uid) if uid in uids else uid for uid in each]
        for key, each in waiting.items()
    }
    return status


def recorded_states(case: Object) -> list[Object]:
    """The Job's states; each Pod's uid follows from the order in which they were counted."""
    uids: list[str] = []
    for event in case["job_watch"]:
        waiting = event["status"].get("uncountedTerminatedPods") or {}
        for each in waiting.values():
            uids += [uid for uid in each if uid not in uids]
    return [
        normalised(each["status"], uids) for each in case["job_watch"] if each["type"] == "MODIFIED"
    ]


def in_order_of_counting(states: list[Object]) -> list[Object]:
    """The same for ours: Pods that were never counted (suspended ones) do not number."""
    order: list[int] = []
    for state in states:
        for each in state["uncountedTerminatedPods"].values():
            order += [index for index in each if index not in order]
    return [
        {
            **state,
            "uncountedTerminatedPods": {
                key: [order.index(index) for index in each]
                for key, each in state["uncountedTerminatedPods"].items()
            },
        }
        for state in states
    ]


def people(lab: ControllersLab, case: Object) -> None:
    """Repeat the manual requests of a recording."""

    def suspend(value: bool) -> Callable[[], Any]:
        return lambda: lab.client.patch(JOBS, NAMESPACE, "run-task-0", {"spec": {"suspend": value}})

    def delete_pod() -> None:
        (pod,) = lab.pods(NAMESPACE)
        lab.client.delete(PODS, NAMESPACE, pod["metadata"]["name"])

    def make_account() -> None:
        body = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "kubetask-agent"},
        }
        lab.client.create(SERVICEACCOUNTS, NAMESPACE, body)

    note = case["note"]
    if note == "Job suspended while its Pod runs, resumed later":
        lab.at(1.8, suspend(True))
        lab.at(9.8, suspend(False))
    elif note == "Job deleted in the background while its Pod runs":
        lab.at(0.8, lambda: lab.client.delete(JOBS, NAMESPACE, "run-task-0"))
    elif note == "Job suspended before it has a Pod, then resumed":
        lab.at(4.0 - EARLY, suspend(False))
    elif note.startswith("Job suspended while the agent runs after its init container"):
        lab.at(2.8 - EARLY, suspend(True))
    elif note == "quota on cpu is used up, later there is room":
        lab.at(10.0, lambda: limit_cpu(lab, "500m"))
    elif note.startswith(("agent evicted", "evicted, ")):
        pass  # Replay deletes each Pod at its time
    elif "deleted by hand" in note or "evicted" in note:
        lab.at(0.8, delete_pod)
    elif note == "ServiceAccount appears after 5 s":
        lab.at(5.0, make_account)
    elif "activeDeadlineSeconds is set to 1" in note:
        patch = {"metadata": {"annotations": {"deadline": "1"}}}
        lab.at(
            2.8 - EARLY,
            lambda: lab.client.patch(
                PODS, NAMESPACE, lab.pod(NAMESPACE, "run-task-0")["metadata"]["name"], patch
            ),
        )


def prepare(lab: ControllersLab, case: Object) -> None:
    """Create the objects that existed before the recording."""
    labels = None
    if "restricted Pod Security Standard" in case["note"]:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    lab.namespace(NAMESPACE, labels)
    hard = QUOTAS.get(case["note"])
    if hard is not None:
        body = {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "q"},
            "spec": {"hard": hard},
        }
        lab.client.create(RESOURCEQUOTAS, NAMESPACE, body)
    if case["note"].startswith("LimitRange with a maximum below"):
        limit = {"type": "Container", "max": {"memory": "256Mi"}}
        body = {
            "apiVersion": "v1",
            "kind": "LimitRange",
            "metadata": {"name": "l"},
            "spec": {"limits": [limit]},
        }
        lab.client.create(LIMITRANGES, NAMESPACE, body)


def limit_cpu(lab: ControllersLab, limit: str) -> None:
    change = {"spec": {"hard": {"limits.cpu": limit}}}
    lab.client.patch(RESOURCEQUOTAS, NAMESPACE, "q", change)


def length(case: Object) -> float:
    """How long to look: to the last state, and with failing creations as often as they were counted."""
    last = max(each["at"] for each in (*case["job_watch"], *case["pod_watch"]))
    failed = [each for each in case["events"] if each["reason"] == "FailedCreate"]
    tries = sum(each["count"] for each in failed)
    return max(
        last + SYNC + AFTER_THE_LAST if last else 0,
        2.0 ** (tries - 1) - 1 + AFTER_THE_LAST if tries else 0,
    )


def job_events(case: Object) -> list[tuple[str, str, str, int]]:
    return [
        (each["type"], each["reason"], each["message"], each["count"])
        for each in case["events"]
        if each["object"].startswith("Job/")
    ]


def without_names(
    events: list[tuple[str, str, str, int]], names: list[str]
) -> list[tuple[str, str, str, int]]:
    """Events with Pods called by number; the names of Pods that were refused are unknown."""
    result = []
    for kind, reason, message, count in events:
        for index, name in enumerate(names):
            message = message.replace(name, f"pod-{index}")
        if reason == "FailedCreate":
            head, quote, tail = message.partition('pods "run-task-0-')
            message = head + quote + tail[tail.index('"') :]
        result.append((kind, reason, message, count))
    return result


@pytest.mark.parametrize("case", CASES, ids=[each["note"].replace(" ", "-") for each in CASES])
async def test_job_takes_the_recorded_states_and_events(case: Object) -> None:
    async with open_lab(start=base_of(case)) as lab:
        prepare(lab, case)
        await lab.settle()
        watch, pod_watch = follow(lab), follow(lab, "pods")
        replay = Replay(lab, case)
        lab.registry.after_write.append(
            lambda info, new, old: (
                replay.follow_pods(new, old) if info.storage_key == "pods" else None
            )
        )
        people(lab, case)
        lab.client.create(JOBS, NAMESPACE, case["job"])
        await lab.pass_time(length(case))
        seen = [event for event in watch.drain() if event.type == "MODIFIED"]
        states = distinct([replay.normal(event.current.object["status"]) for event in seen])
        recorded = recorded_states(case)
        assert timeless(in_order_of_counting(states)) == timeless(recorded)
        # Recorded seconds are rounded, so a time may fall to either side of a second.
        assert all(abs(a - b) <= 1 for a, b in zip(times(states), times(recorded), strict=True))
        assert marks(pod_watch.drain(), replay.made) == recorded_marks(case)
        ours = without_names(lab.events(NAMESPACE, "run-task-0"), list(replay.made))
        assert ours == without_names(job_events(case), replay.names)


def marks(events: list[Event], made: dict[str, str]) -> dict[str, list[tuple[str, ...]]]:
    """By Pod how it lost its finalizer, was marked for deletion, went."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for event in events:
        metadata = event.current.object["metadata"]
        keep(found, made[metadata["name"]], event.type, metadata)
    return found


def recorded_marks(case: Object) -> dict[str, list[tuple[str, ...]]]:
    found: dict[str, list[tuple[str, ...]]] = {}
    for event in case["pod_watch"]:
        keep(found, event["name"], event["type"], event)
    return found


def keep(found: dict[str, list[tuple[str, ...]]], name: str, kind: str, pod: Object) -> None:
    if kind == "DELETED":
        mark: tuple[str, ...] = ("gone",)
    else:
        deleting = ("deleting",) if "deletionTimestamp" in pod else ()
        mark = (*(pod.get("finalizers") or ()), *deleting)
    known = found.setdefault(name, [])
    if mark not in known:
        known.append(mark)


def times(states: list[Object]) -> list[float]:
    """Every time in the states."""
    stamps: list[str] = []
    for state in states:
        stamps += [state[key] for key in ("startTime", "completionTime") if key in state]
        stamps += [each["lastTransitionTime"] for each in state["conditions"]]
    return [unix(stamp) for stamp in stamps]


def distinct(states: list[Object]) -> list[Object]:
    """States without repetitions: a change of the spec alone is no new state."""
    kept: list[Object] = []
    for state in states:
        if not kept or kept[-1] != state:
            kept.append(state)
    return kept


async def test_refused_pods_are_tried_again_ever_more_slowly() -> None:
    async with open_lab("team") as lab:
        spec = {
            "serviceAccountName": "later",
            "restartPolicy": "Never",
            "containers": [{"name": "agent", "image": "x"}],
        }
        lab.client.create(JOBS, "team", job("waits", template={"spec": spec}))
        counts = []
        for seconds in (0.5, 1, 2, 4, 8, 16, 32, 60, 60):
            await lab.pass_time(seconds)
            ((_, reason, _, count),) = lab.events("team", "waits")
            assert reason == "FailedCreate"
            counts.append(count)
        assert counts == [1, 2, 3, 4, 5, 6, 7, 8, 9]
        with pytest.raises(StatusError, match="not found"):
            lab.client.get(SERVICEACCOUNTS, "team", "later")
