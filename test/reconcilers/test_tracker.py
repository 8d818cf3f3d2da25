"""What the controller remembers of an owner between two reconciles."""

from dataclasses import replace

import pytest

from kubetask_controller.api.constants import Phase, Reason
from kubetask_controller.reconcilers.taskrun.pending_reasons import PendingReason
from kubetask_controller.reconcilers.taskrun.recorded import Recorded
from kubetask_controller.reconcilers.taskrun.state import TaskRules, TaskState
from kubetask_controller.reconcilers.taskrun.tracker import RETRY_MOST, Tracker, Trackers
from support.reconcilers import runs
from support.reconcilers.views import job

RULES = TaskRules()
REPLACED = TaskState(Phase.PENDING, Reason.STARTING, job_name="r-task-0", replacements=1)
COSTLY = replace(runs.SUCCEEDED, result={"usage": {"costUSD": "2", "inputTokens": 7}})
REFUSED = PendingReason(Reason.QUOTA_EXCEEDED, "exceeded quota")


def settled(*states: TaskState | None) -> Tracker:
    """A tracker whose tasks have been decided once."""
    tracker = runs.tracker(*states)
    tracker.take_dirty(RULES, 0.0)
    return tracker


# Which tasks are decided again -------------------------------------------------------------------


def test_every_task_that_has_not_ended_is_decided_at_first() -> None:
    assert runs.tracker(None, runs.SUCCEEDED, runs.RUNNING).take_dirty(RULES, 0.0) == [0, 2]


def test_afterwards_only_what_has_changed_is_decided() -> None:
    tracker = settled(None, None, runs.SUCCEEDED)
    tracker.mark_job("r-task-1")
    tracker.mark_job("r-task-2")
    tracker.mark_job("foreign")
    assert tracker.take_dirty(RULES, 0.0) == [1]
    assert tracker.take_dirty(RULES, 0.0) == []


def test_other_rules_concern_every_task() -> None:
    assert settled(None, None).take_dirty(replace(RULES, cancel=True), 0.0) == [0, 1]


def test_a_task_is_decided_again_when_its_time_has_come() -> None:
    tracker = settled(None, None)
    tracker.look_again(1, 50.0)
    tracker.look_again(1, 90.0)
    assert tracker.next_due(40.0) == 10.0
    assert tracker.take_dirty(RULES, 49.0) == []
    assert tracker.take_dirty(RULES, 50.0) == [1]
    assert tracker.next_due(50.0) == 0.0


# Ends --------------------------------------------------------------------------------------------


def test_a_final_state_stays_whatever_is_decided_later() -> None:
    tracker = settled(runs.SUCCEEDED)
    tracker.decided(0, runs.failed())
    tracker.failed(0, Reason.INVALID_SPEC, "x")
    assert tracker.states[0] == runs.SUCCEEDED


def test_an_end_is_counted_once_when_the_status_has_it() -> None:
    tracker = settled(runs.RUNNING, None)
    tracker.decided(0, COSTLY)
    assert not tracker.is_recorded_final(0)
    assert tracker.recorded(tracker.states) == [COSTLY]
    assert tracker.is_recorded_final(0)
    assert tracker.recorded(tracker.states) == []


def test_usage_is_the_sum_of_what_ended_and_what_the_status_had() -> None:
    tracker = settled(runs.RUNNING, runs.RUNNING, runs.SUCCEEDED)
    tracker.decided(0, COSTLY)
    tracker.decided(1, COSTLY)
    tracker.recorded(tracker.states)
    assert (tracker.usage.cost_usd, tracker.usage.input_tokens) == (4, 14)


def test_a_task_that_fails_without_a_job_is_not_started_any_more() -> None:
    tracker = settled(None, None)
    tracker.failed(0, Reason.TOO_LARGE, "too large")
    assert tracker.unstarted() == [1]
    state = tracker.states[0]
    assert state is not None
    assert (state.phase, state.reason, state.message) == (
        Phase.FAILED,
        Reason.TOO_LARGE,
        "too large",
    )


# Creates -----------------------------------------------------------------------------------------


def test_a_create_without_an_answer_may_have_made_a_job() -> None:
    tracker = settled(None, None)
    tracker.creating(0)
    assert tracker.pending_creates() == [0]
    tracker.unanswered(0, 0.0)
    assert (tracker.is_unanswered(0), tracker.unstarted()) == (True, [0, 1])
    tracker.seen(0, job())
    assert (tracker.is_unanswered(0), tracker.unstarted()) == (False, [1])


@pytest.mark.parametrize("how", ["not_created", "was_run"])
def test_an_answer_settles_a_create(how: str) -> None:
    tracker = settled(None)
    tracker.creating(0)
    tracker.unanswered(0, 0.0)
    getattr(tracker, how)(0)
    assert tracker.pending_creates() == []
    assert tracker.was_created(0) == (how == "was_run")


def test_refused_creates_wait_longer_each_time_up_to_two_minutes() -> None:
    tracker, delays = settled(None), []
    for _ in range(12):
        tracker.refused_create([0], REFUSED, 100.0, 1.0)
        delays.append(tracker.retry_in(100.0))
    assert delays[:4] == [1.0, 2.0, 4.0, 8.0]
    assert delays[-1] == RETRY_MOST
    assert tracker.refused == REFUSED


def test_two_owners_that_are_refused_together_do_not_try_again_together() -> None:
    first, second = settled(None), settled(None)
    first.refused_create([0], REFUSED, 0.0, 0.0)
    second.refused_create([0], REFUSED, 0.0, 0.9)
    assert first.retry_in(0.0) < second.retry_in(0.0)


def test_a_created_job_ends_the_waiting_after_refusals() -> None:
    tracker = settled(None)
    tracker.refused_create([0], REFUSED, 0.0, 0.0)
    tracker.created_job(0, runs.STARTING, 5.0)
    assert (tracker.retry_in(0.0), tracker.refused, tracker.was_created(0)) == (0.0, None, True)
    # Deleted at once, it never appears in the cache.
    assert tracker.take_dirty(RULES, 0.0) == [0]
    assert tracker.take_dirty(RULES, 5.0) == [0]


# Replacements ------------------------------------------------------------------------------------


def test_a_replaced_job_does_not_count_as_the_new_one() -> None:
    tracker = settled(runs.STARTING)
    tracker.is_ending(0, REFUSED)
    tracker.replaced(0, REPLACED)
    assert (tracker.unstarted(), tracker.ending(0)) == ([0], None)
    tracker.seen(0, job())
    assert tracker.unstarted() == [0]
    tracker.seen(0, job(replacement=1))
    assert tracker.unstarted() == []


def test_a_job_is_replaced_only_after_the_status_says_so() -> None:
    tracker = settled(runs.STARTING)
    tracker.replaced(0, REPLACED)
    assert not tracker.is_replacement_recorded(0)
    tracker.recorded(tracker.states)
    assert tracker.is_replacement_recorded(0)


def test_the_first_reason_for_an_end_counts() -> None:
    tracker = settled(runs.STARTING)
    tracker.is_ending(0, REFUSED)
    tracker.is_ending(0, PendingReason(Reason.CANCELLED, ""))
    assert tracker.ending(0) == REFUSED


# Another process ---------------------------------------------------------------------------------


def test_an_end_that_another_process_recorded_holds_here() -> None:
    tracker = settled(runs.RUNNING)
    tracker.decided(0, runs.failed(Reason.JOB_LOST))
    tracker.adopt(Recorded(frozenset({0}), {0: COSTLY}))
    assert (tracker.states[0], tracker.is_recorded_final(0)) == (COSTLY, True)
    assert tracker.recorded(tracker.states) == []


def test_usage_of_an_end_that_another_process_recorded_counts_once() -> None:
    tracker = settled(runs.RUNNING)
    tracker.adopt(Recorded(frozenset({0}), {0: COSTLY}))
    tracker.adopt(Recorded(frozenset({0}), {0: COSTLY}))
    assert tracker.usage.cost_usd == 2


def test_a_job_that_another_process_created_is_not_created_again() -> None:
    tracker = settled(None, None)
    tracker.adopt(Recorded(frozenset({1, 7}), {9: runs.SUCCEEDED}))
    assert (tracker.unstarted(), tracker.looked_back) == ([0], False)
    assert tracker.take_dirty(RULES, 0.0) == [1]


def test_a_replacement_that_another_process_recorded_holds_here() -> None:
    tracker = settled(runs.STARTING)
    tracker.adopt(Recorded(frozenset(), {0: REPLACED}))
    assert (tracker.unstarted(), tracker.is_replacement_recorded(0)) == ([0], True)


def test_a_status_of_the_job_before_says_nothing_of_the_next_one() -> None:
    tracker = settled(runs.STARTING)
    tracker.replaced(0, REPLACED)
    tracker.adopt(Recorded(frozenset({0}), {0: runs.STARTING}))
    assert tracker.unstarted() == [0]


# Small things ------------------------------------------------------------------------------------


def test_a_foreign_job_is_told_of_once_and_not_for_ever() -> None:
    tracker = settled(None)
    told = [tracker.is_new_stranger(f"u{i % 200}") for i in range(400)]
    assert (told[0], told[200], sum(told)) == (True, False, 101)


def test_time_since_the_end_of_an_agent_counts_from_when_it_was_seen() -> None:
    tracker = settled(runs.RUNNING)
    assert tracker.holds_for("u", 10.0, holds=True) == 0.0
    assert tracker.holds_for("u", 14.0, holds=True) == 4.0
    assert tracker.holds_for("u", 15.0, holds=False) == 0.0
    assert tracker.holds_for("u", 16.0, holds=True) == 0.0
    assert [tracker.missing_for("pod", x) for x in (3.0, 5.0)] == [0.0, 2.0]


def test_trackers_mark_the_task_of_a_job_and_forget_their_owner() -> None:
    trackers, tracker = Trackers(), settled(None)
    trackers.add(tracker)
    trackers.mark("u-r", "r-task-0")
    trackers.mark("u-else", "r-task-0")
    assert tracker.take_dirty(RULES, 0.0) == [0]
    assert (trackers.get("u-r"), list(trackers.uids()), len(trackers)) == (tracker, ["u-r"], 1)
    trackers.forget("u-r")
    assert (trackers.get("u-r"), len(trackers)) == (None, 0)


def test_a_create_that_is_not_sent_again_keeps_the_first_one_without_an_answer() -> None:
    tasks = runs.tracker(None)
    tasks.creating(0)
    tasks.unanswered(0, 5.0)
    tasks.creating(0)
    tasks.not_sent(0)
    assert tasks.is_unanswered(0)
    assert tasks.unanswered_for(0, 9.0) == 4.0


def test_a_replacement_that_the_status_has_no_room_for_is_not_recorded() -> None:
    tasks = runs.tracker(runs.STARTING)
    tasks.replaced(0, replace(runs.STARTING, replacements=1))
    tasks.recorded(list(tasks.states), {0})
    assert tasks.awaits_record()
    assert not tasks.is_replacement_recorded(0)
    tasks.recorded(list(tasks.states))
    assert not tasks.awaits_record()
    assert tasks.is_replacement_recorded(0)
