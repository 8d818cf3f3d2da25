"""What must hold after each step, and what must hold once faults have stopped and time has passed.

All of it is said in terms of the API and of the world's own truth (which agents have started, which requests arrived);
nothing here knows how a reconciler works.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from kubetask_controller.api import constants as c
from kubetask_controller.api.batchrun import BatchRunStatus
from kubetask_controller.api.task import TaskExecutionStatus
from kubetask_controller.client.resources import JOBS, PODS, Resource
from simulation.adapter import expected_error
from simulation.apiserver import Change, Stored
from simulation.jobcontroller import finished

if TYPE_CHECKING:
    from simulation.kubelet import Try
    from simulation.world import Process, World

JSON = dict[str, Any]
FINAL = ("Succeeded", "Failed")
UNJUST = 3
"""Times that another may be served while somebody waits."""
PROMPT = 32.0
"""Seconds until a change of a spec shows: one request that gets no answer may be in progress, and a little."""
FORGET = 100.0
"""Seconds after which nothing of an owner that is gone is in memory."""
_ENDS_UNSTARTED = {"PendingTimeout", "Cancelled", "MaxFailuresExceeded", "BudgetExceeded", "SnapshotLost"}
"""Reasons for which a task may end whose agent never started, though nothing is wrong with it."""
BUSY = 30
"""Requests of one kind about one object within ten seconds."""
PATIENT = 10
"""Creates of one Job that each process, and one more, may have refused in the eight minutes of a schedule."""
LATE = 8.0
"""Seconds within which what is in a status must have had its effect, on a quiet day."""
_MODELS = {c.KIND_BATCH_RUN: BatchRunStatus, c.KIND_TASK: TaskExecutionStatus}
_TRUE = {"Succeeded": ("Complete", "Ready"), "Failed": ("Failed", "Stalled")}


class Violation(AssertionError):
    """Raised by tests with the history of a schedule."""


@dataclass
class Owner:
    """What is known of a BatchRun or Task, by uid."""

    stored: Stored
    kind: str
    name: str
    created: float
    version: int
    total: int = 0
    final: JSON | None = None
    ends: dict[int, JSON] = field(default_factory=dict)
    excused: set[int] = field(default_factory=set)
    """Tasks that may be JobLost without having had a Job."""
    gone: float | None = None
    cancelled: float | None = None
    over_limit: float | None = None
    """When more tasks had failed, or cost more, than the run allows."""
    queued: float | None = None
    overtaken: dict[str, int] = field(default_factory=dict)
    fruitless: int = 0
    unobserved: tuple[float, int] | None = None
    """When the user changed the spec, and the generation that has made."""
    parallelism: list[tuple[float, int | None]] = field(default_factory=list)

    @property
    def spec(self) -> JSON:
        return self.stored.obj.get("spec") or {}

    @property
    def status(self) -> JSON:
        return self.stored.obj.get("status") or {}

    @property
    def alive(self) -> bool:
        return self.gone is None and not self.stored.meta.get("deletionTimestamp")

    def __str__(self) -> str:
        return f"{self.kind} {self.name} ({self.stored.uid})"


class Invariants:
    """Hears of every change; see the module."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.owners: dict[str, Owner] = {}
        self.foreign: set[str] = set()
        self.preempted: set[str] = set()
        """Jobs, by uid, that a queue has suspended."""
        self.calm_since: float | None = None
        self._tampered: dict[str, str] = {}
        self._configs: dict[str, list[tuple[float, JSON | None]]] = defaultdict(list)
        self._batches: dict[str, list[tuple[float, JSON | None]]] = defaultdict(list)
        self._jobs: dict[str, tuple[float, str, str, int]] = {}
        """Uid → time of creation, process, pool, version, of Jobs that hold a slot."""
        self._requests: dict[tuple[str, str], tuple[float, int]] = {}
        self._refused: dict[str, int] = {}
        self._ended_jobs = 0
        self._last_move = 0.0

    # What happens

    def changed(self, resource: Resource, change: Change, actor: str) -> None:
        if resource.kind in _MODELS:
            self._owner_changed(resource.kind, change, actor)
        elif resource.kind in (c.KIND_WORKSPACE_CONFIG, c.KIND_BATCH):
            spec = change.new.obj["spec"] if change.new else None
            known = self._configs if resource.kind == c.KIND_WORKSPACE_CONFIG else self._batches
            known[change.key[2]].append((change.at, spec))
        elif resource is JOBS:
            self._job_changed(change, actor)
        elif resource is PODS and change.new is not None and change.old is not None:
            self._pod_changed(change.old, change.new, actor)
        if actor.startswith("c") and actor[1:].isdigit():
            self._last_move = change.at

    def _owner_changed(self, kind: str, change: Change, actor: str) -> None:
        now = change.at
        if change.new is None:
            assert change.old is not None
            owner = self.owners[change.old.uid]
            owner.gone = now
            self._ungrudge(owner)
            return
        owner = self.owners.setdefault(change.new.uid, Owner(change.new, kind, change.key[2], now, change.version))
        old, owner.stored = owner.status if change.old else {}, change.new
        spec = owner.spec
        if spec.get("cancel") and owner.cancelled is None:
            owner.cancelled = now
        limit = spec.get("parallelism")
        if not owner.parallelism or owner.parallelism[-1][1] != limit:
            owner.parallelism.append((now, limit))
        if actor == "newer-version":
            owner.ends = {x["index"]: x for x in owner.status["tasks"] if x["status"] in FINAL}
        elif owner.status != old and "phase" in owner.status:
            self._status_written(owner, owner.status, old)
        self._note_waiting(owner, now)
        self._note_observed(owner, now, actor)

    def _note_observed(self, owner: Owner, now: float, actor: str) -> None:
        """A change of the spec shows in the status soon, however much there is to do."""
        if actor == "user" and owner.final is None and owner.unobserved is None:
            owner.unobserved = (now, owner.stored.meta["generation"])
        elif owner.unobserved and owner.status.get("observedGeneration", -1) >= owner.unobserved[1]:
            since, owner.unobserved = owner.unobserved[0], None
            if now > since + PROMPT and self._quiet(patches=True):
                self._bad(f"the change of {owner} showed in its status after {now - since:.0f} s")

    def _status_written(self, owner: Owner, status: JSON, old: JSON) -> None:
        self._valid(owner, status)
        if owner.final is not None:
            for key in ("phase", "reason", "completionTime", "progress", "result"):
                if status.get(key) != owner.final.get(key):
                    self._bad(f"an end was taken back: {key} of {owner} was {owner.final.get(key)}, is {status.get(key)}")
        elif status["phase"] in FINAL:
            owner.final = status
        progress = status.get("progress")
        if progress is None:
            return
        parts = sum(progress[x] for x in ("pending", "running", "completed", "failed"))
        if parts != progress["total"]:
            self._bad(f"counters of {owner} do not sum to the total: {progress}")
        if owner.total and progress["total"] != owner.total:
            self._bad(f"the total of {owner} went from {owner.total} to {progress['total']}")
        if progress["total"] and not owner.total and owner.spec.get("batchRef"):
            self._right_batch(owner, progress["total"])
        owner.total = progress["total"]
        for entry in status.get("tasks") or ():
            known = owner.ends.get(entry["index"])
            if known is not None:
                for key in ("status", "reason"):
                    if entry.get(key) != known.get(key) and known.get(key) not in self.foreign:
                        was, now = (f"{x['status']}/{x.get('reason')}" for x in (known, entry))
                        self._bad(f"an end was taken back: task {entry['index']} of {owner} was {was}, is {now}")
                if "result" in known and "result" not in entry and not status.get("omitted"):
                    self._bad(f"the result of task {entry['index']} of {owner} was taken back")
            elif entry["status"] in FINAL:
                owner.ends[entry["index"]] = entry
                if entry.get("reason") == "JobLost" and self._was_anothers(owner, entry["index"]):
                    owner.excused.add(entry["index"])
        limit, budget = owner.spec.get("maxFailures"), owner.spec.get("maxCostUSD")
        over = limit is not None and progress["failed"] > limit
        over = over or (budget is not None and self._cost(status) >= float(budget))
        if over and owner.over_limit is None:
            owner.over_limit = self.world.loop.time()

    @staticmethod
    def _cost(status: JSON) -> float:
        """What agents say they cost, as far as the status has it."""
        results = [x.get("result") or {} for x in status.get("tasks") or ()]
        return sum(float((x.get("usage") or {}).get("costUSD") or 0) for x in results)

    def _was_anothers(self, owner: Owner, index: int) -> bool:
        """A Job of that name was an earlier owner's and is gone: its Events cannot be told from our own."""
        for uid, (other, which, name) in self.world.jobs_made():
            if other != owner.stored.uid and (which, name) == (index, owner.name) and uid not in self.world.server.live:
                return True
        return False

    def _valid(self, owner: Owner, status: JSON) -> None:
        try:
            _MODELS[owner.kind].model_validate(status)
        except ValidationError as error:
            self._bad(f"invalid status of {owner}: {error}")
        phase, reason = status["phase"], status["reason"]
        allowed = {x.value for x in c.REASONS_BY_PHASE[c.Phase(phase)]}
        # A run that goes on shows the reason that needs a person.
        allowed |= {x.value for x in c.PENDING_REASONS} if phase == "Running" else set()
        if reason not in allowed | self.foreign and reason != "Cancelling":
            self._bad(f"{owner} is {phase} with reason {reason}")
        if (phase in FINAL) != ("completionTime" in status):
            self._bad(f"{owner} is {phase}, completionTime {status.get('completionTime')}")
        true = {x["type"] for x in status["conditions"] if x["status"] == "True"}
        if phase in FINAL and true != set(_TRUE[phase]):
            self._bad(f"{owner} is {phase} with conditions {sorted(true)}")
        if phase not in FINAL and true not in ({"Reconciling"}, {"Suspended"}):
            self._bad(f"{owner} is {phase}/{reason} with conditions {sorted(true)}")

    def _job_changed(self, change: Change, actor: str) -> None:
        new, old = change.new, change.old
        if old is None:
            assert new is not None
            self._job_created(new, change, actor)
        elif (new is None or finished(new.obj)) and old.uid in self._jobs:
            del self._jobs[old.uid]
            self._ended_jobs += 1
        if old is not None and actor.startswith("c") and actor[1:].isdigit():
            gone = new is None or (new.meta.get("deletionTimestamp") and not old.meta.get("deletionTimestamp"))
            if gone:
                self._job_deleted(old, actor)

    def _job_created(self, job: Stored, change: Change, actor: str) -> None:
        uid, index, _ = self.world.owner_of(job.uid)
        owner = self.owners.get(uid)
        pool = (job.meta.get("annotations") or {}).get(c.ANNOTATION_WORKSPACE_CONFIG, "")
        mine = self._jobs[job.uid] = (change.at, actor, pool, change.version)
        request = self.world.request
        if owner is None or request is None:
            return
        process, _, decided = request
        decided = max(decided, owner.created)
        self._right_config(owner, job, pool, decided, process)
        # A Job without its label and without its owner is nobody's: it counts for none, until the garbage collector comes.
        unlabelled = {x.uid for x in self.world.server.all(JOBS) if c.LABEL_MANAGED_BY not in (x.meta.get("labels") or {})}
        active = [x for y, x in self._jobs.items() if x[2] == pool and not (y in unlabelled and self._orphan(y))]
        cap = self._most(iter(self._configs[pool]), "maxConcurrentTasks", process, decided, owner)
        self._capped(f"maxConcurrentTasks of WorkspaceConfig {pool}", active, mine, cap, process, decided)
        of_owner = [self._jobs[x] for x in self._jobs if self.world.owner_of(x)[0] == uid]
        limit = self._most(((at, {"n": n}) for at, n in owner.parallelism), "n", process, decided, owner)
        self._capped(f"parallelism of {owner}", of_owner, mine, limit, process, decided)
        self._served(owner, pool)
        if owner.cancelled is not None and owner.cancelled < decided - self._lag_of(process, owner.kind):
            self._bad(f"task {index} of {owner} was started after it was cancelled")

    def _orphan(self, job: str) -> bool:
        owner = self.owners.get(self.world.owner_of(job)[0])
        return owner is None or not owner.alive

    def _capped(self, what: str, active: list[Any], mine: Any, cap: int | None, process: "Process", decided: float) -> None:
        """While two act at once, a cap may be exceeded by what the other did and this one cannot have seen."""
        if cap is None:
            return
        seen = process.version_seen(JOBS, decided)
        unseen = [x for x in active if x is not mine and x[1] != process.name and x[0] > process.acting_since and x[3] > seen]
        if len(active) - len(unseen) > cap and not (process.acting is False and len(active) - len(unseen) == cap + 1):
            self._bad(f"{len(active)} Jobs where {what} is {cap} ({len(unseen)} of them unseen by {process.name})")

    def _most(
        self, versions: Iterator[tuple[float, JSON | None]], key: str, process: "Process", decided: float, owner: Owner
    ) -> int | None:
        """The highest limit that was in force since what the process can have known; None for no limit."""
        since = max(owner.created, decided - self._lag_of(process, c.KIND_WORKSPACE_CONFIG) - 1.0)
        limits: list[int | None] = []
        for at, spec in versions:
            if at <= since:
                limits = []
            limits.append(None if spec is None else spec.get(key))
        return None if not limits or None in limits else max(x for x in limits if x is not None)

    def _right_config(self, owner: Owner, job: Stored, pool: str, decided: float, process: "Process") -> None:
        """The image is one that the WorkspaceConfig had since the owner was made."""
        image = job.obj["spec"]["template"]["spec"]["containers"][0].get("image")
        images: set[str] = set()
        since = max(owner.created, decided - 60.0)
        versions = self._configs[pool]
        if not versions or versions[0][0] > since:
            images.add("img/builtin")
        for at, spec in versions:
            if at <= since:
                images.clear()
            images.add(spec["agentImage"] if spec else "img/builtin")
        if image not in images:
            self._bad(f"Job {job.meta['name']} of {owner} has image {image}, WorkspaceConfig {pool} says {sorted(images)}")

    def _right_batch(self, owner: Owner, total: int) -> None:
        """The run does what its Batch has said since the run was made."""
        totals: set[int] = set()
        for at, spec in self._batches[owner.spec["batchRef"]]:
            if at <= owner.created:
                totals.clear()
            totals.add(len(spec["variableContexts"]) if spec else 0)
        if total not in totals:
            self._bad(f"{owner} has {total} tasks, its Batch has had {sorted(totals)} since the run was made")

    def _job_deleted(self, job: Stored, actor: str) -> None:
        uid, index, _ = self.world.owner_of(job.uid)
        owner = self.owners.get(uid)
        if owner is not None and any(x in owner.spec for x in ("maxFailures", "maxCostUSD", "pendingDeadlineSeconds")):
            # Its Pod may start before the garbage collector comes, and nobody may be left who knows why it was deleted.
            owner.excused.add(index)
        if owner is None or not owner.alive or owner.cancelled is not None or finished(job.obj):
            return
        for truth in self._tries(job):
            evicted = truth.pod_uid in self.world.kubelet.lost and truth.disrupted
            # Its agent is disrupted: resumed, the Job would start another one.
            evicted = evicted or job.uid in self.preempted
            if self._ran_before(truth) and not evicted:
                self._bad(f"{actor} deleted the healthy Job {job.meta['name']} of {owner}, whose agent runs")

    def _pod_changed(self, old: Stored, new: Stored, actor: str) -> None:
        if not (actor.startswith("c") and actor[1:].isdigit()):
            return
        before, after = (x.obj["spec"].get("activeDeadlineSeconds") for x in (old, new))
        truth = self.world.kubelet.tries[new.uid]
        owner = self.owners.get(truth.owner_uid)
        dying = owner is None or owner.stored.meta.get("deletionTimestamp") or old.meta.get("deletionTimestamp")
        # The garbage collector deletes the Pod of a Job that is gone.
        dying = dying or truth.job_uid not in self.world.server.live or truth.job_uid in self.preempted
        if before != after and owner and not dying and owner.cancelled is None and self._ran_before(truth):
            self._bad(f"{actor} ended the running agent of task {truth.index} of {owner}, which nobody has cancelled")

    def _ran_before(self, truth: "Try") -> bool:
        """The agent runs, and did when the reconcile began that sent the present request."""
        request = self.world.request
        decided = request[2] if request else 0.0
        return truth.started is not None and truth.ended is None and truth.started < decided

    def tampered(self, kind: str, victim: Stored) -> None:
        """A user deletes a Job or Pod: its task may end for that."""
        uid = victim.uid
        if kind == "Pod":
            uid = self.world.kubelet.tries[uid].job_uid
        self._tampered[uid] = kind

    def started(self, truth: "Try", pod: Stored) -> None:
        owner = self.owners.get(truth.owner_uid)
        if owner is None:
            return
        spec = owner.spec
        allowed = 1 + spec.get("backoffLimit", 0) + spec.get("maxDisruptions", 0)
        if owner.gone is not None or "deletionTimestamp" in owner.stored.meta:
            # A second process may have had a create in flight too when the owner was deleted.
            allowed += 1
        tries = [x for x in self.world.kubelet.by_task[truth.owner_uid, truth.index] if x.started is not None]
        if len(tries) > allowed:
            self._bad(f"the agent of task {truth.index} of {owner} starts for the {len(tries)}. time, allowed are {allowed}")
        now = self.world.loop.time()
        # The Pod of a Job that was deleted may still start before the garbage collector comes.
        deleted = truth.job_uid not in self.world.server.live
        # A user has deleted the Job before, and an earlier leader's create of the same name was late.
        deleted = deleted or any(x.job_uid in self._tampered for x in tries if x.job_uid != truth.job_uid)
        if not deleted and (truth.index in owner.ends or (owner.final is not None and owner.kind == c.KIND_TASK)):
            self._bad(f"the agent of task {truth.index} of {owner} starts after the task has ended")
        if owner.over_limit is not None and now > owner.over_limit + LATE and self._quiet():
            self._bad(f"the agent of task {truth.index} of {owner} starts long after maxFailures or maxCostUSD was passed")
        limit = spec.get("taskLimit")
        if limit is not None and truth.index >= limit:
            self._bad(f"the agent of task {truth.index} of {owner} starts, taskLimit is {limit}")

    def reconciled(self, process: "Process", kind: str, name: str, error: BaseException | None) -> None:
        if error is not None and not expected_error(error):
            self._bad(f"{process.name}: the reconcile of {kind} {name} raised {error!r}")
        if kind == "task" and error is None:
            for owner in self.owners.values():
                if owner.name == name and owner.alive and owner.queued is not None:
                    owner.fruitless += 1

    def requested(self, process: "Process", what: str) -> None:
        """The same request is not made again and again."""
        since, count = self._requests.get((process.name, what), (0.0, 0))
        now = self.world.loop.time()
        self._requests[process.name, what] = (since, count + 1) if now < since + 10.0 else (now, 1)
        if what and count + 1 > BUSY:
            self._bad(f"{process.name} sends more than {BUSY} times in {now - since:.1f} s: {what}")

    def refused(self, job: str) -> None:
        """The create of a Job was refused for good reason."""
        self._refused[job] = self._refused.get(job, 0) + 1
        if self._refused[job] > PATIENT * (1 + len(self.world.processes)):
            self._bad(f"the create of Job {job} was refused {self._refused[job]} times, and is tried again and again")

    # Fairness

    def _note_waiting(self, owner: Owner, now: float) -> None:
        status = owner.status
        queued = status.get("reason") == "Queued" or any(x.get("reason") == "Queued" for x in status.get("tasks") or ())
        waits = owner.alive and status.get("phase") not in FINAL and queued and not owner.spec.get("suspend")
        if waits and owner.cancelled is None and owner.over_limit is None:
            owner.queued = now if owner.queued is None else owner.queued
        else:
            owner.queued = None
            owner.overtaken.clear()

    def _served(self, owner: Owner, pool: str) -> None:
        self._ungrudge(owner)
        if owner.kind == "Task":
            # It has all it waited for, though its status may show that later.
            owner.queued = None
        config = self._find("WorkspaceConfig", pool)
        cap = config.obj["spec"].get("maxConcurrentTasks") if config is not None else None
        # As long as a slot is left, nobody has been passed over.
        full = cap is not None and sum(x[2] == pool for x in self._jobs.values()) >= cap
        if not full or not self._quiet() or len(self.world.processes) > 1:
            return
        for other in self.owners.values():
            if other is owner or other.queued is None or not other.alive:
                continue
            if other.spec.get("parallelism") or other.spec.get("workspaceConfigRef") != owner.spec.get("workspaceConfigRef"):
                continue
            count = other.overtaken[owner.stored.uid] = other.overtaken.get(owner.stored.uid, 0) + 1
            if count > UNJUST:
                self._bad(f"{owner} was served {count} times while {other} has waited since {other.queued:.1f}")

    def _ungrudge(self, owner: Owner) -> None:
        owner.overtaken.clear()
        if owner.queued is not None:
            owner.queued = self.world.loop.time()

    # The end

    def after_step(self) -> None:
        """Nothing yet that is not noticed where it happens."""

    def all_ended(self) -> bool:
        return all(x.final is not None for x in self.owners.values() if x.alive)

    def nothing_moves(self, seconds: float) -> bool:
        """No controller has written anything for so long, and who is gone has been for long enough."""
        gone = max((x.gone for x in self.owners.values() if x.gone is not None), default=0.0)
        return self.world.loop.time() > max(self._last_move + seconds, gone + FORGET)

    def at_the_end(self) -> None:
        leader = self.world.leader()
        if leader is None:
            self._bad("nobody leads in the end")
            return
        for owner in self.owners.values():
            if not owner.alive or owner.spec.get("managedBy"):
                continue
            if owner.final is None:
                self._explained(owner)
            self._truthful(owner)
        self._counted_waits()
        self._forgotten(leader)

    def _explained(self, owner: Owner) -> None:
        """Work that has not ended names what it waits for, and that is so."""
        status = owner.status
        reason = status.get("reason")
        entries = (
            status.get("tasks")
            if owner.kind == c.KIND_BATCH_RUN
            else [{"index": 0, "status": status.get("phase"), "reason": reason}]
        )
        causes = self._causes(owner)
        if not entries and not causes:
            self._bad(f"{owner} has not ended and waits for nothing: {status.get('phase')}/{reason} {status.get('message')}")
            return
        if not entries and reason not in causes.get(-1, set()):
            self._bad(f"{owner} shows {status.get('phase')}/{reason}, and waits for {sorted(causes.get(-1, set()))}")
        worst: set[str] = set()
        for entry in entries or ():
            if entry["status"] in FINAL:
                continue
            wanted = sorted(causes.get(entry["index"], set()) | causes.get(-1, set()))
            if not wanted:
                self._bad(
                    f"task {entry['index']} of {owner} has not ended and waits for nothing:"
                    f" {entry['status']}/{entry.get('reason')} {entry.get('message')}"
                )
            elif entry.get("reason") not in wanted:
                self._bad(
                    f"task {entry['index']} of {owner} shows {entry['status']}/{entry.get('reason')}, and waits for {wanted}"
                )
            elif entry["status"] == "Running" and "TaskRunning" not in wanted:
                self._bad(f"task {entry['index']} of {owner} shows Running, and its agent has not started")
            else:
                worst.add(entry["reason"])
        telling = worst - {"Queued", "TaskRunning", "Starting", "TaskLimit"}
        if telling and reason == "Queued":
            self._bad(f"{owner} shows Queued, while its tasks show {sorted(telling)}")

    def _causes(self, owner: Owner) -> dict[int, set[str]]:
        """What each task of an owner may rightly wait for: index → reasons; -1 for the whole."""
        causes: dict[int, set[str]] = defaultdict(set)
        spec, world = owner.spec, self.world
        if spec.get("cancel") or owner.over_limit is not None:
            return causes
        if spec.get("suspend"):
            causes[-1] |= {"Suspended", "Queued"}
        ref = spec.get("batchRef")
        # Without a snapshot there is no work; with one the Batch does not matter.
        if ref and not owner.total and self._find("Batch", ref) is None:
            causes[-1].add("BatchNotFound")
        retry = spec.get("retryOf")
        if retry and not owner.total:
            other = self._find("BatchRun", retry)
            if other is None:
                causes[-1].add("RetryOfNotFound")
            elif other.obj["status"].get("phase") not in FINAL:
                causes[-1].add("RetryOfNotFinished")
        named = spec.get("workspaceConfigRef")
        if named and self._find("WorkspaceConfig", named) is None:
            causes[-1].add("WorkspaceConfigNotFound")
        pool = named or "default"
        config = self._find("WorkspaceConfig", pool)
        cap = config.obj["spec"].get("maxConcurrentTasks") if config else None
        held = [x for x in self._jobs.values() if x[2] == pool]
        full = cap is not None and len(held) >= cap
        parallelism = spec.get("parallelism")
        mine = [x for x in self._jobs if world.owner_of(x)[0] == owner.stored.uid]
        with_job = {world.owner_of(x)[1] for x in mine}
        if parallelism is not None and len(mine) >= parallelism:
            full = True
        if spec.get("taskLimit") is not None:
            for index in range(spec["taskLimit"], owner.total):
                causes[index].add("TaskLimit")
        for index in range(max(owner.total, 1)):
            if index not in with_job and full:
                causes[index].add("Queued")
            if index not in with_job and world.quota:
                causes[index] |= {"QuotaExceeded", "Queued"}
            held = (x for x in world.server.all(JOBS) if x.obj["spec"].get("suspend"))
            if any(world.owner_of(x.uid)[:2] == (owner.stored.uid, index) for x in held):
                causes[index].add("Queued")
            for truth in world.kubelet.by_task.get((owner.stored.uid, index), ())[-1:]:
                if (
                    truth.ended is None
                    and truth.stuck
                    and not self._overdue(owner, truth)
                    and not self._mended(truth, config)
                ):
                    causes[index].add(str(truth.stuck))
                if truth.started is not None and truth.ended is None and truth.behaviour.hang:
                    causes[index].add("TaskRunning")
                if truth.pod_uid in world.kubelet.lost and truth.disrupted and truth.ended is None:
                    # The next Job is created when the Pod is gone.
                    causes[index] |= {"Queued", "Starting"}
            for uid in mine:
                if world.owner_of(uid)[1] == index and not self._overdue(owner, None, uid):
                    job = next((x for x in world.server.all(JOBS) if x.uid == uid), None)
                    refused = job is not None and world.kubelet.refusal(job)
                    if refused and not self._mended(job, config) and (owner.stored.uid, index) not in world.kubelet.by_task:
                        causes[index].add("AdmissionDenied")
        return causes

    def _mended(self, made: "Try | Stored | None", config: Stored | None) -> bool:
        """The WorkspaceConfig has another image by now than the Job that cannot start."""
        job = (
            made
            if isinstance(made, Stored)
            else next((x for x in self.world.server.all(JOBS) if made and x.uid == made.job_uid), None)
        )
        if job is None or config is None:
            return False
        image = job.obj["spec"]["template"]["spec"]["containers"][0].get("image")
        return bool(image != config.obj["spec"]["agentImage"])

    def _overdue(self, owner: Owner, truth: "Try | None", job: str = "") -> bool:
        """The pending deadline has long passed."""
        limit = owner.spec.get("pendingDeadlineSeconds")
        made = self._jobs.get(job or (truth.job_uid if truth else ""))
        return limit is not None and made is not None and self.world.loop.time() > made[0] + limit + 60.0

    def _truthful(self, owner: Owner) -> None:
        """Each agent's end is in the status, and each end of a task is true."""
        status = owner.status
        for index in range(max(owner.total, 1)):
            made = self.world.kubelet.by_task.get((owner.stored.uid, index), ())
            entry = self._entry(owner, index) or {"status": ""}
            innocent = made and made[-1].refused and not any(x.started is not None for x in made)
            blamed = entry["status"] == "Failed" and entry["reason"] not in _ENDS_UNSTARTED
            if innocent and blamed and made[-1].job_uid not in self._tampered:
                self._bad(f"task {index} of {owner} failed with {entry['reason']}, its node refused its Pod")
        for index in range(max(owner.total, 1)):
            tries = [x for x in self.world.kubelet.by_task.get((owner.stored.uid, index), ()) if x.started is not None]
            if not tries or any(x.job_uid in self._tampered for x in tries) or owner.cancelled is not None:
                continue
            last = tries[-1]
            if last.job_uid in self.preempted:
                # Its Pod may be gone before a watch has shown the end of its agent.
                continue
            entry = self._entry(owner, index)
            if (
                entry is None
                or not last.by_itself
                or last.disrupted
                or (entry["status"] not in FINAL and not last.behaviour.sidecar)
            ):
                continue
            shown = f"task {index} of {owner} shows {entry['status']}/{entry.get('reason')} {entry.get('message', '')}"
            code = last.behaviour.exit_code
            if (code == 0) != (entry["status"] == "Succeeded"):
                self._bad(f"{shown}, its agent ended with {code}")
            elif last.result and (entry.get("result") or {}).get("summary") != last.result and not status.get("omitted"):
                self._bad(f"{shown} with result {entry.get('result')}, its agent left {last.result!r}")
            elif (code and entry.get("reason") not in {"AgentError"} | self.foreign) or (
                code and f"exit code {code}" not in entry.get("message", "") and not status.get("omitted")
            ):
                self._bad(f"{shown}, its agent ended with {code}")
        for index, entry in owner.ends.items():
            untouched = not any(self.world.owner_of(x)[:2] == (owner.stored.uid, index) for x in self._tampered)
            if entry.get("reason") == "JobLost" and untouched and index not in owner.excused:
                self._bad(f"task {index} of {owner} is JobLost, and nobody has deleted anything of it")
            live = [x for x in self._jobs if self.world.owner_of(x)[:2] == (owner.stored.uid, index)]
            # A Job that is deleted in the foreground stays until the lost node of its Pod is removed.
            lost = {x.job_uid for x in self.world.kubelet.tries.values() if x.pod_uid in self.world.kubelet.lost}
            deleted = {x.uid for x in self.world.server.all(JOBS) if "deletionTimestamp" in x.meta}
            # One that may not be deleted yet creates no Pod any more.
            held = {x.uid for x in self.world.server.all(JOBS) if x.obj["spec"].get("parallelism") == 0}
            live = [x for x in live if x not in (lost & deleted) | held]
            if live and not any(self._tampered.get(x) == "label" for x in live):
                self._bad(f"task {index} of {owner} has ended with {entry.get('reason')}, and its Job goes on")
        said = self._cost(status)
        told = float((status.get("usage") or {}).get("costUSD") or 0)
        if owner.kind == c.KIND_BATCH_RUN and not status.get("omitted") and abs(said - told) > 1e-6:
            self._bad(f"{owner} shows a cost of {told}, its tasks {said}")
        budget, unstarted = (
            owner.spec.get("maxCostUSD"),
            [x for x in owner.ends.values() if x.get("reason") == "BudgetExceeded"],
        )
        if owner.final and budget and unstarted and status["reason"] not in ("BudgetExceeded", "Cancelled"):
            self._bad(f"{owner} ended as {status['reason']}, and {len(unstarted)} tasks for the budget")
        limit, progress = owner.spec.get("maxFailures"), status.get("progress") or {}
        ends = ("MaxFailuresExceeded", "Cancelled", "BudgetExceeded")
        if owner.final and limit is not None and progress.get("failed", 0) > limit and status["reason"] not in ends:
            self._bad(f"{owner} ended as {status['reason']} with {progress['failed']} failures, maxFailures is {limit}")

    def _entry(self, owner: Owner, index: int) -> JSON | None:
        status = owner.status
        if owner.kind == c.KIND_TASK:
            return {**status, "status": status.get("phase")}
        return next((x for x in status.get("tasks") or () if x["index"] == index), None)

    def _counted_waits(self) -> None:
        """As many waiters are woken as slots came free: who waits is not looked at again for each end of another."""
        waited = [x for x in self.owners.values() if x.kind == c.KIND_TASK]
        total = sum(x.fruitless for x in waited)
        if self._ended_jobs >= 8 and len(self.world.processes) == 1 and total > 3 * self._ended_jobs + 4 * len(waited):
            self._bad(f"waiting Tasks were reconciled {total} times for {self._ended_jobs} Jobs that ended")

    def _forgotten(self, leader: "Process") -> None:
        """Nothing is left in memory of what has been gone for a while."""
        gone: dict[str, str] = {}
        names = {x.name for x in self.owners.values() if x.gone is None}
        for uid, owner in self.owners.items():
            if owner.gone is not None and self.world.loop.time() > owner.gone + FORGET:
                gone[uid] = str(owner)
                if owner.name not in names:
                    gone[owner.name] = str(owner)
        if gone:
            for text, path in leader.controller.remembers(gone).items():
                self._bad(f"{leader.name} still remembers {gone[text]} in {path}")

    # Helpers

    def _tries(self, job: Stored) -> Iterator["Try"]:
        for truth in self.world.kubelet.tries.values():
            if truth.job_uid == job.uid:
                yield truth

    def _find(self, kind: str, name: str) -> Stored | None:
        from simulation.world import KINDS, NAMESPACE

        return self.world.server.find(KINDS[kind], NAMESPACE, name)

    def _lag_of(self, process: "Process", kind: str) -> float:
        """How far a cache may lawfully be behind, in seconds."""
        return 15.0

    def _quiet(self, *, patches: bool = False) -> bool:
        """No fault in the schedule at all, or only answers to patches that are late."""
        calm = ("apply", "edit", "delete")
        return all(
            x.what in calm or (patches and x.what == "trouble" and x.arguments["verb"] == "patch")
            for x in self.world.schedule.entries
        )

    def _bad(self, text: str) -> None:
        self.world.violation(text)
