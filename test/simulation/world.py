"""One simulated cluster with its controllers, driven by a schedule; the history of what happened; and the way to its end."""

import asyncio
import random
import re
from collections.abc import Iterable
from typing import Any

from pydantic_core import to_json

from kubetask_controller.api import constants as c
from kubetask_controller.client.errors import APIStatusError, TransportError
from kubetask_controller.client.resources import CONFIGMAPS, CONTROLLERREVISIONS, CORE_EVENTS, JOBS, PODS, Resource
from simulation.adapter import ControllerProcess, Lease, decided, expected_error
from simulation.apiserver import APIServer, Change, Stored, refusal, timestamp
from simulation.client import SimClient, Stream, Trouble, Wire
from simulation.invariants import Invariants
from simulation.jobcontroller import GarbageCollector, JobController, finished
from simulation.kubelet import Kubelet, Try, expanded
from simulation.schedule import Entry, Schedule
from simulation.virtualloop import VirtualLoop

JSON = dict[str, Any]
NAMESPACE = "ns"
BATCHES, RUNS, TASKS, CONFIGS = (
    Resource(c.GROUP, c.VERSION, plural, kind)
    for plural, kind in (
        (c.PLURAL_BATCH, c.KIND_BATCH),
        (c.PLURAL_BATCH_RUN, c.KIND_BATCH_RUN),
        (c.PLURAL_TASK, c.KIND_TASK),
        (c.PLURAL_WORKSPACE_CONFIG, c.KIND_WORKSPACE_CONFIG),
    )
)
KINDS = {x.kind: x for x in (BATCHES, RUNS, TASKS, CONFIGS, JOBS, PODS, CONFIGMAPS, CONTROLLERREVISIONS)}
SETTLE = 420.0
"""Seconds without any fault after which everything must have ended, or say why not."""
QUIET = 20.0
"""Seconds that pass once everything has ended."""


class Process:
    """A controller process and its connection."""

    def __init__(self, world: "World", name: str, *, lease: bool, skew: float = 0.0) -> None:
        self.world, self.name = world, name
        self._dice = random.Random(f"{world.schedule.seed}/{name}")
        self.streams: list[Stream] = []
        self.alive, self.dropped, self.stopping = True, False, False
        self.lease = Lease(world.loop) if lease else None
        self.acting_since = float("inf") if lease else world.loop.time()
        self.watch_latency = world.schedule.watch_latency
        self.seen: dict[str, list[tuple[float, int]]] = {}
        self.fuse: list[Any] = []
        self.cut_until = 0.0
        self.controller = ControllerProcess(
            world.loop, SimClient(Wire(self)), lease=self.lease, skew=skew, report=self._report
        )
        self.task = world.loop.create_task(self.controller.run())
        self.task.add_done_callback(self._done)

    @property
    def acting(self) -> bool:
        return self.alive and (self.lease is None or self.lease.leading)

    def latency(self) -> float:
        return self._dice.choice(self.world.schedule.latencies)

    def lag(self, resource: str) -> float:
        return self.world.lag(self.name, resource)

    def decided_at(self) -> float:
        return decided.get()

    def saw(self, resource: Resource, version: int) -> None:
        self.seen.setdefault(str(resource), []).append((self.world.loop.time(), version))

    def version_seen(self, resource: Resource, at: float) -> int:
        """How new its cache was at that time."""
        return max((v for t, v in self.seen.get(str(resource), ()) if t <= at), default=0)

    def sends(self, verb: str, resource: Resource, name: str) -> bool:
        """Whether a request leaves; the moment at which a crash strikes."""
        if not self.alive:
            return False
        self.world.invariants.requested(self, f"{verb} {resource} {name}" if name else "")
        if verb not in ("get", "list") and self.fuse:
            self.fuse[0] -= 1
            if self.fuse[0] <= 0:
                _, sent = self.fuse
                self.fuse = []
                if sent:
                    self.world.loop.call_soon(self.crash)
                    return True
                self.crash()
                return False
        return True

    def arm(self, writes: int, sent: bool) -> None:
        """Crash at the write of that number: before it is sent, or right after."""
        self.fuse = [writes, sent]

    def crash(self, *, drop: bool = False) -> None:
        """Kill the process; with ``drop`` what it has sent does not arrive."""
        if self.alive:
            self.world.note("chaos", f"{self.name} crashes")
            self.alive, self.dropped = False, drop
            self.task.cancel()
            self.world.loop.later(0.0, self.world.lead)

    def stop(self) -> None:
        """SIGTERM."""
        self.stopping = True
        self.controller.stop()

    def _done(self, task: asyncio.Task[None]) -> None:
        was, self.alive = self.alive, False
        if self.world.over:
            return
        error = None if task.cancelled() else task.exception()
        if was:
            self.world.note(self.name, f"process ends{f': {error}' if error else ''}")
            if error is not None and not expected_error(error):
                self.world.violation(f"{self.name} ended with {error!r}")
        self.world.loop.call_soon(self.world.lead)

    def _report(self, kind: str, namespace: str, name: str, error: BaseException | None) -> None:
        if self.alive and not self.world.over:
            self.world.invariants.reconciled(self, kind, name, error)
            if error is not None and not isinstance(error, asyncio.CancelledError):
                self.world.note(self.name, f"reconcile of {kind} {name} raised {type(error).__name__}: {error}")


class World:
    """Everything; see the module. Made and run inside of a VirtualLoop."""

    def __init__(self, schedule: Schedule, loop: VirtualLoop) -> None:
        self.schedule, self.loop = schedule, loop
        self.server = APIServer(loop.time, admission=self._admit)
        self.history: list[tuple[float, str, Any, tuple[Any, ...]]] = []
        self.violations: list[str] = []
        self.ignored: list[str] = []
        self.over = False
        self.request: tuple[Process, float, float] | None = None
        self.cordoned = self.refusing = self.quota = False
        self.collected = (JOBS, CONFIGMAPS, CONTROLLERREVISIONS, RUNS, TASKS)
        self.processes: list[Process] = []
        self._names = self._events = 0
        self._pause: asyncio.Future[None] = loop.create_future()
        self._owners: dict[str, tuple[str, int, str]] = {}
        self._lags: list[tuple[float, float, str, str, float]] = []
        self._slow: list[tuple[float, float, str, float]] = []
        self._gc: list[tuple[float, float, float]] = []
        self._troubles: list[Trouble] = []
        self.invariants = Invariants(self)
        self.kubelet = Kubelet(self, dict(schedule.behaviours()))
        self.jobs = JobController(self)
        self.collector = GarbageCollector(self)
        self.server.listeners += [
            self._observe,
            self.kubelet.changed,
            self.jobs.changed,
            self.collector.changed,
            self.invariants.changed,
        ]

    # The course of things

    async def run(self) -> None:
        """Play the schedule, let everything settle, and look at what has become of it."""
        start = self.loop.time()
        for number in range(self.schedule.replicas):
            self.spawn(lease=True, skew=self.schedule.skews[number])
        self.lead()
        for entry in self.schedule.entries:
            self.loop.later(max(0.0, start + entry.at - self.loop.time()), self._play, entry)
        end = start + self.schedule.length
        await self.let_pass(end - self.loop.time())
        self.calm()
        settled_at = None
        while self.loop.time() < end + SETTLE and not self.violations:
            await self.let_pass(5.0)
            leader = self.leader()
            steady = leader is not None and leader.controller.synced and leader.acting_since + QUIET < self.loop.time()
            if steady and self.invariants.all_ended():
                settled_at = settled_at or self.loop.time()
                if self.loop.time() >= settled_at + QUIET and self.invariants.nothing_moves(QUIET):
                    break
            else:
                settled_at = None
        if not self.violations:
            self.invariants.at_the_end()
        self.over = True

    async def let_pass(self, seconds: float) -> None:
        """Let time pass, until something is wrong."""
        if not self.violations:
            self._pause = self.loop.create_future()
            timer = self.loop.later(seconds, _wake, self._pause)
            await self._pause
            timer.cancel()

    def calm(self) -> None:
        """No more faults; one process acts."""
        self.note("chaos", "no more faults")
        for faults in (self._troubles, self._lags, self._slow, self._gc):
            faults.clear()
        self.cordoned = self.refusing = False
        for process in self.processes:
            process.fuse = []
            if process.alive and process.lease is None:
                process.crash()
        self.lead()
        self.invariants.calm_since = self.loop.time()

    def spawn(self, *, lease: bool, skew: float = 0.0) -> Process:
        self._names += 1
        process = Process(self, f"c{self._names}", lease=lease, skew=skew)
        self.processes.append(process)
        self.note("chaos", f"{process.name} starts{'' if lease else ' without leader election'}")
        return process

    def leader(self) -> Process | None:
        """The process that leads, or is about to."""
        return next((x for x in self.processes if x.alive and x.lease and x.lease.won), None)

    def lead(self, *, force: bool = False) -> None:
        """Where nobody leads, a standby takes over, or a process is started."""
        if self.over or (not force and self.leader() is not None):
            return
        waiting = [x for x in self.processes if x.alive and x.lease and not x.lease.won and not x.stopping]
        chosen = waiting[0] if waiting else None
        if chosen is None:
            self.loop.later(self.schedule.restart_delay, self._restart)
            return
        assert chosen.lease is not None
        chosen.lease.win()
        chosen.acting_since = self.loop.time()
        self.note("chaos", f"{chosen.name} leads")

    def _restart(self) -> None:
        if not self.over and self.leader() is None:
            if not any(x.alive and x.lease and not x.stopping for x in self.processes):
                self.spawn(lease=True, skew=self.schedule.skews[-1])
            self.lead()

    def _play(self, entry: Entry) -> None:
        if self.over:
            return
        self.note("schedule", str(entry))
        getattr(self, f"do_{entry.what.replace('-', '_')}")(**entry.arguments)
        self.check()

    # Deeds of the schedule. Users:

    def do_apply(self, kind: str, name: str, spec: JSON, labels: JSON | None = None, recorded: bool = False) -> None:
        """Create an object, or replace its spec; ``recorded`` as kubectl apply does, which keeps a copy in an annotation."""
        resource, spec = KINDS[kind], expanded(spec)
        meta: JSON = {"name": name, "namespace": NAMESPACE, "labels": labels or {}}
        obj: JSON = {"apiVersion": resource.api_version, "kind": kind, "metadata": meta, "spec": spec}
        if kind == "ConfigMap":
            obj = {**obj, "data": spec}
            del obj["spec"]
        if recorded:
            text = to_json(obj).decode()
            meta["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": text}
        found = self.server.find(resource, NAMESPACE, name)
        try:
            if found is None:
                self.server.create(resource, NAMESPACE, to_json(obj), "user")
            elif not found.meta.get("deletionTimestamp"):
                self.server.change(resource, found, lambda o: o.update(spec=spec), "user")
        except APIStatusError as error:
            self.note("user", f"refused: {error}")

    def do_edit(self, kind: str, name: str, spec: JSON) -> None:
        found = self.server.find(KINDS[kind], NAMESPACE, name)
        if found is not None:

            def edit(obj: JSON) -> None:
                obj["spec"] |= spec
                obj["spec"] = {k: v for k, v in obj["spec"].items() if v is not None}

            self.server.change(KINDS[kind], found, edit, "user")

    def do_delete(self, kind: str, name: str, propagation: str = "Background") -> None:
        if self.server.find(KINDS[kind], NAMESPACE, name):
            self.server.delete(KINDS[kind], NAMESPACE, name, "user", propagation=propagation)

    def do_delete_of(self, kind: str, owner: str, number: int = 0, grace: float | None = None) -> None:
        """Delete a Job, Pod, ControllerRevision or ConfigMap that belongs to an owner."""
        found = self._of(kind, owner)
        if found:
            victim = found[number % len(found)]
            self.invariants.tampered(kind, victim)
            self.server.delete(KINDS[kind], NAMESPACE, victim.meta["name"], "user", grace=grace)

    def do_relabel(self, owner: str, number: int, label: str) -> None:
        """Take a label off a Job; its Pods keep theirs."""
        found = self._of("Job", owner)
        if found:
            victim = found[number % len(found)]
            self.server.change(JOBS, victim, lambda o: o["metadata"]["labels"].pop(label, None), "user")

    def do_downgrade(self, owner: str, index: int, reason: str) -> None:
        """A newer version has written a reason that this one does not know."""
        found = self.server.find(RUNS, NAMESPACE, owner)

        def edit(obj: JSON) -> None:
            for entry in obj.get("status", {}).get("tasks", ()):
                if entry["index"] == index and entry["status"] in ("Pending", "Failed"):
                    entry["reason"] = reason
                    self.invariants.foreign.add(reason)

        if found is not None and found.obj["status"].get("completionTime") is None:
            self.server.change(RUNS, found, edit, "newer-version")

    # The cluster:

    def do_disrupt(self, number: int, reason: str = "EvictionByEvictionAPI") -> None:
        pods = [x for x in self.server.all(PODS) if x.obj["spec"].get("nodeName") and not x.meta.get("deletionTimestamp")]
        pods = [x for x in pods if x.obj["status"]["phase"] in ("Pending", "Running")]
        if pods:
            self.kubelet.disrupt(pods[number % len(pods)], reason)

    def do_lose_node(self, removed: bool) -> None:
        self.kubelet.lose(removed)

    def do_preempt(self, number: int, resume: float) -> None:
        """A queue suspends a Job, and resumes it later."""
        found = [x for x in self.server.all(JOBS) if not finished(x.obj) and not x.meta.get("deletionTimestamp")]
        if found:
            victim = found[number % len(found)]
            self.invariants.preempted.add(victim.uid)
            self.server.change(JOBS, victim, lambda o: o["spec"].update(suspend=True), "queue")
            self.loop.later(resume, self.server.change, JOBS, victim, lambda o: o["spec"].update(suspend=False), "queue")

    def do_refuse(self, on: bool) -> None:
        self.refusing = on

    def do_cordon(self, on: bool) -> None:
        self.cordoned = on

    def do_slow(self, actor: str, seconds: float, length: float) -> None:
        self._slow.append((self.loop.time(), self.loop.time() + length, actor, seconds))

    def do_gc(self, seconds: float, length: float) -> None:
        self._gc.append((self.loop.time(), self.loop.time() + length, seconds))

    def do_quota(self, on: bool) -> None:
        self.quota = on

    # The network:

    def do_lag(self, resource: str, seconds: float, length: float, process: str = "") -> None:
        self._lags.append((self.loop.time(), self.loop.time() + length, process, resource, seconds))

    def do_trouble(self, verb: str, resource: str, how: str, count: int = 1, seconds: float = 0.0) -> None:
        self._troubles.append(Trouble(verb, resource, how, count, seconds))

    def do_break_watches(self, resource: str, expired: bool = False) -> None:
        for process in self.processes:
            for stream in list(process.streams):
                if str(stream.resource) == resource:
                    if expired:
                        stream.close(APIStatusError(code=410, reason="Expired"))
                    else:
                        stream.close(TransportError("the connection broke"))

    # Processes:

    def do_crash(self, drop: bool = False) -> None:
        if (leader := self.leader()) is not None:
            leader.crash(drop=drop)

    def do_crash_at(self, writes: int, sent: bool) -> None:
        if (leader := self.leader()) is not None:
            leader.arm(writes, sent)

    def do_terminate(self) -> None:
        if (leader := self.leader()) is not None:
            leader.stop()

    def do_failover(self, overlap: float) -> None:
        """The Lease passes on while the old leader's writes still pass for a while."""
        old = self.leader()
        if old is not None:
            if not any(x.alive and x.lease and not x.lease.won for x in self.processes):
                self.spawn(lease=True, skew=self.schedule.skews[-1])
            assert old.lease is not None
            old.lease.lose(overlap)
            self.lead(force=True)

    def do_second(self, length: float) -> None:
        """Somebody runs another one without leader election."""
        process = self.spawn(lease=False, skew=self.schedule.skews[-1])
        self.loop.later(length, process.crash)

    def close(self) -> None:
        """Let go of what is large, so that it need not be searched for as garbage."""
        self.server.clear()
        for table in (self.history, self.processes, self.kubelet.tries, self.kubelet.by_task, self.invariants.owners):
            table.clear()

    # What the parts ask for

    def now(self, ago: float = 0.0) -> str:
        return timestamp(self.loop.time() + ago)

    def lag(self, process: str, resource: str) -> float:
        now = self.loop.time()
        return max(
            (s for a, b, p, r, s in self._lags if a <= now < b and r in (resource, "*") and p in (process, "")), default=0.0
        )

    def slow(self, actor: str) -> float:
        now = self.loop.time()
        return max((s for a, b, x, s in self._slow if a <= now < b and x == actor), default=0.0)

    def gc_delay(self) -> float:
        now = self.loop.time()
        return max((s for a, b, s in self._gc if a <= now < b), default=0.5)

    def trouble(self, process: Process, verb: str, resource: str, name: str) -> Trouble | None:
        for trouble in self._troubles:
            # A create and a delete carry no resourceVersion that could be in conflict.
            fits = trouble.how != "409" or verb in ("update", "patch")
            if fits and trouble.verb in (verb, "*") and trouble.resource in (resource, "*"):
                trouble.count -= 1
                if trouble.count <= 0:
                    self._troubles.remove(trouble)
                self.note("network", f"{trouble.how} of {process.name}: {verb} {resource} {name}")
                return trouble
        return None

    def owner_of(self, job_uid: str) -> tuple[str, int, str]:
        """Owner's uid, index and owner's name of a Job that exists or existed."""
        return self._owners.get(job_uid, ("", 0, ""))

    def jobs_made(self) -> Iterable[tuple[str, tuple[str, int, str]]]:
        """All Jobs that there were, by uid, with what owner_of gives."""
        return self._owners.items()

    def agent_started(self, truth: Try, pod: Stored) -> None:
        self.note("kubelet", lambda t: f"agent of task {t.index} of {t.owner_uid} starts, try {t.number}", truth)
        self.invariants.started(truth, pod)

    def event(self, about: Stored, kind: str, reason: str, message: str, severity: str = "Warning") -> None:
        """Record an Event as kubelet and Job controller do."""
        self._events += 1
        name = f"{about.meta['name']}.{self._events}"
        involved = {"kind": kind, "name": about.meta["name"], "namespace": NAMESPACE, "uid": about.uid}
        body = {
            "metadata": {"name": name},
            "involvedObject": involved,
            "regarding": involved,
            "type": severity,
            "reason": reason,
            "message": message,
            "note": message,
            "firstTimestamp": self.now(),
            "lastTimestamp": self.now(),
            "eventTime": None,
        }
        self.server.create(CORE_EVENTS, NAMESPACE, to_json(body), "cluster")

    def check(self) -> None:
        """After each step."""
        self.invariants.after_step()

    def violation(self, text: str) -> None:
        """Note what must not be; the first one ends the run."""
        if text not in self.violations and not self.over and not any(re.search(x, text) for x in self.ignored):
            self.violations.append(text)
            self.note("VIOLATION", text)
            _wake(self._pause)

    # History

    def note(self, actor: str, text: Any, *arguments: Any) -> None:
        self.history.append((self.loop.time(), actor, text, arguments))

    def lines(self) -> list[str]:
        start = self.history[0][0] if self.history else 0.0
        return [
            f"{at - start:9.3f} {actor:<17} {text if isinstance(text, str) else text(*arguments)}"
            for at, actor, text, arguments in self.history
        ]

    def _of(self, kind: str, owner: str) -> list[Stored]:
        uids = {x.uid for r in (RUNS, TASKS) for x in self.server.all(r) if x.meta["name"] == owner}
        if kind == "Pod":
            uids = {x.uid for x in self.server.all(JOBS) if self.owner_of(x.uid)[0] in uids}
        found = [
            x for x in self.server.all(KINDS[kind]) if any(r["uid"] in uids for r in x.meta.get("ownerReferences") or ())
        ]
        return [x for x in found if not x.meta.get("deletionTimestamp")]

    def _admit(self, resource: Resource, obj: JSON) -> None:
        name = obj["metadata"]["name"]
        if resource is JOBS and self.quota:
            self.invariants.refused(name)
            raise refusal(
                403, "Forbidden", f'jobs.batch "{name}" is forbidden: exceeded quota: q, requested: count/jobs.batch=1'
            )

    def _observe(self, resource: Resource, change: Change, actor: str) -> None:
        """Before all others: keep the books, tell the watches, write the history."""
        if resource is JOBS and change.old is None and change.new is not None:
            meta = change.new.meta
            ref = (meta.get("ownerReferences") or [{}])[0]
            index = int((meta.get("labels") or {}).get(c.LABEL_TASK_INDEX, 0))
            self._owners[meta["uid"]] = (ref.get("uid", ""), index, ref.get("name", ""))
        for process in self.processes:
            for stream in process.streams:
                if stream.resource == resource:
                    stream.changed(change)
        if resource is not CORE_EVENTS:
            self.note(actor, _describe, resource, change)


def _wake(pause: "asyncio.Future[None]") -> None:
    if not pause.done():
        pause.set_result(None)


def _describe(resource: Resource, change: Change) -> str:
    stored = change.new or change.old
    assert stored is not None
    verb = "creates" if change.old is None else "removes" if change.new is None else "writes"
    text = f"{verb} {resource.kind} {change.key[2]} ({stored.uid}, rv {change.version})"
    if stored.meta.get("deletionTimestamp"):
        text += " deleting"
    status = (change.new.obj.get("status") or {}) if change.new else {}
    if resource.kind in (c.KIND_BATCH_RUN, c.KIND_TASK):
        text += f" {status.get('phase')}/{status.get('reason')} {status.get('message', '')[:120]}"
        tasks = [f"{x['index']}:{x['status']}/{x.get('reason')}" for x in status.get("tasks") or ()]
        text += f" [{' '.join(tasks)}]" if tasks else ""
        if change.old is None or (change.new and change.old.obj.get("spec") != change.new.obj.get("spec")):
            text += f" spec {str(stored.obj.get('spec'))[:160]}"
    elif resource is JOBS:
        text += f" {[x['type'] + '/' + x['reason'] for x in status.get('conditions') or ()]}"
    elif resource is PODS:
        states = [
            f"{x['name']}={next(iter(x['state']))}:{next(iter(x['state'].values())).get('reason', '')}"
            for key in ("initContainerStatuses", "containerStatuses")
            for x in status.get(key) or ()
        ]
        text += f" {status.get('phase')} {' '.join(states)}"
    return text
