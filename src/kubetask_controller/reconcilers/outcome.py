"""What a task's Job and Pods say of it: the state of one task as a pure function.

Success and failure come from the Job's conditions alone; the Pod only tells why. Waiting has many faces, and where
the Pod is silent (a volume that cannot be mounted, a Pod that was never admitted) the caller hands in the message of the
last Event.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Phase, Reason
from kubetask_controller.api.result import clean_result
from kubetask_controller.reconcilers.projections import ContainerView, JobView, PodView
from kubetask_controller.reconcilers.waiting import Waiting, waiting_reason

MAX_MESSAGE = 512
"""Characters of a task's message in the status; a run has up to 10,000 of them."""

PREPARATION_REASONS = frozenset(
    {Reason.CLONE_FAILED, Reason.WORKSPACE_ERROR, Reason.CONTEXT_NOT_FOUND, Reason.INVALID_SPEC}
)
"""What the init container may give as its reason."""

AGENT_REASONS = frozenset({Reason.RATE_LIMITED, Reason.NO_CHANGES, Reason.REFUSED})
"""What an agent may give as ``reason`` of its result when it fails."""


@dataclass(frozen=True, slots=True)
class TaskState:
    """The state of one task: what its entry in a status shows."""

    phase: Phase
    reason: Reason
    message: str = ""
    job_name: str = ""
    start_time: str = ""
    completion_time: str = ""
    result: dict[str, Any] | None = None

    @property
    def final(self) -> bool:
        """Succeeded or Failed: never left again."""
        return self.phase in (Phase.SUCCEEDED, Phase.FAILED)


def one_line(text: str, limit: int = MAX_MESSAGE) -> str:
    """The last line that says something, cut to ``limit`` characters."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = lines[-1] if lines else ""
    return line if len(line) <= limit else line[: limit - 1] + "…"


def task_state(
    job: JobView, pods: Sequence[PodView], *, cancelled: bool, waiting: Waiting | None = None
) -> TaskState:
    """The state of a task whose Job is there.

    Args:
        job: its Job, of our own owner.
        pods: the Pods of that Job, in any order; earlier tries among them.
        cancelled: the user asked for the end; a deadline that ran out afterwards is ours.
        waiting: what an Event said of a Job without a Pod, or of a Pod that tells nothing itself.
    """
    start = min((x.started_at for x in pods if x.started_at), default="")
    last = max(pods, key=lambda x: (x.started_at or x.created, x.name), default=None)
    if job.complete:
        end = (last.finished_at if last else "") or job.complete.time
        result, message = read_result(last)
        return TaskState(
            Phase.SUCCEEDED,
            Reason.TASK_SUCCEEDED,
            message,
            job.name,
            start or job.created,
            end,
            result,
        )
    if job.failed:
        reason, message = failure(job, last, cancelled=cancelled)
        end = (last.finished_at if last else "") or job.failed.time
        result, _ = read_result(last)
        return TaskState(Phase.FAILED, reason, message, job.name, start, end, result)
    if start:
        return TaskState(Phase.RUNNING, Reason.TASK_RUNNING, "", job.name, start)
    found = waiting_reason(job, last, waiting)
    return TaskState(Phase.PENDING, found.reason, one_line(found.message), job.name)


def failure(job: JobView, pod: PodView | None, *, cancelled: bool) -> tuple[Reason, str]:
    """Why a failed Job failed: (reason, one line)."""
    assert job.failed is not None
    if job.failed.reason == "DeadlineExceeded":
        return Reason.TIMED_OUT, one_line(job.failed.message)
    if pod is None:
        return (
            Reason.JOB_LOST,
            f"the Pod of Job {job.name} is gone, and with it the agent's last word",
        )
    if pod.reason == "DeadlineExceeded":
        if cancelled:
            return Reason.CANCELLED, "ended at the user's request"
        limit = pod.active_deadline_seconds
        return (
            Reason.TIMED_OUT,
            f"the agent ran longer than {limit} s" if limit else "the agent ran too long",
        )
    if pod.reason == "Evicted" or pod.disruption:
        return Reason.EVICTED, one_line(
            pod.message
        ) or f"Pod {pod.name} was disrupted: {pod.disruption}"
    container = _culprit(pod)
    if container is None:
        return Reason.AGENT_ERROR, one_line(pod.message or job.failed.message)
    if container.init:
        return _preparation_failure(container)
    return _agent_failure(container, pod)


def read_result(pod: PodView | None) -> tuple[dict[str, Any] | None, str]:
    """What the agent left in its termination message: (JSON object, "") or (None, one line of text)."""
    agent = next((x for x in pod.containers if x.name == c.CONTAINER_AGENT), None) if pod else None
    text = agent.message.strip() if agent else ""
    if not text:
        return None, ""
    if len(text.encode()) <= c.MAX_RESULT_BYTES and text.startswith("{"):
        try:
            value = from_json(text)
        except ValueError:
            return None, one_line(text)
        if isinstance(value, dict):
            summary = value.get("summary")
            return clean_result(value), one_line(summary) if isinstance(summary, str) else ""
    return None, one_line(text)


def _culprit(pod: PodView) -> ContainerView | None:
    ended = [x for x in pod.containers if x.state == "terminated" and x.exit_code != 0]
    return next((x for x in ended if x.name == c.CONTAINER_AGENT), ended[0] if ended else None)


def _preparation_failure(container: ContainerView) -> tuple[Reason, str]:
    if container.reason == "OOMKilled":
        return Reason.OOM_KILLED, f"container {container.name} ran out of memory"
    try:
        told = from_json(container.message.strip() or "{}")
    except ValueError:
        told = None
    if isinstance(told, dict) and told:
        reason = told.get("reason")
        message = one_line(str(told.get("message", "")))
        known = {x.value for x in PREPARATION_REASONS}
        return (Reason(reason) if reason in known else Reason.WORKSPACE_ERROR), message
    text = one_line(container.message) or f"exit code {container.exit_code}"
    return Reason.WORKSPACE_ERROR, f"container {container.name}: {text}"


def _agent_failure(container: ContainerView, pod: PodView) -> tuple[Reason, str]:
    if container.reason == "OOMKilled":
        return (
            Reason.OOM_KILLED,
            "the agent ran out of memory; raise resources.limits.memory of the WorkspaceConfig",
        )
    if pod.deleting:
        return Reason.AGENT_ERROR, f"Pod {pod.name} was deleted while the agent ran"
    result, message = read_result(pod)
    if result is not None:
        reason = result.get("reason")
        known = {x.value for x in AGENT_REASONS}
        if reason in known:
            return Reason(reason), message or str(reason)
    said = f": {message}" if message else ""
    if container.signal:
        return Reason.AGENT_ERROR, f"killed by signal {container.signal}{said}"
    return Reason.AGENT_ERROR, f"exit code {container.exit_code}{said}"
