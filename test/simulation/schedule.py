"""What happens in one simulated cluster, drawn from a seed as an explicit list, so that a part of it can be left out.

Drawn as swarm testing does it: each seed takes one situation that is known to be delicate, and a random few of the kinds of
faults and deeds on top. Noise of everything at once finds little.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from simulation.kubelet import Behaviour

JSON = dict[str, Any]
_WRITES = (("create", "jobs.batch"), ("update", "batchruns.kubetask.io"), ("update", "tasks.kubetask.io"))
_WATCHED = (
    "jobs.batch",
    "pods",
    "batchruns.kubetask.io",
    "tasks.kubetask.io",
    "batches.kubetask.io",
    "workspaceconfigs.kubetask.io",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One deed, ``at`` seconds after the start; ``what`` names a method of the world."""

    at: float
    what: str
    arguments: JSON = field(default_factory=dict)

    def __str__(self) -> str:
        text = str(self.arguments)
        return f"{self.what} {text if len(text) < 300 else text[:300] + '…'}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that is decided before the start."""

    seed: int
    title: str
    entries: tuple[Entry, ...] = ()
    tries: tuple[tuple[str, int, int, Behaviour], ...] = ()
    replicas: int = 1
    skews: tuple[float, ...] = (0.0, 0.0)
    latencies: tuple[float, ...] = (0.004, 0.006, 0.011)
    watch_latency: float = 0.01
    restart_delay: float = 1.0
    length: float = 10.0

    def behaviours(self) -> Iterator[tuple[tuple[str, int, int], Behaviour]]:
        """By owner, index and number of the try."""
        return (((owner, index, number), behaviour) for owner, index, number, behaviour in self.tries)

    def parts(self) -> int:
        """How many parts there are to leave out."""
        return len(self.entries) + len(self.tries)

    def without(self, first: int, count: int = 1) -> "Schedule":
        """The same without some of its parts."""
        left = [x for i, x in enumerate((*self.entries, *self.tries)) if not first <= i < first + count]
        return replace(
            self,
            entries=tuple(x for x in left if isinstance(x, Entry)),
            tries=tuple(x for x in left if not isinstance(x, Entry)),
        )

    def to_json(self) -> str:
        """For a file that from_json reads."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Schedule":
        """What to_json wrote."""
        given = json.loads(text)
        given["entries"] = tuple(Entry(**x) for x in given["entries"])
        given["tries"] = tuple((owner, index, number, Behaviour(**x)) for owner, index, number, x in given["tries"])
        given |= {key: tuple(given[key]) for key in ("skews", "latencies")}
        return cls(**given)

    def __str__(self) -> str:
        lines = [
            f"schedule {self.seed}: {self.title}, {self.replicas} replicas, skews {self.skews}, length {self.length:g} s"
        ]
        lines += [f"  at {x.at:7.3f} {x}" for x in self.entries]
        lines += [f"  task {i} of {owner}, try {n}: {b}" for owner, i, n, b in self.tries]
        return "\n".join(lines)


class Draft:
    """A schedule on its way."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self.title = ""
        self.entries: list[Entry] = []
        self.tries: list[tuple[str, int, int, Behaviour]] = []
        self.owners: list[tuple[str, str, int]] = []
        """Kind, name and number of tasks."""
        self.replicas = 1
        self.length = 8.0

    def add(self, at: float, what: str, **arguments: Any) -> None:
        self.entries.append(Entry(round(at, 3), what, arguments))

    def config(self, name: str = "default", *, at: float = 0.0, image: str = "img/a", cap: int | None = None) -> None:
        spec: JSON = {"agentImage": image}
        if cap is not None:
            spec["maxConcurrentTasks"] = cap
        self.add(at, "apply", kind="WorkspaceConfig", name=name, spec=spec)

    def run(
        self, name: str, tasks: int, *, at: float = 0.1, batch: str = "", contexts: list[Any] | None = None, **spec: Any
    ) -> None:
        """A BatchRun with an inline spec, or of a Batch."""
        work = {"variableContexts": contexts or [_repository(f"{name}-{i}") for i in range(tasks)], "commonContext": []}
        body = {"batchRef": batch} if batch else {} if "retryOf" in spec else {"batchSpec": work}
        recorded = bool(spec.pop("recorded", False))
        self.add(at, "apply", kind="BatchRun", name=name, spec=body | spec, recorded=recorded)
        self.owners.append(("BatchRun", name, tasks))

    def batch(self, name: str, tasks: int, *, at: float = 0.0, repo: str = "b") -> None:
        spec = {"variableContexts": [_repository(f"{repo}-{i}") for i in range(tasks)], "commonContext": []}
        self.add(at, "apply", kind="Batch", name=name, spec=spec)

    def task(self, name: str, *, at: float = 0.1, contexts: list[JSON] | None = None, **spec: Any) -> None:
        self.add(at, "apply", kind="Task", name=name, spec={"contexts": contexts or _repository(name)} | spec)
        self.owners.append(("Task", name, 1))

    def agent(self, owner: str, index: int, number: int = 0, **behaviour: Any) -> None:
        self.tries.append((owner, index, number, Behaviour(**behaviour)))

    def finish(self) -> Schedule:
        dice = self.dice
        skews = (0.0, 0.0) if dice.random() < 0.7 else (dice.choice((0.0, -30.0, 40.0)), dice.choice((0.0, 35.0, -45.0)))
        slow = dice.random() < 0.2
        return Schedule(
            self.seed,
            self.title,
            tuple(sorted(self.entries, key=lambda x: x.at)),
            tuple(self.tries),
            self.replicas,
            skews,
            (0.02, 0.05, 0.2) if slow else (0.004, 0.006, 0.011),
            dice.choice((0.003, 0.01, 0.06)),
            dice.choice((0.3, 1.0, 4.0)),
            max(self.length, *(x.at + 0.5 for x in self.entries)),
        )


def draw(seed: int) -> Schedule:
    """The schedule of a seed."""
    draft = Draft(seed)
    situation = draft.dice.choices(tuple(SITUATIONS), tuple(SITUATIONS.values()))[0]
    draft.title = situation.__name__.strip("_")
    situation(draft)
    # A third of the schedules shows its situation alone: what is on top may hide it.
    if draft.dice.random() < 0.67:
        kinds = draft.dice.sample(NOISE, draft.dice.randint(1, 3))
        for kind in kinds:
            kind(draft)
            draft.title += f" + {kind.__name__.strip('_')}"
    # Dice of its own: what the others show stays what it was.
    dice = random.Random(-seed - 1)
    if dice.random() < 0.05:
        _refused_by_node(draft, dice)
    elif dice.random() < 0.05:
        draft.add(dice.uniform(0.3, 8.0), "lose-node", removed=dice.random() < 0.5)
        draft.title += " + lost_node"
    elif dice.random() < 0.05 and "bad_network" not in draft.title:
        # Where requests hang, the queue may resume a Job before anybody can find out what it did.
        draft.add(dice.uniform(0.1, 8.0), "preempt", number=dice.randint(0, 3), resume=dice.choice((60.0, 90.0)))
        draft.title += " + preempted"
    return draft.finish()


def _refused_by_node(d: Draft, dice: random.Random) -> None:
    """The node has no room for the Pods that the scheduler gives it, or refuses them for another reason."""
    at = dice.uniform(0.0, 3.0)
    d.add(at, "refuse", on=True)
    d.add(at + dice.choice((0.5, 3.0, 20.0, 60.0)), "refuse", on=False)
    d.title += " + refused_by_node"


# Situations. Each leaves a world with up to a dozen tasks, and whatever is delicate about it.


def _takeover(d: Draft) -> None:
    """A new leader has a cache that is behind another (stale state)."""
    d.replicas = d.dice.choice((1, 2, 2, 2))
    d.config(cap=d.dice.choice((None, 2)))
    _some_work(d)
    at = d.dice.uniform(0.4, 2.0) if d.dice.random() < 0.7 else d.dice.uniform(2.0, 5.0)
    if d.dice.random() < 0.4:
        # The standby hears of no Job before it leads, while it hears of all else.
        d.add(0.0, "lag", resource="jobs.batch", seconds=d.dice.choice((3.0, 6.0)), length=at + 2.0, process="c2")
        _leader_goes(d, at)
        return
    resource = d.dice.choice(("jobs.batch", "jobs.batch", "*", "pods", "batchruns.kubetask.io"))
    seconds, process = d.dice.choice((1.0, 3.0, 6.0)), d.dice.choice(("c2", "c2", ""))
    d.add(
        max(0.0, at - d.dice.uniform(0.0, 1.5)),
        "lag",
        resource=resource,
        seconds=seconds,
        length=d.dice.uniform(2.0, 8.0),
        process=process,
    )
    _leader_goes(d, at)


def _second_process(d: Draft) -> None:
    """A process joins, its first lists are of different age, and it acts beside the leader or after it."""
    d.config(cap=d.dice.choice((None, 1, 2)))
    _some_work(d)
    at = d.dice.uniform(0.1, 3.0)
    if d.dice.random() < 0.7:
        d.add(at, "second", length=d.dice.uniform(1.0, 8.0))
    else:
        d.add(at, "failover", overlap=d.dice.choice((0.5, 2.0, 5.0)))
    if d.dice.random() < 0.8:
        early, late = d.dice.choice(
            (("jobs.batch", "batchruns.kubetask.io"), ("jobs.batch", "tasks.kubetask.io"), ("pods", "jobs.batch"))
        )
        d.add(at, "lag", resource=late, seconds=d.dice.choice((0.5, 1.0)), length=0.1, process="c2")
        d.add(at + 0.1, "lag", resource=early, seconds=d.dice.choice((1.0, 3.0)), length=3.0, process="c2")


def _crash_between(d: Draft) -> None:
    """A process dies between two writes (crash at an intermediate state)."""
    d.replicas = d.dice.choice((1, 2))
    d.config(cap=d.dice.choice((None, 1, 2)))
    _some_work(d)
    for _ in range(d.dice.randint(1, 3)):
        d.add(d.dice.uniform(0.0, 5.0), "crash-at", writes=d.dice.randint(1, 6), sent=d.dice.random() < 0.5)


def _late_pods(d: Draft) -> None:
    d.config()
    _some_work(d)
    for _, name, tasks in d.owners:
        for index in range(tasks):
            if d.dice.random() < 0.5:
                d.agent(name, index, exit_code=7, message="boom", run=d.dice.uniform(0.5, 3.0))
    d.add(d.dice.uniform(0.5, 3.0), "lag", resource="pods", seconds=d.dice.choice((1.0, 2.0, 5.0)), length=6.0)


def _together(d: Draft) -> None:
    """A WorkspaceConfig and the work that needs it are applied at once."""
    named = d.dice.choice(("default", "mine"))
    at = d.dice.uniform(0.5, 2.0)
    d.add(at - 0.1, "lag", resource="workspaceconfigs.kubetask.io", seconds=d.dice.choice((0.5, 1.0, 3.0)), length=2.0)
    d.config(named, at=at, cap=d.dice.choice((None, 1, 1)))
    ref = {} if named == "default" else {"workspaceConfigRef": named}
    d.run("run-a", d.dice.randint(2, 5), at=at + 0.02, **ref)
    if d.dice.random() < 0.5:
        d.task("task-b", at=at + 0.03, **ref)


def _snapshot_gone(d: Draft) -> None:
    """A recorded snapshot disappears, and the Batch has changed since."""
    d.config(cap=d.dice.choice((None, 1)))
    d.batch("batch-a", 2)
    d.run("run-a", 2, batch="batch-a")
    at = d.dice.uniform(0.5, 3.0)
    if d.dice.random() < 0.8:
        d.add(at, "delete-of", kind="ControllerRevision", owner="run-a")
    d.batch("batch-a", 5, at=at + 0.1, repo="other")
    if d.dice.random() < 0.4:
        d.add(at, "lag", resource="batches.kubetask.io", seconds=2.0, length=3.0)
    _leader_goes(d, at + d.dice.uniform(0.2, 2.0))


def _batch_edited(d: Draft) -> None:
    """A Batch changes just before the run that is to use it (stale state)."""
    d.config()
    d.batch("batch-a", 2)
    at = d.dice.uniform(1.0, 2.0)
    d.add(at - 0.5, "lag", resource="batches.kubetask.io", seconds=d.dice.choice((1.0, 3.0)), length=3.0)
    d.batch("batch-a", 3, at=at, repo="other")
    d.run("run-a", 3, at=at + 0.05, batch="batch-a")


def _failed_create(d: Draft) -> None:
    d.config(cap=d.dice.choice((1, 1, 2, None)))
    for i in range(d.dice.randint(1, 3)):
        d.task(f"task-{i}", at=0.2 + 0.1 * i)
    if d.dice.random() < 0.4:
        d.run("run-a", 2)
    how = d.dice.choice(("500", "lost", "unheard", "late", "slow", "503"))
    d.add(
        d.dice.uniform(0.0, 1.0),
        "trouble",
        verb="create",
        resource="jobs.batch",
        how=how,
        count=d.dice.choice((1, 1, 2, 4)),
        seconds=d.dice.choice((5.0, 35.0)),
    )


def _waiter_leaves(d: Draft) -> None:
    """Who waits for a slot is suspended, deleted or cancelled."""
    d.config(cap=1)
    d.run("run-a", d.dice.randint(1, 3), at=0.1)
    d.run("run-b", d.dice.randint(1, 3), at=0.6)
    kind = d.dice.choice(("run", "task", "both"))
    if kind != "task":
        d.run("run-c", d.dice.randint(1, 2), at=0.8)
    if kind != "run":
        d.task("task-d", at=0.9)
    deed = d.dice.choice(("suspend", "suspend", "delete", "cancel"))
    name = d.dice.choice(("run-a", "run-b"))
    at = d.dice.uniform(1.0, 6.0)
    if deed == "delete":
        d.add(at, "delete", kind="BatchRun", name=name)
    else:
        d.add(at, "edit", kind="BatchRun", name=name, spec={deed: True})
        if deed == "suspend" and d.dice.random() < 0.3:
            d.add(at + 5.0, "edit", kind="BatchRun", name=name, spec={"suspend": None})
    d.length = 12.0


def _contention(d: Draft) -> None:
    d.config(cap=d.dice.choice((1, 1, 2)))
    for i in range(d.dice.randint(1, 2)):
        d.run(f"run-{i}", d.dice.randint(3, 5), at=0.1 + 0.05 * i)
    for i in range(d.dice.randint(1, 3)):
        d.task(f"task-{i}", at=0.4 + 0.1 * i)
    for _, name, tasks in d.owners:
        for index in range(tasks):
            d.agent(name, index, run=1.0, init=0.1)
    d.length = 14.0


def _crowd(d: Draft) -> None:
    """Many wait for one slot."""
    d.config(cap=1)
    for i in range(10):
        d.task(f"task-{i:02d}", at=0.1 + 0.01 * i)
        d.agent(f"task-{i:02d}", 0, run=0.5, init=0.1)
    d.length = 20.0


def _odd_results(d: Draft) -> None:
    d.config()
    _some_work(d, most=3)
    texts = (
        '{"summary": "s", "cost": NaN}',
        '{"summary": "s", "usage": {"costUSD": Infinity}}',
        '{"summary": "s", "x": 1e400}',
        '{"summary": "s", "x": [{"y": -Infinity}]}',
        '{"summary": "\\u0000s", "pullRequest": "javascript:alert(1)"}',
        '{"usage": {"costUSD": 1e308, "inputTokens": 99999999999999999999999}}',
        '{"summary": 7}',
        "not json",
    )
    for _, name, tasks in d.owners:
        for index in range(tasks):
            if d.dice.random() < 0.6:
                d.agent(name, index, message=d.dice.choice(texts), exit_code=d.dice.choice((0, 0, 3)))


def _waits_for_batch(d: Draft) -> None:
    """Cancelled while it waits, or waiting for what can never be."""
    d.config()
    if d.dice.random() < 0.5:
        d.run("run-a", 2, batch="batch-a")
        d.add(d.dice.uniform(0.5, 2.0), "edit", kind="BatchRun", name="run-a", spec={"cancel": True})
        if d.dice.random() < 0.3:
            d.batch("batch-a", 2, at=d.dice.uniform(0.5, 4.0))
    else:
        d.run("run-a", 2)
        if d.dice.random() < 0.4:
            d.agent("run-a", 0, exit_code=1)
        more = {"select": d.dice.choice(("7", "0"))} if d.dice.random() < 0.4 else {}
        d.run("run-b", 0, at=d.dice.uniform(0.2, 6.0), retryOf="run-a", **more)


def _collision(d: Draft) -> None:
    """The template of one task is impossible."""
    d.config()
    pairs = ((("acme", "Billing", ""), ("acme", "billing", "")), (("acme", "r", "a/b"), ("acme", "r", "a-b")))
    bad = [
        {"type": "Repository", "repository": {"org": o, "repo": r, **({"branch": b} if b else {})}}
        for o, r, b in d.dice.choice(pairs)
    ]
    contexts: list[Any] = [_repository(f"r{i}") for i in range(d.dice.randint(1, 4))]
    contexts.insert(d.dice.randint(0, len(contexts)), bad)
    d.run("run-a", len(contexts), contexts=contexts)
    if d.dice.random() < 0.3:
        d.task("task-b", contexts=bad)


def _max_failures(d: Draft) -> None:
    d.config(image=d.dice.choice(("img/a", "img/a", "img/missing")))
    tasks = d.dice.randint(3, 6)
    more: JSON = {"maxFailures": d.dice.choice((0, 1))}
    if d.dice.random() < 0.3:
        more["parallelism"] = 2
    if d.dice.random() < 0.4:
        more["pendingDeadlineSeconds"] = 20
    missing = [{"type": "File", "file": {"name": "f", "source": {"configMapKeyRef": {"name": "later", "key": "k"}}}}]
    contexts: list[Any] = [_repository(f"r{i}") for i in range(tasks)]
    late = d.dice.random() < 0.6
    if late:
        for i in range(2, tasks):
            contexts[i] = [*contexts[i], *missing]
        if d.dice.random() < 0.6:
            d.add(d.dice.uniform(12.0, 40.0), "apply", kind="ConfigMap", name="later", spec={"k": "v"})
            d.length = 45.0
    d.run("run-a", tasks, contexts=contexts, **more)
    for index in range(tasks):
        if index < 2 or d.dice.random() < 0.5:
            d.agent("run-a", index, exit_code=1, run=1.0)


def _huge_manifest(d: Draft) -> None:
    """kubectl apply keeps the manifest a second time."""
    d.config()
    text = d.dice.choice(("x*766000", "x*770000", "x*380000"))
    tasks = 9
    contexts: list[Any] = [_repository(f"r{i}") for i in range(tasks)]
    contexts[0] = [*contexts[0], {"type": "File", "file": {"name": "big", "source": {"inline": text}}}]
    d.run("run-a", tasks, contexts=contexts, recorded=True)
    for index in range(tasks):
        d.agent("run-a", index, message='{"summary": "s*3900"}', run=1.0 + index)


def _many_bytes(d: Draft) -> None:
    """Few characters, many bytes."""
    d.config()
    big = {"type": "File", "file": {"name": "big", "source": {"inline": "я*600000"}}}
    if d.dice.random() < 0.5:
        d.task("task-a", contexts=[big])
    else:
        d.run("run-a", 3, contexts=[_repository("r0"), [*_repository("r1"), big], _repository("r2")])


def _downgrade(d: Draft) -> None:
    """A newer version has left its words in a status."""
    d.config(cap=1)
    d.run("run-a", d.dice.randint(2, 3))
    d.agent("run-a", 0, exit_code=1, run=1.0)
    at = d.dice.uniform(2.5, 5.0)
    d.add(at, "downgrade", owner="run-a", index=d.dice.randint(0, 1), reason="SolarFlare")
    d.add(at + 0.01, "crash")


def _stuck(d: Draft) -> None:
    """Agents that cannot start; with or without a deadline, and perhaps corrected later."""
    image = d.dice.choice(("img/missing", "img/secret", "img/root", "img/named", "img/denied", "img/nonode", "img/a"))
    d.config(image=image, cap=d.dice.choice((None, 2, 3)))
    more: JSON = {"pendingDeadlineSeconds": d.dice.choice((15, 30))} if d.dice.random() < 0.5 else {}
    many = d.dice.random() < 0.4
    missing = [{"type": "File", "file": {"name": "f", "source": {"configMapKeyRef": {"name": "never", "key": "k"}}}}]
    tasks = 8 if many else d.dice.randint(1, 3)
    contexts = [
        [*_repository(f"r{i}"), *missing] if many and image == "img/a" else _repository(f"r{i}") for i in range(tasks)
    ]
    d.run("run-a", tasks, contexts=contexts, **more)
    if d.dice.random() < 0.4:
        d.task("task-b", **more)
    if d.dice.random() < 0.5:
        d.length = 50.0
        d.config(image="img/b", at=d.dice.uniform(5.0, 45.0))
    elif d.dice.random() < 0.3:
        d.add(d.dice.uniform(3.0, 20.0), "edit", kind="BatchRun", name="run-a", spec={"cancel": True})


def _over_quota(d: Draft) -> None:
    """Every create of a Job is refused, for good or for a while."""
    d.config()
    d.add(0.0, "quota", on=True)
    for i in range(d.dice.randint(1, 3)):
        d.task(f"task-{i}", at=0.2 + 0.1 * i)
    d.run("run-b", d.dice.randint(1, 3))
    if d.dice.random() < 0.4:
        d.add(d.dice.uniform(5.0, 60.0), "quota", on=False)
        d.length = 61.0


def _canary(d: Draft) -> None:
    """Only the first tasks may start; later perhaps more."""
    d.config(cap=d.dice.choice((None, None, 1)))
    tasks = d.dice.randint(2, 5)
    d.run("run-a", tasks, taskLimit=d.dice.randint(1, tasks - 1), parallelism=d.dice.choice((1, 4)))
    if d.dice.random() < 0.6:
        spec = {"taskLimit": d.dice.choice((None, tasks, tasks - 1))}
        d.add(d.dice.uniform(0.5, 7.0), "edit", kind="BatchRun", name="run-a", spec=spec)
    if d.dice.random() < 0.4:
        _leader_goes(d, d.dice.uniform(0.5, 6.0))


def _budget(d: Draft) -> None:
    """The agents say what they cost."""
    d.config(cap=d.dice.choice((1, 2)))
    tasks = d.dice.randint(3, 5)
    d.run("run-a", tasks, maxCostUSD=d.dice.choice(("1", "2.5", "100")))
    for index in range(tasks):
        d.agent("run-a", index, cost=d.dice.choice((0.5, 1.0, 1.25)), run=1.0, exit_code=d.dice.choice((0, 0, 0, 3)))
    if d.dice.random() < 0.4:
        _leader_goes(d, d.dice.uniform(0.5, 8.0))
    d.length = 14.0


def _slow_cancel(d: Draft) -> None:
    """Many Pods are to be ended, and each request takes seconds."""
    d.config()
    tasks = 12
    d.run("run-a", tasks)
    for index in range(tasks):
        d.agent("run-a", index, run=200.0)
    d.add(3.0, "trouble", verb="patch", resource="pods", how="late", count=tasks, seconds=6.0)
    d.add(4.0, "edit", kind="BatchRun", name="run-a", spec={"cancel": True})
    d.length = 90.0


def _disruption(d: Draft) -> None:
    d.config(cap=d.dice.choice((None, 2)))
    more: JSON = {"backoffLimit": 1} if d.dice.random() < 0.3 else {}
    if d.dice.random() < 0.5:
        more["maxDisruptions"] = d.dice.choice((1, 2))
    d.run("run-a", d.dice.randint(1, 3), **more)
    if d.dice.random() < 0.5:
        d.task("task-b", **more)
    for _ in range(d.dice.randint(1, 4)):
        d.add(
            d.dice.uniform(0.3, 20.0),
            "disrupt",
            number=d.dice.randint(0, 3),
            reason=d.dice.choice(("EvictionByEvictionAPI", "PreemptionByScheduler", "DeletionByTaintManager")),
        )
    if d.dice.random() < 0.3:
        at = d.dice.uniform(0.0, 5.0)
        d.add(at, "cordon", on=True)
        d.add(at + d.dice.uniform(2.0, 15.0), "cordon", on=False)
    if d.dice.random() < 0.4:
        _leader_goes(d, d.dice.uniform(1.0, 15.0))
    d.length = 25.0


def _same_name(d: Draft) -> None:
    """An owner is deleted and made again under its name, while the old one's Jobs are still there."""
    d.config(cap=d.dice.choice((None, 2)))
    kind = d.dice.choice(("BatchRun", "BatchRun", "Task"))
    at = d.dice.uniform(1.0, 4.0)
    d.add(0.0, "gc", seconds=d.dice.choice((0.2, 3.0, 15.0)), length=60.0)
    make: Callable[..., None] = (
        (lambda at: d.run("same", 2, at=at)) if kind == "BatchRun" else (lambda at: d.task("same", at=at))
    )
    make(0.1)
    d.add(at, "delete", kind=kind, name="same", propagation=d.dice.choice(("Background", "Background", "Foreground")))
    make(at + d.dice.choice((0.01, 0.5, 20.0)))
    if d.dice.random() < 0.4:
        _leader_goes(d, at + d.dice.uniform(0.0, 1.0))
    d.length = 25.0


def _tampering(d: Draft) -> None:
    """Users delete what belongs to a run, or take its labels off (unobserved state)."""
    d.config(cap=d.dice.choice((None, 2)))
    _some_work(d, most=4, backoffLimit=d.dice.choice((0, 0, 1)))
    for _ in range(d.dice.randint(1, 3)):
        _, owner, tasks = d.dice.choice(d.owners)
        at, number = d.dice.uniform(0.3, 6.0), d.dice.randint(0, max(0, tasks - 1))
        deed = d.dice.choice(("Job", "Pod", "Pod", "relabel"))
        if deed == "relabel":
            d.add(at, "relabel", owner=owner, number=number, label="app.kubernetes.io/managed-by")
        else:
            d.add(at, "delete-of", kind=deed, owner=owner, number=number, grace=d.dice.choice((None, 0)))
    if d.dice.random() < 0.4:
        _leader_goes(d, d.dice.uniform(1.0, 6.0))


def _steering(d: Draft) -> None:
    """Users change their minds."""
    d.config(cap=d.dice.choice((None, 1, 2)))
    _some_work(d, ttlSecondsAfterFinished=d.dice.choice((None, 5, 30)), parallelism=d.dice.choice((None, 1, 2)))
    for _ in range(d.dice.randint(1, 4)):
        kind, owner, _ = d.dice.choice(d.owners)
        spec = d.dice.choice(({"suspend": True}, {"suspend": None}, {"cancel": True}, {"parallelism": d.dice.choice((1, 3))}))
        if kind == "BatchRun" or "parallelism" not in spec:
            d.add(d.dice.uniform(0.2, 9.0), "edit", kind=kind, name=owner, spec=spec)
    if d.dice.random() < 0.4:
        spec = {"maxConcurrentTasks": d.dice.choice((None, 1, 2, 3)), "agentImage": d.dice.choice(("img/a", "img/b"))}
        d.add(d.dice.uniform(0.2, 8.0), "edit", kind="WorkspaceConfig", name="default", spec=spec)


def _plain(d: Draft) -> None:
    d.config(cap=d.dice.choice((None, 1, 2)))
    _some_work(d)
    if d.dice.random() < 0.5:
        d.batch("batch-z", 2, at=d.dice.uniform(0.0, 2.0))
        d.run("run-z", 2, at=d.dice.uniform(0.0, 2.0), batch="batch-z")


def _sidecar(d: Draft) -> None:
    d.config(cap=d.dice.choice((None, 1)))
    d.run("run-a", 2)
    d.agent("run-a", 0, sidecar=600.0, exit_code=d.dice.choice((0, 0, 3)), run=2.0)
    if d.dice.random() < 0.4:
        d.agent("run-a", 1, init_fails=True)


SITUATIONS: dict[Callable[[Draft], None], int] = {
    _takeover: 8, _second_process: 6, _crash_between: 4, _steering: 6, _same_name: 6, _plain: 4, _tampering: 4,
    _disruption: 4, _stuck: 4,
    _failed_create: 4, _waiter_leaves: 4, _contention: 3, _late_pods: 3, _snapshot_gone: 3, _together: 2,
    _batch_edited: 2, _canary: 3, _budget: 2, _max_failures: 3, _waits_for_batch: 3, _odd_results: 2, _collision: 2,
    _downgrade: 2, _sidecar: 2, _over_quota: 2, _crowd: 1, _slow_cancel: 1, _huge_manifest: 1, _many_bytes: 1,
}  # fmt: skip
"""How often each is taken."""

# Noise


def _lagging(d: Draft) -> None:
    for _ in range(d.dice.randint(1, 3)):
        d.add(
            d.dice.uniform(0.0, 6.0),
            "lag",
            resource=d.dice.choice((*_WATCHED, "jobs.batch", "pods")),
            seconds=d.dice.choice((0.3, 1.0, 3.0)),
            length=d.dice.uniform(0.5, 5.0),
        )


def _bad_network(d: Draft) -> None:
    for _ in range(d.dice.randint(1, 4)):
        verb, resource = d.dice.choice((*_WRITES, ("get", "*"), ("*", "*"), ("patch", "*"), ("delete", "*"), ("create", "*")))
        how = d.dice.choice(("lost", "unheard", "late", "slow", "409", "429", "500", "503", "504"))
        d.add(
            d.dice.uniform(0.0, 8.0),
            "trouble",
            verb=verb,
            resource=resource,
            how=how,
            count=d.dice.randint(1, 3),
            seconds=d.dice.choice((0.5, 4.0, 35.0)),
        )


def _broken_watches(d: Draft) -> None:
    for _ in range(d.dice.randint(1, 3)):
        d.add(d.dice.uniform(0.1, 8.0), "break-watches", resource=d.dice.choice(_WATCHED), expired=d.dice.random() < 0.5)


def _crashes(d: Draft) -> None:
    for _ in range(d.dice.randint(1, 2)):
        _leader_goes(d, d.dice.uniform(0.2, 8.0))


def _slow_cluster(d: Draft) -> None:
    d.add(d.dice.uniform(0.0, 3.0), "slow", actor="job-controller", seconds=d.dice.choice((0.5, 3.0)), length=6.0)
    d.add(0.0, "gc", seconds=d.dice.choice((2.0, 20.0)), length=30.0)


def _deletions(d: Draft) -> None:
    kind, name, _ = d.dice.choice(d.owners)
    d.add(d.dice.uniform(0.5, 9.0), "delete", kind=kind, name=name, propagation=d.dice.choice(("Background", "Foreground")))


def _evictions(d: Draft) -> None:
    for _ in range(d.dice.randint(1, 2)):
        d.add(d.dice.uniform(0.3, 8.0), "disrupt", number=d.dice.randint(0, 3))


NOISE: tuple[Callable[[Draft], None], ...] = (
    _lagging, _lagging, _bad_network, _bad_network, _broken_watches, _crashes, _slow_cluster, _deletions, _evictions,
)  # fmt: skip


# Parts


def _repository(name: str) -> list[JSON]:
    return [{"type": "Repository", "repository": {"org": "acme", "repo": name}}]


def _some_work(d: Draft, most: int = 4, **spec: Any) -> None:
    given = {k: v for k, v in spec.items() if v is not None}
    form = d.dice.choice(("run", "run", "batch", "task", "both"))
    tasks = d.dice.randint(1, most)
    if form == "task" or (form == "both" and most > 1):
        d.task("task-t", at=d.dice.uniform(0.1, 1.0), **{k: v for k, v in given.items() if k != "parallelism"})
    if form == "batch":
        d.batch("batch-a", tasks)
        d.run("run-a", tasks, at=d.dice.uniform(0.05, 0.5), batch="batch-a", **given)
    elif form != "task":
        d.run("run-a", tasks, at=d.dice.uniform(0.05, 0.5), **given)


def _leader_goes(d: Draft, at: float) -> None:
    deed = d.dice.choice(("crash", "crash", "terminate", "failover", "crash-at"))
    if deed == "crash":
        d.add(at, "crash", drop=d.dice.random() < 0.5)
    elif deed == "terminate":
        d.add(at, "terminate")
    elif deed == "failover":
        d.add(at, "failover", overlap=d.dice.choice((0.0, 0.3, 2.0, 5.0)))
    else:
        d.add(at, "crash-at", writes=d.dice.randint(1, 4), sent=d.dice.random() < 0.5)
