"""Reads results that the status of a large run omits from the termination messages of Pods.

The newest Pod of a task counts. Users without the right to list Pods get the results in the status, and the
reason why the others are missing.
"""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

from kubetask_controller.api.constants import CONTAINER_AGENT, Omitted, Phase
from kubetask_controller.api.indexes import format_indexes
from kubetask_controller.api.result import parse_result
from kubetask_controller.cli.follow import LISTED, changes
from kubetask_controller.cli.logs.pods import selector, task_pod
from kubetask_controller.cli.runview import BatchRunView, TaskRow
from kubetask_controller.cli.session import Session, Target
from kubetask_controller.cli.terminal import clean
from kubetask_controller.client import ClientError
from kubetask_controller.client.resources import PODS
from kubetask_controller.types import JSON


async def results_from_pods(
    session: Session, target: Target, view: BatchRunView
) -> tuple[Sequence[TaskRow], str]:
    """The rows of a run with results of Pods added, and a sentence about missing results, or an empty string."""
    wanted = {row.index for row in view.rows if _is_omitted(row, view.omitted)}
    if not wanted:
        return view.rows, ""
    pods, problem = await _agents(session, target)
    rows = [
        _with(row, pods[row.index]) if row.index in wanted and row.index in pods else row
        for row in view.rows
    ]
    if not (missing := wanted - set(pods)):
        return rows, ""
    why = f"cannot be read: {clean(problem)}" if problem else "were deleted"
    return rows, (
        f"task {format_indexes(missing)}: the status of this large run omits their results, and their Pods {why}"
    )


def _is_omitted(row: TaskRow, omitted: Sequence[str]) -> bool:
    """Whether the status omits the result of the task. A task that never started has none."""
    if row.phase == Phase.SUCCEEDED:
        return Omitted.TASKS in omitted and not row.entry
    started = row.phase == Phase.FAILED and bool(row.entry.get("startTime"))
    return started and Omitted.DETAILS in omitted and not row.result


async def _agents(session: Session, target: Target) -> tuple[dict[int, JSON], str]:
    """By index: the terminated state of the agent's container, and the name of the Job; and an error."""
    found: dict[int, tuple[str, JSON]] = {}
    problem = ""
    try:
        async with aclosing(changes(session, PODS, selector(target, ""))) as events:
            async for kind, pod in events:
                if kind == LISTED:
                    break
                view = task_pod(pod, target, CONTAINER_AGENT)
                ended = _ended(pod)
                if view is None or not ended:
                    continue
                if view.created >= found.get(view.index, ("", {}))[0]:
                    found[view.index] = (view.created, ended)
    except ClientError as error:
        problem = str(error)
    return {index: ended for index, (_, ended) in found.items()}, problem


def _ended(pod: JSON) -> JSON:
    for each in (pod.get("status") or {}).get("containerStatuses") or []:
        if each.get("name") == CONTAINER_AGENT:
            ended = (each.get("state") or {}).get("terminated")
            if isinstance(ended, dict):
                job = (pod["metadata"].get("labels") or {}).get("batch.kubernetes.io/job-name", "")
                return {**ended, "jobName": job}
    return {}


def _with(row: TaskRow, ended: JSON) -> TaskRow:
    entry = dict(row.entry)
    pairs = (("jobName", "jobName"), ("startTime", "startedAt"), ("completionTime", "finishedAt"))
    for key, source in pairs:
        if ended.get(source):
            entry.setdefault(key, ended[source])
    result = parse_result(str(ended.get("message") or ""))
    if result is not None:
        entry.setdefault("result", result)
    return replace(row, entry=entry)
