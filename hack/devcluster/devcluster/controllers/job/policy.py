"""Decisions from a Job's spec and its Pods: podFailurePolicy, backoffLimit, deadline, the desired number of Pods.

Pure functions. Rules and sentences are those of pkg/controller/job (job_controller.go, pod_failure_policy.go).
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
DEFAULT_BACKOFF_LIMIT = 6


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of podFailurePolicy for a failed Pod: the action of the rule that matches ('' for none), and a sentence."""

    action: str = ""
    sentence: str = ""

    @property
    def counts(self) -> bool:
        """Whether the failure counts for backoffLimit."""
        return self.action != "Ignore"


def managed_elsewhere(job: Object) -> bool:
    """Whether spec.managedBy names another controller."""
    return bool(job["spec"].get("managedBy", CONTROLLER_NAME) != CONTROLLER_NAME)


def is_suspended(job: Object) -> bool:
    """spec.suspend."""
    return bool(job["spec"].get("suspend"))


def only_failed_replaced(job: Object) -> bool:
    """Whether a Pod is replaced (and counted) only when it has ended."""
    spec = job["spec"]
    return spec.get("podReplacementPolicy") == "Failed" or bool(spec.get("podFailurePolicy"))


def judge(job: Object, pod: Object) -> Verdict:
    """The first rule of podFailurePolicy that matches a failed Pod decides."""
    policy = job["spec"].get("podFailurePolicy") or {}
    for index, rule in enumerate(policy.get("rules") or ()):
        sentence = _match(rule, index, pod)
        if sentence:
            return Verdict(rule["action"], sentence)
    return Verdict()


def _match(rule: Object, index: int, pod: Object) -> str:
    metadata = pod["metadata"]
    name = f"{metadata['namespace']}/{metadata['name']}"
    where = f"matching {rule['action']} rule at index {index}"
    if rule.get("onExitCodes"):
        found = _failed_container(rule["onExitCodes"], pod)
        if found is None:
            return ""
        container, code = found
        return f"Container {container} for pod {name} failed with exit code {code} {where}"
    patterns = {
        (each["type"], each.get("status", "True")) for each in rule.get("onPodConditions") or ()
    }
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if (condition["type"], condition["status"]) in patterns:
            return f"Pod {name} has condition {condition['type']} {where}"
    return ""


def _failed_container(requirement: Object, pod: Object) -> tuple[str, int] | None:
    status = pod.get("status") or {}
    wanted = requirement.get("containerName")
    values = requirement["values"]
    for kind in ("containerStatuses", "initContainerStatuses"):
        for each in status.get(kind) or ():
            code = ((each.get("state") or {}).get("terminated") or {}).get("exitCode", 0)
            if code == 0 or (wanted and each["name"] != wanted):
                continue
            if (code in values) == (requirement["operator"] == "In"):
                return each["name"], code
    return None


def fail_job_sentence(job: Object, pods: Iterable[Object]) -> str:
    """Why podFailurePolicy fails the Job, or ''."""
    if not job["spec"].get("podFailurePolicy"):
        return ""
    terminal = only_failed_replaced(job)
    for pod in pods:
        if podlib.is_failed(pod, only_terminal=terminal):
            verdict = judge(job, pod)
            if verdict.action == "FailJob":
                return verdict.sentence
    return ""


def over_backoff_limit(job: Object, pods: Iterable[Object], failed: int) -> bool:
    """Whether more Pods (or, with restartPolicy OnFailure, containers) failed than backoffLimit allows."""
    limit = job["spec"].get("backoffLimit", DEFAULT_BACKOFF_LIMIT)
    if failed > limit:
        return True
    if job["spec"]["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    counted = sum(
        podlib.restarts(pod) for pod in pods if podlib.phase(pod) in ("Running", "Pending")
    )
    return counted > 0 if limit == 0 else counted >= limit


def deadline_left(job: Object, start: str | None, now: float) -> float | None:
    """Seconds until activeDeadlineSeconds is over (may be negative), or None when it does not run."""
    seconds = job["spec"].get("activeDeadlineSeconds")
    if seconds is None or start is None or is_suspended(job):
        return None
    return float(seconds) - (now - unix(start))


def wanted_active(job: Object, succeeded: int, active: int) -> int:
    """The desired number of active Pods."""
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
