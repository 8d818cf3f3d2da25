"""JSON views of objects for the page. Pure functions; the page contains no logic.

Untrusted text (messages, results, names of repositories) is cleaned of control characters here; the
page renders it as text, never as HTML. Links are only http or https.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import EventReason
from kubetask_controller.cli.costs import costs, count_or_zero, decimal
from kubetask_controller.cli.explain import Finding, findings, reason_text, summary_line
from kubetask_controller.cli.runview import BatchRunView, TaskRow
from kubetask_controller.cli.session import TASK_RESOURCE, Target
from kubetask_controller.cli.terminal import clean
from kubetask_controller.types import JSON

MAX_TEXT = 2000
"""Maximum length of a text in a row."""
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,20}(Z|[+-][0-9]{2}:[0-9]{2})")


def shown(text: object, limit: int = MAX_TEXT) -> str:
    """Untrusted text as one line."""
    if isinstance(text, str) and text.isascii() and text.isprintable() and len(text) <= limit:
        return text.strip()
    found = clean(text)
    return found if len(found) <= limit else f"{found[: limit - 1]}…"


def time_of(text: object) -> str | None:
    """A time of the API; None for invalid values."""
    return text if isinstance(text, str) and _TIME.fullmatch(text) else None


def link(text: object) -> str:
    """A URL that is safe to open; empty if it is not http or https."""
    if not isinstance(text, str) or not text or len(text) > 2048 or shown(text) != text:
        return ""
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    good = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    return text if good else ""


def run_summary(found: JSON, view: BatchRunView, now: datetime) -> JSON:
    """The summary of a run or Task for the list."""
    metadata, spec, status = found.get("metadata") or {}, view.spec, view.status
    bill = costs(view)
    found_out = findings(found, view, now)
    return {
        "kind": str(found.get("kind") or c.KIND_BATCH_RUN),
        "namespace": str(metadata.get("namespace", "")),
        "name": view.name,
        "uid": view.uid,
        "created": time_of(metadata.get("creationTimestamp")),
        "phase": shown(view.phase, 32),
        "reason": shown(view.reason, 128),
        "words": reason_text(view.reason).what if view.reason else "not yet processed",
        "counts": dict(view.counts),
        "start": time_of(status.get("startTime")),
        "end": time_of(status.get("completionTime")),
        "spent": float(bill.spent),
        "projected": None if bill.projected is None else float(bill.projected),
        "maxCost": None if bill.limit is None else float(bill.limit),
        "inputTokens": bill.input_tokens,
        "outputTokens": bill.output_tokens,
        "batch": shown(spec.get("batchRef") or spec.get("retryOf") or ""),
        "suspended": bool(spec.get("suspend")),
        "cancelled": bool(spec.get("cancel")),
        "taskLimit": limit if isinstance(limit := spec.get("taskLimit"), int) else None,
        "headline": shown(summary_line(found_out, view), 400),
        "needs": any(x.level == "act" for x in found_out),
        "target": shown(view.rows[0].target) if view.rows and found.get("kind") == "Task" else "",
    }


def detail(found: JSON, view: BatchRunView, now: datetime) -> JSON:
    """The details of a run or Task for its page."""
    spec, metadata = view.spec, found.get("metadata") or {}
    kind = str(found.get("kind") or c.KIND_BATCH_RUN)
    where = f"-n {metadata.get('namespace', '')}"
    return run_summary(found, view, now) | {
        "message": shown(view.message),
        "findings": [finding_json(x) for x in findings(found, view, now)],
        "labels": {shown(k): shown(v) for k, v in sorted((metadata.get("labels") or {}).items())},
        "settings": {
            key: readable(spec[key])
            for key in (
                "workspaceConfigRef",
                "parallelism",
                "maxFailures",
                "taskLimit",
                "maxCostUSD",
                "backoffLimit",
                "maxDisruptions",
                "activeDeadlineSeconds",
                "pendingDeadlineSeconds",
                "ttlSecondsAfterFinished",
                "retryOf",
                "select",
            )
            if spec.get(key) is not None
        },
        "omitted": [shown(x, 32) for x in view.omitted],
        "commands": [
            f"kubectl {where} describe {kind.lower()} {view.name}",
            f"kubectl kubetask {where} status {view.name if kind != 'Task' else f'task/{view.name}'}",
        ],
    }


def finding_json(finding: Finding) -> JSON:
    """A finding."""
    return {
        "level": finding.level,
        "title": shown(finding.title),
        "detail": shown(finding.detail),
        "todo": finding.todo,
        "reason": finding.reason,
        "indexes": finding.indexes,
        "command": shown(finding.command),
    }


@dataclass(frozen=True, slots=True)
class PodTimes:
    """Start and end of the containers of a task's Pod in RFC 3339; None if they have not started or ended."""

    name: str
    created: str
    prepare: str | None
    work: str | None
    end: str | None
    waiting: str
    node: str


def pod_times(pod: JSON) -> PodTimes:
    """The times of a Pod."""
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    states = {
        str(x.get("name")): x.get("state") or {}
        for key in ("initContainerStatuses", "containerStatuses")
        for x in status.get(key) or []
    }
    prepare, agent = states.get(c.CONTAINER_WORKSPACE, {}), states.get(c.CONTAINER_AGENT, {})
    waiting = next(
        (
            str(x["waiting"].get("reason") or "")
            for x in (prepare, agent)
            if x.get("waiting") and x["waiting"].get("reason") != "PodInitializing"
        ),
        "",
    )
    return PodTimes(
        name=str(pod["metadata"]["name"]),
        created=str(pod["metadata"].get("creationTimestamp") or ""),
        prepare=_started(prepare),
        work=_started(agent),
        end=time_of((agent.get("terminated") or {}).get("finishedAt")),
        waiting=shown(waiting, 128),
        node=shown(spec.get("nodeName") or "", 253),
    )


def _started(state: JSON) -> str | None:
    for key in ("running", "terminated"):
        if at := time_of((state.get(key) or {}).get("startedAt")):
            return at
    return None


def row_cells(row: TaskRow, times: PodTimes | None) -> list[Any]:
    """A row of the table of tasks; the order is that of ``Row`` in ui/src/api.ts."""
    entry, result = row.entry, row.result
    usage = result.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    cost = decimal(usage.get("costUSD"))
    attempts = entry.get("attempts")
    return [
        row.index,
        shown(row.phase, 32),
        shown(row.reason, 128),
        shown(row.target),
        shown(row.message) if row.message else "",
        time_of(entry.get("startTime")) or (times.work if times else None),
        time_of(entry.get("completionTime")) or (times.end if times else None),
        None if cost is None else float(cost),
        count_or_zero(usage.get("inputTokens")),
        count_or_zero(usage.get("outputTokens")),
        link(result.get("pullRequest")),
        shown(result.get("branch") or ""),
        shown(result.get("summary") or "", 300),
        attempts if isinstance(attempts, int) and not isinstance(attempts, bool) else 0,
        times.prepare if times else None,
        times.work if times else None,
        times.waiting if times else "",
    ]


def task_detail(
    target: Target,
    namespace: str,
    row: TaskRow,
    pods: Sequence[PodTimes],
    events: Iterable[JSON],
    web: str,
) -> JSON:
    """The details of a task for its page: result, links, Events, and equivalent commands."""
    entry, result = row.entry, row.result
    job = str(entry.get("jobName") or "")
    known = reason_text(row.reason)
    named = str(target) if target.resource is TASK_RESOURCE else target.name
    index = "" if target.resource is TASK_RESOURCE else f" {row.index}"
    where = f"-n {namespace}"
    commands = []
    if job:
        commands = [
            f"kubectl {where} describe job {job}",
            f"kubectl {where} logs job/{job} -c {c.CONTAINER_AGENT} -f",
            f"kubectl {where} get events --field-selector involvedObject.name={job}",
        ]
    return {
        "index": row.index,
        "words": known.what,
        "todo": known.todo,
        "job": shown(job, 63),
        "result": readable(result),
        "links": links(row, web),
        "attempts": readable(entry.get("attempts")),
        "pods": [
            {"name": x.name, "node": x.node, "waiting": x.waiting, "created": x.created}
            for x in pods
        ],
        "events": [event_json(x) for x in events],
        "commands": [*commands, f"kubectl kubetask {where} logs {named}{index} -f"],
    }


def readable(value: Any, depth: int = 0) -> Any:
    """Untrusted JSON with cleaned texts."""
    if isinstance(value, str):
        return "\n".join(shown(x, 4096) for x in value.splitlines()[:200])
    if isinstance(value, Mapping) and depth < 8:
        return {shown(k, 128): readable(x, depth + 1) for k, x in list(value.items())[:100]}
    if isinstance(value, list) and depth < 8:
        return [readable(x, depth + 1) for x in value[:200]]
    return value if isinstance(value, int | float | bool) or value is None else shown(value)


def links(row: TaskRow, web: str) -> list[JSON]:
    """Links to the pull request, the branch and the commits.

    Args:
        row: the task.
        web: template of a repository's page with {org} and {repo}; empty if unknown.
    """
    result = row.result
    found = []
    if pull := link(result.get("pullRequest")):
        found.append({"text": "Pull request", "url": pull})
    repositories = [
        x["repository"]
        for x in row.entry.get("contexts") or []
        if isinstance(x.get("repository"), dict)
    ]
    if len(repositories) != 1 or not web:
        return found
    repository = repositories[0]
    names = {
        "{org}": quote(str(repository.get("org", "")), safe="/"),
        "{repo}": quote(str(repository.get("repo", "")), safe=""),
    }
    page = web
    for key, value in names.items():
        page = page.replace(key, value)
    found.append({"text": "Repository", "url": page})
    branch, base = result.get("branch"), repository.get("branch")
    if isinstance(branch, str) and branch:
        compare = (
            f"{quote(str(base), safe='/')}...{quote(branch, safe='/')}"
            if base
            else quote(branch, safe="/")
        )
        found.append({"text": f"Diff of {shown(branch, 100)}", "url": f"{page}/compare/{compare}"})
    commits = result.get("commits")
    found += [
        {"text": f"Commit {x[:10]}", "url": f"{page}/commit/{x}"}
        for x in (commits if isinstance(commits, list) else ())
        if isinstance(x, str) and re.fullmatch(r"[0-9a-f]{7,64}", x)
    ]
    return [x for x in found if link(x["url"])]


def web_template(config: JSON | None) -> str:
    """Template of a repository's page from the git URL of a WorkspaceConfig; empty if the URL is not HTTP(S)."""
    git = ((config or {}).get("spec") or {}).get("git") or {}
    template = str(git.get("urlTemplate") or c.DEFAULT_URL_TEMPLATE)
    try:
        parts = urlsplit(template)
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not parts.hostname or "{" in parts.netloc:
        return ""
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path.removesuffix('.git')}"


EVENT_WORDS: Mapping[str, str] = {
    EventReason.QUEUED: "The work was accepted and is queued",
    EventReason.STARTED: "The first task started",
    EventReason.SUSPENDED: "A user suspended the run or Task",
    EventReason.RESUMED: "A user resumed the run or Task",
    EventReason.CANCELLING: "A user cancelled the run or Task",
    EventReason.WAITING: "A required object does not exist",
    EventReason.JOB_CREATED: "The Job was created",
    EventReason.TASK_FAILED: "A task failed",
    EventReason.RETRYING: "A new Job replaces the task's Job",
    EventReason.TASK_LIMIT: "The first tasks have ended; the others wait for a promotion",
    EventReason.IGNORED: "An object that claims this owner is ignored",
    EventReason.SUCCEEDED: "The run or Task succeeded",
    EventReason.FAILED: "The run or Task failed",
    EventReason.WEBHOOK_FAILED: "The webhook was not delivered",
    EventReason.JOB_DELETED: "The Job was deleted after its time to live",
}
"""Explanations of Events about a BatchRun or Task."""
_KUBERNETES_WORDS: Mapping[str, str] = {
    "Scheduled": "A node was chosen for the Pod",
    "FailedScheduling": "No node fits the Pod",
    "Pulling": "An image is being pulled",
    "Pulled": "The image was pulled",
    "Failed": "An image or a container failed",
    "BackOff": "A failed step is retried with increasing delays",
    "Created": "A container was created",
    "Started": "A container started",
    "Killing": "A container is being stopped",
    "FailedMount": "A volume cannot be mounted",
    "FailedAttachVolume": "A volume cannot be attached to the node",
    "FailedCreate": "The Pod was refused",
    "SuccessfulCreate": "The Pod was created",
    "SuccessfulDelete": "The Pod was deleted",
    "Suspended": "The Job was suspended",
    "Resumed": "The Job was resumed",
    "Completed": "The Job is complete",
    "BackoffLimitExceeded": "The Job failed and is not tried again",
    "Evicted": "The node evicted the Pod",
    "Preempted": "A Pod of higher priority preempted this one",
    "TaintManagerEviction": "The node is drained",
    "FailedCreatePodSandBox": "The node cannot create the Pod sandbox",
}
"""Explanations of Events about a Job or Pod."""


def event_json(event: JSON) -> JSON:
    """An Event with an explanation."""
    reason = str(event.get("reason") or "")
    series = event.get("series") or {}
    last = (
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or (event.get("metadata") or {}).get("creationTimestamp")
    )
    about = event.get("involvedObject") or event.get("regarding") or {}
    ours = about.get("kind") in (c.KIND_BATCH_RUN, c.KIND_TASK)
    words = (EVENT_WORDS if ours else _KUBERNETES_WORDS).get(reason)
    return {
        "at": time_of(last),
        "warning": event.get("type") == "Warning",
        "reason": shown(reason, 128),
        "words": words or shown(reason, 128),
        "note": shown(event.get("message") or event.get("note") or ""),
        "count": count_or_zero(series.get("count") or event.get("count") or 1),
        "about": shown(f"{about.get('kind', '')} {about.get('name', '')}"),
    }
