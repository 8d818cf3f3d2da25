"""The state machine of a task: what follows from each combination of facts, and which live read is missing."""

from dataclasses import replace
from typing import Any

import pytest

from kubetask_controller.api.constants import Phase, Reason
from kubetask_controller.api.times import seconds_since
from kubetask_controller.reconcilers.projections import ConditionView, ContainerView, JobView
from kubetask_controller.reconcilers.taskrun.pending_reasons import PendingReason
from kubetask_controller.reconcilers.taskrun.state import (
    Action,
    Decision,
    Needs,
    TaskFacts,
    TaskRules,
    TaskState,
    decide,
    one_line,
    read_result,
)
from kubetask_controller.workspace.termination import truncated
from support.reconcilers.views import (
    DISRUPTION,
    NOW,
    at,
    complete,
    container,
    exited,
    failed,
    job,
    pod,
    waiting,
)

NAME = "r-task-0"
CANCELLED = PendingReason(Reason.CANCELLED, "cancelled before the agent started")
STOPPED = PendingReason(Reason.MAX_FAILURES_EXCEEDED, "not started: more than 0 tasks failed")
CANCEL = TaskRules(halt=CANCELLED, cancel=True)
HALT = TaskRules(halt=STOPPED)
STARTING = TaskState(Phase.PENDING, Reason.STARTING, job_name=NAME)
RUNNING = TaskState(
    Phase.RUNNING, Reason.TASK_RUNNING, job_name=NAME, start_time=at(-30), attempts=1
)
RUNS = pod(container("workspace", "terminated", exit_code=0), container())
NOT_YET = pod(container("workspace", "running"), waiting())
DISRUPTED = {"disruption": "EvictionByEvictionAPI", "deleting": True}


def look(
    the_job: JobView | None,
    *pods: Any,
    known: TaskState | None = None,
    rules: TaskRules = TaskRules(),  # noqa: B008
    ending: PendingReason | None = None,
    **facts: Any,
) -> Decision:
    found = TaskFacts(job=the_job, now=NOW, pods=pods, created=facts.pop("created", True), **facts)
    return decide(NAME, known, found, rules, ending)


def verified(the_job: JobView | None, *pods: Any, **rest: Any) -> Decision:
    """As ``look``, with live reads of the Job and its Pods."""
    return look(the_job, *pods, job_verified=the_job is None, pods_verified=True, **rest)


def shown(decision: Decision) -> tuple[Phase, str]:
    assert decision.state is not None
    return decision.state.phase, decision.state.reason


# Before the agent has started -------------------------------------------------------------------


def test_a_task_that_never_had_a_job_has_no_state() -> None:
    assert look(None, created=False) == Decision(None)


@pytest.mark.parametrize(
    ("pods", "reason"),
    [
        ((), Reason.STARTING),
        ((NOT_YET,), Reason.STARTING),
        ((pod(exited(name="workspace"), waiting("ErrImagePull")),), Reason.IMAGE_PULL_BACK_OFF),
        ((pod(waiting("CreateContainerConfigError")),), Reason.CREATE_CONTAINER_CONFIG_ERROR),
        ((pod(unschedulable="0/1 nodes are available", node=""),), Reason.UNSCHEDULABLE),
        # A sidecar runs, and the agent does not.
        (
            (pod(container("istio-proxy"), waiting("ImagePullBackOff")),),
            Reason.IMAGE_PULL_BACK_OFF,
        ),
    ],
)
def test_a_task_is_pending_until_its_agent_container_has_started(pods: Any, reason: Reason) -> None:
    decision = look(job(), *pods)
    assert shown(decision) == (Phase.PENDING, reason)
    assert decision.state is not None
    assert decision.state.start_time == ""


def test_a_task_runs_from_the_start_of_its_agent() -> None:
    state = look(job(), RUNS).state
    assert state == replace(RUNNING, start_time=at(-30))


def test_a_suspended_job_is_queued_and_its_pending_deadline_rests() -> None:
    decision = verified(job(suspended=True, created=at(-999)), rules=TaskRules(pending_deadline=5))
    assert shown(decision) == (Phase.PENDING, Reason.QUEUED)
    assert decision.action is Action.NONE


def test_a_replacement_pod_without_a_node_is_pending_again() -> None:
    first = pod(exited(137), phase="Failed", name="r-task-0-first", created=at(-50))
    second = pod(unschedulable="no node fits", node="", name="r-task-0-second", created=at(-5))
    assert shown(look(job(), first, second)) == (Phase.PENDING, Reason.UNSCHEDULABLE)


def test_an_agent_that_could_not_be_executed_never_ran() -> None:
    agent = exited(128, reason="StartError", started_at="")
    assert shown(look(job(), pod(agent)))[0] is Phase.PENDING


# The pending deadline -----------------------------------------------------------------------------


def test_the_pending_deadline_wakes_the_reconciler_when_it_is_due() -> None:
    decision = look(job(), NOT_YET, rules=TaskRules(pending_deadline=100))
    assert (decision.action, decision.needs, decision.wake_after) == (
        Action.NONE,
        Needs.NOTHING,
        40,
    )


def test_a_passed_pending_deadline_ends_nothing_on_a_cache_alone() -> None:
    decision = look(job(), NOT_YET, rules=TaskRules(pending_deadline=10))
    assert (decision.needs, decision.action) == (Needs.PODS, Action.NONE)


def test_a_passed_pending_deadline_ends_the_task_and_says_what_it_waited_for() -> None:
    stuck = pod(exited(name="workspace"), waiting("ImagePullBackOff", "no such image"))
    decision = verified(job(), stuck, rules=TaskRules(pending_deadline=10))
    assert decision.action is Action.END
    assert decision.ending is not None
    assert decision.ending.reason == Reason.PENDING_TIMEOUT
    assert "within 10 s: ImagePullBackOff: " in decision.ending.message


def test_the_pending_deadline_does_not_touch_an_agent_that_has_started() -> None:
    decision = verified(job(), RUNS, rules=TaskRules(pending_deadline=1))
    assert (decision.action, decision.wake_after) == (Action.NONE, 0)


def test_the_pending_deadline_holds_after_the_limit_of_failures_too() -> None:
    rules = TaskRules(halt=STOPPED, pending_deadline=10)
    assert verified(job(), NOT_YET, rules=rules).ending == STOPPED


# No further agent may start -----------------------------------------------------------------------


def test_a_halt_ends_what_has_not_started_after_a_live_look() -> None:
    assert look(job(), NOT_YET, rules=HALT).needs is Needs.PODS
    decision = verified(job(), NOT_YET, rules=HALT)
    assert (decision.action, decision.ending) == (Action.END, STOPPED)


def test_a_halt_lets_agents_that_run_go_on() -> None:
    assert look(job(), RUNS, rules=HALT) == Decision(look(job(), RUNS).state)


def test_a_cancelled_agent_is_ended_and_shown_as_running_until_then() -> None:
    decision = look(job(), RUNS, rules=CANCEL)
    assert shown(decision) == (Phase.RUNNING, Reason.TASK_RUNNING)
    assert (decision.action, decision.ending) == (Action.END, CANCELLED)


# A WorkspaceConfig that was corrected --------------------------------------------------------------

CORRECTED = TaskRules(config_digest="new")
STUCK = pod(exited(name="workspace"), waiting("ImagePullBackOff", "no such image"))


def test_a_job_that_cannot_start_is_replaced_once_its_workspaceconfig_was_changed() -> None:
    the_job = job(config_digest="old")
    assert look(the_job, STUCK, rules=CORRECTED).needs is Needs.PODS
    decision = verified(the_job, STUCK, rules=CORRECTED)
    assert decision.action is Action.REPLACE
    state = decision.state
    assert state is not None
    assert (state.replacements, state.replaced_uid, state.replaced_time) == (
        1,
        the_job.uid,
        the_job.created,
    )


def test_a_job_that_admission_refuses_is_replaced_too() -> None:
    refused = PendingReason(Reason.ADMISSION_DENIED, "violates PodSecurity")
    decision = verified(job(config_digest="old"), rules=CORRECTED, event=refused)
    assert decision.action is Action.REPLACE


@pytest.mark.parametrize(
    ("the_job", "pods"),
    [
        (job(config_digest="new"), (STUCK,)),
        (job(config_digest=""), (STUCK,)),  # of an earlier version
        (job(config_digest="old"), (NOT_YET,)),
        (job(config_digest="old"), (RUNS,)),
        (job(config_digest="old", suspended=True), ()),
    ],
    ids=["the same config", "no digest", "on its way", "runs", "queued"],
)
def test_other_jobs_are_left_alone(the_job: JobView, pods: Any) -> None:
    assert verified(the_job, *pods, rules=CORRECTED).action is Action.NONE


def test_a_job_whose_agent_ran_in_an_earlier_pod_is_not_replaced() -> None:
    ran = pod(exited(1), name="r-task-0-first", created=at(-50))
    decision = verified(job(config_digest="old", backoff_limit=1), ran, STUCK, rules=CORRECTED)
    assert decision.action is Action.NONE


def test_what_a_replaced_job_does_counts_no_more() -> None:
    known = replace(STARTING, replacements=1)
    decision = verified(job(complete=complete()), pod(exited()), known=known)
    assert decision == Decision(known, action=Action.REPLACE)


# Ends -----------------------------------------------------------------------------------------------


def test_a_final_state_is_never_left() -> None:
    ended = replace(RUNNING, phase=Phase.FAILED, reason=Reason.AGENT_ERROR)
    assert verified(job(complete=complete()), pod(exited()), known=ended) == Decision(ended)


def test_a_complete_job_without_its_pod_in_the_cache_is_no_end_yet() -> None:
    decision = look(job(complete=complete()), known=RUNNING)
    assert decision == Decision(RUNNING, needs=Needs.PODS)


def test_a_complete_job_whose_pod_the_cache_still_shows_running_is_no_end_yet() -> None:
    assert look(job(complete=complete()), RUNS, known=RUNNING).needs is Needs.PODS


def test_a_failed_job_needs_every_failed_pod_that_it_counts() -> None:
    first = pod(exited(1), name="r-task-0-first")
    the_job = job(failed=failed(), failed_pods=2)
    assert look(the_job, first).needs is Needs.PODS
    assert look(the_job, first, pod(exited(2))).needs is Needs.NOTHING


def test_success_keeps_the_result_that_the_agent_left() -> None:
    left = exited(message='{"summary": "3 files changed", "branch": "fix"}')
    state = look(job(complete=complete()), pod(left), known=RUNNING).state
    assert state is not None
    assert (state.phase, state.reason, state.message) == (
        Phase.SUCCEEDED,
        Reason.TASK_SUCCEEDED,
        "3 files changed",
    )
    assert state.result == {"summary": "3 files changed", "branch": "fix"}
    assert state.completion_time == at(-2)


def test_success_of_a_job_whose_pods_are_gone_ends_at_the_time_of_its_condition() -> None:
    state = verified(job(complete=complete())).state
    assert state is not None
    assert (state.phase, state.start_time, state.completion_time) == (
        Phase.SUCCEEDED,
        at(-60),
        at(-1),
    )


@pytest.mark.parametrize(
    ("agent", "reason", "words"),
    [
        (exited(3, "boom"), Reason.AGENT_ERROR, "exit code 3: boom"),
        (exited(137, reason="OOMKilled"), Reason.OOM_KILLED, "resources.limits.memory"),
        (exited(137, signal=9), Reason.AGENT_ERROR, "killed by signal 9"),
        (
            exited(128, "no such file", reason="StartError", started_at=""),
            Reason.AGENT_ERROR,
            "the agent could not be started: no such file",
        ),
        (exited(1, '{"reason": "RateLimited", "summary": "429"}'), Reason.RATE_LIMITED, "429"),
        (exited(1, '{"reason": "NoChanges"}'), Reason.NO_CHANGES, "NoChanges"),
        (exited(1, '{"reason": "Cancelled"}'), Reason.AGENT_ERROR, "exit code 1"),
        (exited(1, '{"summary": "x", "costUSD": NaN}'), Reason.AGENT_ERROR, "exit code 1: x"),
    ],
)
def test_a_failure_says_how_the_agent_ended(
    agent: ContainerView, reason: Reason, words: str
) -> None:
    state = look(job(failed=failed()), pod(agent)).state
    assert state is not None
    assert (state.phase, state.reason) == (Phase.FAILED, reason)
    assert words in state.message


@pytest.mark.parametrize(
    ("preparation", "reason", "words"),
    [
        (
            exited(1, '{"reason": "CloneFailed", "message": "repository not found"}'),
            Reason.CLONE_FAILED,
            "repository not found",
        ),
        (exited(1, '{"reason": "TooLarge", "message": "x"}'), Reason.TOO_LARGE, "x"),
        (exited(1, '{"reason": "Succeeded"}'), Reason.WORKSPACE_ERROR, ""),
        (exited(1, "fatal: no"), Reason.WORKSPACE_ERROR, "container workspace: fatal: no"),
        (exited(2), Reason.WORKSPACE_ERROR, "exit code 2"),
        (exited(137, reason="OOMKilled"), Reason.OOM_KILLED, "workspace.resources.limits.memory"),
    ],
)
def test_a_failed_preparation_says_why(
    preparation: ContainerView, reason: Reason, words: str
) -> None:
    found = pod(replace(preparation, name="workspace", init=True), waiting(), phase="Failed")
    state = look(job(failed=failed()), found).state
    assert state is not None
    assert (state.reason, state.start_time) == (reason, "")
    assert words in state.message


def test_another_init_container_that_fails_is_named() -> None:
    found = pod(exited(1, "no mesh", name="istio-init", init=True), waiting(), phase="Failed")
    state = look(job(failed=failed()), found).state
    assert state is not None
    assert state.message == "container istio-init: no mesh"


def test_a_failed_job_whose_pods_are_gone_is_lost() -> None:
    assert look(job(failed=failed())).needs is Needs.PODS
    assert shown(verified(job(failed=failed()))) == (Phase.FAILED, Reason.JOB_LOST)


def test_the_result_of_a_pod_that_was_deleted_meanwhile_counts() -> None:
    gone = pod(exited(7, "left"), deleting=False)
    state = look(job(failed=failed()), deleted_pods=(gone,)).state
    assert state is not None
    assert state.message == "exit code 7: left"


def test_a_pod_deleted_by_hand_is_no_disruption() -> None:
    gone = pod(exited(137), deleting=True)
    state = look(job(failed=failed()), deleted_pods=(gone,)).state
    assert state is not None
    assert (state.reason, "was deleted while" in state.message) == (Reason.AGENT_ERROR, True)


def test_what_runs_longer_than_its_deadline_has_timed_out() -> None:
    killed = pod(exited(137), reason="DeadlineExceeded", active_deadline_seconds=3)
    state = look(job(failed=failed()), killed).state
    assert state is not None
    assert (state.reason, state.message) == (Reason.TIMED_OUT, "the agent ran longer than 3 s")


def test_an_agent_that_ended_before_the_deadline_of_its_pod_succeeded() -> None:
    kept = pod(
        exited(finished_at=at(-40)),
        phase="Failed",
        reason="DeadlineExceeded",
        active_deadline_seconds=30,
    )
    assert shown(look(job(failed=failed()), kept)) == (Phase.SUCCEEDED, Reason.TASK_SUCCEEDED)


def test_an_agent_that_a_deadline_ended_failed_whatever_its_exit_code_is() -> None:
    ended = pod(exited(), phase="Failed", reason="DeadlineExceeded", active_deadline_seconds=5)
    assert shown(look(job(failed=failed()), ended)) == (Phase.FAILED, Reason.TIMED_OUT)


@pytest.mark.parametrize(
    ("rules", "ending", "reason"),
    [
        (TaskRules(), STOPPED, Reason.MAX_FAILURES_EXCEEDED),
        (HALT, None, Reason.MAX_FAILURES_EXCEEDED),
        (TaskRules(pending_deadline=5), None, Reason.PENDING_TIMEOUT),
        (TaskRules(), None, Reason.TIMED_OUT),
        (CANCEL, None, Reason.CANCELLED),
    ],
)
def test_a_pod_that_was_ended_before_its_agent_says_for_what(
    rules: TaskRules, ending: PendingReason | None, reason: Reason
) -> None:
    ended = pod(waiting(), phase="Failed", reason="DeadlineExceeded", active_deadline_seconds=1)
    decision = look(job(failed=failed()), ended, rules=rules, ending=ending)
    assert shown(decision) == (Phase.FAILED, reason)


def test_a_cancelled_agent_that_still_succeeded_counts_as_success() -> None:
    assert shown(look(job(complete=complete()), pod(exited()), rules=CANCEL))[0] is Phase.SUCCEEDED


# Disruptions ----------------------------------------------------------------------------------------


def disrupted_job() -> JobView:
    return job(failed=failed("PodFailurePolicy", DISRUPTION), failed_pods=1)


def test_a_disrupted_agent_fails_the_task() -> None:
    gone = pod(exited(137), **DISRUPTED)
    decision = look(disrupted_job(), deleted_pods=(gone,), known=RUNNING)
    assert shown(decision) == (Phase.FAILED, Reason.DISRUPTED)


def test_a_disrupted_agent_is_tried_again_as_often_as_the_user_allows() -> None:
    gone, rules = pod(exited(137), **DISRUPTED), TaskRules(max_disruptions=1)
    decision = look(disrupted_job(), deleted_pods=(gone,), known=RUNNING, rules=rules)
    assert decision.action is Action.REPLACE
    assert decision.state is not None
    assert (decision.state.disruptions, decision.state.attempts) == (1, 1)
    used_up = replace(RUNNING, disruptions=1)
    again = look(disrupted_job(), deleted_pods=(gone,), known=used_up, rules=rules)
    assert shown(again) == (Phase.FAILED, Reason.DISRUPTED)


def test_a_disruption_before_the_agent_started_costs_nothing() -> None:
    gone = pod(container("workspace"), waiting(), phase="Failed", **DISRUPTED)
    decision = look(disrupted_job(), deleted_pods=(gone,))
    assert decision.action is Action.REPLACE
    assert decision.state is not None
    assert (decision.state.disruptions, decision.state.replacements) == (0, 1)
    # Events of the next Job carry the cluster's time, which this process's clock may be ahead of.
    failure = disrupted_job().failed
    assert failure is not None
    assert decision.state.replaced_time == failure.time


def test_a_disruption_before_the_start_of_a_halted_task_ends_it_for_the_halt() -> None:
    gone = pod(waiting(), phase="Failed", **DISRUPTED)
    decision = look(disrupted_job(), deleted_pods=(gone,), rules=HALT)
    assert shown(decision) == (Phase.FAILED, Reason.MAX_FAILURES_EXCEEDED)


def test_a_disrupted_pod_that_vanished_before_its_end_was_observed_counts_as_started() -> None:
    gone = replace(pod(waiting()), vanished=True)
    decision = look(disrupted_job(), deleted_pods=(gone,), known=STARTING, pods_verified=True)
    assert shown(decision) == (Phase.FAILED, Reason.DISRUPTED)
    ended = replace(pod(waiting(), phase="Failed", **DISRUPTED), vanished=True)
    assert look(disrupted_job(), deleted_pods=(ended,)).action is Action.REPLACE


def test_a_job_deleted_with_a_pod_that_vanished_is_lost() -> None:
    gone = replace(pod(waiting()), vanished=True)
    decision = look(None, deleted_pods=(gone,), created=True, job_verified=True, known=STARTING)
    assert shown(decision) == (Phase.FAILED, Reason.JOB_LOST)


def test_a_disruption_of_a_task_that_is_being_ended_changes_nothing() -> None:
    gone = pod(waiting(), phase="Failed", **DISRUPTED)
    ending = PendingReason(Reason.PENDING_TIMEOUT, "the agent did not start within 30 s")
    decision = look(disrupted_job(), deleted_pods=(gone,), ending=ending)
    assert shown(decision) == (Phase.FAILED, Reason.PENDING_TIMEOUT)


def test_a_disrupted_pod_of_which_nothing_is_left_counts_as_started() -> None:
    decision = verified(disrupted_job(), known=STARTING)
    assert shown(decision) == (Phase.FAILED, Reason.DISRUPTED)


@pytest.mark.parametrize(
    ("agent", "reason"),
    [(exited(137), Reason.AGENT_ERROR), (waiting(), Reason.WORKSPACE_ERROR)],
)
def test_a_pod_that_outgrows_its_own_volume_has_failed_and_is_not_replaced(
    agent: ContainerView, reason: Reason
) -> None:
    gone = pod(agent, phase="Failed", reason="Evicted", message="Usage of volume home exceeds 1Gi")
    decision = look(job(failed=failed()), gone)
    assert shown(decision) == (Phase.FAILED, reason)
    assert decision.state is not None
    assert "volume home" in decision.state.message


def test_an_agent_that_ends_with_0_because_it_is_evicted_has_not_succeeded() -> None:
    gone = pod(exited(finished_at=at(-2)), phase="Failed", disrupted_at=at(-5), **DISRUPTED)
    assert shown(look(disrupted_job(), gone)) == (Phase.FAILED, Reason.DISRUPTED)
    before = replace(gone, disrupted_at=at(-1))
    assert shown(look(disrupted_job(), before))[0] is Phase.SUCCEEDED


@pytest.mark.parametrize(
    ("created", "ends"),
    [(True, (Phase.FAILED, Reason.DISRUPTED)), (False, (Phase.PENDING, Reason.STARTING))],
)
def test_an_agent_whose_end_is_unknown_counts_as_started_if_it_existed(
    created: bool, ends: tuple[Phase, Reason]
) -> None:
    lost = replace(exited(137, reason="ContainerStatusUnknown", started_at=""), created=created)
    assert shown(look(disrupted_job(), pod(lost, phase="Failed", **DISRUPTED))) == ends


def test_an_earlier_suspension_in_the_cache_ends_no_agent() -> None:
    going = replace(RUNS, deleting=True)
    assert look(job(suspended=True), going, known=RUNNING).needs is Needs.PODS
    # The queue has resumed the Job, and the Job controller has not recorded that yet.
    decision = look(job(resuming=True), RUNS, known=RUNNING)
    assert (shown(decision)[0], decision.action) == (Phase.RUNNING, Action.NONE)


def test_the_pending_deadline_begins_when_the_job_controller_has_resumed_a_job() -> None:
    waits = job(resuming=True, created=at(-999), started="")
    decision = verified(waits, rules=TaskRules(pending_deadline=5))
    assert (shown(decision)[1], decision.action) == (Reason.QUEUED, Action.NONE)


def test_an_agent_of_a_job_that_a_queue_suspends_is_not_started_again() -> None:
    # It runs until the Job controller deletes its Pod.
    decision = verified(job(suspended=True), RUNS, known=RUNNING)
    assert (shown(decision)[0], decision.action) == (Phase.RUNNING, Action.NONE)
    going = replace(RUNS, deleting=True)
    decision = verified(job(suspended=True), going, known=RUNNING)
    assert decision.action is Action.END
    assert shown(decision) == (Phase.FAILED, Reason.DISRUPTED)


def test_a_suspended_job_whose_agent_ran_is_disrupted_though_its_pod_is_gone() -> None:
    assert shown(verified(job(suspended=True), known=RUNNING))[1] == Reason.DISRUPTED


def test_a_cancelled_task_that_is_disrupted_ends_as_cancelled() -> None:
    decision = verified(
        job(suspended=True), replace(RUNS, deleting=True), known=RUNNING, rules=CANCEL
    )
    assert shown(decision) == (Phase.FAILED, Reason.CANCELLED)


# A node that refuses the Pod ---------------------------------------------------------------------------


def turned_away(reason: str = "OutOfcpu", *containers: ContainerView) -> Any:
    text = "Pod was rejected: Node didn't have enough resource: cpu"
    return pod(*containers, phase="Failed", reason=reason, message=text)


@pytest.mark.parametrize(
    "reason",
    [
        "OutOfcpu",
        "OutOfpods",
        "UnexpectedAdmissionError",
        "NodeAffinity",
        "TopologyAffinityError",
        "NodeShutdown",
        "NodePorts",
    ],
)
@pytest.mark.parametrize("containers", [(), (waiting(name="workspace"), waiting())])
def test_a_pod_that_its_node_refused_is_no_failure_of_the_agent(
    reason: str, containers: Any
) -> None:
    decision = look(job(failed=failed()), turned_away(reason, *containers))
    assert shown(decision) == (Phase.PENDING, Reason.UNSCHEDULABLE)
    assert decision.state is not None
    assert f"({reason}): Pod was rejected" in decision.state.message
    assert decision.wake_after == 9.0


def test_its_job_is_replaced_after_a_back_off_that_grows() -> None:
    ended = job(failed=ConditionView("BackoffLimitExceeded", "", at(-11)))
    assert look(ended, turned_away()).action is Action.REPLACE
    for count, left in ((1, 9.0), (20, 289.0)):
        known = replace(STARTING, replacements=count)
        again = look(replace(ended, replacement=count), turned_away(), known=known)
        assert again.wake_after == left


def test_the_pending_deadline_and_a_halt_end_the_wait_for_another_node() -> None:
    late = look(job(failed=failed()), turned_away(), rules=TaskRules(pending_deadline=30))
    assert shown(late) == (Phase.FAILED, Reason.PENDING_TIMEOUT)
    halted = look(job(failed=failed()), turned_away(), rules=CANCEL)
    assert shown(halted) == (Phase.FAILED, Reason.CANCELLED)


def test_the_pending_deadline_counts_what_refused_jobs_waited_and_no_queue() -> None:
    rules = TaskRules(pending_deadline=600)
    ended = ConditionView("BackoffLimitExceeded", "", at(-301))
    first = look(job(failed=ended), turned_away(), rules=rules)
    assert first.state is not None
    waited = round(seconds_since(job().started, NOW))
    assert first.state.pending_seconds == waited
    again = replace(first.state, replacements=20)
    second = look(job(failed=ended, replacement=20), turned_away(), known=again, rules=rules)
    assert second.state is not None
    assert second.state.pending_seconds == 2 * waited
    # However long the task has waited for a slot, the next Job begins with what earlier ones left.
    waits = verified(job(replacement=20), known=again, rules=rules)
    assert waits.wake_after == 600 - 2 * waited
    long = replace(again, pending_seconds=590)
    refused = look(job(failed=failed(), replacement=20), turned_away(), known=long, rules=rules)
    assert shown(refused) == (Phase.FAILED, Reason.PENDING_TIMEOUT)
    late = verified(job(replacement=20), known=long, rules=rules)
    assert late.ending is not None
    assert late.ending.reason == Reason.PENDING_TIMEOUT


def test_a_deadline_before_the_next_job_is_waited_for_first() -> None:
    rules = TaskRules(pending_deadline=75)
    known = replace(STARTING, replacements=4)
    decision = look(job(failed=failed(), replacement=4), turned_away(), known=known, rules=rules)
    assert decision.wake_after == 75 - seconds_since(job().started, NOW)


def test_a_pod_that_ran_something_was_not_refused_by_its_node() -> None:
    ran = turned_away("OutOfcpu", exited(1, name="workspace"), waiting())
    assert shown(look(job(failed=failed()), ran))[1] == Reason.WORKSPACE_ERROR


def test_an_agent_that_its_deadline_ended_in_a_deleted_job_ran_out_of_time() -> None:
    late = pod(exited(143), phase="Failed", reason="DeadlineExceeded", active_deadline_seconds=60)
    assert shown(look(job(deleting=True), late)) == (Phase.FAILED, Reason.TIMED_OUT)
    assert shown(verified(None, late, known=RUNNING)) == (Phase.FAILED, Reason.TIMED_OUT)


# Sidecars -------------------------------------------------------------------------------------------


def kept(code: int = 0, **fields: Any) -> Any:
    return pod(exited(code), container("istio-proxy"), phase="Running", **fields)


def test_a_sidecar_has_a_moment_to_end_by_itself() -> None:
    decision = look(job(), kept(), ended_for=4.0)
    assert shown(decision) == (Phase.RUNNING, Reason.TASK_RUNNING)
    assert decision.wake_after == 6.0


def test_an_agent_that_has_succeeded_is_not_cancelled_any_more() -> None:
    assert shown(look(job(), kept(), rules=CANCEL)) == (Phase.SUCCEEDED, Reason.TASK_SUCCEEDED)
    for ended in (kept(3), kept(active_deadline_seconds=1)):
        decision = look(job(), ended, rules=CANCEL)
        assert shown(decision) == (Phase.RUNNING, Reason.TASK_RUNNING)
        assert decision.action is Action.END


@pytest.mark.parametrize(("code", "phase"), [(0, Phase.SUCCEEDED), (3, Phase.FAILED)])
def test_a_pod_that_a_sidecar_keeps_ends_as_its_agent_did(code: int, phase: Phase) -> None:
    decision = look(job(), kept(code), ended_for=11.0)
    assert (shown(decision)[0], decision.action) == (phase, Action.END)


def test_a_job_with_tries_left_gets_them_after_its_sidecar_was_ended() -> None:
    decision = look(job(backoff_limit=1), kept(3), ended_for=11.0)
    assert (shown(decision)[0], decision.action) == (Phase.RUNNING, Action.END_POD)


def test_a_halted_task_gets_no_further_try() -> None:
    decision = look(job(backoff_limit=1), kept(3), ended_for=11.0, rules=HALT)
    assert (shown(decision)[0], decision.action) == (Phase.FAILED, Action.END)


def test_a_sidecar_that_fails_after_the_agent_succeeded_starts_no_second_agent() -> None:
    found = pod(exited(), exited(1, name="istio-proxy"))
    decision = look(job(backoff_limit=3), found)
    assert (shown(decision)[0], decision.action) == (Phase.SUCCEEDED, Action.END)


def test_a_job_that_failed_for_its_sidecar_alone_succeeded() -> None:
    found = pod(exited(), exited(1, name="istio-proxy"))
    assert shown(look(job(failed=failed()), found))[0] is Phase.SUCCEEDED


# A Job that is gone ---------------------------------------------------------------------------------


def test_a_job_that_the_cache_lacks_is_not_lost_before_a_live_read() -> None:
    assert look(None, known=RUNNING) == Decision(RUNNING, needs=Needs.JOB)


def test_a_job_that_a_live_read_does_not_find_is_lost() -> None:
    state = verified(None, known=RUNNING).state
    assert state is not None
    assert (state.phase, state.reason) == (Phase.FAILED, Reason.JOB_LOST)
    assert (state.start_time, state.completion_time) == (at(-30), at(0))


def test_a_job_that_finished_before_it_was_deleted_ends_as_it_did() -> None:
    decision = verified(None, deleted_job=job(complete=complete()), deleted_pods=(pod(exited()),))
    assert shown(decision)[0] is Phase.SUCCEEDED


@pytest.mark.parametrize(("code", "phase"), [(0, Phase.SUCCEEDED), (4, Phase.FAILED)])
def test_an_agent_that_ended_before_its_job_was_deleted_counts(code: int, phase: Phase) -> None:
    state = verified(None, deleted_pods=(pod(exited(code)),)).state
    assert state is not None
    assert (state.phase, state.start_time) == (phase, at(-30))


def test_an_agent_that_ended_because_its_job_was_deleted_is_lost() -> None:
    gone = pod(exited(), deleting=True)
    assert shown(verified(None, deleted_pods=(gone,)))[1] == Reason.JOB_LOST


@pytest.mark.parametrize(
    ("pods", "rules", "ending", "reason"),
    [
        ((RUNS,), CANCEL, None, Reason.CANCELLED),
        ((NOT_YET,), CANCEL, None, Reason.CANCELLED),
        ((NOT_YET,), HALT, None, Reason.MAX_FAILURES_EXCEEDED),
        ((), TaskRules(), STOPPED, Reason.MAX_FAILURES_EXCEEDED),
        ((RUNS,), HALT, None, Reason.JOB_LOST),
    ],
)
def test_a_job_that_the_controller_deleted_ends_for_the_reason_of_that(
    pods: Any, rules: TaskRules, ending: PendingReason | None, reason: Reason
) -> None:
    decision = verified(None, deleted_pods=pods, rules=rules, ending=ending)
    assert shown(decision) == (Phase.FAILED, reason)


def test_a_task_that_runs_is_not_pending_again_while_its_end_follows() -> None:
    assert shown(look(job(), known=RUNNING)) == (Phase.RUNNING, Reason.TASK_RUNNING)
    assert shown(look(job(backoff_limit=1), known=RUNNING))[0] is Phase.PENDING


def test_a_job_that_is_being_deleted_is_shown_as_it_was() -> None:
    assert shown(look(job(deleting=True), RUNS)) == (Phase.RUNNING, Reason.TASK_RUNNING)


@pytest.mark.parametrize(
    ("code", "fields", "rules", "expected"),
    [
        (0, {}, TaskRules(), (Phase.SUCCEEDED, Reason.TASK_SUCCEEDED)),
        (3, {}, TaskRules(), (Phase.FAILED, Reason.AGENT_ERROR)),
        (0, {}, CANCEL, (Phase.SUCCEEDED, Reason.TASK_SUCCEEDED)),
        (3, {}, CANCEL, (Phase.RUNNING, Reason.TASK_RUNNING)),
        (137, {"deleting": True}, TaskRules(), (Phase.RUNNING, Reason.TASK_RUNNING)),
        (3, DISRUPTED, TaskRules(), (Phase.RUNNING, Reason.TASK_RUNNING)),
    ],
)
def test_an_agent_that_ends_while_its_job_is_deleted_ends_its_task(
    code: int, fields: Any, rules: TaskRules, expected: Any
) -> None:
    ended = pod(exited(code), phase="Failed" if code else "Succeeded", **fields)
    assert shown(look(job(deleting=True), ended, rules=rules)) == expected


# Messages -------------------------------------------------------------------------------------------


def test_a_message_is_the_last_line_that_says_something() -> None:
    assert one_line("first\n\x1b[31mlast\x1b[0m \n\n") == "last"
    assert one_line("x" * 600) == "x" * 511 + "…"
    assert one_line("\n ") == ""


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400"])
def test_a_number_that_no_json_has_costs_its_own_field_alone(number: str) -> None:
    left = exited(message=f'{{"summary": "done", "usage": {{"costUSD": {number}}}, "x": {number}}}')
    result, summary = read_result(left)
    assert summary == "done"
    assert result is not None
    assert "x" not in result


@pytest.mark.parametrize(
    ("text", "expected"), [("", (None, "")), ("a\nb", (None, "b")), ("{broken", (None, "{broken"))]
)
def test_a_message_that_is_no_result_is_one_line(text: str, expected: Any) -> None:
    assert read_result(exited(message=text)) == expected


# A Pod that a queue, a sidecar or its node treats in an unusual way ------------------------------


def test_an_agent_that_had_ended_when_its_job_was_suspended_ends_by_its_own_exit() -> None:
    ended = pod(exited(), phase="Succeeded")
    decision = verified(
        job(suspended=True), ended, known=RUNNING, rules=TaskRules(max_disruptions=1)
    )
    assert (shown(decision), decision.action) == (
        (Phase.SUCCEEDED, Reason.TASK_SUCCEEDED),
        Action.END,
    )
    # The Job controller has deleted the Pod, which a sidecar kept.
    going = pod(exited(finished_at=at(-9)), container("mesh"), deleting=True, deleted_at=at(-5))
    assert shown(verified(job(suspended=True), going, known=RUNNING))[0] is Phase.SUCCEEDED
    going = replace(going, deleted_at=at(-9))
    assert shown(verified(job(suspended=True), going, known=RUNNING))[1] == Reason.DISRUPTED
    decision = verified(job(suspended=True), pod(exited(3)), known=RUNNING)
    assert (shown(decision), decision.action) == ((Phase.FAILED, Reason.AGENT_ERROR), Action.END)


def test_a_cancelled_agent_in_a_suspended_job_was_cancelled() -> None:
    ended = {"phase": "Failed", "reason": "DeadlineExceeded", "active_deadline_seconds": 1}
    decision = verified(job(suspended=True), pod(exited(137), **ended), known=RUNNING, rules=CANCEL)
    assert shown(decision) == (Phase.FAILED, Reason.CANCELLED)


def test_an_agent_that_the_disruption_killed_did_not_fail_before_by_the_clock_of_its_node() -> None:
    gone = pod(exited(143, finished_at=at(-16)), phase="Failed", disrupted_at=at(-15), **DISRUPTED)
    assert shown(look(disrupted_job(), gone)) == (Phase.FAILED, Reason.DISRUPTED)


def test_an_agent_that_failed_before_its_node_was_lost_is_not_started_again() -> None:
    gone = pod(exited(3, finished_at=at(-20)), container("mesh"), disrupted_at=at(-15), **DISRUPTED)
    decision = look(job(), gone, rules=TaskRules(max_disruptions=2), **LOST)
    assert (shown(decision), decision.action) == ((Phase.FAILED, Reason.AGENT_ERROR), Action.END)


def test_a_preparation_that_failed_is_not_repeated_because_its_pod_was_deleted() -> None:
    told = '{"reason": "CloneFailed", "message": "no such repository"}'
    gone = pod(exited(1, told, name="workspace"), waiting(), phase="Failed", deleting=True)
    assert shown(look(job(failed=failed()), gone)) == (Phase.FAILED, Reason.CLONE_FAILED)
    ended = {"deleted_job": job(failed=failed()), "deleted_pods": [gone]}
    assert shown(verified(None, **ended)) == (Phase.FAILED, Reason.CLONE_FAILED)
    late = pod(waiting(), phase="Failed", deleting=True)
    decision = look(job(failed=failed(reason="DeadlineExceeded")), late)
    assert shown(decision) == (Phase.FAILED, Reason.TIMED_OUT)


def test_an_agent_that_failed_before_the_disruption_of_its_pod_is_not_started_again() -> None:
    gone = pod(exited(3, finished_at=at(-20)), phase="Failed", disrupted_at=at(-15), **DISRUPTED)
    decision = look(
        job(failed=failed(message=DISRUPTION)), gone, rules=TaskRules(max_disruptions=2)
    )
    assert shown(decision) == (Phase.FAILED, Reason.AGENT_ERROR)
    assert decision.state is not None
    assert "exit code 3" in decision.state.message


@pytest.mark.parametrize(
    "containers",
    [(), (waiting(),), (exited(137, started_at="", reason="ContainerStatusUnknown"),)],
    ids=["no container", "waiting", "unknown"],
)
def test_a_pod_that_is_deleted_before_its_agent_has_started_is_replaced(containers: Any) -> None:
    gone = pod(*containers, phase="Failed", deleting=True)
    decision = look(job(failed=failed()), gone)
    assert (shown(decision), decision.action) == (
        (Phase.PENDING, Reason.STARTING),
        Action.REPLACE,
    )
    assert decision.state is not None
    assert "was deleted before the agent started" in decision.state.message
    # Its end was the controller's own.
    ended = replace(gone, active_deadline_seconds=1)
    assert shown(look(job(failed=failed()), ended))[0] is Phase.FAILED


def test_a_retry_that_the_controller_ends_before_its_agent_starts_has_the_reason_of_that() -> None:
    why = PendingReason(Reason.PENDING_TIMEOUT, "the agent did not start within 5 s")
    first = pod(exited(1), name="first", created=at(-90))
    second = pod(name="second", node="", phase="Pending")
    known = replace(RUNNING, phase=Phase.PENDING, reason=Reason.UNSCHEDULABLE)
    gone = {"deleted_job": job(backoff_limit=1), "deleted_pods": [first, second]}
    decision = verified(None, known=known, ending=why, **gone)
    assert shown(decision) == (Phase.FAILED, Reason.PENDING_TIMEOUT)
    started = [first, replace(second, containers=(container(),), phase="Running", node="n")]
    decision = verified(None, known=known, ending=why, **gone | {"deleted_pods": started})
    assert shown(decision) == (Phase.FAILED, Reason.JOB_LOST)


def test_the_container_that_failed_first_is_named() -> None:
    sidecar = exited(143, name="istio-proxy", init=True, finished_at=at(-1))
    cause = exited(1, "no route to vault", name="vault-agent-init", init=True, finished_at=at(-5))
    decision = look(job(failed=failed()), pod(sidecar, cause, waiting(), phase="Failed"))
    assert decision.state is not None
    assert decision.state.message == "container vault-agent-init: no route to vault"


def test_an_agent_that_runs_without_a_time_of_its_start_has_started() -> None:
    virtual = pod(container(started_at=""), phase="Failed", **DISRUPTED)
    assert shown(look(job(failed=failed(message=DISRUPTION)), virtual)) == (
        Phase.FAILED,
        Reason.DISRUPTED,
    )
    ended = pod(exited(started_at="", created=True))
    assert shown(look(job(complete=complete()), ended)) == (Phase.SUCCEEDED, Reason.TASK_SUCCEEDED)


def test_a_pod_that_its_node_refuses_after_its_agent_ran_was_disrupted() -> None:
    decision = look(
        job(failed=failed()),
        turned_away("UnexpectedAdmissionError"),
        known=RUNNING,
        rules=TaskRules(max_disruptions=1),
    )
    assert decision.action is Action.REPLACE
    assert decision.state is not None
    assert decision.state.disruptions == 1
    decision = look(job(failed=failed()), turned_away(), known=RUNNING)
    assert shown(decision) == (Phase.FAILED, Reason.DISRUPTED)


LOST: dict[str, Any] = {"pods_verified": True, "overdue_for": 91.0}


@pytest.mark.parametrize(
    ("the_pod", "rules", "ending", "reason"),
    [
        (pod(container(), **DISRUPTED), TaskRules(), None, Reason.DISRUPTED),
        (pod(container(), **DISRUPTED), CANCEL, None, Reason.CANCELLED),
        (pod(container(), active_deadline_seconds=1), CANCEL, None, Reason.CANCELLED),
        (pod(container(), active_deadline_seconds=9), TaskRules(), None, Reason.TIMED_OUT),
        (pod(waiting(), deleting=True), HALT, None, Reason.MAX_FAILURES_EXCEEDED),
        (
            pod(waiting(), active_deadline_seconds=1),
            TaskRules(pending_deadline=5),
            PendingReason(Reason.PENDING_TIMEOUT, "too late"),
            Reason.PENDING_TIMEOUT,
        ),
        # An earlier process had begun to end it.
        (
            pod(waiting(), active_deadline_seconds=1),
            TaskRules(pending_deadline=5),
            None,
            Reason.PENDING_TIMEOUT,
        ),
    ],
)
def test_a_task_ends_though_the_node_of_its_pod_does_not_answer(
    the_pod: Any, rules: TaskRules, ending: Any, reason: Reason
) -> None:
    decision = look(job(), the_pod, rules=rules, ending=ending, **LOST)
    assert (shown(decision), decision.action) == ((Phase.FAILED, reason), Action.END)
    assert decision.state is not None
    assert "node node1 did not end Pod" in decision.state.message
    early = look(job(), the_pod, rules=rules, ending=ending, **LOST | {"overdue_for": 80.0})
    assert early.state is not None
    assert not early.state.final
    assert early.wake_after == 10.0
    unsure = look(job(), the_pod, rules=rules, ending=ending, overdue_for=91.0)
    assert unsure.needs is Needs.PODS


def test_an_agent_that_succeeded_before_its_node_was_lost_has_succeeded() -> None:
    gone = pod(
        exited(finished_at=at(-20)),
        container("mesh"),
        disrupted_at=at(-15),
        **DISRUPTED,
    )
    decision = look(job(), gone, **LOST)
    assert (shown(decision), decision.action) == (
        (Phase.SUCCEEDED, Reason.TASK_SUCCEEDED),
        Action.END,
    )


def test_a_running_agent_is_looked_at_again_when_its_deadline_has_passed_for_good() -> None:
    decision = look(job(), pod(container(), active_deadline_seconds=600), overdue_for=-500.0)
    assert (shown(decision)[0], decision.wake_after) == (Phase.RUNNING, 590.0)


def test_an_agent_on_a_lost_node_is_tried_again_as_far_as_disruptions_are_allowed() -> None:
    gone = pod(container(), **DISRUPTED)
    decision = look(job(), gone, rules=TaskRules(max_disruptions=1), **LOST)
    assert (shown(decision)[0], decision.action) == (Phase.PENDING, Action.REPLACE)
    decision = look(job(), pod(waiting(), **DISRUPTED), **LOST)
    assert (shown(decision)[0], decision.action) == (Phase.PENDING, Action.REPLACE)


def test_a_deleted_job_whose_pod_is_on_a_lost_node_is_lost() -> None:
    gone = pod(container(), deleting=True)
    assert shown(look(job(deleting=True), gone, **LOST)) == (Phase.FAILED, Reason.JOB_LOST)
    decision = look(job(deleting=True), gone, rules=CANCEL, **LOST)
    assert shown(decision) == (Phase.FAILED, Reason.CANCELLED)
    assert look(job(deleting=True), gone, overdue_for=91.0).needs is Needs.PODS


# Time in a queue, and starts that hang -----------------------------------------------------------


def test_the_pending_deadline_rests_while_a_scheduling_gate_holds_the_pod() -> None:
    rules = TaskRules(pending_deadline=30)
    text = "Scheduling is blocked due to non-empty scheduling gates"
    gated = pod(node="", unschedulable=text, phase="Pending")
    decision = verified(job(), gated, rules=rules)
    assert (shown(decision)[1], decision.action) == (Reason.QUEUED, Action.NONE)
    waits = pod(node="", unschedulable="0/1 nodes are available", phase="Pending")
    decision = verified(job(), waits, rules=rules, gated_ago=10.0)
    assert (decision.action, decision.wake_after) == (Action.NONE, 20.0)
    assert verified(job(), waits, rules=rules, gated_ago=31.0).action is Action.END


def test_a_start_that_an_injected_container_holds_up_is_mended_by_a_corrected_config() -> None:
    rules = TaskRules(config_digest="new")
    stuck = container("vault-agent-init", init=True, started_at=at(-120))
    hangs = pod(stuck, waiting(name="workspace"), waiting())
    decision = verified(job(config_digest="old"), hangs, rules=rules)
    assert decision.action is Action.REPLACE
    state = look(job(config_digest="new"), hangs, rules=rules).state
    assert state is not None
    assert "its init container vault-agent-init has not ended" in state.message
    young = pod(replace(stuck, started_at=at(-20)), waiting(name="workspace"), waiting())
    decision = verified(job(config_digest="old"), young, rules=rules)
    assert (decision.action, decision.wake_after) == (Action.NONE, 40.0)
    # A native sidecar that has started holds up nothing.
    mesh = container("mesh", init=True, started_at=at(-120), up=True)
    pulls = pod(mesh, waiting(name="workspace"), waiting())
    assert verified(job(config_digest="old"), pulls, rules=rules).action is Action.NONE
    state = look(job(), pulls).state
    assert state is not None
    assert "has not ended" not in state.message
    # The preparation of the workspace may take as long as it needs.
    works = pod(
        container("mesh", init=True, started_at=at(-120)), container("workspace"), waiting()
    )
    assert verified(job(config_digest="old"), works, rules=rules).action is Action.NONE


# What a container has left ------------------------------------------------------------------------


def test_what_is_left_of_a_message_that_the_kubelet_has_cut_counts() -> None:
    whole = {
        "reason": "RateLimited",
        "pullRequest": "https://example.com/o/r/pull/7",
        "branch": "kubetask/x",
        "usage": {"inputTokens": 12, "costUSD": "0.42"},
        "commits": ["a" * 40] * 40,
        "summary": "s" * 2000,
    }
    text = truncated(whole).decode()
    result, message = read_result(exited(1, text[:1228]))
    assert result is not None
    assert {k: result[k] for k in ("reason", "pullRequest", "branch", "usage")} == {
        k: whole[k] for k in ("reason", "pullRequest", "branch", "usage")
    }
    assert result["commits"] == ["a" * 40] * len(result["commits"])
    assert message == ""
    # Lines of a log are no result that was cut, and an empty result is one.
    assert read_result(exited(1, '{"a": "b"}\n{"msg": "boom"}')) == (None, '{"msg": "boom"}')
    assert read_result(exited(message="{}")) == ({}, "")
    # What the cut ended is left out: half a link leads elsewhere, and half a number is another one.
    assert read_result(exited(1, text[:45])) == ({"reason": "RateLimited"}, "")
    cut = text[: text.index("12,") + 1]
    assert "usage" not in (read_result(exited(1, cut))[0] or {})


def test_a_child_that_ran_out_of_memory_does_not_hide_how_the_agent_ended() -> None:
    told = '{"reason": "PushRejected", "summary": "the branch is protected"}'
    refused = exited(1, told, reason="OOMKilled")
    state = look(job(failed=failed()), pod(refused)).state
    assert state is not None
    assert state.reason == Reason.PUSH_REJECTED
    state = look(job(failed=failed()), pod(replace(refused, exit_code=137))).state
    assert state is not None
    assert state.reason == Reason.OOM_KILLED
    assert "the branch is protected" in state.message


def test_the_end_by_a_deadline_names_what_the_container_left_and_what_held_it_up() -> None:
    killed = pod(exited(137, "compiling"), reason="DeadlineExceeded", active_deadline_seconds=3)
    state = look(job(failed=failed()), killed).state
    assert state is not None
    assert state.message == "the agent ran longer than 3 s: compiling"
    held = replace(STARTING, reason=Reason.IMAGE_PULL_BACK_OFF, message="no such image")
    unstarted = pod(waiting(), phase="Failed", reason="DeadlineExceeded", active_deadline_seconds=3)
    state = look(job(failed=failed()), unstarted, known=held).state
    assert state is not None
    assert (state.reason, state.message) == (
        Reason.TIMED_OUT,
        "the agent did not start within 3 s: ImagePullBackOff: no such image",
    )
