"""Builds the result of a task from the agent's report and its repositories."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kubetask_controller.api.constants import Reason
from kubetask_controller.api.manifest import TaskManifest
from kubetask_controller.workspace.agent.publish import Published, find_pull_request
from kubetask_controller.workspace.agent.report import AgentReport

CHANGED = "Changed"
NO_CHANGES = "NoChanges"
MAX_COMMITS = 64
"""Maximum number of commits in a status."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an agent's work ended.

    Attributes:
        report: the agent's report.
        published: the outcome for each repository.
        failed: whether the task fails.
        problem: why a push failed; empty if none failed.
        reason: the task's reason if a push failed.
        nothing_done: whether the task fails because there are no changes.
    """

    report: AgentReport
    published: Sequence[Published]
    failed: bool = False
    problem: str = ""
    reason: Reason | None = None
    nothing_done: bool = False


def make_result(manifest: TaskManifest, outcome: Outcome) -> dict[str, Any]:
    """The result for the status."""
    report = outcome.report
    commits = [commit for x in outcome.published for commit in x.commits]
    result: dict[str, Any] = {"summary": outcome.problem or report.summary}
    if commits:
        result |= {"outcome": CHANGED, "commits": commits[:MAX_COMMITS]}
    elif not outcome.failed:
        result["outcome"] = NO_CHANGES
    if any(x.pushed for x in outcome.published):
        result["branch"] = manifest.branch
    requests = [x.request for x in outcome.published if x.request]
    if url := next(iter(requests), "") or find_pull_request(manifest, report.summary):
        result["pullRequest"] = url
    if len(requests) > 1:
        result["pullRequests"] = requests
    if patch := next((x.patch for x in outcome.published if x.patch), ""):
        result["patch"] = patch
    if report.usage:
        result["usage"] = dict(report.usage)
    if outcome.nothing_done:
        result["reason"] = Reason.NO_CHANGES.value
    elif outcome.reason is not None:
        result["reason"] = outcome.reason.value
    elif outcome.failed and not outcome.problem and report.reason is not None:
        result["reason"] = report.reason.value
    return result
