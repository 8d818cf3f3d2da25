"""The state machine of one task, for tasks of a BatchRun and for Tasks alike: a pure function of facts and rules.

``decide`` never ends a task on a cache that may be older than the end: where the facts do not suffice for a final state or
a destructive request, the decision names the live read that is missing (``Needs``), and the caller decides again with it.

Sources of the rules: success and failure come from the Job's conditions and from the agent's own exit (contract, section
2); a Pod shows why. A task runs once its agent container has started, whatever other containers do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any

from pydantic_core import from_json

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Phase, Reason
from kubetask_controller.api.result import parse_cut_result, parse_result
from kubetask_controller.api.text import clean_line
from kubetask_controller.api.times import format_time, parse_time, seconds_since
from kubetask_controller.reconcilers.projections import (
    ContainerView,
    JobView,
    PodView,
)
from kubetask_controller.reconcilers.taskrun.pending_reasons import (
    PendingReason,
    pending_reason,
    running_before_workspace,
)

MAX_MESSAGE = 512
"""Characters of a task's message in the status; a run has up to 10,000 of them."""

SIDECAR_GRACE = 10.0
"""Seconds for which a Pod may run on after its agent has ended. Native sidecars stop in that time by themselves."""

LOST_AFTER = 60.0
"""Seconds beyond its grace period after which a Pod that should have ended counts as lost with its node."""

HANGS_AFTER = 60.0
"""Seconds for which an injected init container may run before a corrected WorkspaceConfig replaces its Job."""

_KILLED = (137, 143)
"""Exit codes of a process that SIGKILL or SIGTERM has ended."""

REFUSED_BY_NODE_DELAY = 10.0
REFUSED_BY_NODE_MAX_DELAY = 300.0
"""Seconds from a Pod that its node refused to the next one; doubled each time."""


@dataclass(frozen=True, slots=True)
class TaskState:
    """The state of one task: what its entry in a status shows.

    Attributes:
        phase: Pending, Running, Succeeded or Failed; the last two are final.
        reason: one of ``Reason``, or a reason that a newer version has written.
        message: one line.
        job_name: name of its Job, once one was created.
        start_time, completion_time: RFC 3339, empty before.
        result: what the agent left.
        attempts: how often the agent was started.
        disruptions: how many of these starts the cluster disrupted.
        replacements: how many Jobs were replaced by a new one.
        replaced_time, replaced_uid: when the last one was, and which.
        pending_seconds: how long earlier Jobs waited whose Pods a node refused; the pending deadline counts them.
    """

    phase: Phase
    reason: str
    message: str = ""
    job_name: str = ""
    start_time: str = ""
    completion_time: str = ""
    result: dict[str, Any] | None = None
    attempts: int = 0
    disruptions: int = 0
    replacements: int = 0
    replaced_time: str = ""
    replaced_uid: str = ""
    pending_seconds: int = 0

    @property
    def final(self) -> bool:
        """Succeeded or Failed: never left again."""
        return self.phase.final


UNSTARTED = TaskState(Phase.PENDING, Reason.QUEUED)
"""A task that has no Job and never had one."""


class Needs(Enum):
    """A live read without which the decision stands on a cache alone."""

    NOTHING = auto()
    JOB = auto()  # whether the Job is really gone
    PODS = auto()  # the Pods of the Job as they are now


class Action(Enum):
    """What follows from a decision, once the status has recorded it where that matters."""

    NONE = auto()
    END = auto()  # end the agent or what waits for it; the log of a Pod on a node stays readable
    END_POD = auto()  # end a Pod that a sidecar keeps; the Job may try again
    REPLACE = auto()  # delete the Job after the new state is recorded; another one follows


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """The observed facts of one task.

    Attributes:
        job: its Job in the newest known version, None where none is known.
        pods: the Pods of that Job (or of ``deleted_job``) that exist.
        deleted_job: the last version of a Job that is gone.
        deleted_pods: the last versions of Pods that are gone.
        created: a Job of the present replacement was created at some time.
        event: message of a Warning Event of the Job or Pod.
        job_verified: a live read found no Job of that name that belongs to the task.
        pods_verified: ``pods`` is a live read, and every deletion before it is in ``deleted_pods``.
        ended_for: seconds since the end of the agent was first observed.
        overdue_for: seconds since the newest Pod should have begun to end, by what this process has observed; below 0 where
            its deadline is to come, None where nothing ends it.
        gated_ago: seconds since a scheduling gate was last observed on its Pod, None for never.
        now: wall clock.
    """

    job: JobView | None
    now: datetime
    pods: Sequence[PodView] = ()
    deleted_job: JobView | None = None
    deleted_pods: Sequence[PodView] = ()
    created: bool = False
    event: PendingReason | None = None
    job_verified: bool = False
    pods_verified: bool = False
    ended_for: float = 0.0
    overdue_for: float | None = None
    gated_ago: float | None = None

    @property
    def every_pod(self) -> list[PodView]:
        """The Pods that exist and those that are gone."""
        return [*self.pods, *self.deleted_pods]


@dataclass(frozen=True, slots=True)
class TaskRules:
    """The settings of the owner; the same for all of its tasks.

    Attributes:
        halt: why no further agent may start, such as Cancelled or MaxFailuresExceeded; None while agents may start.
        cancel: the agents that run are to be ended too.
        max_disruptions: further tries after a disruption of a running agent.
        pending_deadline: seconds for which a Job may wait for its agent to start.
        config_digest: of the WorkspaceConfig's spec now, empty where it is not known.
    """

    halt: PendingReason | None = None
    cancel: bool = False
    max_disruptions: int = 0
    pending_deadline: int | None = None
    config_digest: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The state of a task, and what follows.

    Attributes:
        state: None where the task has no Job and never had one.
        needs: the live read that is missing; the state is then the one to show meanwhile.
        action: what to do.
        ending: with END, the reason that the task will end with.
        wake_after: seconds until time alone changes the decision, 0 for never.
    """

    state: TaskState | None
    needs: Needs = Needs.NOTHING
    action: Action = Action.NONE
    ending: PendingReason | None = None
    wake_after: float = 0.0


def decide(
    name: str,
    known: TaskState | None,
    facts: TaskFacts,
    rules: TaskRules,
    ending: PendingReason | None,
) -> Decision:
    """The state of a task.

    Args:
        name: of its Job.
        known: its state at the last decision; None where it had none.
        facts: the observed facts.
        rules: the settings of the owner.
        ending: the reason for which this process has begun to end it, None where it has not.
    """
    if known is not None and known.final:
        return Decision(known)
    if facts.job is None:
        return _without_job(name, known, facts, rules, ending)
    if known is not None and facts.job.replacement < known.replacements:
        # The status records that this Job is replaced: whatever it does now counts no more.
        return Decision(known, action=Action.REPLACE)
    if facts.job.finished:
        return _ended(facts.job, known, facts, rules, ending)
    if facts.job.deleting:
        return _deleting(facts.job, known, facts, rules, ending)
    return _running(facts.job, known, facts, rules, ending)


def one_line(text: str, limit: int = MAX_MESSAGE) -> str:
    """The last non-empty line, without control characters, truncated to ``limit`` characters."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = clean_line(lines[-1]) if lines else ""
    return line if len(line) <= limit else line[: limit - 1] + "…"


def earliest(*delays: float) -> float:
    """The smallest of the delays that are not 0; 0 where there is none."""
    return min((x for x in delays if x > 0), default=0.0)


def is_started(pods: Sequence[PodView]) -> bool:
    """Whether an agent has started in one of these Pods."""
    return any(pod.agent_started for pod in pods)


# A Job that is there and has not finished ---------------------------------------------------------


def _running(
    job: JobView,
    known: TaskState | None,
    facts: TaskFacts,
    rules: TaskRules,
    ending: PendingReason | None,
) -> Decision:
    state = _alive(job, known, facts)
    pod = newest(facts.pods)
    agent = pod.agent if pod else None
    if job.suspended and not _works(pod) and (is_started(facts.every_pod) or _ran(known, job)):
        # A queue that preempts a Job suspends it, and the Job controller deletes its Pod; resumed, it would start a second
        # agent. The cache may show an earlier suspension.
        if not facts.pods_verified:
            return Decision(state, needs=Needs.PODS)
        last = _last(facts.every_pod)
        done = last.agent if last else None
        if (
            last
            and done
            and _ended_by_itself(last, done)
            and (not rules.cancel or _succeeded(last, done))
        ):
            return Decision(_by_exit(job, state, last, done, rules), action=Action.END)
        return _disrupted(job, state, facts, rules, "its Job was suspended", action=Action.END)
    left = _until_lost(pod, facts)
    if left == 0.0 and pod is not None and not (agent and _ended_by_itself(pod, agent)):
        return _lost(job, state, pod, facts, rules, ending)
    decision = None
    if pod is not None and agent is not None and agent.state == "terminated":
        decision = _agent_ended(job, state, pod, agent, facts, rules)
    if decision is None and rules.cancel:
        decision = Decision(state, action=Action.END, ending=rules.halt)
    if decision is None and state.phase is Phase.PENDING:
        decision = _pending(job, state, facts, rules)
    return _look_within(decision or Decision(state), left)


def _alive(job: JobView, known: TaskState | None, facts: TaskFacts) -> TaskState:
    """Pending or Running, by the agent container of the newest Pod."""
    pods = facts.every_pod
    start = min((x.agent_started_at for x in pods if x.agent_started_at), default="")
    attempts = job.earlier_attempts + sum(x.agent_started for x in pods)
    pod = newest(facts.pods)
    agent = pod.agent if pod else None
    base = TaskState(
        Phase.PENDING,
        Reason.STARTING,
        "",
        job.name,
        (known.start_time if known else "") or start,
        attempts=max(attempts, known.attempts if known else 0),
        disruptions=known.disruptions if known else 0,
        replacements=max(job.replacement, known.replacements if known else 0),
        replaced_time=known.replaced_time if known else "",
        replaced_uid=known.replaced_uid if known else "",
        pending_seconds=known.pending_seconds if known else 0,
    )
    # A Pod that is gone is replaced, or its Job's condition follows: without tries left it can only be the latter.
    ending = pod is None and job.backoff_limit == 0 and known is not None
    if (not job.suspended or _works(pod)) and (
        (pod is not None and _runs(job, pod, agent))
        or (ending and known is not None and known.phase is Phase.RUNNING)
    ):
        return replace(base, phase=Phase.RUNNING, reason=Reason.TASK_RUNNING)
    found = pending_reason(job, pod, facts.event)
    return replace(base, reason=found.reason, message=one_line(found.message))


def _deleting(
    job: JobView,
    known: TaskState | None,
    facts: TaskFacts,
    rules: TaskRules,
    ending: PendingReason | None,
) -> Decision:
    """A Job that is being deleted creates no further Pod: the end of its agent counts before its Pod is gone too."""
    state = _alive(job, known, facts)
    pod = newest(facts.pods)
    agent = pod.agent if pod else None
    left = _until_lost(pod, facts)
    if left == 0.0:
        if not facts.pods_verified:
            return Decision(state, needs=Needs.PODS)
        return _gone(job.name, state, pod, facts, rules, ending)
    if pod is None or agent is None or not _ended_by_itself(pod, agent):
        return _look_within(Decision(state), left)
    if not pod.terminal or (rules.cancel and not _succeeded(pod, agent)):
        return _look_within(Decision(state), left)
    return Decision(_by_exit(job, state, pod, agent, rules, ending))


def _ended_by_itself(pod: PodView, agent: ContainerView) -> bool:
    """The agent ran and has ended, and nothing had ended its Pod by then."""
    if agent.state != "terminated" or not pod.agent_started or pod.disruption:
        return False
    return not pod.deleting or _ended_before_deletion(pod, agent)


def _ended_before_deletion(pod: PodView, agent: ContainerView) -> bool:
    return bool(agent.finished_at and agent.finished_at < pod.deleted_at)


def _by_exit(
    job: JobView,
    state: TaskState,
    pod: PodView,
    agent: ContainerView,
    rules: TaskRules,
    ending: PendingReason | None = None,
) -> TaskState:
    """The end that the agent's own exit gives."""
    if _succeeded(pod, agent):
        return _success(job, state, pod, agent)
    reason, message = _why_agent_failed(pod, agent, rules, ending)
    return _failure(state, reason, message, pod, agent.finished_at)


# A Pod on a node that does not answer -------------------------------------------------------------


def _until_lost(pod: PodView | None, facts: TaskFacts) -> float | None:
    """Seconds until no kubelet can be expected to end this Pod; None where nothing ends it."""
    if pod is None or pod.terminal or facts.overdue_for is None:
        return None
    return max(0.0, pod.grace_seconds + LOST_AFTER - facts.overdue_for)


def _look_within(decision: Decision, seconds: float | None) -> Decision:
    return replace(decision, wake_after=earliest(decision.wake_after, seconds or 0.0))


def _lost(
    job: JobView,
    state: TaskState,
    pod: PodView,
    facts: TaskFacts,
    rules: TaskRules,
    ending: PendingReason | None,
) -> Decision:
    """The Pod should have ended long ago. Another agent starts only once it is gone: its Job stays until then."""
    if not facts.pods_verified:
        return Decision(state, needs=Needs.PODS)
    agent = pod.agent
    if agent is not None and _succeeded(pod, agent):
        return _with_end(_success(job, state, pod, agent))
    if agent is not None and _failed_before_disruption(pod):
        reason, message = _agent_failure(agent, pod)
        return _with_end(_failure(state, reason, message, pod, agent.finished_at))
    where = f"node {pod.node} did not end Pod {pod.name}"
    if rules.cancel:
        text = f"ended at the user's request; {where}"
        return _with_end(_failure(state, Reason.CANCELLED, text, pod, format_time(facts.now)))
    if not pod.agent_started and (found := ending or rules.halt):
        return _with_end(_failure(state, found.reason, f"{found.message}; {where}", pod, ""))
    if not pod.deleting:
        reason, text = _deadline(pod, state, rules, ending)
        end = format_time(facts.now)
        return _with_end(_failure(state, reason, one_line(f"{text}; {where}"), pod, end))
    what = _disruption_text(job, pod) if pod.disruption else f"Pod {pod.name} was deleted"
    return _disrupted(job, state, facts, rules, f"{what} and {where}", action=Action.END)


def _with_end(state: TaskState) -> Decision:
    return Decision(state, action=Action.END)


def _agent_ended(
    job: JobView,
    state: TaskState,
    pod: PodView,
    agent: ContainerView,
    facts: TaskFacts,
    rules: TaskRules,
) -> Decision | None:
    """The agent has ended, its Job has not; None while that may still follow by itself."""
    if not pod.agent_started:
        return None
    succeeded = _succeeded(pod, agent)
    retries = job.failed_pods < job.backoff_limit
    if succeeded and pod.phase == "Failed" and retries:
        # A sidecar failed. The Job would start the agent a second time.
        return Decision(_success(job, state, pod, agent), action=Action.END)
    if pod.terminal or pod.deleting or pod.disruption:
        return None
    if rules.cancel:
        # An agent that has succeeded is not cancelled any more, unless its end was ours.
        done = succeeded and pod.active_deadline_seconds != 1
        return Decision(_success(job, state, pod, agent), action=Action.END) if done else None
    left = SIDECAR_GRACE - facts.ended_for
    if left > 0:
        return Decision(state, wake_after=left)
    if succeeded:
        return Decision(_success(job, state, pod, agent), action=Action.END)
    if retries and rules.halt is None:
        return Decision(state, action=Action.END_POD)
    reason, message = _agent_failure(agent, pod)
    return Decision(_failure(state, reason, message, pod, agent.finished_at), action=Action.END)


def _pending(job: JobView, state: TaskState, facts: TaskFacts, rules: TaskRules) -> Decision:
    """What may end the wait of an agent that has not started: every way needs a live look at the Pods."""
    started = is_started(facts.every_pod)
    changed = _differs(job.config_digest, rules.config_digest)
    late, wake = _past_deadline(job, state, facts, rules)
    hangs_in = _hangs_in(facts) if changed else None
    replaceable = changed and not started and (_stuck(state) or hangs_in == 0.0)
    wake = earliest(wake, hangs_in or 0.0)
    if rules.halt is None and not late and not replaceable:
        return Decision(state, wake_after=wake)
    if not facts.pods_verified:
        return Decision(state, needs=Needs.PODS, wake_after=wake)
    if rules.halt is not None:
        return Decision(state, action=Action.END, ending=rules.halt)
    if late:
        assert rules.pending_deadline is not None
        why = f": {state.reason}" + (f": {state.message}" if state.message else "")
        text = f"the agent did not start within {rules.pending_deadline} s{why}"
        ending = PendingReason(Reason.PENDING_TIMEOUT, one_line(text))
        return Decision(state, action=Action.END, ending=ending)
    text = f"the WorkspaceConfig has changed, Job {job.name} is replaced ({state.reason})"
    return Decision(_replaced(state, facts, text), action=Action.REPLACE)


def _stuck(state: TaskState) -> bool:
    """The agent cannot start as its Job is: neither starting nor held by a queue."""
    return state.phase is Phase.PENDING and state.reason not in (Reason.STARTING, Reason.QUEUED)


def _hangs_in(facts: TaskFacts) -> float | None:
    """Seconds until an init container that is not the product's counts as one that hangs; None where none runs.

    An injected one may wait indefinitely for what a label or an annotation of the WorkspaceConfig names wrongly.
    """
    pod = newest(facts.pods)
    running = running_before_workspace(pod) if pod else None
    if running is None or not running.started_at:
        return None
    return max(0.0, HANGS_AFTER - seconds_since(running.started_at, facts.now))


def _differs(then: str, now: str) -> bool:
    return bool(then and now) and then != now


def _past_deadline(
    job: JobView, state: TaskState, facts: TaskFacts, rules: TaskRules
) -> tuple[bool, float]:
    """Whether pendingDeadlineSeconds has passed, and the seconds left. Time in a queue does not count."""
    if rules.pending_deadline is None or job.held or state.reason == Reason.QUEUED:
        return False, 0.0
    since = job.started or job.created
    ended = max((x.finished_at for x in facts.pods if x.terminal), default="")
    here = seconds_since(max(since, ended), facts.now)
    if facts.gated_ago is not None:
        here = min(here, facts.gated_ago)
    waited = state.pending_seconds + here
    left = rules.pending_deadline - waited
    return left <= 0, max(left, 0.0)


# A Job that has finished --------------------------------------------------------------------------


def _ended(
    job: JobView,
    known: TaskState | None,
    facts: TaskFacts,
    rules: TaskRules,
    ending: PendingReason | None,
) -> Decision:
    if not facts.pods_verified and not _suffices(job, facts):
        return Decision(known or _alive(job, None, facts), needs=Needs.PODS)
    pods = facts.every_pod
    last = _last(pods)
    state = _alive(job, known, facts)
    agent = last.agent if last else None
    if job.complete:
        return Decision(_success(job, state, last, agent))
    assert job.failed is not None
    end = (last.finished_at if last else "") or job.failed.time
    if last is not None and agent is not None and _succeeded(last, agent):
        # A sidecar failed, or was ended: the agent's own exit counts.
        return Decision(_success(job, state, last, agent))
    if rules.cancel:
        return Decision(_failure(state, Reason.CANCELLED, "ended at the user's request", last, end))
    never = not is_started(pods) and not _ran(state, job)
    if ending is not None and pods and never:
        return Decision(_failure(state, ending.reason, ending.message, last, end))
    if last is not None and _is_refused_by_node(last) and not is_started(pods):
        if never:
            return _refused_by_node(job, state, facts, rules, last)
        # A node that restarts admits its Pods again. One that it refuses then loses the record of its containers.
        what = one_line(f"its node refused Pod {last.name} ({last.reason}): {last.message}")
        return _disrupted(job, state, facts, rules, what, action=Action.REPLACE)
    if last is not None and never and _is_deleted_early(job, last):
        what = f"Pod {last.name} was deleted"
        return _disrupted(job, state, facts, rules, what, action=Action.REPLACE)
    if _is_disruption(job, last):
        what = _disruption_text(job, last)
        return _disrupted(job, state, facts, rules, what, action=Action.REPLACE)
    if last is None:
        text = f"Job {job.name} failed; its Pod was deleted before its termination message was read"
        return Decision(_failure(state, Reason.JOB_LOST, text, last, end))
    if last.reason == "DeadlineExceeded" or job.failed.reason == "DeadlineExceeded":
        reason, message = _deadline(last, known, rules, ending)
    elif not last.agent_started and (halted := ending or rules.halt):
        reason, message = halted.reason, halted.message
    else:
        reason, message = _why_failed(job, last)
    return Decision(_failure(state, reason, message, last, end))


def _suffices(job: JobView, facts: TaskFacts) -> bool:
    """Whether the cache shows the Pods that the Job's end is about."""
    if job.complete:
        return any(
            x.phase == "Succeeded" and x.agent is not None and x.agent.state == "terminated"
            for x in facts.every_pod
        )
    ended = sum(x.terminal for x in facts.pods) + sum(x.terminal for x in facts.deleted_pods)
    return ended >= max(1, job.failed_pods)


def _is_disruption(job: JobView, pod: PodView | None) -> bool:
    assert job.failed is not None
    # A Pod that has outgrown one of its own volumes is Evicted too, without that condition: a new one would do the same.
    if pod is not None and pod.disruption:
        return not _failed_before_disruption(pod)
    return job.failed.reason == "PodFailurePolicy" and "DisruptionTarget" in job.failed.message


def _failed_before_disruption(pod: PodView) -> bool:
    """The agent had failed by itself when the cluster disrupted its Pod, which a sidecar kept."""
    agent = pod.agent
    if agent is None or agent.state != "terminated" or not agent.exit_code:
        return False
    # The clock of the node may be behind that of the control plane: what a signal ended was disrupted.
    if agent.signal or agent.exit_code in _KILLED:
        return False
    return bool(agent.started_at and agent.finished_at and agent.finished_at < pod.disrupted_at)


def _is_deleted_early(job: JobView, pod: PodView) -> bool:
    """Somebody deleted the Pod while nothing had failed and no deadline had ended it."""
    assert job.failed is not None
    if not pod.deleting or pod.active_deadline_seconds == 1:
        return False
    if "DeadlineExceeded" in (pod.reason, job.failed.reason):
        return False
    codes = (x.exit_code for x in pod.containers if x.state == "terminated")
    return all(code in (0, None, *_KILLED) for code in codes)


def _is_refused_by_node(pod: PodView) -> bool:
    """The kubelet refused the Pod (OutOfcpu, UnexpectedAdmissionError, NodeAffinity …): no container of it has existed."""
    return (
        pod.phase == "Failed"
        and pod.reason not in ("", "DeadlineExceeded", "Evicted")
        and not pod.disruption
        and not any(x.started_at or x.created for x in pod.containers)
    )


def _refused_by_node(
    job: JobView, state: TaskState, facts: TaskFacts, rules: TaskRules, pod: PodView
) -> Decision:
    """Another Job after a back-off, or the end: the scheduler may choose the same node again at once."""
    if rules.halt is not None:
        return Decision(_failure(state, rules.halt.reason, rules.halt.message, pod, ""))
    why = one_line(f"the node refused Pod {pod.name} ({pod.reason}): {pod.message}")
    waited = state.pending_seconds + seconds_since(job.started or job.created, facts.now)
    until_deadline = 0.0
    if rules.pending_deadline is not None:
        until_deadline = rules.pending_deadline - waited
        if until_deadline <= 0:
            text = f"the agent did not start within {rules.pending_deadline} s: {why}"
            return Decision(_failure(state, Reason.PENDING_TIMEOUT, one_line(text), pod, ""))
    delay = min(REFUSED_BY_NODE_DELAY * 2 ** min(state.replacements, 5), REFUSED_BY_NODE_MAX_DELAY)
    assert job.failed is not None
    left = delay - seconds_since(job.failed.time, facts.now)
    if left > 0:
        waits = replace(state, phase=Phase.PENDING, reason=Reason.UNSCHEDULABLE, message=why)
        return Decision(waits, wake_after=min(left, until_deadline or left))
    text = f"{why}; Job {job.name} is replaced"
    again = _replaced(state, facts, text, pending_seconds=round(waited))
    return Decision(again, action=Action.REPLACE)


def _disruption_text(job: JobView, pod: PodView | None) -> str:
    if pod is None:
        return "its Pod was disrupted and deleted"
    why = pod.disruption
    said = one_line(pod.message)
    return f"Pod {pod.name} was disrupted: {why}" + (f": {said}" if said else "")


def _disrupted(
    job: JobView,
    state: TaskState,
    facts: TaskFacts,
    rules: TaskRules,
    what: str,
    *,
    action: Action,
) -> Decision:
    """Another try, or the end. Where no Pod is known any more, the agent counts as started."""
    pods = facts.every_pod
    last = _last(pods)
    after = Action.END if action is Action.END else Action.NONE
    if pods and not is_started(pods) and not _ran(state, job):
        if rules.halt is not None:
            return Decision(
                _failure(state, rules.halt.reason, rules.halt.message, last, ""), action=after
            )
        text = f"{what} before the agent started; Job {job.name} is replaced"
        return Decision(_replaced(state, facts, text), action=Action.REPLACE)
    if rules.cancel:
        text = "ended at the user's request"
        return Decision(_failure(state, Reason.CANCELLED, text, last, ""), action=after)
    if rules.halt is None and state.disruptions < rules.max_disruptions:
        text = f"{what} while the agent ran; Job {job.name} is replaced"
        again = _replaced(replace(state, disruptions=state.disruptions + 1), facts, text)
        return Decision(again, action=Action.REPLACE)
    text = one_line(f"{what} while the agent ran; it may have acted already")
    failed = _failure(state, Reason.DISRUPTED, text, last, format_time(facts.now))
    return Decision(failed, action=after)


def _replaced(
    state: TaskState, facts: TaskFacts, message: str, *, pending_seconds: int = 0
) -> TaskState:
    return replace(
        state,
        phase=Phase.PENDING,
        reason=Reason.STARTING,
        message=one_line(message),
        replacements=state.replacements + 1,
        replaced_time=_replaced_time(facts),
        replaced_uid=facts.job.uid if facts.job else "",
        pending_seconds=pending_seconds,
    )


def _replaced_time(facts: TaskFacts) -> str:
    """When the Job that is replaced failed or was created, by the cluster's clock, as Events of the next Job are dated."""
    if facts.job is None:
        return format_time(facts.now)
    return facts.job.failed.time if facts.job.failed else facts.job.created


def _why_agent_failed(
    pod: PodView, agent: ContainerView, rules: TaskRules, ending: PendingReason | None
) -> tuple[str, str]:
    """Reason and message of an agent that has ended, where its Job has no condition."""
    if pod.reason == "DeadlineExceeded":
        return _deadline(pod, None, rules, ending)
    return _agent_failure(agent, pod)


def _deadline(
    pod: PodView, known: TaskState | None, rules: TaskRules, ending: PendingReason | None
) -> tuple[str, str]:
    if not pod.agent_started:
        if found := ending or rules.halt:
            return found.reason, found.message
        if rules.pending_deadline is not None and pod.active_deadline_seconds == 1:
            # An earlier process has begun to end it.
            text = f"the agent did not start within {rules.pending_deadline} s"
            return Reason.PENDING_TIMEOUT, text
    limit = pod.active_deadline_seconds
    longer = f"ran longer than {limit} s" if limit else "ran too long"
    workspace = next((x for x in pod.containers if x.name == c.CONTAINER_WORKSPACE), None)
    if pod.agent_started:
        text = f"the agent {longer}" + _said(pod.agent)
    elif workspace is not None and workspace.started_at:
        text = f"the preparation of the workspace {longer}" + _said(workspace)
    else:
        text = f"the agent did not start within {limit} s" if limit else "the agent did not start"
    if not pod.agent_started and known is not None and _stuck(known):
        text += f": {known.reason}: {known.message}"
    return Reason.TIMED_OUT, one_line(text)


def _said(container: ContainerView | None) -> str:
    """The last line that a container has left, as the end of a sentence."""
    message = read_result(container)[1]
    return f": {message}" if message else ""


def _why_failed(job: JobView, pod: PodView) -> tuple[str, str]:
    assert job.failed is not None
    agent = pod.agent
    if pod.reason == "Evicted":
        meaning = Reason.AGENT_ERROR if pod.agent_started else Reason.WORKSPACE_ERROR
        return meaning, one_line(f"Pod {pod.name} was evicted: {pod.message}")
    if agent is not None and agent.state == "terminated":
        return _agent_failure(agent, pod)
    for container in pod.containers:
        if container.name == c.CONTAINER_WORKSPACE and container.exit_code:
            return _preparation_failure(container)
    if agent is not None and agent.state == "running":
        return Reason.AGENT_ERROR, f"Pod {pod.name} was deleted while the agent ran"
    # What failed first is the cause: sidecars are stopped after it, and exit with the number of the signal.
    failures = [x for x in pod.containers if x.state == "terminated" and x.exit_code != 0]
    if failures:
        first = min(failures, key=lambda x: x.finished_at or "~")
        text = one_line(first.message) or f"exit code {first.exit_code}"
        return Reason.WORKSPACE_ERROR, f"container {first.name}: {text}"
    return Reason.AGENT_ERROR, one_line(pod.message or job.failed.message)


# A Job that is gone -------------------------------------------------------------------------------


def _without_job(
    name: str,
    known: TaskState | None,
    facts: TaskFacts,
    rules: TaskRules,
    ending: PendingReason | None,
) -> Decision:
    if not facts.created:
        return Decision(known)
    if not facts.job_verified:
        return Decision(known, needs=Needs.JOB)
    pods = facts.every_pod
    last = _last(pods)
    if facts.deleted_job is not None and facts.deleted_job.finished:
        # The Job is gone, and its Pods with it: nothing more can be read.
        verified = replace(facts, pods_verified=True)
        return _ended(facts.deleted_job, known, verified, rules, ending)
    state = known or TaskState(Phase.PENDING, Reason.STARTING, job_name=name)
    state = replace(state, job_name=name)
    return _gone(name, state, last, facts, rules, ending)


def _gone(
    name: str,
    state: TaskState,
    last: PodView | None,
    facts: TaskFacts,
    rules: TaskRules,
    ending: PendingReason | None,
) -> Decision:
    """The end of a task whose Job was deleted before it had ended; ``last`` is its last Pod."""
    pods = facts.every_pod
    if is_started(pods):
        start = min((x.agent_started_at for x in pods if x.agent_started_at), default="")
        state = replace(state, start_time=state.start_time or start)
    agent = last.agent if last else None
    if last is not None and agent is not None and agent.state == "terminated":
        if _succeeded(last, agent) and not last.deleting:
            return Decision(_success(None, state, last, agent))
        by_cancel = rules.cancel and last.reason == "DeadlineExceeded"
        if last.agent_started and not last.deleting and not by_cancel:
            reason, message = _why_agent_failed(last, agent, rules, ending)
            return Decision(_failure(state, reason, message, last, agent.finished_at))
    if rules.cancel and is_started(pods):
        text = "ended at the user's request"
        return Decision(_failure(state, Reason.CANCELLED, text, last, ""))
    # Where an earlier try has failed by itself, the last one decides.
    started = last.agent_started if last is not None else is_started(pods)
    if (found := ending or rules.halt) and not started:
        return Decision(_failure(state, found.reason, found.message, last, ""))
    text = f"Job {name} was deleted before it ended; its agent may have acted already"
    return Decision(_failure(state, Reason.JOB_LOST, text, last, format_time(facts.now)))


# Ends ---------------------------------------------------------------------------------------------


def _success(
    job: JobView | None, state: TaskState, pod: PodView | None, agent: ContainerView | None
) -> TaskState:
    result, message = read_result(agent)
    end = (agent.finished_at if agent else "") or (
        job.complete.time if job and job.complete else ""
    )
    created = job.created if job else ""
    return replace(
        state,
        phase=Phase.SUCCEEDED,
        reason=Reason.TASK_SUCCEEDED,
        message=message,
        start_time=state.start_time or created,
        completion_time=end or (pod.finished_at if pod else ""),
        result=result,
    )


def _failure(
    state: TaskState, reason: str, message: str, pod: PodView | None, end: str
) -> TaskState:
    result, _ = read_result(pod.agent if pod else None)
    return replace(
        state,
        phase=Phase.FAILED,
        reason=reason,
        message=message,
        completion_time=(pod.finished_at if pod else "") or end,
        result=result,
    )


def read_result(agent: ContainerView | None) -> tuple[dict[str, Any] | None, str]:
    """What a container left in its termination message: (JSON object, summary) or (None, one line of text).

    The kubelet cuts the messages of a Pod with many containers: each gets its share of 12 KiB.
    """
    text = agent.message.strip() if agent else ""
    if not text:
        return None, ""
    if text.startswith("{") and len(text.encode(errors="replace")) <= c.MAX_RESULT_BYTES:
        value = parse_result(text)
        if value is None:
            value = parse_cut_result(text)
        if value is not None:
            return value, one_line(str(value.get("summary") or ""))
    return None, one_line(text)


def _preparation_failure(container: ContainerView) -> tuple[str, str]:
    if container.reason == "OOMKilled":
        return (
            Reason.OOM_KILLED,
            f"container {container.name} ran out of memory; raise workspace.resources.limits.memory"
            " of the WorkspaceConfig",
        )
    try:
        report = from_json(container.message.strip() or "{}")
    except ValueError:
        report = None
    if isinstance(report, dict) and report:
        reason, message = report.get("reason"), one_line(str(report.get("message", "")))
        known = isinstance(reason, str) and reason in {x.value for x in c.PREPARATION_REASONS}
        return (str(reason) if known else Reason.WORKSPACE_ERROR), message
    text = one_line(container.message) or f"exit code {container.exit_code}"
    return Reason.WORKSPACE_ERROR, f"container {container.name}: {text}"


def _agent_failure(agent: ContainerView, pod: PodView) -> tuple[str, str]:
    result, message = read_result(agent)
    reason = (result or {}).get("reason")
    reported = reason in {x.value for x in c.AGENT_REASONS}
    # The runtime reports OOMKilled too where a child ran out of memory, and the agent has ended by itself after that.
    if agent.reason == "OOMKilled" and (agent.exit_code == 137 or not reported):
        text = "the agent ran out of memory; raise resources.limits.memory of the WorkspaceConfig"
        return Reason.OOM_KILLED, one_line(
            text + (f"; its last message: {message}" if message else "")
        )
    if not pod.agent_started and agent.reason != "ContainerStatusUnknown":
        text = one_line(agent.message) or f"exit code {agent.exit_code}"
        return Reason.AGENT_ERROR, f"the agent could not be started: {text}"
    if pod.deleting and not pod.disruption and not _ended_before_deletion(pod, agent):
        return Reason.AGENT_ERROR, f"Pod {pod.name} was deleted while the agent ran"
    if reported:
        return str(reason), message or str(reason)
    said = f": {message}" if message else ""
    if agent.signal:
        return Reason.AGENT_ERROR, f"killed by signal {agent.signal}{said}"
    return Reason.AGENT_ERROR, f"exit code {agent.exit_code}{said}"


# Small questions ----------------------------------------------------------------------------------


def newest(pods: Sequence[PodView]) -> PodView | None:
    """The Pod that counts now: one that is not terminal before one that is, then the latest."""
    return max(pods, key=lambda x: (not x.terminal, x.created, x.name), default=None)


def _last(pods: Sequence[PodView]) -> PodView | None:
    """The Pod that a Job's end is about."""
    return max(
        pods,
        key=lambda x: (x.phase == "Succeeded", x.created, x.agent_started_at, x.name),
        default=None,
    )


def _ran(known: TaskState | None, job: JobView) -> bool:
    """The agent of this Job is known to have started, though no Pod shows it any more."""
    return known is not None and known.attempts > job.earlier_attempts


def _works(pod: PodView | None) -> bool:
    """The agent runs, and nothing ends its Pod."""
    agent = pod.agent if pod else None
    if pod is None or agent is None or pod.deleting or pod.terminal:
        return False
    return agent.state == "running"


def _runs(job: JobView, pod: PodView, agent: ContainerView | None) -> bool:
    """The agent runs, or has ended and neither the Job's condition nor its next Pod has followed yet."""
    if agent is None or agent.state == "waiting":
        return False
    return agent.state == "running" or (pod.agent_started and not _will_retry(job, pod, agent))


def _succeeded(pod: PodView, agent: ContainerView) -> bool:
    """The agent ended with exit code 0 by itself, and not because the cluster or its deadline ended it."""
    if agent.state != "terminated" or agent.exit_code != 0 or not pod.agent_started:
        return False
    if pod.phase != "Succeeded" and pod.disruption and agent.finished_at >= pod.disrupted_at:
        return False
    return not _by_deadline(pod, agent)


def _will_retry(job: JobView, pod: PodView, agent: ContainerView) -> bool:
    """The agent of this Pod failed, and the Job starts another one after its back-off."""
    return (
        pod.phase == "Failed"
        and agent.exit_code != 0
        and job.failed_pods <= job.backoff_limit
        and job.backoff_limit > 0
    )


def _by_deadline(pod: PodView, agent: ContainerView) -> bool:
    """The kubelet ended the agent because activeDeadlineSeconds had passed, whatever its exit code is."""
    if pod.reason != "DeadlineExceeded" or pod.active_deadline_seconds is None:
        return False
    if not pod.started or not agent.finished_at:
        return True
    deadline = parse_time(pod.started) + timedelta(seconds=pod.active_deadline_seconds)
    return parse_time(agent.finished_at) >= deadline
