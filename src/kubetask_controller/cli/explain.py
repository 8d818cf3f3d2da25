"""Explains the state of a run or task, and how to resolve problems.

Pure functions of an object and the time. The reasons are those of ``api.constants.Reason``; for an unknown
reason, the message of the controller is shown.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Phase
from kubetask_controller.api.indexes import format_indexes
from kubetask_controller.cli.costs import costs
from kubetask_controller.cli.runview import STARTED, BatchRunView, TaskRow
from kubetask_controller.cli.terminal import clean
from kubetask_controller.cli.times import elapsed, human
from kubetask_controller.types import JSON

UNSEEN_SECONDS = 30.0
"""Age from which an unprocessed run indicates a problem of the controller."""
LONG_FACTOR = 3.0
"""A task is reported as slow if it runs for this multiple of the median of the succeeded tasks ..."""
LONG_SECONDS = 600.0
"""... and at least for this time."""


@dataclass(frozen=True, slots=True)
class ReasonText:
    """The explanation of a reason.

    Attributes:
        what: what happens, as the end of a sentence such as "3 tasks: …".
        todo: what the user has to do; empty if nothing.
        waits: whether it is a normal wait instead of a problem.
    """

    what: str
    todo: str = ""
    waits: bool = False


REASONS: Mapping[str, ReasonText] = {
    # Pending, without a problem
    "Queued": ReasonText("waiting for a free slot", waits=True),
    "Suspended": ReasonText("suspended", "Resume the run to start them.", waits=True),
    "TaskLimit": ReasonText(
        "waiting because of taskLimit",
        "Check the tasks that ran, then promote the run.",
        waits=True,
    ),
    "Starting": ReasonText("the Pod is being started", waits=True),
    "RetryOfNotFinished": ReasonText("the run that it retries has not ended yet", waits=True),
    # Pending, until a user acts
    "BatchNotFound": ReasonText(
        "the Batch does not exist", "Create the Batch in this namespace; the run then starts."
    ),
    "WorkspaceConfigNotFound": ReasonText(
        "the WorkspaceConfig does not exist",
        "Create the WorkspaceConfig in this namespace; the work then starts.",
    ),
    "RetryOfNotFound": ReasonText(
        "the run that it retries does not exist",
        "Check the name in retryOf. If that run was deleted, cancel this one.",
    ),
    "ServiceAccountNotFound": ReasonText(
        "the ServiceAccount of the Pods does not exist",
        "Apply config/tenant in this namespace, or correct serviceAccountName of the WorkspaceConfig.",
    ),
    "ContextNotFound": ReasonText(
        "a ConfigMap or Secret, or a key of it, does not exist",
        "Create the object and key in the message.",
    ),
    "VolumeNotReady": ReasonText(
        "a volume cannot be mounted",
        "Check the PersistentVolumeClaim of the WorkspaceConfig.",
    ),
    "ImagePullBackOff": ReasonText(
        "an image cannot be pulled",
        "Correct agentImage or imagePullSecrets of the WorkspaceConfig.",
    ),
    "InvalidImageName": ReasonText(
        "the name of an image is not valid", "Correct agentImage of the WorkspaceConfig."
    ),
    "CreateContainerConfigError": ReasonText(
        "the node cannot create the container",
        "Correct the problem in the message: often a Secret or the user of the image.",
    ),
    "Unschedulable": ReasonText(
        "no node fits the Pod",
        "Add a node, or change resources, nodeSelector or tolerations of the WorkspaceConfig.",
    ),
    "QuotaExceeded": ReasonText(
        "a ResourceQuota or LimitRange refuses the Pod",
        "Raise the quota of the namespace, or wait until other Pods have ended.",
    ),
    "AdmissionDenied": ReasonText(
        "Pod Security or a policy refuses the Pod",
        "Set the fields in the message in securityContext of the WorkspaceConfig.",
    ),
    # Running
    "TasksRunning": ReasonText("running", waits=True),
    "TaskRunning": ReasonText("working", waits=True),
    "Cancelling": ReasonText("being stopped", waits=True),
    # Succeeded
    "TasksSucceeded": ReasonText("all tasks succeeded"),
    "TaskSucceeded": ReasonText("succeeded"),
    # Failed, a task
    "AgentError": ReasonText("the agent failed", "Read the log of the task, then retry it."),
    "RateLimited": ReasonText(
        "the model accepted no more requests",
        "Retry later, or with a lower parallelism.",
    ),
    "NoChanges": ReasonText(
        "the agent found nothing to do", "Check the prompt and the repository."
    ),
    "Refused": ReasonText(
        "the model declined the work", "Change the prompt, then start a new run."
    ),
    "OOMKilled": ReasonText(
        "a container used more memory than its limit",
        "Raise resources.limits.memory of the WorkspaceConfig, then retry.",
    ),
    "TimedOut": ReasonText(
        "the task took longer than activeDeadlineSeconds",
        "Check the log for a hang, or start a new run with a longer deadline.",
    ),
    "PendingTimeout": ReasonText(
        "the task could not start within pendingDeadlineSeconds",
        "Correct the problem in the message, then retry.",
    ),
    "Disrupted": ReasonText(
        "the cluster removed the Pod while the agent worked",
        "Check whether the agent already acted, then retry.",
    ),
    "JobLost": ReasonText(
        "the Job was deleted", "Check whether the agent already acted, then retry."
    ),
    "Cancelled": ReasonText("cancelled by a user"),
    "CloneFailed": ReasonText(
        "the repository could not be cloned",
        "Check name, branch and git credentials of the WorkspaceConfig, then retry.",
    ),
    "SecretNotAllowed": ReasonText(
        "the WorkspaceConfig does not allow the Secret of a file",
        "Add the Secret to allowedSecrets of the WorkspaceConfig, or use another one.",
    ),
    "IdleTimeout": ReasonText(
        "the agent printed nothing for too long",
        "Check the log for a hang, or raise agent.idleTimeoutSeconds of the WorkspaceConfig.",
    ),
    "MaxTurnsExceeded": ReasonText(
        "the agent needed more turns than agent.maxTurns",
        "Raise agent.maxTurns of the WorkspaceConfig, or split the work.",
    ),
    "SnapshotLost": ReasonText(
        "the ControllerRevision with the snapshot of the run was deleted", "Start a new run."
    ),
    "PushRejected": ReasonText(
        "the git server refused the push",
        "Correct the problem in the message. The log shows where the commits are.",
    ),
    "PullRequestFailed": ReasonText(
        "the branch was pushed, but the git host rejected the pull request",
        "Open the pull request manually from the branch, or correct the problem in the message.",
    ),
    "BranchExists": ReasonText(
        "the branch exists already",
        "Delete the branch, or set another branch name in the WorkspaceConfig, then retry.",
    ),
    "WorkspaceError": ReasonText(
        "the workspace could not be prepared", "Read the log of the container workspace."
    ),
    "NameConflict": ReasonText(
        "another object has the name of the Job", "Start a new run with another name."
    ),
    "InvalidSpec": ReasonText(
        "the specification cannot be run",
        "While it is Pending, correct the WorkspaceConfig. Otherwise, correct it in a new run.",
    ),
    "TooLarge": ReasonText(
        "the specification exceeds the maximum size of an object",
        "Put large files into a ConfigMap or a repository.",
    ),
    # Failed, a run
    "TasksFailed": ReasonText("tasks failed", "Retry the failed tasks when their cause is gone."),
    "MaxFailuresExceeded": ReasonText(
        "more tasks failed than maxFailures allows",
        "Correct the cause, then retry the failed tasks.",
    ),
    "BudgetExceeded": ReasonText(
        "the cost of the tasks has reached maxCostUSD",
        "Start a new run with its own budget for the tasks that did not start.",
    ),
}


def reason_text(reason: str) -> ReasonText:
    """The explanation of a reason; for an unknown reason, the reason itself."""
    return REASONS.get(reason) or ReasonText(clean(reason) or "no reason is given")


@dataclass(frozen=True, slots=True)
class Finding:
    """A cause why a run has not ended, or why tasks failed.

    Attributes:
        level: "act" if a user has to act, "wait" if not, or "info".
        title: one sentence.
        detail: the message of the controller, or figures; may be empty.
        todo: what to do; may be empty.
        reason: the common reason of its tasks, for filtering; may be empty.
        indexes: indexes of its tasks, such as ``3,7-9``; may be empty.
        command: a kubectl command that shows details or resolves it; may be empty.
    """

    level: str
    title: str
    detail: str = ""
    todo: str = ""
    reason: str = ""
    indexes: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True)
class _Object:
    """The run or Task in commands."""

    namespace: str
    name: str
    task: bool

    @classmethod
    def of(cls, found: JSON, view: BatchRunView) -> "_Object":
        namespace = str((found.get("metadata") or {}).get("namespace", ""))
        return cls(namespace, view.name, found.get("kind") == c.KIND_TASK)

    def command(self, verb: str, more: str = "") -> str:
        """A command of the plugin."""
        name = f"task/{self.name}" if self.task else self.name
        return f"kubectl kubetask -n {self.namespace} {verb} {name} {more}".rstrip()

    def describe(self) -> str:
        """The command that shows the object."""
        kind = (c.KIND_TASK if self.task else c.KIND_BATCH_RUN).lower()
        return f"kubectl -n {self.namespace} describe {kind}/{self.name}"


def findings(found: JSON, view: BatchRunView, now: datetime) -> list[Finding]:
    """Why a run or Task has not ended, the causes that need a user first; for an ended one, why it failed."""
    of = _Object.of(found, view)
    if view.ended:
        return list(_failures(of, view))
    whole = list(_of_the_object(found, view, now, of))
    if whole and not view.phase:
        return whole
    tasks = [
        *_held(of, view),
        *_refused(view),
        *_budget(view),
        *_working(of, view, now),
        *_waiting(view),
    ]
    if view.spec.get("cancel"):
        tasks = [x for x in tasks if x.reason == "Cancelling"]
    order = {"act": 0, "wait": 1, "info": 2}
    return whole + sorted(tasks, key=lambda x: order[x.level])


def summary_line(found: Sequence[Finding], view: BatchRunView) -> str:
    """The first finding as one line, for a list of runs."""
    if not found:
        return clean(view.message)
    first = found[0]
    if first.todo or not first.detail:
        return first.title
    return f"{first.title.rstrip('.')}: {first.detail}"


def _of_the_object(
    found: JSON, view: BatchRunView, now: datetime, of: _Object
) -> Iterator[Finding]:
    metadata, spec, status = found.get("metadata") or {}, view.spec, view.status
    if metadata.get("deletionTimestamp"):
        held = ", ".join(clean(x) for x in metadata.get("finalizers") or ())
        yield Finding("wait", "It is being deleted.", f"Finalizers: {held}" if held else "")
    manager = spec.get("managedBy")
    if manager and manager != c.MANAGED_BY:
        yield Finding(
            "act",
            f"Another controller is responsible: managedBy is {clean(manager)}.",
            todo="Contact the operators of that controller. This controller ignores the object.",
        )
        return
    if not view.phase:
        yield _unprocessed(elapsed(metadata.get("creationTimestamp"), None, now) or 0.0)
        return
    generation, observed = metadata.get("generation"), status.get("observedGeneration")
    if isinstance(generation, int) and isinstance(observed, int) and observed < generation:
        yield Finding("wait", "The controller has not processed the latest change yet.")
    yield from _requested_by_user(of, view)
    if not view.rows and view.reason not in ("", "Suspended"):
        text = reason_text(view.reason)
        yield Finding(
            "wait" if text.waits else "act",
            f"It cannot start: {text.what}." if not text.waits else f"It waits: {text.what}.",
            clean(view.message),
            text.todo,
            view.reason,
            command=of.describe(),
        )


def _unprocessed(age: float) -> Finding:
    """A run or Task without a status, by its age in seconds."""
    if age < UNSEEN_SECONDS:
        return Finding("wait", "Not yet processed by a controller.")
    return Finding(
        "act",
        f"No controller has processed it for {human(age)}.",
        todo="Check that the controller runs and that it watches this namespace.",
        command="kubectl -n kubetask-system get pods,leases",
    )


def _requested_by_user(of: _Object, view: BatchRunView) -> Iterator[Finding]:
    """The effect of spec.cancel or spec.suspend."""
    if view.spec.get("cancel"):
        going = [x for x in view.rows if x.phase in (Phase.RUNNING, STARTED)]
        yield Finding(
            "wait",
            f"Cancelled: {_tasks(len(going))} still being stopped."
            if going
            else "Cancelled: the controller records the end.",
            "A Pod has its grace period to end." if going else "",
            reason="Cancelling",
            indexes=_indexes(going),
        )
    elif view.spec.get("suspend"):
        waiting = view.counts["pending"]
        yield Finding(
            "act",
            f"Suspended by a user: {_tasks(waiting)} will not start."
            if waiting
            else "Suspended by a user.",
            todo="Resume it.",
            command=of.command("resume"),
        )


def _refused(view: BatchRunView) -> Iterator[Finding]:
    """Tasks that cannot start: one finding for each reason and message, the largest group first."""
    groups: dict[tuple[str, str], list[TaskRow]] = {}
    for row in view.rows:
        if row.phase == Phase.PENDING and row.reason and not reason_text(row.reason).waits:
            job = str(row.entry.get("jobName") or "")
            text = row.message.replace(job, "…") if job else row.message
            groups.setdefault((row.reason, text), []).append(row)
    for (reason, text), rows in sorted(groups.items(), key=lambda x: (-len(x[1]), x[0])):
        known = reason_text(reason)
        yield Finding(
            "act",
            f"{_tasks(len(rows))} cannot start: {known.what}.",
            clean(rows[0].message if len(rows) == 1 else text),
            known.todo,
            reason,
            _indexes(rows),
        )


def _held(of: _Object, view: BatchRunView) -> Iterator[Finding]:
    rows = [x for x in view.rows if x.phase == Phase.PENDING and x.reason == "TaskLimit"]
    limit = view.spec.get("taskLimit")
    if not rows and view.reason != "TaskLimit":
        return
    waiting = len(rows) or view.counts["pending"]
    allowed = f": taskLimit allows only the first {_tasks(limit)} to start" if limit else ""
    going = any(x.phase in (Phase.RUNNING, STARTED) for x in view.rows)
    yield Finding(
        "wait" if going else "act",
        f"{_tasks(waiting)} {'waits' if waiting == 1 else 'wait'}{allowed}.",
        _bill(view),
        "Check the tasks that ran, then promote the run: some more tasks, or all.",
        "TaskLimit",
        _indexes(rows),
        of.command("promote", "--all"),
    )


def _budget(view: BatchRunView) -> Iterator[Finding]:
    bill = costs(view)
    if bill.limit is None or view.ended:
        return
    if bill.spent >= bill.limit:
        yield Finding(
            "wait",
            f"The budget is used up: no further task starts. {_tasks(view.counts['running'])} "
            "still running.",
            _bill(view),
            reason="BudgetExceeded",
        )
    elif bill.projected is not None and bill.projected > bill.limit:
        yield Finding(
            "info",
            "The budget will probably not last for all tasks.",
            _bill(view),
            "Reduce the number of tasks, or start a second run for the remaining tasks.",
        )


def _working(of: _Object, view: BatchRunView, now: datetime) -> Iterator[Finding]:
    rows = [x for x in view.rows if x.phase in (Phase.RUNNING, STARTED)]
    if not rows:
        return
    taken = {x.index: elapsed(x.entry.get("startTime"), None, now) for x in rows}
    ended = [
        seconds
        for x in view.rows
        if x.phase == Phase.SUCCEEDED
        for seconds in [elapsed(x.entry.get("startTime"), x.entry.get("completionTime"), now)]
        if seconds is not None
    ]
    usual = median(ended) if ended else None
    deadline = view.spec.get("activeDeadlineSeconds")
    bound = max(LONG_SECONDS, LONG_FACTOR * usual if usual else 0.0)
    slow = sorted(
        (x for x in rows if (taken[x.index] or 0.0) > bound and (usual or not deadline)),
        key=lambda x: -(taken[x.index] or 0.0),
    )
    if slow:
        longest = human(taken[slow[0].index])
        others = f"others took {human(usual)}" if usual else "no task has ended yet"
        limit = (
            f"It is stopped after {human(float(deadline))}."
            if deadline
            else "activeDeadlineSeconds is not set, so it has no time limit."
        )
        yield Finding(
            "act",
            f"{_tasks(len(slow))} working for an unusually long time: "
            f"task {slow[0].index} for {longest}, {others}.",
            limit,
            "Read its log. If it hangs, cancel the run or delete the Job of the task.",
            slow[0].reason,
            _indexes(slow),
            of.command("logs", "-f" if of.task else f"{slow[0].index} -f"),
        )
    rest = [x for x in rows if x not in slow]
    if rest:
        most = max((taken[x.index] or 0.0 for x in rest), default=0.0)
        since = f"the longest for {human(most)}" if most else ""
        yield Finding(
            "wait",
            f"{_tasks(len(rest))} working.",
            since,
            indexes=_indexes(rest),
            reason="TaskRunning",
        )


def _waiting(view: BatchRunView) -> Iterator[Finding]:
    """Normal waits: for slots, and for Pods to start."""
    for reason in ("Queued", "Starting", "RetryOfNotFinished"):
        rows = [x for x in view.rows if x.phase == Phase.PENDING and x.reason == reason]
        if not rows:
            continue
        text = next((x.message for x in rows if x.message), "")
        parallelism = view.spec.get("parallelism")
        if reason == "Queued" and parallelism and view.counts["running"] >= parallelism:
            text = f"parallelism is {parallelism}, and {view.counts['running']} tasks run"
        yield Finding(
            "wait",
            f"{_tasks(len(rows))}: {reason_text(reason).what}.",
            clean(text),
            reason=reason,
            indexes=_indexes(rows),
        )


def _failures(of: _Object, view: BatchRunView) -> Iterator[Finding]:
    """Why tasks failed: one finding for each reason, the largest group first."""
    early = ("MaxFailuresExceeded", "BudgetExceeded", "Cancelled", "InvalidSpec")
    if not of.task and view.reason in early:
        text = reason_text(view.reason)
        yield Finding("act", f"It ended early: {text.what}.", clean(view.message), text.todo)
    groups: dict[str, list[TaskRow]] = {}
    for row in view.rows:
        # The reason of a Task is that of its only row.
        if row.phase == Phase.FAILED and (of.task or row.reason != view.reason):
            groups.setdefault(row.reason, []).append(row)
    for reason, rows in sorted(groups.items(), key=lambda x: (-len(x[1]), x[0])):
        known = reason_text(reason)
        yield Finding(
            "act",
            f"{'The Task' if of.task else _tasks(len(rows))} failed: {known.what}.",
            clean(rows[0].message),
            known.todo,
            reason,
            _indexes(rows),
        )


def _bill(view: BatchRunView) -> str:
    return costs(view).text()


def _tasks(count: int) -> str:
    return f"{count:,} task{'' if count == 1 else 's'}"


def _indexes(rows: Sequence[TaskRow]) -> str:
    text = format_indexes(x.index for x in rows)
    return text if len(text) <= 1024 else ""
