"""What a Job's spec says about its Pods: podFailurePolicy, backoffLimit, deadline, how many Pods it wants. Pure functions.

Rules and sentences are those of pkg/controller/job (job_controller.go, pod_failure_policy.go).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from devcluster.controllers.clock import unix

from . import pods as podlib

Object = dict[str, Any]

CONTROLLER_NAME = "kubernetes.io/job-controller"
REASON_BACKOFF = "BackoffLimitExceeded"
REASON_DEADLINE = "DeadlineExceeded"
REASON_POLICY = "PodFailurePolicy"
REASON_COMPLETED = "CompletionsReached"
MESSAGE_BACKOFF = "Job has reached the specified backoff limit"
MESSAGE_DEADLINE = "Job was active longer than specified deadline"
MESSAGE_COMPLETED = "Reached expected number of succeeded pods"
FAILURE_BACKOFF = 10.0
FAILURE_BACKOFF_MAX = 600.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What podFailurePolicy says of a failed Pod: whether it counts, and why it fails the whole Job ('' when it does not)."""

    counts: bool = True
    fails_job: str = ""


def managed_elsewhere(job: Object) -> bool:
    """Whether spec.managedBy names another controller."""
    return job["spec"].get("managedBy", CONTROLLER_NAME) != CONTROLLER_NAME


def is_suspended(job: Object) -> bool:
    """spec.suspend."""
    return bool(job["spec"].get("suspend"))


def only_failed_replaced(job: Object) -> bool:
    """Whether a Pod is replaced (and counted) only when it has ended."""
    spec = job["spec"]
    return spec.get("podReplacementPolicy") == "Failed" or "podFailurePolicy" in spec


def is_indexed(job: Object) -> bool:
    """Whether completionMode is Indexed."""
    return bool(job["spec"].get("completionMode") == "Indexed")


def judge(job: Object, pod: Object) -> Verdict:
    """The first rule of podFailurePolicy that matches a failed Pod decides."""
    policy = job["spec"].get("podFailurePolicy")
    if not policy:
        return Verdict()
    for index, rule in enumerate(policy.get("rules") or ()):
        why = _match(rule, index, pod)
        if why:
            action = rule["action"]
            fails = why if action == "FailJob" else ""
            return Verdict(counts=action != "Ignore", fails_job=fails)
    return Verdict()


def _match(rule: Object, index: int, pod: Object) -> str:
    metadata = pod["metadata"]
    name = f"{metadata['namespace']}/{metadata['name']}"
    where = f"matching {rule['action']} rule at index {index}"
    if "onExitCodes" in rule:
        found = _failed_container(rule["onExitCodes"], pod)
        if found is None:
            return ""
        container, code = found
        return f"Container {container} for pod {name} failed with exit code {code} {where}"
    conditions = (pod.get("status") or {}).get("conditions") or ()
    for pattern in rule.get("onPodConditions") or ():
        wanted = pattern.get("status", "True")
        if any(
            each["type"] == pattern["type"] and each["status"] == wanted for each in conditions
        ):
            return f"Pod {name} has condition {pattern['type']} {where}"
    return ""


def _failed_container(requirement: Object, pod: Object) -> tuple[str, int] | None:
    status = pod.get("status") or {}
    wanted = requirement.get("containerName")
    values = requirement["values"]
    for kind in ("initContainerStatuses", "containerStatuses"):
        for each in status.get(kind) or ():
            code = ((each.get("state") or {}).get("terminated") or {}).get("exitCode", 0)
            if code == 0 or (wanted and each["name"] != wanted):
                continue
            if (code in values) == (requirement["operator"] == "In"):
                return each["name"], code
    return None


def over_backoff_limit(job: Object, pods: Iterable[Object], failed: int) -> bool:
    """Whether more Pods (or, with restartPolicy OnFailure, containers) failed than backoffLimit allows."""
    limit = job["spec"].get("backoffLimit", 6)
    if failed > limit:
        return True
    if job["spec"]["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    counted = sum(
        podlib.restarts(pod) for pod in pods if podlib.phase(pod) in ("Running", "Pending")
    )
    return counted > 0 if limit == 0 else counted >= limit


def deadline_left(job: Object, now: float) -> float | None:
    """Seconds until activeDeadlineSeconds is over (may be negative), or None when it does not run."""
    seconds = job["spec"].get("activeDeadlineSeconds")
    start = (job.get("status") or {}).get("startTime")
    if seconds is None or start is None or is_suspended(job):
        return None
    return float(seconds) - (now - unix(start))


def wanted_active(job: Object, succeeded: int, active: int) -> int:
    """How many Pods should be active."""
    spec = job["spec"]
    parallelism = int(spec.get("parallelism", 1))
    completions = spec.get("completions")
    if completions is None:
        return active if succeeded > 0 else parallelism
    return max(0, min(int(completions) - succeeded, parallelism))


def is_complete(job: Object, succeeded: int, active: int) -> bool:
    """Whether the Job has all its completions and nothing is active."""
    completions = job["spec"].get("completions")
    if completions is None:
        return succeeded > 0 and active == 0
    return succeeded >= int(completions) and active == 0


def pod_failure_delay(failures: int, last_failure: float, now: float, *, speed: float) -> float:
    """Seconds until a Pod may be made after `failures` in a row, the last ending at `last_failure`."""
    if failures == 0:
        return 0.0
    delay = min(FAILURE_BACKOFF * 2.0 ** min(failures - 1, 30), FAILURE_BACKOFF_MAX) / speed
    return max(0.0, delay - (now - last_failure))
