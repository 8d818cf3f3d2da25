"""Seeded schedules of what may go wrong while a run goes on: when, and what.

A schedule follows from its seed alone. On a cluster without faults on demand the deeds of the API server are left out; what
befalls the controllers, and users who delete Jobs, are the same everywhere.
"""

import random
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from devcluster.base import Cluster

from support.integration.controller import ControllerProcess
from support.integration.kubectl import Kubectl

CONTROLLER = "system:serviceaccount:kubetask-system:kubetask-controller"
SPAN = 7.0
"""Seconds over which the deeds are spread; a run without any of them takes about as long."""
OF_CONTROLLERS = ("kill", "failover", "pause", "delete-jobs")
OF_THE_SERVER = ("restart", "restart-losing-history", "compact", "silence", "close-watches")


class Job(NamedTuple):
    """One Job; a name may have several, one after the other."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that happens `at` seconds after the start."""

    at: float
    what: str


@dataclass(slots=True)
class Schedule:
    """What happens, in order; `faults` strike all along, each a kind with its settings."""

    seed: int
    deeds: list[Deed]
    faults: list[tuple[str, dict[str, Any]]]

    def __str__(self) -> str:
        deeds = ", ".join(f"{x.at:.1f} s {x.what}" for x in self.deeds)
        return f"schedule {self.seed}: {deeds}; " + ", ".join(x[0] for x in self.faults)


def schedule(seed: int, *, server: bool) -> Schedule:
    """The schedule of a seed. `server`: the API server takes part."""
    dice = random.Random(seed)
    kinds = (*OF_CONTROLLERS, *(OF_THE_SERVER if server else ()))
    deeds = [Deed(dice.uniform(0.2, SPAN), dice.choice(kinds)) for _ in range(dice.randint(2, 5))]
    return Schedule(seed, sorted(deeds, key=lambda x: x.at), _faults(dice) if server else [])


def _faults(dice: random.Random) -> list[tuple[str, dict[str, Any]]]:
    """A few kinds of trouble, as likely as on a bad day: enough that each write meets some of them."""
    some: list[tuple[str, dict[str, Any]]] = [
        ("lost-response", {"verbs": ["create"], "resources": ["jobs"], "probability": 0.08}),
        (
            "lost-response",
            {"verbs": ["update"], "resources": ["batchruns/status"], "probability": 0.2},
        ),
        ("conflict", {"verbs": ["update"], "resources": ["batchruns/status"], "probability": 0.3}),
        ("too-many-requests", {"verbs": ["create", "update", "list"], "probability": 0.05}),
        ("server-error", {"verbs": ["create"], "resources": ["jobs"], "probability": 0.05}),
        (
            "server-error",
            {"verbs": ["create"], "resources": ["jobs"], "probability": 0.05, "carried_out": True},
        ),
        ("refused", {"verbs": ["create", "update"], "probability": 0.05}),
        (
            "latency",
            {"verbs": ["create"], "resources": ["jobs"], "probability": 0.2, "seconds": 0.4},
        ),
        ("lagging-watch", {"resources": ["jobs", "pods"], "probability": 0.5, "seconds": 0.7}),
    ]
    return [(kind, {**more, "users": [CONTROLLER]}) for kind, more in dice.sample(some, k=4)]


@dataclass(slots=True)
class Chaos:
    """Carries a schedule out. `deleted` are the Jobs that it deleted."""

    cluster: Cluster
    kubectl: Kubectl
    replicas: list[ControllerProcess]
    dice: random.Random
    deleted: set[Job] = field(default_factory=set)
    _paused: list[ControllerProcess] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    def begin(self, plan: Schedule) -> None:
        """Let the faults strike."""
        for kind, settings in plan.faults:
            self._stack.enter_context(self.cluster.faults.inject(kind, **settings))

    def do(self, deed: Deed) -> None:
        """One deed; returns at once where it takes its time."""
        getattr(self, "_" + deed.what.replace("-", "_"))()

    def end(self) -> None:
        """Put everything right again: no faults, nobody paused, every replica at work."""
        self._stack.close()
        for each in self._paused:
            if each.running:
                each.resume()
        for each in self.replicas:
            if not each.running:
                each.start()

    def revive(self) -> None:
        """Start again what has ended, as a kubelet does: a replica that lost its lease exits."""
        for each in self.replicas:
            if not each.running:
                each.start()

    def jobs(self) -> list[Job]:
        """The Jobs of the run, by name."""
        found = (x["metadata"] for x in self.kubectl.items("jobs"))
        return sorted(Job(x["name"], x["uid"]) for x in found)

    def _kill(self) -> None:
        for each in self.replicas:
            if each.running:
                each.kill()
        self.revive()

    def _failover(self) -> None:
        victim = self.dice.choice(self.replicas)
        if victim.running:
            victim.kill()

    def _pause(self) -> None:
        victim = self.dice.choice(self.replicas)
        if victim.running and victim not in self._paused:
            victim.pause()
            self._paused.append(victim)

    def _delete_jobs(self) -> None:
        jobs = self.jobs()
        chosen = self.dice.sample(jobs, k=min(3, len(jobs)))
        if chosen:
            self.deleted.update(chosen)
            self.kubectl("delete", "jobs", *(x.name for x in chosen), "--wait=false")

    def _restart(self) -> None:
        self.cluster.faults.restart(down_seconds=0.7, lose_history=False)

    def _restart_losing_history(self) -> None:
        self.cluster.faults.restart(down_seconds=0.7, lose_history=True)

    def _compact(self) -> None:
        self.cluster.faults.compact()

    def _silence(self) -> None:
        fault = self.cluster.faults.inject(
            "silent-watch", resources=["jobs", "pods"], users=[CONTROLLER]
        )
        self._stack.enter_context(fault)

    def _close_watches(self) -> None:
        with self.cluster.faults.inject("closed-watch", users=[CONTROLLER], mode="cut", count=4):
            pass
