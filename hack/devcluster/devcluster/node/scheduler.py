"""The scheduler: binds Pods to the only node, or records why it cannot.

A Pod that does not fit is tried again after a change that may help: a Pod was removed or ended, the node or
a claim changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from devcluster.apiserver.errors import StatusError
from devcluster.apiserver.local import NODES, PODS, LocalClient
from devcluster.controllers.clock import Clock

from . import podstatus
from .fit import Misfit, misfit
from .options import OUTCOME_ANNOTATION
from .podsubresources import bind

Object = dict[str, Any]
Key = tuple[str, str]

log = logging.getLogger("devcluster.node")

SCHEDULER = "default-scheduler"
ALWAYS_HELPLESS = "Preemption is not helpful for scheduling."
NO_VICTIMS = "No preemption victims found for incoming pod."
GATED = "Scheduling is blocked due to non-empty scheduling gates"


class Scheduler:
    """Schedules the Pods that `see` receives. `claim_problem(namespace, name)` returns why a claim cannot be used, or ''."""

    def __init__(
        self, client: LocalClient, clock: Clock, claim_problem: Callable[[str, str], str]
    ) -> None:
        self._client = client
        self._clock = clock
        self._claim_problem = claim_problem
        self._waiting: dict[Key, Object] = {}
        self._running: dict[Key, Object] = {}
        self._wake = asyncio.Event()

    def see(self, new: Object | None, old: Object | None) -> None:
        """Take in a change of a Pod."""
        pod = new if new is not None else old
        assert pod is not None
        key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        if new is not None and _occupies(new):
            self._running[key] = new
        elif self._running.pop(key, None) is not None:
            self._wake.set()
        if new is not None and _wants_node(new):
            fresh = old is None or _relevant(old) != _relevant(new)
            self._waiting[key] = new
            if fresh:
                self._wake.set()
        else:
            self._waiting.pop(key, None)

    def something_changed(self, *_: object) -> None:
        """Try the pending Pods again, because the node or a claim changed."""
        if self._waiting:
            self._wake.set()

    async def run(self) -> None:
        """Schedule until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            for key in list(self._waiting):
                pod = self._waiting.get(key)
                if pod is None:
                    continue
                try:
                    self._schedule(key, pod)
                except StatusError as error:
                    if error.code not in (404, 409):
                        log.warning("scheduling %s: %s", "/".join(key), error.message)
                await asyncio.sleep(0)

    def _schedule(self, key: Key, pod: Object) -> None:
        if pod["spec"].get("schedulingGates"):
            self._write(pod, "SchedulingGated", GATED)
            return
        nodes = self._client.list(NODES)
        chosen, why = self._choose(pod, nodes)
        if chosen is None:
            if self._write(pod, "Unschedulable", why):
                self._tell(pod, "Warning", "FailedScheduling", why)
            return
        name = chosen["metadata"]["name"]
        self._waiting.pop(key, None)
        bound = bind(self._client.registry, *key, name, uid=pod["metadata"]["uid"])
        self._running[key] = bound
        self._tell(pod, "Normal", "Scheduled", f"Successfully assigned {'/'.join(key)} to {name}")

    def _choose(self, pod: Object, nodes: list[Object]) -> tuple[Object | None, str]:
        """The node for a Pod, or (None, why there is none)."""
        if not nodes:
            return None, "no nodes available to schedule pods"
        head = f"0/{len(nodes)} nodes are available: "
        for volume in pod["spec"].get("volumes") or ():
            claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
            problem = self._claim_problem(pod["metadata"]["namespace"], claim) if claim else ""
            if problem:
                return None, f"{head}{problem}. not found"
        reasons: dict[str, list[Misfit]] = {}
        for node in nodes:
            name = node["metadata"]["name"]
            others = [
                each for each in self._running.values() if each["spec"].get("nodeName") == name
            ]
            found = misfit(pod, node, others)
            if found is None:
                return node, ""
            reasons.setdefault(found.reason, []).append(found)
        parts = ", ".join(f"{len(found)} {reason}" for reason, found in sorted(reasons.items()))
        helpless = all(each.helpless for found in reasons.values() for each in found)
        preemption = f"0/{len(nodes)} nodes are available: {len(nodes)} {ALWAYS_HELPLESS if helpless else NO_VICTIMS}"
        return None, f"{head}{parts}. no new claims to deallocate, preemption: {preemption}"

    def _write(self, pod: Object, reason: str, message: str) -> bool:
        """Write the PodScheduled condition. Returns whether that changed something."""
        metadata = pod["metadata"]
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": reason,
            "message": message,
        }
        changed = False

        def change(current: Object) -> Object | None:
            nonlocal changed
            status = current.get("status") or {}
            old = status.get("conditions") or ()
            generation = current["metadata"].get("generation")
            before = [each for each in old if each["type"] == "PodScheduled"]
            others = [each for each in old if each["type"] != "PodScheduled"]
            merged = podstatus.merge_conditions(
                [condition], before, generation, self._clock.stamp()
            )
            changed = not before or any(before[0].get(key) != condition[key] for key in condition)
            if not changed:
                return None
            return {**current, "status": {**status, "conditions": [*others, *merged]}}

        self._client.mutate(
            PODS, metadata["namespace"], metadata["name"], change, subresource="status"
        )
        return changed

    def _tell(self, pod: Object, kind: str, reason: str, message: str) -> None:
        self._client.record_event(
            pod, type=kind, reason=reason, message=message, component=SCHEDULER
        )


def _wants_node(pod: Object) -> bool:
    metadata, spec = pod["metadata"], pod["spec"]
    return (
        not spec.get("nodeName")
        and "deletionTimestamp" not in metadata
        and OUTCOME_ANNOTATION not in (metadata.get("annotations") or {})
        and spec.get("schedulerName", SCHEDULER) == SCHEDULER
        and (pod.get("status") or {}).get("phase") not in podstatus.FINAL_PHASES
    )


def _occupies(pod: Object) -> bool:
    """Whether a Pod uses resources of its node."""
    phase = (pod.get("status") or {}).get("phase")
    return bool(pod["spec"].get("nodeName")) and phase not in podstatus.FINAL_PHASES


def _relevant(pod: Object) -> Object:
    """The fields of a Pod that the scheduler uses."""
    return {"spec": pod["spec"], "annotations": pod["metadata"].get("annotations")}
