"""The tasks of one BatchRun or Task, from observed Jobs to requests: the steps that both reconcilers share.

``observe`` decides the state of each task that has changed, with live reads where a decision needs them. ``act`` ends and
replaces Jobs, as far as the status has recorded the reason. ``start`` creates Jobs. Each step may be interrupted and
repeated.
"""

import hashlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import structlog
from pydantic_core import to_json

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import EventReason, Phase, Reason
from kubetask_controller.api.context import secret_refusal
from kubetask_controller.api.times import parse_time
from kubetask_controller.api.typed import (
    BatchSpecJSON,
    ContextJSON,
    WorkspaceConfigSpecJSON,
)
from kubetask_controller.client.errors import APIStatusError, ClientError
from kubetask_controller.reconcilers.concurrency import UNANSWERED_LIFE, Contender
from kubetask_controller.reconcilers.context import ReconcilerContext
from kubetask_controller.reconcilers.events import contender
from kubetask_controller.reconcilers.freshness import GIVE_UP
from kubetask_controller.reconcilers.listers import is_owned
from kubetask_controller.reconcilers.projections import (
    DEFAULT_GRACE_SECONDS,
    JobView,
    OwnerView,
    PodView,
)
from kubetask_controller.reconcilers.taskrun import files
from kubetask_controller.reconcilers.taskrun.job_template import Template
from kubetask_controller.reconcilers.taskrun.jobs import (
    Created,
    CreateOutcome,
    in_parallel,
    is_refusal,
    ramp_up,
    refusal,
)
from kubetask_controller.reconcilers.taskrun.pending_reasons import (
    PATIENCE,
    REFRESH,
    PendingReason,
    is_silent,
    silence,
)
from kubetask_controller.reconcilers.taskrun.state import (
    LOST_AFTER,
    Action,
    Decision,
    Needs,
    TaskFacts,
    TaskRules,
    TaskState,
    decide,
    earliest,
    newest,
    one_line,
)
from kubetask_controller.reconcilers.taskrun.tracker import Tracker
from kubetask_controller.runtime.events import ObjectReference
from kubetask_controller.runtime.reconcile import Request
from kubetask_controller.types import JSON

logger = structlog.get_logger("tasks")

MAX_CREATES = 2000
"""Jobs for which one reconcile takes slots at most."""

CREATE_SECONDS = 2.0
"""Seconds for which one reconcile creates Jobs at most: ends are observed, and the status is written, in between."""

AT_ONCE = 0.001
"""Seconds until the next reconcile if one reconcile could not create all Jobs."""

PREDECESSOR_SECONDS = DEFAULT_GRACE_SECONDS + LOST_AFTER
"""Seconds that a Job which is replaced may take to go, before the pending deadline of the next one counts."""

RECHECK = 5.0
"""Seconds until something is looked at again of which no event may come."""


@dataclass(frozen=True, slots=True)
class Environment:
    """The WorkspaceConfig in force.

    Attributes:
        name: of the WorkspaceConfig, also where it does not exist.
        spec: empty where it does not exist.
        digest: of the spec.
    """

    name: str
    spec: WorkspaceConfigSpecJSON
    digest: str

    @property
    def max_concurrent_tasks(self) -> int | None:
        """The cap over all work that uses it."""
        return self.spec.get("maxConcurrentTasks")


@dataclass(slots=True)
class Observation:
    """What one look at the Jobs found.

    Attributes:
        jobs: the Jobs of the owner by index, in their newest known versions.
        end: the tasks to stop, with their reasons.
        end_pods: Jobs whose Pod is kept by a sidecar and that may try again.
        wake_after: seconds until time alone changes a state, 0 for never.
        problem: why some tasks could not be decided; they keep their states, and are decided with the next reconcile.
    """

    jobs: dict[int, JobView]
    end: dict[int, PendingReason | None] = field(default_factory=dict)
    end_pods: list[int] = field(default_factory=list)
    wake_after: float = 0.0
    problem: Exception | None = None

    def wake(self, seconds: float) -> None:
        """Look again after so many seconds at the latest; 0 is ignored."""
        self.wake_after = earliest(self.wake_after, seconds)


@dataclass(frozen=True, slots=True)
class Started:
    """The results of the creates of one reconcile.

    Attributes:
        blocked: why some tasks did not start.
        retry_after: seconds until it is worth another try, 0 where an event follows.
        error: an answer that did not come.
        created: Jobs that were created.
    """

    blocked: PendingReason | None = None
    retry_after: float = 0.0
    error: Exception | None = None
    created: int = 0


@dataclass(slots=True)
class OwnerWork:
    """What the tasks of an owner work on.

    Attributes:
        contexts: all contexts of a task, by its index.
        everything: all contexts of all tasks, for their inline files.
        batch: the Batch's spec, whose pullRequest overrides that of the WorkspaceConfig.
        single: the owner is a Task: its Job has no index.
        places: the ConfigMap of each inline text, after its creation.
        accepted: the digest of the WorkspaceConfig with which the API server last accepted a Job.
    """

    contexts: Callable[[int], list[ContextJSON]]
    everything: Callable[[], Iterable[ContextJSON]]
    batch: BatchSpecJSON
    single: bool = False
    places: Mapping[str, str] | None = None
    accepted: str | None = None


class TaskRunner:
    """Runs the tasks of owners of one kind."""

    def __init__(self, context: ReconcilerContext, kind: str) -> None:
        self._context = context
        self._kind = kind
        self._digests: dict[str, tuple[str, str]] = {}

    async def environment(
        self, owner: OwnerView, tracker: Tracker, ref: str
    ) -> tuple[Environment | PendingReason, ClientError | None]:
        """The WorkspaceConfig in force, or why there is none, with the error where it could not be read.

        It is the one that is named, else ``default``, which need not exist.
        """
        name = ref or c.WORKSPACE_CONFIG_DEFAULT
        try:
            config = await self._context.fresh.workspace_config(
                owner.namespace, name, tracker.observed_at
            )
        except ClientError as error:
            return unanswered(error), error
        if config is None:
            if ref:
                text = f"WorkspaceConfig {name} does not exist in namespace {owner.namespace}"
                return PendingReason(Reason.WORKSPACE_CONFIG_NOT_FOUND, text), None
            return Environment(name, {}, config_digest_of({})), None
        known = self._digests.get(config.uid)
        if known is None or known[0] != config.resource_version:
            if len(self._digests) > 1024:
                self._digests.clear()
            known = self._digests[config.uid] = (
                config.resource_version,
                config_digest_of(config.spec),
            )
        return Environment(name, config.spec, known[1]), None

    # Observe --------------------------------------------------------------------------------------

    async def observe(self, owner: OwnerView, tracker: Tracker, rules: TaskRules) -> Observation:
        """Decide every task that has changed; states of the others stay.

        A live read without an answer, or a fault of this program in one decision, holds up that task alone.
        """
        context, seen = self._context, Observation(self._jobs(owner, tracker))
        events = await self._explain(owner, tracker, seen)
        # From here to the live reads nothing is awaited, so no mark is lost.
        seen = replace(seen, jobs=self._jobs(owner, tracker))
        now = context.clock.monotonic()
        dirty = dict.fromkeys(tracker.take_dirty(rules, now))
        dirty.update(
            dict.fromkeys(i for i, job in seen.jobs.items() if self._event_of(events, job))
        )
        missing: dict[Needs, list[int]] = {Needs.JOB: [], Needs.PODS: []}
        for index in dirty:
            try:
                decision = self._decide(owner, tracker, rules, seen, index, events=events)
                if decision.needs is Needs.NOTHING:
                    self._apply(owner, tracker, seen, index, decision)
                else:
                    missing[decision.needs].append(index)
            except Exception as error:
                # A fault of this program: the other tasks are decided, and this one with the next reconcile.
                tracker.mark(index)
                seen.problem = seen.problem or error
        problem = await self._verify(owner, tracker, rules, seen, missing, events)
        for index, job in seen.jobs.items():
            state = tracker.states[index]
            if state is None:
                continue
            if state.final and not (job.finished or job.deleting):
                seen.end.setdefault(index, None)
            elif not state.final and job.deleting and job.replacement < state.replacements:
                seen.wake(_wait_for_predecessor(tracker, index, job, rules, now))
        seen.wake(tracker.next_due(now))
        seen.problem = seen.problem or problem
        return seen

    def _jobs(self, owner: OwnerView, tracker: Tracker) -> dict[int, JobView]:
        jobs = {}
        for job in self._context.listers.claimed_jobs(owner, self._kind):
            index = tracker.index_of(job.name)
            if index is not None:
                jobs[index] = job
            elif tracker.is_new_stranger(job.uid):
                note = f"Job {job.name} names this {self._kind} as its owner and is not of its making; it is ignored"
                self.event(owner, EventReason.IGNORED, note, warning=True)
        return jobs

    async def _explain(
        self, owner: OwnerView, tracker: Tracker, seen: Observation
    ) -> dict[str, PendingReason]:
        """Messages of Events about Jobs and Pods that have been silent for too long, by uid."""
        uids = []
        for index, job in seen.jobs.items():
            state = tracker.states[index]
            if job.finished or (state is not None and state.phase is not Phase.PENDING):
                continue
            pod = self._newest_pod(job)
            if not is_silent(job, pod):
                continue
            left = PATIENCE - silence(job, pod, self._context.clock)
            if left <= 0:
                uids.append(_explained_by(job, pod))
            seen.wake(left if left > 0 else REFRESH)
        if not uids:
            return {}
        lookup = self._context.lookup
        try:
            events = await lookup.explain(owner.namespace, uids)
        except ClientError as error:
            # They only explain why a task waits.
            logger.info("Events cannot be read", namespace=owner.namespace, error=str(error))
            seen.wake(REFRESH)
            return lookup.known(uids)
        seen.wake(lookup.due_in(owner.namespace))
        return events

    def _newest_pod(self, job: JobView) -> PodView | None:
        return newest(self._context.listers.pods_of(job))

    def _event_of(
        self, events: Mapping[str, PendingReason], job: JobView | None
    ) -> PendingReason | None:
        if not events or job is None:
            return None
        return events.get(_explained_by(job, self._newest_pod(job)))

    def _decide(
        self,
        owner: OwnerView,
        tracker: Tracker,
        rules: TaskRules,
        seen: Observation,
        index: int,
        *,
        events: Mapping[str, PendingReason],
        live_job: JobView | None = None,
        job_verified: bool = False,
        live_pods: Sequence[PodView] | None = None,
        pods_verified: bool = False,
    ) -> Decision:
        context, name = self._context, tracker.job_name(index)
        known = tracker.states[index]
        job = live_job or seen.jobs.get(index)
        deleted = None
        if job is not None:
            tracker.seen(index, job)
        else:
            deleted = context.tombstones.job(owner.uid, name)
            if deleted and known and deleted.replacement < known.replacements:
                deleted = None
            if deleted is not None:
                tracker.seen(index, deleted)
        last = job or deleted
        pods = live_pods if live_pods is not None else context.listers.pods_of(last) if last else ()
        gone = context.tombstones.pods(owner.uid, last.uid) if last else []
        uids = {x.uid for x in pods}
        now = context.clock.monotonic()
        uid = job.uid if job is not None and not job.finished else ""
        pod = newest(pods)
        queued = known is not None and known.reason == Reason.QUEUED and bool(known.job_name)
        facts = TaskFacts(
            job=job,
            now=context.now(),
            pods=pods,
            deleted_job=deleted,
            deleted_pods=[x for x in gone if x.uid not in uids],
            created=tracker.was_created(index),
            event=self._event_of(events, job),
            job_verified=job_verified,
            pods_verified=pods_verified,
            ended_for=tracker.holds_for(f"ended/{uid}", now, holds=bool(uid) and _runs_on(pods)),
            overdue_for=_overdue_for(tracker, pod, now) if uid and pod else None,
            gated_ago=tracker.gated_ago(uid, now, gated=bool(uid) and queued),
        )
        return decide(name, known, facts, rules, tracker.ending(index))

    def _apply(
        self, owner: OwnerView, tracker: Tracker, seen: Observation, index: int, decision: Decision
    ) -> None:
        known, job = tracker.states[index], seen.jobs.get(index)
        if decision.action is Action.REPLACE:
            if decision.state is not known and decision.state is not None:
                tracker.replaced(index, decision.state)
                self._tell_replacement(owner, decision.state)
            return
        tracker.decided(index, decision.state)
        if decision.wake_after > 0:
            tracker.look_again(index, self._context.clock.monotonic() + decision.wake_after)
        if decision.action is Action.END and decision.state is not None and decision.state.final:
            tracker.must_be_recorded(index)
        elif decision.action is Action.END:
            if decision.ending is not None:
                tracker.is_ending(index, decision.ending)
            seen.end[index] = decision.ending
        elif decision.action is Action.END_POD:
            seen.end_pods.append(index)
        if job is None and tracker.was_created(index) and known is not None and not known.final:
            tracker.look_again(index, self._context.clock.monotonic() + RECHECK)

    async def _verify(
        self,
        owner: OwnerView,
        tracker: Tracker,
        rules: TaskRules,
        seen: Observation,
        missing: Mapping[Needs, Sequence[int]],
        events: Mapping[str, PendingReason],
    ) -> Exception | None:
        """Read what decisions lack, and decide again."""
        context = self._context

        async def job(index: int) -> None:
            name = tracker.job_name(index)
            found = await context.fresh.job(owner.namespace, name)
            if found is not None and found.is_controlled_by(owner.uid):
                # The cache lags, or the Job has lost the label by which it is watched.
                if not found.managed:
                    found = await self._restore(owner, seen, index, found)
                tracker.look_again(index, context.clock.monotonic() + RECHECK)
                decision = self._decide(
                    owner, tracker, rules, seen, index, events=events, live_job=found
                )
                if decision.needs is Needs.PODS:
                    await pods(index, found)
                    return
            else:
                context.limiter.gone(owner.namespace, name)
                decision = self._decide(
                    owner, tracker, rules, seen, index, events=events, job_verified=True
                )
            self._apply(owner, tracker, seen, index, decision)

        async def pods(index: int, job: JobView | None = None) -> None:
            job = job or seen.jobs.get(index)
            assert job is not None
            if job.suspended:
                found = await context.fresh.job(owner.namespace, job.name)
                if found is None or found.uid != job.uid:
                    tracker.look_again(index, context.clock.monotonic() + 1.0)
                    return
                job = found
            live = await context.fresh.pods(job)
            now = context.clock.monotonic()
            complete = not job.finished or context.fresh.is_complete(job, live)
            if not complete and tracker.missing_for(job.uid, now) < GIVE_UP:
                tracker.look_again(index, now + 1.0)
                return
            decision = self._decide(
                owner,
                tracker,
                rules,
                seen,
                index,
                events=events,
                live_job=job,
                live_pods=live.pods,
                pods_verified=True,
            )
            self._apply(owner, tracker, seen, index, decision)

        undecided = {*missing[Needs.JOB], *missing[Needs.PODS]}

        async def one(item: tuple[int, bool]) -> None:
            index, of_job = item
            await (job(index) if of_job else pods(index))
            undecided.discard(index)

        work = [(i, True) for i in missing[Needs.JOB]] + [(i, False) for i in missing[Needs.PODS]]
        try:
            await in_parallel(work, one)
        except ExceptionGroup as errors:
            return errors.exceptions[0]
        finally:
            # Also where the reconcile is cancelled, since no event may come for them.
            for index in undecided:
                tracker.mark(index)
        return None

    # Act ------------------------------------------------------------------------------------------

    async def _restore(
        self, owner: OwnerView, seen: Observation, index: int, job: JobView
    ) -> JobView:
        """Give a Job its label back. Where that fails, no cache shows it: it is polled, and holds its slot."""
        restored = await self._context.fresh.relabelled(job)
        if restored is None:
            return job
        if not restored.managed:
            seen.jobs[index] = restored
            if not restored.finished:
                pool = (job.namespace, job.workspace_config)
                self._context.limiter.unverified(pool, contender(self._kind, owner), job.name)
        return restored

    async def act(self, owner: OwnerView, tracker: Tracker, seen: Observation) -> None:
        """End and replace Jobs, many at once. What ends a task for good is recorded in the status before.

        A request that fails holds up no other one; it becomes the ``problem`` of the observation.
        """
        work: list[tuple[str, int]] = []
        for index in seen.end:
            state = tracker.states[index]
            if index in seen.jobs and (
                state is None or not state.final or tracker.is_recorded_final(index)
            ):
                work.append(("end", index))
        work += [("end_pods", index) for index in seen.end_pods]
        work += [
            ("replace", index)
            for index, job in seen.jobs.items()
            if (state := tracker.states[index]) is not None
            and job.replacement < state.replacements
            and not job.deleting
            and tracker.is_replacement_recorded(index)
        ]
        # A request may be cancelled, or change nothing, as after a conflict; then no event follows.
        now = self._context.clock.monotonic()
        for _, index in work:
            tracker.look_again(index, now + RECHECK)
        try:
            await in_parallel(work, lambda item: self._act(owner, tracker, seen, *item))
        except ExceptionGroup as errors:
            seen.problem = seen.problem or errors.exceptions[0]

    async def _act(
        self, owner: OwnerView, tracker: Tracker, seen: Observation, what: str, index: int
    ) -> None:
        context, job = self._context, seen.jobs[index]
        try:
            if what == "replace":
                await self._replace(owner, tracker, index, job)
            elif what == "end_pods":
                await context.jobs.end_pods(context.listers.pods_of(job))
            elif not _is_ending(
                context.listers.pods_of(job), recorded=tracker.is_recorded_final(index)
            ):
                await self._end(owner, tracker, index, job)
        except Exception:
            tracker.mark(index)
            raise

    async def _end(self, owner: OwnerView, tracker: Tracker, index: int, job: JobView) -> None:
        """End a Job. Only an agent that was cancelled, or has ended, may have started; every other one is held back."""
        context, state = self._context, tracker.states[index]
        pods: Sequence[PodView] | None = context.listers.pods_of(job)
        if owner.spec.get("cancel") or (state is not None and state.final):
            if not any(x.node and not x.terminal for x in pods or ()):
                # Without a Pod on a node the Job is deleted, which needs newer facts than a cache has.
                pods = (await context.fresh.pods(job)).pods
        else:
            pods = await context.jobs.hold_back((await context.fresh.pods(job)).pods)
        if pods is not None:
            recorded = state is not None and state.final
            await context.jobs.end(job, pods, recorded=recorded)

    async def _replace(self, owner: OwnerView, tracker: Tracker, index: int, job: JobView) -> None:
        """Delete a Job whose replacement is recorded, after a live look that no agent runs in it."""
        context = self._context
        if not job.finished:
            live = await context.fresh.pods(job)
            if any(x.agent_started and not x.terminal and not x.deleting for x in live.pods):
                if job.suspended:
                    # The Job controller is about to delete the Pod.
                    tracker.look_again(index, context.clock.monotonic() + RECHECK)
                    return
                state = tracker.states[index]
                assert state is not None
                await context.jobs.keep(job, state.replacements)
                return
            staying = [x for x in live.pods if not x.deleting]
            if await context.jobs.hold_back(staying) is None:
                tracker.look_again(index, context.clock.monotonic() + RECHECK)
                return
        context.tombstones.forget_job(owner.uid, job.uid)
        await context.jobs.delete(job, foreground=True)

    def after_problem(self, problem: Exception) -> float:
        """Log why a part of a reconcile could not be done; returns the seconds until it is tried again.

        Raises:
            Exception: the problem is a fault of this program, and no answer of the API server.
        """
        if not isinstance(problem, ClientError):
            raise problem
        logger.warning("A part of the reconcile is tried again", error=str(problem))
        return RECHECK

    # Start ----------------------------------------------------------------------------------------

    async def count_slots(self, namespace: str) -> None:
        """Count the Jobs of earlier processes. One whose label cannot be restored is in no cache, and holds its slot here.

        Raises:
            ClientError: the Jobs could not be read.
        """
        for job in await self._context.fresh.count_jobs(namespace):
            if job.owner is not None:
                who = Contender(job.owner.kind, namespace, job.owner.name, job.owner.uid)
                self._context.limiter.unverified((namespace, job.workspace_config), who, job.name)

    async def end_unstarted(
        self, owner: OwnerView, tracker: Tracker, stopped: PendingReason
    ) -> Started:
        """End the tasks that have no Job, for the reason for which no further agent may start.

        A create without an answer may still create a Job: its task ends when the API server can no longer process it. The
        creates of an earlier leader count as such.
        """
        retry, problem = 0.0, None
        left = self._inherited_for(tracker)
        if left > 0 and tracker.unstarted():
            text = f"{stopped.message}; an earlier leader's requests may be in progress"
            return Started(PendingReason(Reason.QUEUED, text), min(left, RECHECK))
        for index in tracker.unstarted():
            if tracker.is_unanswered(index):
                try:
                    # Where Events may be another Job's, the create may still be carried out, as where nothing is found.
                    if problem is not None or await self._exists(owner, tracker, index) is True:
                        continue
                except ClientError as error:
                    problem = error
                    continue
                if (left := self._may_come_for(tracker, index)) > 0:
                    retry = earliest(retry, min(left, RECHECK))
                    continue
            tracker.failed(index, stopped.reason, stopped.message)
        return Started(retry_after=retry, error=problem)

    async def start(
        self,
        owner: OwnerView,
        tracker: Tracker,
        environment: Environment,
        indexes: Sequence[int],
        work: OwnerWork,
    ) -> Started:
        """Create the Jobs of these tasks, as far as there are slots."""
        context, who = self._context, contender(self._kind, owner)
        now = context.clock.monotonic()
        if tracker.refused is not None and (retry := tracker.retry_in(now)) > 0:
            left = self._end_refused(owner, tracker, indexes, tracker.refused)
            context.limiter.withdraw(who)
            return Started(tracker.refused, earliest(retry, left))
        pool, limit = (owner.namespace, environment.name), environment.max_concurrent_tasks
        ready, undecided, error = await self._settle(owner, tracker, indexes, pool)
        wanted = [tracker.job_name(index) for index in ready]
        granted = context.limiter.acquire(
            pool,
            who,
            wanted,
            most=MAX_CREATES,
            limit=limit,
            since=lambda: self._last_service(owner),
        )
        batch = ready[:granted]
        created, tried, blocked, retry = 0, 0, None, RECHECK if undecided else 0.0
        if batch:
            try:
                tried, outcomes, problem = await self._create(
                    owner, tracker, environment, batch, work
                )
            finally:
                for index in batch:
                    if tracker.is_unanswered(index):
                        left = self._may_come_for(tracker, index)
                        context.limiter.unanswered(pool, tracker.job_name(index), left)
                    else:
                        self._settled(owner, tracker, index, pool)
            error = error or problem
            created = sum(x.ours for x in outcomes)
            refused = next((x.reason for x in outcomes if x.how is Created.REFUSED), None)
            predecessors = [x.reason for x in outcomes if x.how is Created.PREDECESSOR and x.reason]
            predecessor = min(predecessors, key=lambda x: x.message, default=None)
            if refused is not None:
                untaken = [index for index in batch if not tracker.was_created(index)]
                now = context.clock.monotonic()
                tracker.refused_create(untaken, refused, now, random.random())
                left = self._end_refused(owner, tracker, untaken, refused)
                blocked, retry = refused, earliest(tracker.retry_in(now), left)
                context.limiter.withdraw(who)
            elif predecessor is not None:
                blocked, retry = predecessor, 1.0
            if not created and (error is not None or predecessor is not None):
                # It is tried again by itself: another owner that is woken might wake it in turn.
                context.limiter.withdraw(who)
            elif created < len(batch):
                context.limiter.wake(pool, but=who)
        elif ready and tracker.refused is not None:
            # What holds them back now is the limit.
            tracker.limited()
        if blocked is None and granted < min(len(ready), MAX_CREATES):
            text = f"maxConcurrentTasks {limit} of WorkspaceConfig {environment.name} are in use"
            blocked = PendingReason(Reason.QUEUED, text)
        elif blocked is None and error is None and tried < len(ready):
            retry = AT_ONCE
        if blocked is None and error is not None and not created:
            text = f"no Job could be created, which is tried again: {one_line(str(error))}"
            blocked = PendingReason(Reason.QUEUED, text)
        return Started(blocked, retry, error, created)

    def _end_refused(
        self,
        owner: OwnerView,
        tracker: Tracker,
        indexes: Sequence[int],
        refused: PendingReason,
    ) -> float:
        """End tasks whose own Jobs have been refused for as long as a Pod may wait; the seconds until the next one ends."""
        limit = owner.spec.get("pendingDeadlineSeconds")
        inherited = self._inherited_for(tracker)
        if limit is None or inherited > 0:
            return inherited
        now, after = self._context.clock.monotonic(), 0.0
        text = f"the agent did not start within {limit} s: {refused.reason}: {one_line(refused.message)}"
        for index in indexes:
            waited = tracker.refused_for(index, now)
            if not waited or tracker.is_unanswered(index):
                continue
            if waited < limit:
                after = earliest(after, limit - waited)
                continue
            tracker.failed(index, Reason.PENDING_TIMEOUT, text)
            after = AT_ONCE
        return after

    def _inherited_for(self, tracker: Tracker) -> float:
        """Seconds for which creates of an earlier leader may still be carried out; 0 for none."""
        if not tracker.inherited:
            return 0.0
        return max(0.0, tracker.observed_at + UNANSWERED_LIFE - self._context.clock.monotonic())

    def _last_service(self, owner: OwnerView) -> float:
        times = [x.created for x in self._context.listers.owned_jobs(owner, self._kind)]
        return parse_time(max([owner.created, *times])).timestamp()

    async def _settle(
        self, owner: OwnerView, tracker: Tracker, indexes: Sequence[int], pool: tuple[str, str]
    ) -> tuple[list[int], bool, Exception | None]:
        """Those of which it is certain that no Job exists; whether that is undecided for some; an answer that did not come.

        A look-up without an answer holds up no other task.
        """
        ready: list[int] = []
        undecided = False
        problem: Exception | None = None
        for index in indexes:
            if tracker.is_unanswered(index):
                if problem is not None:
                    # One such answer is enough: each of the others might take as long.
                    continue
                if tracker.is_absent(index):
                    ready.append(index)
                    continue
                try:
                    exists = await self._exists(owner, tracker, index)
                except ClientError as error:
                    problem = error
                    continue
                if exists:
                    self._settled(owner, tracker, index, pool)
                    continue
                if exists is None:
                    undecided = True
                    continue
                # The API server may still carry it out: its slot is kept, and the same create is sent again.
                tracker.absent(index)
            ready.append(index)
        return ready, undecided, problem

    def _settled(
        self, owner: OwnerView, tracker: Tracker, index: int, pool: tuple[str, str]
    ) -> None:
        """The create of a Job has an answer. Its slot stays in use until a watch or a live read shows the state of the Job.

        A Job that loses its label before a watch has shown it is in no cache, and runs on.
        """
        context, name = self._context, tracker.job_name(index)
        context.limiter.settled(pool, name)
        watched = context.listers.jobs.informer.get(owner.namespace, name)
        if tracker.was_created(index) and watched is None:
            context.limiter.unverified(pool, contender(self._kind, owner), name)

    async def _exists(self, owner: OwnerView, tracker: Tracker, index: int) -> bool | None:
        """Whether a create that had no answer was carried out; None where only later looks can decide that.

        Events of a Job that is gone may be those of an earlier owner of the name, whose create was late too. They count only
        once the API server can no longer carry out our own create.
        """
        context, name = self._context, tracker.job_name(index)
        job, state = await context.fresh.job(owner.namespace, name), tracker.states[index]
        replacements = state.replacements if state else 0
        ours = job is not None and job.is_controlled_by(owner.uid)
        if job is not None and ours and job.replacement >= replacements:
            self._created(owner, tracker, index, job)
        else:
            if not await self.ran(owner, tracker, [index]):
                return False
            if self._may_come_for(tracker, index) > 0:
                return None
            tracker.was_run(index)
            # No event follows: what has become of it is decided at once.
            tracker.look_again(index, context.clock.monotonic())
        return True

    async def _replace_unwatched(
        self, owner: OwnerView, tracker: Tracker, index: int, job: JobView
    ) -> None:
        """Delete a Job that is to be replaced and has lost the label by which it is watched."""
        ours = is_owned(job, self._kind, owner.namespace, owner.uid)
        if ours and not job.deleting and tracker.is_replacement_recorded(index):
            await self._replace(owner, tracker, index, job)

    async def look_back(self, owner: OwnerView, tracker: Tracker) -> None:
        """After a restart: what Jobs did of which neither cache nor status has a trace. Only their Events show it.

        A Job that was created and deleted while no watch was open is in no cache. One that a queue has suspended may have
        lost its Pod, and its agent would start again when the queue resumes it.

        Raises:
            ClientError: the Events could not be read.
        """
        if tracker.looked_back:
            return
        listers = self._context.listers
        present = {x.name: x for x in listers.owned_jobs(owner, self._kind)}
        gone = [i for i in tracker.unstarted() if tracker.job_name(i) not in present]
        held = {
            index: job
            for job in present.values()
            if job.suspended and not job.finished and not listers.pods_of(job)
            if (index := tracker.index_of(job.name)) is not None
        }
        for index in await self.ran(owner, tracker, [*gone, *held]):
            if index in held:
                tracker.may_have_started(index, held[index])
            else:
                tracker.was_run(index)
        tracker.looked_back = True

    async def ran(self, owner: OwnerView, tracker: Tracker, indexes: Sequence[int]) -> list[int]:
        """Tasks with an Event about a Pod of their Job, although neither cache nor status contains the Job."""
        context, found = self._context, []
        since: dict[str, list[int]] = {}
        for index in indexes:
            state = tracker.states[index]
            begin = (state.replaced_time if state else "") or owner.created
            since.setdefault(begin, []).append(index)
        for begin, group in since.items():
            by_name = {tracker.job_name(i): i for i in group}
            had_pods = await context.lookup.jobs_that_had_pods(owner.namespace, by_name, begin)
            for name, uids in had_pods.items():
                index = by_name[name]
                state = tracker.states[index]
                # Events of the Job that was replaced, and of one that bears the name now and is not ours, do not count.
                job = await context.fresh.job(owner.namespace, name)
                known = {state.replaced_uid if state else ""}
                if job is not None and not job.is_controlled_by(owner.uid):
                    known.add(job.uid)
                if uids - known:
                    found.append(index)
        return found

    async def _create(
        self,
        owner: OwnerView,
        tracker: Tracker,
        environment: Environment,
        batch: Sequence[int],
        work: OwnerWork,
    ) -> tuple[int, list[CreateOutcome], Exception | None]:
        """Create Jobs for a while; how many tasks were tried, the outcomes, and an answer that did not come."""
        context = self._context
        ref = files.Owner(self._kind, owner.namespace, owner.name, owner.uid)
        if work.places is None:
            packed = files.pack(ref, work.everything())
            try:
                await files.ensure(context.client, packed)
            except ClientError as error:
                if not (isinstance(error, APIStatusError) and is_refusal(error)):
                    return 0, [], error
                refused = CreateOutcome(Created.REFUSED, reason=refusal(error))
                return len(batch), [refused], None
            work.places = packed.places
        template = Template(
            owner=ref,
            labels=owner.labels,
            spec=cast(JSON, owner.spec),
            config=cast(JSON, environment.spec),
            config_name=environment.name,
            images=context.images,
            inline=work.places,
            batch=cast(JSON, work.batch),
        )

        def is_current() -> bool:
            # A suspend, cancel or delete takes effect between two creates.
            now = context.listers.owner(self._kind, owner.namespace, owner.name)
            if now is None or now.uid != owner.uid or now.deleting:
                return False
            return now.generation == owner.generation

        async def create(index: int) -> tuple[int, CreateOutcome | None]:
            try:
                task = work.contexts(index)
                refusal = secret_refusal(task, environment.spec, config_name=environment.name)
                if refusal:
                    tracker.failed(index, Reason.SECRET_NOT_ALLOWED, refusal)
                    return index, None
                state = tracker.states[index]
                body = template.job(
                    task,
                    None if work.single else index,
                    backoff_limit=tries_left(owner.spec.get("backoffLimit"), state),
                )
                _annotate(body, state, environment)
            except Exception as error:
                # Whatever one task's template raises ends that task alone.
                _impossible(tracker, index, error)
                return index, None
            tracker.creating(index)
            outcome = CreateOutcome(Created.UNKNOWN)
            try:
                left = self._inherited_for(tracker)
                outcome = await context.jobs.create(body, is_current, another_for=left)
            finally:
                # A create that is cancelled in progress has no answer either.
                self._note(owner, tracker, index, outcome)
            return index, outcome

        def stop(done: tuple[int, CreateOutcome | None]) -> bool:
            return done[1] is not None and done[1].concerns_all

        until = context.clock.monotonic() + CREATE_SECONDS

        def go_on() -> bool:
            return is_current() and context.clock.monotonic() < until

        accepted = work.accepted == environment.digest
        results = await ramp_up(
            batch,
            create,
            failed=stop,
            go_on=go_on,
            first=context.jobs.most_creates if accepted else 1,
            most=context.jobs.most_creates,
        )
        if any(outcome is not None and outcome.ours for _, outcome in results):
            work.accepted = environment.digest
        for index, outcome in results:
            if outcome is not None and outcome.how is Created.PREDECESSOR and outcome.job:
                await self._replace_unwatched(owner, tracker, index, outcome.job)
        outcomes = [outcome for _, outcome in results if outcome is not None]
        problem = next((x.error for x in outcomes if x.error is not None), None)
        return len(results), outcomes, problem

    def _note(self, owner: OwnerView, tracker: Tracker, index: int, outcome: CreateOutcome) -> None:
        name = tracker.job_name(index)
        if outcome.ours and outcome.job is not None:
            self._created(owner, tracker, index, outcome.job)
        elif outcome.how is Created.FOREIGN:
            text = f"Job {name} exists and belongs to another object; it is left alone"
            tracker.failed(index, Reason.NAME_CONFLICT, text)
        elif outcome.how is Created.TOO_LARGE and outcome.reason is not None:
            tracker.failed(index, outcome.reason.reason, outcome.reason.message)
        elif outcome.how is Created.UNKNOWN:
            tracker.unanswered(index, self._context.clock.monotonic())
        elif outcome.how is Created.NOT_SENT or self._may_come_for(tracker, index) > 0:
            # An earlier create without an answer may still be carried out.
            tracker.not_sent(index)
        else:
            tracker.not_created(index)

    def _may_come_for(self, tracker: Tracker, index: int) -> float:
        """Seconds for which the API server may still carry out a create that had no answer; 0 where there is none."""
        if not tracker.is_unanswered(index):
            return 0.0
        waited = tracker.unanswered_for(index, self._context.clock.monotonic())
        return max(0.0, UNANSWERED_LIFE - waited)

    def _created(self, owner: OwnerView, tracker: Tracker, index: int, job: JobView) -> None:
        context = self._context
        context.listers.jobs.mutated(job)
        known = tracker.states[index] or TaskState(Phase.PENDING, Reason.STARTING)
        text = f"Job {job.name} has no Pod yet"
        tracker.created_job(
            index,
            replace(known, reason=Reason.STARTING, message=text, job_name=job.name),
            context.clock.monotonic() + RECHECK,
        )

    # Small things ---------------------------------------------------------------------------------

    def event(
        self, owner: OwnerView, reason: EventReason, note: str, *, warning: bool = False
    ) -> None:
        """An Event on the owner."""
        regarding = ObjectReference(
            c.API_VERSION, self._kind, owner.name, owner.namespace, owner.uid
        )
        self._context.events.event(
            regarding,
            type="Warning" if warning else "Normal",
            reason=reason.value,
            action="Reconcile",
            note=note,
        )

    def _tell_replacement(self, owner: OwnerView, state: TaskState) -> None:
        self.event(owner, EventReason.RETRYING, state.message, warning=True)

    def forget(self, request: Request, uid: str) -> None:
        """The owner is gone or has ended."""
        context = self._context
        context.trackers.forget(uid)
        context.tombstones.forget(uid)
        context.limiter.forget(Contender(self._kind, request.namespace, request.name, uid))


def config_digest_of(spec: WorkspaceConfigSpecJSON) -> str:
    """A short digest of what a Pod template follows from a WorkspaceConfig; its cap is no part of that."""
    relevant = {k: v for k, v in spec.items() if k != "maxConcurrentTasks"}
    ordered = to_json(dict(sorted(relevant.items())))
    return hashlib.sha256(ordered).hexdigest()[:16]


def unanswered(error: ClientError) -> PendingReason:
    """Why nothing starts while the API server does not give the facts that a start needs."""
    text = f"nothing starts until the API server answers: {one_line(str(error))}"
    return PendingReason(Reason.QUEUED, text)


def tries_left(limit: int | None, state: TaskState | None) -> int | None:
    """The backoffLimit of a Job that replaces another one, None where nothing was tried yet.

    Tries that failed stay used up; those that the cluster disrupted do not count.
    """
    if state is None or not state.replacements:
        return None
    used = max(0, state.attempts - state.disruptions)
    return max(0, (limit or c.DEFAULT_BACKOFF_LIMIT) - used)


def _annotate(body: JSON, state: TaskState | None, environment: Environment) -> None:
    annotations = body["metadata"]["annotations"]
    annotations[c.ANNOTATION_CONFIG_DIGEST] = environment.digest
    if state is not None and state.replacements:
        annotations[c.ANNOTATION_REPLACEMENT] = str(state.replacements)
        annotations[c.ANNOTATION_EARLIER_ATTEMPTS] = str(state.attempts)


def _impossible(tracker: Tracker, index: int, error: Exception) -> None:
    if isinstance(error, files.TooLargeError):
        tracker.failed(index, Reason.TOO_LARGE, str(error))
        return
    if not isinstance(error, ValueError):
        logger.exception("A task's Job cannot be made", index=index)
    text = str(error) or type(error).__name__
    tracker.failed(index, Reason.INVALID_SPEC, f"the task's Job cannot be made: {text}")


def _wait_for_predecessor(
    tracker: Tracker, index: int, job: JobView, rules: TaskRules, now: float
) -> float:
    """End a task whose earlier Job stays, as with a Pod on a lost node, by its pending deadline; seconds until that, or 0."""
    state = tracker.states[index]
    if rules.pending_deadline is None or state is None:
        return 0.0
    over = tracker.holds_for(f"replaced/{job.uid}", now, holds=True) - PREDECESSOR_SECONDS
    left = rules.pending_deadline - state.pending_seconds - over
    if left >= AT_ONCE:
        return left
    text = f"the agent did not start within {rules.pending_deadline} s: Job {job.name}, which it replaces, is not gone"
    tracker.failed(index, Reason.PENDING_TIMEOUT, text)
    return 0.0


def _explained_by(job: JobView, pod: PodView | None) -> str:
    """The uid of the object whose Events show why the agent does not start: once its Pod has ended, that is the Job."""
    return job.uid if pod is None or pod.terminal else pod.uid


def _overdue_for(tracker: Tracker, pod: PodView, now: float) -> float | None:
    """Seconds since a kubelet should have begun to end this Pod; see ``TaskFacts``. No clock of another machine counts."""
    if pod.terminal or not pod.node:
        return None
    past = []
    if pod.deleting:
        past.append(tracker.holds_for(f"deleted/{pod.uid}", now, holds=True))
    if pod.started and (limit := pod.active_deadline_seconds):
        past.append(tracker.holds_for(f"limited/{pod.uid}/{limit}", now, holds=True) - limit)
    return max(past, default=None)


def _runs_on(pods: Sequence[PodView]) -> bool:
    """An agent has ended, and its Pod has not."""
    return any(
        x.agent is not None and x.agent.state == "terminated" and not x.terminal for x in pods
    )


def _is_ending(pods: Sequence[PodView], *, recorded: bool) -> bool:
    """Every live Pod on a node has a deadline that its kubelet enforces; nothing more is to be done.

    Where the end of the task is recorded and its Pods are being deleted, they may stay on a lost node: the Job goes.
    """
    live = [x for x in pods if not x.terminal]
    if recorded and all(x.deleting for x in live):
        return False
    return bool(live) and all(x.node and x.active_deadline_seconds == 1 for x in live)
